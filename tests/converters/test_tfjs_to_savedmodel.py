"""TF.js graph models → SavedModel: what TF.js itself computes in Node is what the SavedModel computes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow_models import assert_agree, feeds
from tfjs_models import constant, node, placeholder, specs, title, while_loop, write_graph, write_model

from convkit.artifact import Artifact
from convkit.components import ConversionRequest
from convkit.converters import tfjs_to_savedmodel
from convkit.errors import ConversionError, UnreadableModelError
from convkit.formats import Variant
from convkit.legalization.target import Verdict
from convkit.readers import inspect
from convkit.runtimes import savedmodel, tfjs
from convkit.signature import Signature
from convkit.workers import toolchains


@pytest.fixture(scope="module", autouse=True)
def toolchain() -> None:
    toolchains.ensure("tfjs", auto=True)


def converted(model: Path, output: Path) -> savedmodel.SavedModelSession:
    """The SavedModel of a TF.js model, whose signature is the same."""
    signature = inspect(model).signature
    request = ConversionRequest(Artifact(Variant.TFJS_GRAPH, model, signature), output, signature)
    tfjs_to_savedmodel.convert(request)
    info = inspect(output)
    assert signature is not None and info.signature is not None
    assert signature.differences(info.signature) == []
    return savedmodel.load(Artifact(Variant.SAVEDMODEL, output, info.signature))


def assert_same(model: Path, output: Path, arrays: Mapping[str, np.ndarray] | None = None, tolerance: float = 1e-6) -> Any:
    """Converts, and compares with TF.js in Node."""
    session = converted(model, output)
    arrays = feeds(session.signature, 2) if arrays is None else arrays
    expected = tfjs.load(Artifact(Variant.TFJS_GRAPH, model)).run(arrays)
    got = session.run(arrays)
    assert_agree(expected, got, tolerance)
    return got


def encoded(*texts: str) -> list[str]:
    """Strings as protobuf's JSON has them."""
    import base64

    return [base64.b64encode(text.encode()).decode() for text in texts]


def window(**attributes: Any) -> dict[str, Any]:
    """The attributes of a convolution."""
    return {
        "strides": {"list": {"i": ["1", "2", "2", "1"]}},
        "dilations": {"list": {"i": ["1", "1", "1", "1"]}},
        "padding": {"s": encoded("SAME")[0]},
        "data_format": {"s": encoded("NHWC")[0]},
        **attributes,
    }


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


_ACTIVATIONS = ("", "Relu", "Relu6", "Elu", "LeakyRelu", "Prelu", "Sigmoid")
_FUSED = {
    "_FusedConv2D": (normal(3, 3, 2, 4), window()),
    "FusedDepthwiseConv2dNative": (normal(3, 3, 2, 2), window()),
    "_FusedMatMul": (normal(2, 4), {"transpose_a": {"b": False}, "transpose_b": {"b": False}}),
}


# TF.js 4.22 gives NaN for a depthwise convolution with a fused LeakyRelu: it does not read the slope.
_PAIRS = [(o, a) for o in _FUSED for a in _ACTIVATIONS if (o, a) != ("FusedDepthwiseConv2dNative", "LeakyRelu")]


@pytest.mark.parametrize(("operator", "activation"), _PAIRS)
def test_fused_operators(operator: str, activation: str, tmp_path: Path) -> None:
    weights, attributes = _FUSED[operator]
    arrays = {"w": weights, "bias": normal(4)}
    if activation == "Prelu":
        arrays["slope"] = np.abs(normal(4))
    fused = {
        "fused_ops": {"list": {"s": encoded("BiasAdd", *([activation] if activation else []))}},
        "num_args": {"i": str(len(arrays) - 1)},
        "leakyrelu_alpha": {"f": 0.3},
    }
    shape = "[n,2]" if operator == "_FusedMatMul" else "[n,6,6,2]"
    result = "[n,4]" if operator == "_FusedMatMul" else "[n,3,3,4]"
    signature = Signature(specs(f"x{shape}"), specs(f"y{result}"))
    nodes = [node("y", operator, ["x", *arrays], **attributes, **fused)]
    assert_same(write_graph(tmp_path / "model", signature, nodes, arrays), tmp_path / "out")


def test_prelu(tmp_path: Path) -> None:
    signature = Signature(specs("x[n,4]"), specs("y[n,4]"))
    nodes = [{"name": "y", "op": "Prelu", "input": ["x", "slope"]}]
    assert_same(write_graph(tmp_path / "model", signature, nodes, {"slope": normal(4)}), tmp_path / "out")


