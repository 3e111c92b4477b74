"""ONNX → LiteRT through TensorFlow: numbers, edges, weights that stay outside of the conversion, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_nodes as nodes
import pytest
from onnx import TensorProto, helper, numpy_helper

from convkit import readers
from convkit.arrays import save_arrays
from convkit.artifact import Artifact
from convkit.components import ConversionRequest
from convkit.converters import onnx_to_tflite as converter
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.legalization.target import Verdict
from convkit.runtimes import litert

_RNG = np.random.default_rng(0)
Feeds = Mapping[str, np.ndarray]


def floats(*shape: int) -> np.ndarray:
    return _RNG.normal(size=shape).astype(np.float32)


def request(model: onnx.ModelProto, feeds: Feeds | None, directory: Path) -> ConversionRequest:
    path = directory / "model.onnx"
    onnx.save(model, path)
    signature = readers.inspect(path).signature
    examples = None
    if feeds is not None:
        examples = directory / "examples.npz"
        save_arrays(examples, feeds)
    return ConversionRequest(Artifact(Variant.ONNX, path, signature), directory / "model.tflite", signature, examples)


def converted(model: onnx.ModelProto, feeds: Feeds, directory: Path) -> tuple[litert.LiteRTSession, tuple[str, ...]]:
    """The file's session; its signature is the source's."""
    asked = request(model, feeds, directory)
    assert not [f for f in converter.check(asked) if f.verdict is Verdict.GAP]
    assert not asked.output.exists()
    notes = converter.convert(asked).notes
    session = litert.load(Artifact(Variant.TFLITE, asked.output, asked.signature))
    assert asked.signature is not None
    assert asked.signature.differences(session.signature) == []
    return session, notes


def assert_runs(model: onnx.ModelProto, several: Sequence[Feeds], directory: Path) -> tuple[str, ...]:
    session, notes = converted(model, several[0], directory)
    for feeds in several:
        got = session.run(feeds)
        nodes.assert_agree([got[o.name] for o in model.graph.output], nodes.onnx_runtime(model, feeds), 1e-5)
    return notes


def graph(
    steps: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, Sequence[int | str]]],
    outputs: Mapping[str, tuple[int, Sequence[int | str]]],
    constants: Mapping[str, np.ndarray],
    opset: int = 18,
) -> onnx.ModelProto:
    def infos(values: Mapping[str, tuple[int, Sequence[int | str]]]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, dtype, shape) for name, (dtype, shape) in values.items()]

    held = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    made = helper.make_graph(list(steps), "test", infos(inputs), infos(outputs), held)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def test_weights_stay_outside_and_dynamic_dimensions_dynamic(tmp_path: Path) -> None:
    """Kernels are transposed and products become FULLY_CONNECTED after the conversion, with one row more at the end."""
    steps = [
        helper.make_node("Conv", ["image", "kernel", "bias"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("MatMul", ["f", "matrix"], ["m"]),
        helper.make_node("Add", ["m", "row"], ["a"]),
        helper.make_node("MatMul", ["a", "square"], ["y"]),
    ]
    constants = {
        "kernel": floats(16, 32, 3, 3),
        "bias": floats(16),
        "matrix": floats(16 * 36, 80) * 0.1,
        "row": floats(80),
        "square": floats(80, 80) * 0.1,
    }
    image = {"image": (TensorProto.FLOAT, ["batch", 32, 6, 6])}
    model = graph(steps, image, {"y": (TensorProto.FLOAT, ["batch", 80])}, constants)
    assert_runs(model, [{"image": floats(size, 32, 6, 6)} for size in (2, 1, 5)], tmp_path)
    operators = readers.inspect(tmp_path / "model.tflite").operators
    assert operators["FULLY_CONNECTED"] == 2
    assert not {"BATCH_MATMUL", "ADD"} & set(operators)
    size = sum(a.nbytes for a in constants.values())
    assert (tmp_path / "model.tflite").stat().st_size < size + 20_000


def test_weight_that_is_used_twice_and_one_that_is_an_output(tmp_path: Path) -> None:
    steps = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["a", "t"], ["y"]),
        helper.make_node("Identity", ["w"], ["same"]),
    ]
    edge = {"y": (TensorProto.FLOAT, ["n", 70]), "same": (TensorProto.FLOAT, [70, 80])}
    model = graph(steps, {"x": (TensorProto.FLOAT, ["n", 70])}, edge, {"w": floats(70, 80)})
    assert_runs(model, [{"x": floats(3, 70)}, {"x": floats(1, 70)}], tmp_path)


def test_large_weights_in_a_loop_are_constants_of_its_body(tmp_path: Path) -> None:
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "w"], ["m"]),
            helper.make_node("Tanh", ["m"], ["next"]),
            helper.make_node("Identity", ["go"], ["goes"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [2, 70]),
        ],
        [
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [2, 70]),
        ],
    )
    steps = [helper.make_node("Loop", ["count", "", "x"], ["y"], body=body)]
    inputs = {"count": (TensorProto.INT64, []), "x": (TensorProto.FLOAT, [2, 70])}
    model = graph(steps, inputs, {"y": (TensorProto.FLOAT, [2, 70])}, {"w": floats(70, 70) * 0.1})
    assert_runs(model, [{"count": np.array(n, np.int64), "x": floats(2, 70)} for n in (3, 0)], tmp_path)


def test_infinities_in_constants_are_not_clamped(tmp_path: Path) -> None:
    mask = np.triu(np.full((3, 3), -np.inf, np.float32), 1)
    x = {"x": floats(3, 3)}
    model = nodes.node_model("Add", x, {"mask": mask})
    assert_runs(model, [x], tmp_path)


@pytest.mark.parametrize(
    "dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float64", "bool"]
)
def test_edges_keep_every_dtype(dtype: str, tmp_path: Path) -> None:
    x = {"x": np.array([[0, 1], [1, 0]], dtype), "y": np.array([[1, 1], [0, 0]], dtype)}
    assert_runs(nodes.node_model("Concat", x, axis=1), [x], tmp_path)


def test_all_dtypes_of_a_narrow_sum_are_rewritten_and_said(tmp_path: Path) -> None:
    x = {"a": np.array([250, 3], np.uint8), "b": np.array([10, 4], np.uint8)}
    notes = assert_runs(nodes.node_model("Add", x), [x], tmp_path)
    assert notes == ("Add: computed in int32, as LiteRT has no kernel for uint8",)


def test_refusals_come_before_the_conversion_and_name_the_node(tmp_path: Path) -> None:
    x = {"x": np.array(["a", "b"], object)}
    node = helper.make_node("StringNormalizer", ["x"], ["y"], name="upper", case_change_action="UPPER")
    infos = [helper.make_tensor_value_info(n, TensorProto.STRING, [2]) for n in "xy"]
    model = helper.make_model(
        helper.make_graph([node], "test", infos[:1], infos[1:]), opset_imports=[helper.make_opsetid("", 18)]
    )
    asked = request(model, None, tmp_path)
    assert x["x"].shape == (2,)
    gaps = [f for f in converter.check(asked) if f.verdict is Verdict.GAP]
    assert [f.operator for f in gaps] == ["StringNormalizer"]
    assert gaps[0].reason
    with pytest.raises(ConversionError) as caught:
        converter.convert(asked)
    assert caught.value.hint
    assert not asked.output.exists()


def test_file_that_litert_does_not_run_is_a_gap(tmp_path: Path) -> None:
    """LiteRT's FILL makes no empty tensors: seen only when the file runs."""
    x = {"x": np.array([0], np.int64)}
    node = helper.make_node("ConstantOfShape", ["x"], ["y"], name="empty", value=numpy_helper.from_array(np.array([1], np.int32)))
    info = helper.make_tensor_value_info("x", TensorProto.INT64, [1])
    made = helper.make_graph([node], "test", [info], [helper.make_tensor_value_info("y", TensorProto.INT32, ["n"])])
    asked = request(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), x, tmp_path)
    gaps = [f for f in converter.check(asked) if f.verdict is Verdict.GAP]
    assert [f.operator for f in gaps] == ["ConstantOfShape"]
    with pytest.raises(ConversionError):
        converter.convert(asked)
    assert list(tmp_path.glob("*.tflite")) == []


def test_conversion_without_a_check_and_without_examples(tmp_path: Path) -> None:
    model = nodes.node_model("Relu", {"x": floats(2, 3)}, dynamic={"x": {0: "batch"}})
    asked = request(model, None, tmp_path)
    converter.convert(asked)
    session = litert.load(Artifact(Variant.TFLITE, asked.output, asked.signature))
    feeds = {"x": floats(4, 3)}
    nodes.assert_agree([session.run(feeds)["y0"]], nodes.onnx_runtime(model, feeds))
