"""Errors as colours over a model's graph, in the form and under the names that Model Explorer knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from report_examples import drift

from convkit import api
from convkit.reports.document import Document
from convkit.reports.drift import DriftReport
from convkit.reports.faces.node_data import FACE

# `GraphNodeData`, `NodeDataResult` and `ThresholdItem` of model_explorer 0.1.34.
_FIELDS = {"results", "name", "thresholds"}
_COLOURED = {"value", "bgColor", "textColor"}


def rendered(report: DriftReport) -> dict[str, Any]:
    def refused(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    document = Document("validation", "a against b", "drift", False, (), "m.onnx", drift=report)
    return json.loads(FACE.render(document), parse_constant=refused)


def test_an_error_is_told_in_multiples_of_what_is_tolerated():
    report = drift()
    report.operators = [*report.operators]
    data = rendered(report)
    assert set(data) == _FIELDS and all(set(r) <= _COLOURED and "value" in r for r in data["results"].values())
    assert [set(t) for t in data["thresholds"]] == [_COLOURED] * 3
    values = [t["value"] for t in data["thresholds"]]
    assert values == sorted(values) and max(r["value"] for r in data["results"].values()) <= values[-1]
    assert data["results"]["node_0"] == {"value": 0.01}
    assert data["results"]["node_3"]["value"] == pytest.approx(3e4) and data["results"]["node_3"]["bgColor"] == "#b3261e"


def test_infinite_errors_and_suspects_without_one_are_numbers_too():
    report = DriftReport("seed 0", "ONNX Runtime", "LiteRT", 0.0, suspects=drift().suspects)
    results = rendered(report)["results"]
    assert len(results) == 2 and {r["value"] for r in results.values()} == {1e9}


def test_a_saved_model_has_no_names_to_colour():
    report = drift()
    report.source_tracer = "TensorFlow"
    data = rendered(report)
    assert data["results"] == {} and "SavedModel" in data["name"]


@pytest.fixture(scope="module")
def faulty(fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits CNN with a weight of its second convolution off."""
    proto = onnx.load(fixtures / "digits_cnn" / "digits_cnn.onnx")
    weight = next(
        t for t in proto.graph.initializer if t.name == [n for n in proto.graph.node if n.op_type == "Conv"][1].input[1]
    )
    array = np.array(numpy_helper.to_array(weight))
    array.reshape(-1)[7] += 10
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    path = tmp_path_factory.mktemp("faulty") / "faulty.onnx"
    onnx.save(proto, path)
    return path


@pytest.mark.parametrize("suffix", ["onnx", "pt2", "tflite"])
def test_the_keys_are_those_of_the_source_s_own_graph(fixtures: Path, faulty: Path, suffix: str, tmp_path: Path):
    source = fixtures / "digits_cnn" / f"digits_cnn.{suffix}"
    judged = faulty if suffix != "tflite" else api.convert(source, "onnx", output=tmp_path / "m.onnx").artifact.path
    report = api.validate(source, judged, locate=True)
    api.write_report(report, tmp_path / "drift.nodedata.json")
    results = json.loads((tmp_path / "drift.nodedata.json").read_text())["results"]
    known = _names(source)
    assert len(results) > 5 and set(results) <= known, set(results) - known
    red = [name for name, result in results.items() if result.get("bgColor") == "#b3261e"]
    assert red == [s.name for s in report.drift.suspects[:3]] and bool(red) == (suffix != "tflite")


def _names(path: Path) -> set[str]:
    """Ids of nodes, or names of tensors, as Model Explorer's adapters make them."""
    if path.suffix == ".onnx":
        return {node.name for node in onnx.load(path).graph.node}
    if path.suffix == ".pt2":
        return {node.name for node in torch.export.load(path).graph_module.graph.nodes}
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    return {detail["name"] for detail in interpreter.get_tensor_details()}