def test_channels_first(tmp_path: Path) -> None:
    """TF.js takes the strides of rows and columns from the second and third place all the same."""
    first = window(data_format={"s": encoded("NCHW")[0]}, strides={"list": {"i": ["1", "1", "2", "1"]}})
    signature = Signature(specs("x[n,2,6,5]"), specs("y[n,4,6,3]"))
    nodes = [node("y", "Conv2D", ["x", "w"], **first)]
    assert_same(write_graph(tmp_path / "model", signature, nodes, {"w": normal(3, 3, 2, 4)}), tmp_path / "out")


def test_dilated_depthwise_convolution(tmp_path: Path) -> None:
    """TensorFlow's kernel refuses dilations."""
    dilated = window(strides={"list": {"i": [1, 1, 1, 1]}}, dilations={"list": {"i": [1, 2, 3, 1]}})
    signature = Signature(specs("x[n,9,9,2]"), specs("y[n,9,9,2]"))
    nodes = [node("y", "DepthwiseConv2dNative", ["x", "w"], **dilated)]
    assert_same(write_graph(tmp_path / "model", signature, nodes, {"w": normal(3, 3, 2, 1)}), tmp_path / "out")


def quantized(model: Path, stored: np.ndarray, **how: Any) -> Path:
    """The model with its only weight stored so."""
    content = json.loads(model.read_text())
    (weight,) = content["weightsManifest"][0]["weights"]
    weight["quantization"] = {"dtype": stored.dtype.name, **how}
    (model.parent / content["weightsManifest"][0]["paths"][0]).write_bytes(stored.tobytes())
    model.write_text(json.dumps(content))
    return model


@pytest.mark.parametrize("stored", ["uint8", "uint16", "float16"])
def test_quantized_weights(stored: str, tmp_path: Path) -> None:
    signature = Signature(specs("x[n,4]"), specs("y[n,3]"))
    model = write_graph(tmp_path / "model", signature, [node("y", "MatMul", ["x", "w"])], {"w": normal(4, 3)})
    how = {} if stored == "float16" else {"scale": 0.0123, "min": -1.4}
    raw = normal(4, 3) if stored == "float16" else np.random.default_rng(0).integers(0, 255, (4, 3))
    assert_same(quantized(model, raw.astype(stored), **how), tmp_path / "out")


def test_quantized_integers_are_rounded_as_javascript_does(tmp_path: Path) -> None:
    signature = Signature(specs("x:int32[6]"), specs("y:int32[6]"))
    model = write_graph(tmp_path / "model", signature, [node("y", "AddV2", ["x", "w"], "int32")], {"w": np.zeros(6, np.int32)})
    quantized(model, np.arange(6, dtype=np.uint8), scale=0.5, min=-1.5)
    assert list(assert_same(model, tmp_path / "out", {"x": np.zeros(6, np.int32)})["y"]) == [-1, -1, 0, 0, 1, 1]


def test_several_groups_and_shards(tmp_path: Path) -> None:
    signature = Signature(specs("x[n,3]"), specs("y[n,3]"))
    nodes = [node("scaled", "Mul", ["x", "a"]), node("y", "AddV2", ["scaled", "b"])]
    arrays = {"a": normal(3), "b": normal(2, 3)[0]}
    model = write_graph(tmp_path / "model", signature, nodes, arrays)
    content = json.loads(model.read_text())
    first, second = content["weightsManifest"][0]["weights"]
    content["weightsManifest"] = [{"paths": ["1.bin", "2.bin"], "weights": [first]}, {"paths": ["3.bin"], "weights": [second]}]
    data = arrays["a"].tobytes()
    for name, part in (("1.bin", data[:5]), ("2.bin", data[5:]), ("3.bin", arrays["b"].tobytes())):
        (model.parent / name).write_bytes(part)
    model.write_text(json.dumps(content))
    session = converted(model, tmp_path / "out")
    x = normal(2, 3)
    np.testing.assert_allclose(session.run({"x": x})["y"], x * arrays["a"] + arrays["b"], rtol=1e-6)


