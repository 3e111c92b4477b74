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


def written(directory, function) -> Artifact:
    """A SavedModel with a signature that calls `function`, whose variables are found in its closure."""
    import tensorflow as tf

    module = tf.Module()
    module.held, call = function()
    signature = tf.function(call, input_signature=[tf.TensorSpec([None, 3], tf.float32, "x")])
    tf.saved_model.save(module, str(directory), signatures={"serving_default": signature.get_concrete_function()})
    info = inspect(directory)
    return Artifact(Variant.SAVEDMODEL, directory, info.signature)


def with_large_weights():
    import tensorflow as tf

    weight, ids = tf.Variable(tf.random.normal([3, 64, 128])), tf.Variable(tf.random.normal([1000, 3]))

    def call(x):
        rows = tf.gather(ids, tf.cast(tf.abs(x[:, 0]) * 9, tf.int32))
        mixed = tf.einsum("bi,ijk->bjk", x + rows, tf.function(lambda: weight * 2.0)())
        return {"y": tf.cond(tf.reduce_sum(x) > 0, lambda: tf.nn.relu(mixed), lambda: mixed - tf.reduce_sum(ids))}

    return [weight, ids], call


def test_large_weights_stay_variables_while_they_are_traced(monkeypatch, tmp_path):
    """What is told of the model is what a frozen graph tells."""
    model = written(tmp_path / "m", with_large_weights)
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 3), np.float32)}
    traces = {}
    for name, limit in (("constants", 1 << 30), ("variables", 64 << 10)):
        monkeypatch.setattr(savedmodel, "_LARGEST", limit)
        (tmp_path / name).mkdir()
        recorder = Recorder(tmp_path / name)
        savedmodel.trace(model, feeds, recorder)
        recorder.close()
        traces[name] = Trace.open(tmp_path / name)
    frozen, kept = traces["constants"], traces["variables"]
    assert kept.inputs == frozen.inputs
    np.testing.assert_array_equal(kept.array(kept.outputs["y"]), frozen.array(frozen.outputs["y"]))
    made = {o.name: o for o in frozen.operators if o.operator != "Identity"}
    assert {o.name for o in kept.operators} >= {n for n, o in made.items() if "ReadVariable" not in n and "/Const" not in n}
    for name in set(kept.tensors) & set(frozen.tensors):
        np.testing.assert_array_equal(kept.array(name), frozen.array(name))
    assert any(t.constant and t.shape == (3, 64, 128) for t in kept.tensors.values())


def with_a_large_constant():
    import tensorflow as tf

    weight = tf.random.normal([3, 64, 128])
    return [], lambda x: {"y": tf.einsum("bi,ijk->bjk", x, weight)}


def with_a_counter():
    import tensorflow as tf

    weight, count = tf.Variable(tf.random.normal([3, 64, 128])), tf.Variable(0.0)
    return [weight, count], lambda x: {"y": tf.einsum("bi,ijk->bjk", x, weight) + count.assign_add(1.0)}


@pytest.mark.parametrize("function", [with_a_large_constant, with_a_counter])
def test_a_saved_model_that_would_fill_the_memory_is_not_frozen(monkeypatch, tmp_path, function):
    model = written(tmp_path / "m", function)
    monkeypatch.setattr(savedmodel, "_LARGEST", 64 << 10)
    with pytest.raises(ConversionError, match="where its weights are variables that no run changes"):
        savedmodel.trace(model, {}, Recorder(tmp_path))


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
