"""Tracers: the tensors inside a shipped model, told by each runtime, are those that the operators really compute."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from litert_flatbuffers import Graph, Op, T, write
from onnx import TensorProto, helper, numpy_helper

from convkit import api
from convkit.arrays import save_arrays
from convkit.artifact import Artifact
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.readers import inspect
from convkit.registry import tracers
from convkit.traces import Recorder, Trace
from convkit.tracing import savedmodel
from convkit.validators.inputs import generated
from convkit.workers.pool import WorkerPool

TRACED = (Variant.ONNX, Variant.EXPORTED_PROGRAM, Variant.SAVEDMODEL, Variant.TFLITE, Variant.TFJS_GRAPH)


def traced(pool: WorkerPool, artifact: Artifact, feeds, directory) -> Trace:
    tracer = next(t for t in tracers() if artifact.variant in t.variants)
    directory.mkdir()
    save_arrays(directory / "inputs.npz", feeds)
    pool.worker(tracer.host).call(
        "convkit.workers.tracing:trace",
        {
            "module": tracer.module,
            "artifact": artifact.to_json(),
            "inputs": str(directory / "inputs.npz"),
            "directory": str(directory),
        },
        stage="trace",
        component=tracer.name,
    )
    return Trace.open(directory)


def test_every_format_but_executorch_is_traced():
    """A `.pte` is looked into through its importer."""
    assert {variant for tracer in tracers() for variant in tracer.variants} == set(TRACED)


@pytest.mark.parametrize(
    ("suffix", "target"), [("onnx", None), ("pt2", None), ("tflite", None), ("onnx", "savedmodel"), ("onnx", "tfjs")]
)
def test_the_shipped_cnn(pool, model, tmp_path, suffix, target):
    path = model("digits_cnn", suffix)
    if target is not None:
        path = api.convert(path, target, output=tmp_path / f"cnn.{target}", validate=False).artifact.path
    info = inspect(path)
    artifact = Artifact(info.variant, path, info.signature)
    feeds = next(iter(generated(info.signature, {}, {"batch": 2}, 1))).arrays
    trace = traced(pool, artifact, feeds, tmp_path / "trace")
    assert set(trace.inputs) == set(info.signature.input_names)
    for name in info.signature.input_names:
        np.testing.assert_array_equal(trace.array(trace.inputs[name]), feeds[name])
    made = {o for operator in trace.operators for o in operator.outputs}
    for name, tensor in trace.outputs.items():
        assert trace.tensors[tensor].shape == (2, 10), name
        assert tensor in made or tensor in trace.tensors
    relus = [o for o in trace.operators if "relu" in o.operator.lower()]
    for relu in relus:
        before, behind = trace.array(relu.inputs[0]), trace.array(relu.outputs[0])
        np.testing.assert_array_equal(behind, np.maximum(before, 0))
    assert any(t.constant for t in trace.tensors.values())


@pytest.mark.parametrize("name", ["digits_cnn", "digits_lstm"])
def test_tfjs_graphs_whose_outputs_have_other_names_are_known_to_their_ends(pool, model, tmp_path, name):
    """TF.js knows such an output by its key; and it frees tensors that share their memory with others (in the LSTM)."""
    path = api.convert(model(name, "savedmodel"), "tfjs", output=tmp_path / "m.tfjs", validate=False).artifact.path
    info = inspect(path)
    feeds = next(iter(generated(info.signature, {}, {"batch": 2}, 1))).arrays
    trace = traced(pool, Artifact(info.variant, path, info.signature), feeds, tmp_path / "trace")
    made = {o for operator in trace.operators for o in operator.outputs}
    assert set(trace.outputs) == {"logits"} and set(trace.outputs.values()) <= made
    assert trace.array(trace.outputs["logits"]).shape == (2, 10)
    assert bool(trace.notes) == (name == "digits_lstm")


def test_a_saved_model_that_would_fill_the_memory_is_not_frozen(model, monkeypatch, tmp_path):
    path = model("digits_cnn", "savedmodel")
    monkeypatch.setattr(savedmodel, "_LARGEST", 1000)
    with pytest.raises(ConversionError, match="some ten times"):
        savedmodel.trace(Artifact(Variant.SAVEDMODEL, path, inspect(path).signature), {}, Recorder(tmp_path))


def test_a_quantized_tensor_is_told_as_what_it_stands_for(pool, tmp_path):
    level = {"dtype": "INT8", "zero_points": (3,)}
    tensors = [T((1, 4), scales=(0.5,), **level), T((1, 4), scales=(0.25,), **level)]
    path = write(Graph(tensors, [Op("QUANTIZE", [0], [1])], [0], [1]))
    info = inspect(path)
    feeds = {info.signature.input_names[0]: np.array([[3, 5, 7, -1]], np.int8)}
    trace = traced(pool, Artifact(info.variant, path, info.signature), feeds, tmp_path / "trace")
    np.testing.assert_allclose(trace.array(trace.operators[0].inputs[0]), [[0, 1, 2, -2]])
    np.testing.assert_allclose(trace.array(trace.operators[0].outputs[0]), [[0, 1, 2, -2]])


def test_onnx_branches_read_what_is_outside(pool, tmp_path):
    """A branch is one operator; what it captures is among its inputs, and large external weights are found."""
    then = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["then_y"])],
        "then",
        [],
        [helper.make_tensor_value_info("then_y", TensorProto.FLOAT, [3])],
    )
    otherwise = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["else_y"])],
        "else",
        [],
        [helper.make_tensor_value_info("else_y", TensorProto.FLOAT, [3])],
    )
    graph = helper.make_graph(
        [helper.make_node("If", ["condition"], ["y"], name="choice", then_branch=then, else_branch=otherwise)],
        "graph",
        [
            helper.make_tensor_value_info("condition", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [3]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])],
        [numpy_helper.from_array(np.array([1, 2, 3], np.float32), "w")],
    )
    path = tmp_path / "branches.onnx"
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    info = inspect(path)
    feeds = {"condition": np.array(True), "x": np.ones(3, np.float32)}
    trace = traced(pool, Artifact(info.variant, path, info.signature), feeds, tmp_path / "trace")
    assert trace.operators[0].inputs == ("condition", "w", "x")
    np.testing.assert_array_equal(trace.array("y"), [2, 3, 4])
    np.testing.assert_array_equal(trace.array("w"), [1, 2, 3])


def test_what_does_not_run_is_an_error(pool, tmp_path):
    path = tmp_path / "other.onnx"
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        "graph",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [3]),
            helper.make_tensor_value_info("shape", TensorProto.INT64, [1]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    info = inspect(path)
    feeds = {"x": np.ones(3, np.float32), "shape": np.array([7])}
    with pytest.raises(ConversionError, match=r"ONNX Runtime failed to run other\.onnx"):
        traced(pool, Artifact(info.variant, path, info.signature), feeds, tmp_path / "trace")


def test_a_recorder_keeps_the_first_of_a_name(tmp_path):
    record = Recorder(tmp_path)
    record.tensor("x", np.zeros(2, np.float32))
    record.tensor("x", np.ones(2, np.float32))
    record.close()
    np.testing.assert_array_equal(Trace.open(tmp_path).array("x"), [0, 0])