def test_integers_of_64_bits_in_the_topology(tmp_path: Path) -> None:
    """TF.js computes in 32 bits whatever the topology says; operators that give 64 bits only get casts."""
    signature = Signature(specs("x[n,4]"), specs("places:int64[n]", "found:int32[m,2]", "picked[n,4]"))
    axis = np.array(1, np.int32)
    nodes = [
        node("places", "ArgMax", ["x", "axis"], output_type={"type": "DT_INT64"}, Tidx={"type": "DT_INT32"}),
        node("positive", "Greater", ["x", "zero"]),
        node("found", "Where", ["positive"], "bool"),
        node(
            "rows", "StridedSlice", ["found", "begin", "end", "step"], "int64", Index={"type": "DT_INT32"}, begin_mask={"i": "1"}
        ),
        node("picked", "Sub", ["x", "zero"]),
    ]
    weights = {"axis": axis, "zero": np.array(0, np.float32)}
    model = write_graph(tmp_path / "model", signature, [n for n in nodes if n["name"] != "rows"], weights)
    got = assert_same(model, tmp_path / "out")
    assert {name: str(array.dtype) for name, array in got.items()} == {"places": "int64", "found": "int32", "picked": "float32"}


@pytest.mark.parametrize("constant_first", [True, False])
def test_an_outer_product_of_whole_numbers_is_a_multiplication(constant_first: bool, tmp_path: Path) -> None:
    """Spatial transformers repeat indices so, and LiteRT has no product of whole numbers."""
    column, row = np.array([[2], [3]], np.int32), np.array([[5, 7, 11]], np.int32)
    given, inputs = ("x:int32[1,3]", ["w", "x"]) if constant_first else ("x:int32[2,1]", ["x", "w"])
    signature = Signature(specs(given), specs("y:int32[2,3]"))
    weights = {"w": column if constant_first else row}
    model = write_graph(tmp_path / "model", signature, [node("y", "MatMul", inputs, "int32")], weights)
    got = assert_same(model, tmp_path / "out", {"x": row if constant_first else column})
    assert got["y"].tolist() == [[10, 14, 22], [15, 21, 33]]
    assert "MatMul" not in inspect(tmp_path / "out").operators


def test_images_of_bytes(tmp_path: Path) -> None:
    """An input that is declared as uint8 stays one; TF.js takes int32."""
    image = {"name": "image", "dtype": "DT_UINT8", "tensorShape": {"dim": [{"size": "-1"}, {"size": "3"}]}}
    nodes = [
        {"name": "image", "op": "Placeholder", "attr": {"dtype": {"type": "DT_UINT8"}, "shape": {"shape": image["tensorShape"]}}},
        node("y", "Cast", ["image"], None, SrcT={"type": "DT_UINT8"}, DstT={"type": "DT_FLOAT"}),
    ]
    signature = {"inputs": {"image": image}, "outputs": {"y": {"name": "y:0"}}}
    model = write_model(
        tmp_path / "model",
        {"format": "graph-model", "modelTopology": {"node": nodes, "versions": {"producer": 1882}}, "signature": signature},
    )
    session = converted(model, tmp_path / "out")
    assert str(session.signature) == "image: uint8[batch,3] → y: float32[batch,3]"
    picture = np.array([[0, 128, 255]], np.uint8)
    assert_agree(tfjs.load(Artifact(Variant.TFJS_GRAPH, model)).run({"image": picture}), session.run({"image": picture}))


def test_without_signature(tmp_path: Path) -> None:
    """Inputs are the placeholders, outputs what nothing takes; their dtypes follow from the operators."""
    nodes = [
        *map(placeholder, specs("b[n,2]", "a[n,2]")),
        node("sum", "AddV2", ["a", "b"]),
        node("larger", "Greater", ["a", "b"]),
        node("size", "Shape", ["sum"], out_type={"type": "DT_INT32"}),
    ]
    model = write_model(
        tmp_path / "model", {"format": "graph-model", "modelTopology": {"node": nodes, "versions": {"producer": 1882}}}
    )
    signature = inspect(model).signature
    assert str(signature) == "b: float32[batch,2], a: float32[batch,2] → larger: bool[?], size: int32[?]"
    assert_same(model, tmp_path / "out")


def test_control_inputs_do_not_keep_placeholders(tmp_path: Path) -> None:
    signature = Signature(specs("x[n,2]"), specs("y[n,2]"))
    nodes = [node("zero", "ZerosLike", ["x"]), node("y", "AddV2", ["w", "zero", "^x"])]
    assert_same(write_graph(tmp_path / "model", signature, nodes, {"w": normal(2)}), tmp_path / "out")


