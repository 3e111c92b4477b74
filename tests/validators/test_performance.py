"""What both sides of a comparison cost: the time of a run when warm, and the size of the files."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from convkit import api
from convkit.arrays import save_arrays
from convkit.artifact import Artifact
from convkit.cli.main import run
from convkit.formats import Variant
from convkit.workers import running


@pytest.mark.parametrize("target", ["litert", "executorch"])
def test_both_sides_are_timed_and_weighed(model, tmp_path: Path, target: str):
    source = model("digits_cnn", "pt2")
    converted = api.convert(source, target, output=tmp_path / "model", validate=False).artifact.path
    measured = api.validate(source, converted).performance
    assert measured.recipe.startswith("seed 0") and measured.source.size == source.stat().st_size
    assert measured.target.size == converted.stat().st_size
    for cost in (measured.source, measured.target):
        assert 1 <= cost.runs <= 5 and 0 < cost.seconds < 10


def test_external_data_is_weighed_too(tmp_path: Path):
    x, y = (helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [2, 64]) for n in ("x", "y"))
    weight = onnx.numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(proto, tmp_path / "one.onnx")
    onnx.save(proto, tmp_path / "two.onnx", save_as_external_data=True, location="two.data", size_threshold=0)
    measured = api.validate(tmp_path / "one.onnx", tmp_path / "two.onnx").performance
    assert measured.target.size > 64 * 64 * 4 > (tmp_path / "two.onnx").stat().st_size


def test_every_face_tells_it(model, tmp_path: Path, capsys):
    source = model("digits_cnn", "onnx")
    reports = [tmp_path / name for name in ("r.md", "r.html", "r.json")]
    assert run(["validate", str(source), str(source), *(f"--report={path}" for path in reports)]) == 0
    out = capsys.readouterr().out
    shown = next(line for line in out.splitlines() if "latency" in line)
    assert "warm" in shown and "median of" in shown and "×" in shown
    assert "size" in out and "× 1.00" in out
    for path in reports[:2]:
        assert "latency" in path.read_text() and "median of" in path.read_text()
    recorded = json.loads(reports[2].read_text())["performance"]
    assert recorded["source"]["runs"] >= 1 and recorded["target"]["size"] == source.stat().st_size


class Slow:
    """A session whose runs take a while; counts them."""

    def __init__(self) -> None:
        self.runs = 0

    def run(self, feeds):
        self.runs += 1
        time.sleep(0.06)
        return feeds


_slow = Slow()


def load(artifact: Artifact) -> Slow:
    """This module is a runtime, too."""
    return _slow


@pytest.mark.parametrize(("runs", "budget", "counted"), [(5, 10.0, 5), (5, 0.01, 1), (5, 0.1, 1)])
def test_the_budget_holds(tmp_path: Path, runs: int, budget: float, counted: int):
    save_arrays(tmp_path / "x.npz", {"x": np.zeros(1)})
    before = _slow.runs
    times = running.timed(__name__, Artifact(Variant.ONNX, tmp_path, None).to_json(), str(tmp_path / "x.npz"), {}, runs, budget)
    assert len(times) == counted and min(times) > 0.05 and _slow.runs - before <= runs + 1
