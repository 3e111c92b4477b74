"""The flow of a conversion: what is written, what never is, and what a dying worker leaves."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import convkit
from convkit.reports.schema import Verdict


def everything_in(directory):
    return sorted(str(p.relative_to(directory)) for p in directory.rglob("*"))


def test_a_conversion_is_proved_and_its_report_is_beside_it(model, tmp_path, pool):
    result = convkit.convert(model("digits_cnn", "onnx"), "litert", tmp_path / "cnn.tflite", pool=pool)
    assert result.ok
    assert result.artifact.path == tmp_path / "cnn.tflite"
    assert str(result.artifact.signature) == "image: float32[batch,1,8,8] → logits: float32[batch,10]"
    assert everything_in(tmp_path) == ["cnn.tflite", "cnn.tflite.convkit.json"]
    report = json.loads((tmp_path / "cnn.tflite.convkit.json").read_text())
    assert report["schema_version"] == 1
    assert report["verdict"] == "proved"
    assert report["target"]["digest"].startswith("sha256:")
    assert {s["name"] for s in report["attempts"][-1]["stages"]} >= {"convert", "validate"}
    assert all(s["peak_memory"] > 0 for s in report["attempts"][-1]["stages"])
    assert report["versions"]["onnxruntime"]


def test_nothing_is_overwritten_without_force(model, tmp_path, pool):
    output = tmp_path / "cnn.tflite"
    output.write_text("precious")
    with pytest.raises(convkit.OutputExistsError) as caught:
        convkit.convert(model("digits_cnn", "onnx"), "litert", output, pool=pool)
    assert "--force" in caught.value.hint
    assert output.read_text() == "precious"
    result = convkit.convert(model("digits_cnn", "onnx"), "litert", output, force=True, validate=False, pool=pool)
    assert result.verdict == "unvalidated"
    assert output.read_bytes()[4:8] == b"TFL3"


def test_gaps_are_refused_until_they_are_to_be_ignored(tmp_path, pool):
    node = helper.make_node("StringNormalizer", ["x"], ["y"], name="normalize", case_change_action="LOWER")
    texts = [helper.make_tensor_value_info(n, TensorProto.STRING, [2]) for n in ("x", "y")]
    model = helper.make_model(helper.make_graph([node], "g", texts[:1], texts[1:]), opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(convkit.OperatorGapError, match="does not accept StringNormalizer"):
        convkit.convert(tmp_path / "m.onnx", "pytorch", tmp_path / "m.pt2", force=True, pool=pool)
    with pytest.raises(convkit.ConversionError) as caught:
        convkit.convert(tmp_path / "m.onnx", "pytorch", tmp_path / "m.pt2", ignore_gaps=True, pool=pool)
    assert not isinstance(caught.value, convkit.OperatorGapError)
    assert everything_in(tmp_path) == ["m.onnx"]


def test_a_directory_output_takes_the_models_name(model, tmp_path, pool):
    result = convkit.convert(model("digits_cnn", "onnx"), "litert", tmp_path, validate=False, pool=pool)
    assert result.artifact.path == tmp_path / "digits_cnn.tflite"


def test_a_savedmodel_directory_is_replaced_whole(model, tmp_path, pool):
    output = tmp_path / "cnn.savedmodel"
    for _ in range(2):
        convkit.convert(model("digits_cnn", "keras"), "savedmodel", output, force=True, pool=pool)
        (output / "left-over").write_text("from before")
    convkit.convert(model("digits_cnn", "keras"), "savedmodel", output, force=True, pool=pool)
    assert not (output / "left-over").exists()
    assert everything_in(tmp_path)[0] == "cnn.savedmodel"


def test_drift_is_an_error_and_leaves_nothing(model, tmp_path, pool):
    with pytest.raises(convkit.DriftError, match="of its scale") as caught:
        convkit.convert(model("digits_cnn", "keras"), "onnx", tmp_path / "cnn.onnx", tolerance=1e-12, pool=pool)
    assert everything_in(tmp_path) == []
    report = caught.value.report
    assert report.attempts[0].verdict is Verdict.DRIFT
    assert report.attempts[0].validation.required > 1e-12


def test_a_source_that_nothing_can_be_compared_with_costs_one_route(tmp_path, pool):
    """Its inputs moved by a last bit, its output is another: no other route would prove it, and none is taken."""
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["a"]),
        helper.make_node("Mul", ["a", "far"], ["b"]),
        helper.make_node("Sin", ["b"], ["y"]),
    ]
    rows = [helper.make_tensor_value_info(*t) for t in (("x", TensorProto.FLOAT, [64, 4096]), ("y", TensorProto.FLOAT, [64, 1]))]
    far = [helper.make_tensor("far", TensorProto.FLOAT, [], [1e8]), helper.make_tensor("axes", TensorProto.INT64, [1], [1])]
    graph = helper.make_graph(nodes, "g", rows[:1], rows[1:], far)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "m.onnx")
    inputs = {"x": np.random.default_rng(0).standard_normal((64, 4096)).astype(np.float32)}
    with pytest.raises(convkit.ConversionError, match="ill-conditioned") as caught:
        convkit.convert(tmp_path / "m.onnx", "litert", tmp_path / "m.tflite", inputs=inputs, pool=pool)
    assert "none of" not in caught.value.message
    assert len(caught.value.report.attempts) == 1
    assert everything_in(tmp_path) == ["m.onnx"]


def test_a_source_that_its_own_runtime_cannot_load_costs_one_route(tmp_path, pool):
    """Of an opset that is still being made ONNX Runtime wants nothing; convkit's importers read it."""
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "graph", info[:1], info[1:])
    source = tmp_path / "new.onnx"
    source.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 27)], ir_version=10).SerializeToString())
    with pytest.raises(convkit.ConversionError, match=r"^ONNX Runtime cannot load .*Opset 27") as error:
        convkit.convert(source, "litert", tmp_path / "m.tflite", pool=pool)
    assert "--no-validate" in error.value.hint
    assert "onnxruntime_src" not in error.value.message
    assert len(error.value.report.attempts) == 1
    result = convkit.convert(source, "litert", tmp_path / "m.tflite", pool=pool, validate=False)
    assert result.verdict is Verdict.UNVALIDATED