def test_functional_loop(tmp_path: Path) -> None:
    model = while_loop(tmp_path / "model", 100.0)
    got = assert_same(model, tmp_path / "out", {"x": np.array(3, np.float32)})
    assert got["last"] == 192


def version_1(build: Callable[..., Sequence[Any]], inputs: Sequence[Any], directory: Path) -> Path:
    """A model as the official converter writes it: control flow in single nodes, constants in a shard."""
    import tensorflow as tf
    from google.protobuf.json_format import MessageToDict

    v1 = tf.compat.v1
    was_version_2 = v1.control_flow_v2_enabled()
    v1.disable_control_flow_v2()
    try:
        with tf.Graph().as_default() as graph:
            results = build(
                *(v1.placeholder(s.dtype, [None if isinstance(d, str) else d for d in s.shape], s.name) for s in inputs)
            )
            for name, result in results.items():
                tf.identity(result, name)
    finally:
        if was_version_2:
            v1.enable_control_flow_v2()
    definition = graph.as_graph_def()
    weights = {n.name: tf.make_ndarray(n.attr["value"].tensor) for n in definition.node if n.op == "Const"}
    narrowed = {name: a.astype(np.int32) if a.dtype == np.int64 else a for name, a in weights.items()}
    for each in definition.node:
        if each.op == "Const":
            del each.attr["value"]
        each.attr.pop("_class", None)
    outputs = {name: {"name": f"{name}:0", "dtype": title(r.dtype.name)} for name, r in results.items()}
    model = {"format": "graph-model", "modelTopology": MessageToDict(definition), "signature": {"outputs": outputs}}
    return write_model(directory, model, narrowed)


def counting(x: Any) -> dict[str, Any]:
    """Two variables, one of them an accumulator, and a captured tensor."""
    import tensorflow as tf

    limit = tf.reduce_sum(x)
    total, rounds = tf.while_loop(lambda t, _: tf.reduce_sum(t) < limit * 9, lambda t, n: (t + x, n + 1), (x, 0))
    return {"total": total, "rounds": rounds}


def branching(x: Any) -> dict[str, Any]:
    """A branch in a branch, and tensors that both sides take."""
    import tensorflow as tf

    cond = tf.compat.v1.cond
    mean = tf.reduce_mean(x)
    inner = cond(mean > 0, lambda: cond(mean > 1, lambda: x * 2.0, lambda: x + mean), lambda: -x)
    return {"inner": inner, "after": cond(tf.reduce_sum(inner) > 3, lambda: inner - 1.0, lambda: inner + mean)}


def collecting(x: Any) -> dict[str, Any]:
    """An array that a loop fills."""
    import tensorflow as tf

    array = tf.compat.v1.TensorArray(tf.float32, size=4)
    _, filled = tf.while_loop(lambda i, _: i < 4, lambda i, a: (i + 1, a.write(i, x * tf.cast(i, tf.float32))), (0, array))
    return {"rows": filled.stack()}


def mapping(x: Any) -> dict[str, Any]:
    """Arrays that are filled from a tensor, read in a loop, and stacked or gathered, of two dtypes and of any length."""
    import tensorflow as tf

    def row(value: Any) -> tuple[Any, Any]:
        return tf.stack([value, value * 2.0, value - 1.0]), tf.cast(value * 10.0, tf.int32)

    parts, whole = tf.map_fn(row, tf.concat([x, x], 0), dtype=(tf.float32, tf.int32))
    given = tf.compat.v1.TensorArray(tf.float32, size=3).scatter([2, 0, 1], tf.stack([x, -x, x * x]))
    size = tf.cast(given.size(), tf.float32)
    return {"parts": parts, "whole": whole, "picked": given.gather([1, 2]) + size}


@pytest.mark.parametrize("build", [counting, branching, collecting, mapping])
@pytest.mark.parametrize("value", [[0.5, 1.0], [-2.0, -0.25], [3.0, 4.0]])
def test_control_flow_of_version_1(build: Callable[..., Any], value: list[float], tmp_path: Path) -> None:
    model = version_1(build, specs("x[2]"), tmp_path / "model")
    operators = inspect(model).operators
    assert "Merge" in operators
    if build is counting and sum(value) < 0:
        value = [-v for v in value]
    output = tmp_path / "out"
    assert_same(model, output, {"x": np.array(value, np.float32)})
    left = inspect(output).operators
    assert not {"Merge", "Switch", "Enter", "Exit", "NextIteration"} & set(left)
    assert not [operator for operator in left if operator.startswith("TensorArray")]


