"""`check --probe` on real models: what operators alone come to, where the model as a whole is judged, and what is kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import convkit
from convkit.cli.main import run
from convkit.legalization.target import Verdict
from convkit.workers.pool import WorkerPool, fresh_pool

_VALUE = helper.make_tensor_value_info


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONVKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def counting_model(path: Path, seed: int = 0) -> Path:
    """Unsigned arithmetic, which ExecuTorch has no kernel for, behind plain operators."""
    weight = np.random.default_rng(seed).standard_normal((6, 6)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="project"),
        helper.make_node("Relu", ["h"], ["y"], name="relu"),
        helper.make_node("Sub", ["a", "b"], ["c"], name="count/sub"),
    ]
    inputs = [_VALUE("x", 1, ["n", 6]), *(_VALUE(k, TensorProto.UINT64, [3]) for k in "ab")]
    outputs = [_VALUE("y", 1, ["n", 6]), _VALUE("c", TensorProto.UINT64, [3])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_a_gap_that_no_table_knows_is_found_and_kept(tmp_path: Path, pool: WorkerPool) -> None:
    model = counting_model(tmp_path / "m.onnx")
    assert convkit.check(model, "executorch", pool=pool, via="pytorch").ok  # as far as the tables tell
    found = convkit.check(model, "executorch", probe=True, via="pytorch", pool=pool)
    assert not found.ok
    (gap,) = (f for f in found.gaps if f.evidence == "probe")
    assert (gap.operator, gap.count, gap.where) == ("Sub", 1, ("count/sub",))
    assert {f.operator for f in found.routes[0][1] or () if f.verdict is Verdict.LEGAL} >= {"MatMul", "Relu"}
    similar = counting_model(tmp_path / "retrained.onnx", seed=1)
    with fresh_pool() as quick:
        again = convkit.check(similar, "executorch", probe=True, via="pytorch", pool=quick)
        assert set(quick.running()) <= {"onnx"}
    assert again.to_json()["routes"] == found.to_json()["routes"]


def test_a_damaged_cache_is_no_cache(tmp_path: Path, cache: Path, model, pool: WorkerPool) -> None:
    source = model("digits_cnn", "onnx")
    first = convkit.check(source, "savedmodel", probe=True, pool=pool)
    assert first.ok and all(f.evidence in {"probe", "trial"} for f in first.routes[0][1] or ())
    kept = [*cache.glob("probes/*/*.json")]
    assert len(kept) > 3
    for file, text in zip(kept, ["", "[]", '{"verdict": "no"}', "{" * 1000], strict=False):
        file.write_text(text)
    assert convkit.check(source, "savedmodel", probe=True, pool=pool).to_json() == first.to_json()


def test_an_imported_model_is_probed_behind_its_importer(model, pool: WorkerPool) -> None:
    found = convkit.check(model("digits_cnn", "tflite"), "executorch", probe=True, pool=pool)
    assert found.ok
    assert any(f.operator == "CONV_2D" for f in found.routes[0][1] or ())


def test_the_command_tells_the_evidence(tmp_path: Path, capsys) -> None:
    path = counting_model(tmp_path / "m.onnx")
    assert run(["check", str(path), "--to", "savedmodel", "--probe", "--json"]) == 0
    (route,) = json.loads(capsys.readouterr().out)["routes"]
    assert {f["evidence"] for f in route["findings"]} == {"probe"}