def test_allowed_drift_is_written_and_said(model, tmp_path, pool):
    output = tmp_path / "cnn.onnx"
    result = convkit.convert(model("digits_cnn", "keras"), "onnx", output, tolerance=1e-12, allow_drift=True, pool=pool)
    assert not result.ok
    assert json.loads((tmp_path / "cnn.onnx.convkit.json").read_text())["verdict"] == "drift"


def test_the_users_own_inputs_are_the_proof(model, tmp_path, pool, fixtures):
    images = np.load(fixtures / "digits_test.npz")["image"][:50]
    result = convkit.convert(model("digits_cnn", "onnx"), "litert", tmp_path / "a.tflite", inputs=[images], pool=pool)
    assert [s.recipe for s in result.report.validation.sets] == ["given"]
    assert result.report.validation.top1 == 1.0


def test_a_file_with_a_lying_suffix_is_known_by_its_content(model, tmp_path, pool):
    liar = tmp_path / "model.tflite"
    liar.write_bytes(model("digits_cnn", "onnx").read_bytes())
    result = convkit.convert(liar, "litert", tmp_path / "out.tflite", pool=pool)
    assert result.report.source.variant is convkit.Variant.ONNX


def test_the_source_is_never_written_to(model, tmp_path, pool):
    source = tmp_path / "cnn.onnx"
    source.write_bytes(model("digits_cnn", "onnx").read_bytes())
    before = source.read_bytes(), source.stat().st_mtime_ns
    convkit.convert(source, "litert", tmp_path / "cnn.tflite", pool=pool)
    assert (source.read_bytes(), source.stat().st_mtime_ns) == before
    with pytest.raises(convkit.UsageError):
        convkit.convert(source, "litert", source, force=True, pool=pool)


def killer(stage, group, pool):
    """An observer that kills a group's worker in a stage, and when it did.

    The worker is stopped when the stage begins and killed a moment later: the call is under way for certain.
    """
    killed: list[float] = []

    def kill(event):
        if event.stage != stage or not event.running or killed:
            return
        pid = pool.running()[group]
        os.kill(pid, signal.SIGSTOP)

        def finish():
            killed.append(time.monotonic())
            os.kill(pid, signal.SIGKILL)

        threading.Timer(0.3, finish).start()

    return kill, killed


@pytest.mark.parametrize("stage", ["source", "check", "convert", "validate"])
def test_a_worker_killed_in_any_stage_is_an_error_within_a_second(stage, fixtures, tmp_path, pool):
    kill, killed = killer(stage, "torch", pool)

    def convert(observe=None):
        return convkit.convert(
            fixtures / "digits_lstm" / "digits_lstm.safetensors",
            "pytorch",
            tmp_path / "lstm.pt2",
            model_factory=f"{fixtures / 'models.py'}:build_digits_lstm",
            input_specs=["rows:float32[batch,8,8]"],
            pool=pool,
            observe=observe,
        )

    with pytest.raises(convkit.WorkerCrashError, match="SIGKILL") as caught:
        convert(kill)
    assert time.monotonic() - killed[0] < 1
    assert caught.value.log is not None
    assert everything_in(tmp_path) == []
    assert convert().ok


@pytest.mark.parametrize("group", ["litert", "onnxruntime"])
def test_either_side_of_a_validation_may_die(group, model, tmp_path, pool):
    kill, killed = killer("validate", group, pool)

    def convert(observe=None):
        return convkit.convert(
            model("digits_cnn", "onnx"), "litert", tmp_path / "a.tflite", route=["onnx2tf"], pool=pool, observe=observe
        )

    with pytest.raises(convkit.WorkerCrashError, match="SIGKILL"):
        convert(kill)
    assert time.monotonic() - killed[0] < 1
    assert everything_in(tmp_path) == []
    assert convert().ok


def test_the_parent_imports_no_framework(model, tmp_path):
    """A whole conversion in a fresh process, which then says what it has imported."""
    import subprocess
    import sys

    code = (
        "import convkit, sys\n"
        f"convkit.convert({str(model('digits_cnn', 'onnx'))!r}, 'litert', {str(tmp_path / 'a.tflite')!r})\n"
        "heavy = {'torch', 'tensorflow', 'keras', 'onnxruntime', 'ai_edge_litert', 'executorch', 'jax'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_toolchain_that_is_not_installed_costs_its_routes_and_says_so(model, tmp_path, monkeypatch):
    """Never a traceback: offline the route is lost with the command to run; a route without it is taken."""
    from convkit.workers.pool import fresh_pool

    monkeypatch.setenv("CONVKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CONVKIT_OFFLINE", "1")
    (tmp_path / "out").mkdir()
    with fresh_pool() as pool:
        with pytest.raises(convkit.NoRouteError, match="onnx2tf"):
            convkit.convert(model("digits_cnn", "onnx"), "litert", tmp_path / "out" / "a.tflite", route=["onnx2tf"], pool=pool)
        assert everything_in(tmp_path / "out") == []
        assert convkit.convert(model("digits_cnn", "onnx"), "litert", tmp_path / "out" / "b.tflite", pool=pool).ok