def test_nested_loops_of_version_1(tmp_path: Path) -> None:
    """TF.js 4.22 does not get through a loop in a loop, so TensorFlow itself is what the result is compared with."""
    import tensorflow as tf

    def outer(x: Any, i: Any, t: Any) -> tuple[Any, Any]:
        _, inner = tf.while_loop(lambda j, _: j < i, lambda j, u: (j + 1, u * 1.5 + x), (0, t))
        return i + 1, tf.compat.v1.cond(tf.reduce_sum(inner) > 40, lambda: inner - 1.0, lambda: inner + x)

    def build(x: Any) -> dict[str, Any]:
        return {"y": tf.while_loop(lambda i, _: i < 4, lambda i, t: outer(x, i, t), (0, x))[1]}

    value = np.array([0.5, 3.0], np.float32)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        expected = {"y": session.run(build(tf.constant(value))["y"])}
    session = converted(version_1(build, specs("x[2]"), tmp_path / "model"), tmp_path / "out")
    assert_agree(expected, session.run({"x": value}))


def test_a_branch_of_constants_is_refused(tmp_path: Path) -> None:
    """TF.js takes the first constant, whatever holds; TensorFlow the one that was meant."""

    def build(x: Any) -> dict[str, Any]:
        import tensorflow as tf

        return {"y": tf.compat.v1.cond(tf.reduce_sum(x) > 0, lambda: tf.constant(5.0), lambda: tf.constant(-3.0))}

    model = version_1(build, specs("x[2]"), tmp_path / "model")
    assert "'cond/Merge'" in refusal(model, tmp_path / "out").message


def test_a_branch_of_constants_that_nobody_needs(tmp_path: Path) -> None:
    """Converters leave such a branch behind, to say which one was taken."""

    def build(x: Any) -> dict[str, Any]:
        import tensorflow as tf

        tf.compat.v1.cond(tf.reduce_sum(x) > 0, lambda: tf.constant(5.0), lambda: tf.constant(-3.0))
        return {"y": x * 2.0}

    assert_same(version_1(build, specs("x[2]"), tmp_path / "model"), tmp_path / "out")


def refusal(model: Path, output: Path) -> ConversionError:
    signature = inspect(model).signature
    request = ConversionRequest(Artifact(Variant.TFJS_GRAPH, model, signature), output, signature)
    gaps = [f for f in tfjs_to_savedmodel.check(request) if f.verdict is Verdict.GAP]
    assert gaps
    with pytest.raises(ConversionError) as caught:
        tfjs_to_savedmodel.convert(request)
    assert not output.exists()
    return caught.value


def test_files_are_never_written_by_a_graph(tmp_path: Path) -> None:
    """TensorFlow has operators that write files; TF.js does not, and so nothing of them is imported."""
    written = tmp_path / "written"
    names = {"name": np.array([0], np.int32)}
    nodes = [node("w", "WriteFile", ["name", "name"], None), node("y", "Identity", ["x", "^w"])]
    model = write_graph(tmp_path / "model", Signature(specs("x[n]"), specs("y[n]")), nodes, names)
    assert "WriteFile" in refusal(model, tmp_path / "out").message
    assert not written.exists()


def test_tables_are_refused(tmp_path: Path) -> None:
    nodes = [
        {"name": "table", "op": "HashTableV2", "attr": {"key_dtype": {"type": "DT_STRING"}, "value_dtype": {"type": "DT_INT32"}}},
        node("y", "LookupTableFindV2", ["table", "x", "missing"], None),
    ]
    signature = Signature(specs("x:string[n]"), specs("y:int32[n]"))
    model = write_graph(tmp_path / "model", signature, nodes, {"missing": np.array(-1, np.int32)})
    assert "table" in refusal(model, tmp_path / "out").message


def test_operators_that_tensorflow_rejects(tmp_path: Path) -> None:
    nodes = [node("y", "MatMul", ["x", "w"])]
    model = write_graph(tmp_path / "model", Signature(specs("x[n,3]"), specs("y[n,4]")), nodes, {"w": normal(5, 4)})
    assert "y" in refusal(model, tmp_path / "out").message


def damage(change: Callable[[dict[str, Any]], None], directory: Path) -> Path:
    """y = x · w, changed."""
    model = write_graph(directory, Signature(specs("x[n,4]"), specs("y[n,4]")), [node("y", "Mul", ["x", "w"])], {"w": normal(4)})
    content = json.loads(model.read_text())
    change(content)
    model.write_text(json.dumps(content))
    return model


def nodes_of(model: dict[str, Any]) -> list[Any]:
    return model["modelTopology"]["node"]


_DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "missing weight": (lambda m: m.update(weightsManifest=[]), "'w' has no weight"),
    "missing input": (lambda m: nodes_of(m)[2].update(input=["x", "v"]), "'v'"),
    "missing output": (lambda m: m["signature"]["outputs"]["y"].update(name="gone:0"), "'gone:0'"),
    "second node": (lambda m: nodes_of(m).append(nodes_of(m)[2]), "two nodes called 'y'"),
    "number": (lambda m: nodes_of(m)[2]["attr"].update(N={"i": "many"}), "no TensorFlow graph"),
    "nodes": (lambda m: m["modelTopology"].update(node={"a": 1}), "corrupt"),
    "shape": (lambda m: m["signature"]["inputs"]["x"].update(tensorShape={"dim": [{"size": "-9"}]}), "'x' has the shape"),
    "huge shape": (
        lambda m: m["signature"]["inputs"]["x"].update(tensorShape={"dim": [{"size": "9" * 30}]}),
        "'x' has the shape",
    ),
    "second weight": (lambda m: m["weightsManifest"].append(m["weightsManifest"][0]), "two weights called 'w'"),
    "quantization": (lambda m: m["weightsManifest"][0]["weights"][0].update(quantization={"dtype": "uint4"}), "uint4"),
    "scale": (lambda m: m["weightsManifest"][0]["weights"][0].update(quantization={"dtype": "uint8", "scale": "1"}), "scale"),
}


@pytest.mark.parametrize("kind", _DAMAGE)
def test_damaged_models_are_named(kind: str, tmp_path: Path) -> None:
    change, says = _DAMAGE[kind]
    model = damage(change, tmp_path / "model")
    signature = Signature(specs("x[n,4]"), specs("y[n,4]"))
    request = ConversionRequest(Artifact(Variant.TFJS_GRAPH, model, signature), tmp_path / "out", signature)
    with pytest.raises(UnreadableModelError) as caught:
        tfjs_to_savedmodel.convert(request)
    assert says in caught.value.message
    assert not (tmp_path / "out").exists()


def test_a_circle_is_refused(tmp_path: Path) -> None:
    nodes = [node("a", "AddV2", ["x", "b"]), node("b", "Neg", ["a"]), node("y", "Neg", ["b"])]
    model = write_graph(tmp_path / "model", Signature(specs("x[n]"), specs("y[n]")), nodes)
    assert "cycle" in refusal(model, tmp_path / "out").message


def test_a_loop_without_end_of_its_aliases_is_refused(tmp_path: Path) -> None:
    frame = {"frame_name": {"s": encoded("f")[0]}}
    nodes = [node("a", "Enter", ["b"], **frame), node("b", "Exit", ["a"]), node("y", "AddV2", ["x", "b"])]
    model = write_graph(tmp_path / "model", Signature(specs("x[n]"), specs("y[n]")), nodes)
    assert "circle" in refusal(model, tmp_path / "out").message


def test_strings_as_character_codes(tmp_path: Path) -> None:
    """TF.js 1 wrote bytes as lists of numbers."""
    codes = window(padding={"s": list(b"SAME")}, data_format={"s": list(b"NHWC")})
    signature = Signature(specs("x[n,6,6,2]"), specs("y[n,3,3,4]"))
    model = write_graph(tmp_path / "model", signature, [node("y", "Conv2D", ["x", "w"], **codes)], {"w": normal(3, 3, 2, 4)})
    assert_same(model, tmp_path / "out")


def test_constant_in_the_topology(tmp_path: Path) -> None:
    """Hand-made files keep small values where TensorFlow has them."""
    signature = Signature(specs("x[n,1]"), specs("y[n,1]"))
    scale = constant("w", np.array(2.5, np.float32))
    scale["attr"]["value"]["tensor"]["floatVal"] = [2.5]
    model = write_graph(tmp_path / "model", signature, [scale, node("y", "Mul", ["x", "w"])])
    session = converted(model, tmp_path / "out")
    assert session.run({"x": np.ones((2, 1), np.float32)})["y"].tolist() == [[2.5], [2.5]]
