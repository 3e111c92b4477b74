"""Reshaping operators of the TensorFlow importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnx_nodes as nodes
import pytest
import tensorflow as tf
from onnx import helper

from convkit.interpreters.tensorflow.importer import OnnxFunction
from convkit.legalization.onnx import preparation
from interpreters.pytorch.operators.operator_checks import floats, ints
from interpreters.tensorflow.operators.operator_checks import agrees, agrees_in_litert


@pytest.mark.parametrize("target", [(0, -1), (-1,), (0, 0, 2, 2), (-1, 4), (1, 0, -1)])
def test_reshape(target: tuple[int, ...]) -> None:
    agrees("Reshape", {"x": floats(2, 3, 4)}, {"shape": ints(*target)})
    agrees("Reshape", {"x": floats(2, 3, 4), "shape": ints(*target)}, dynamic={"x": {0: "n"}})


def test_reshape_of_nothing() -> None:
    agrees("Reshape", {"x": floats(0, 3)}, {"shape": ints(3, 0)}, allowzero=1)
    agrees("Reshape", {"x": floats(2, 0)}, {"shape": ints(0, -1)}, wanted=[floats(2, 0)], dynamic={"x": {}})


def traced_shape(build: list[onnx.NodeProto], shape: list[int | str], *constants: onnx.TensorProto) -> list[int | None]:
    """The shape that TensorFlow knows of the result of nodes that turn `x` into `y`."""
    info = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)
    graph = helper.make_graph(build, "g", [info], [helper.make_empty_tensor_value_info("y")], list(constants))
    graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    function = OnnxFunction(preparation.prepared(ir.from_proto(model)))
    spec = tf.TensorSpec([d if isinstance(d, int) else None for d in shape], tf.float32)
    traced = tf.function(lambda x: function(x), input_signature=[spec], autograph=False).get_concrete_function()
    return traced.outputs[0].shape.as_list()


@pytest.mark.parametrize("indices", [[0], [0, 1]])
def test_what_is_left_beside_dynamic_sizes_is_known(indices: list[int]) -> None:
    """x.view(x.size(0), -1) and x.view(x.size(0) * x.size(1), -1): what a following Gemm needs to know."""
    build = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "indices"], ["some"]),
        helper.make_node("ReduceProd", ["some"], ["n"], axes=[0], keepdims=1),
        helper.make_node("Concat", ["n", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
    ]
    constants = [onnx.numpy_helper.from_array(ints(*indices), "indices"), onnx.numpy_helper.from_array(ints(-1), "rest")]
    shape: list[int | str] = ["n", "m", 4, 5] if len(indices) == 2 else ["n", 3, 4, 5]
    assert traced_shape(build, shape, *constants) == [None, 20 if len(indices) == 2 else 60]


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1])
def test_flatten(axis: int) -> None:
    agrees("Flatten", {"x": floats(2, 3, 4)}, axis=axis)


@pytest.mark.parametrize("opset", [11, 13])
def test_squeeze_and_unsqueeze(opset: int) -> None:
    def axes(*values: int) -> dict[str, object]:
        return {"axes": list(values)} if opset < 13 else {"constants": {"axes": ints(*values)}}

    agrees("Squeeze", {"x": floats(1, 3, 1, 4)}, opset=opset, **axes(0, -2))
    agrees("Squeeze", {"x": floats(1, 3, 1)}, opset=opset, dynamic={"x": {}})
    agrees("Unsqueeze", {"x": floats(3, 4)}, opset=opset, **axes(-1, 0, 2))


def test_squeezing_what_is_perhaps_one_is_refused() -> None:
    feeds = {"x": floats(1, 3)}
    with pytest.raises(Exception, match="which dimensions are 1 is not known"):
        nodes.tensorflow(nodes.node_model("Squeeze", feeds, dynamic={"x": {0: "n"}}), feeds)


def test_squeezing_what_the_declared_rank_says_is_one() -> None:
    """It is removed, and other sizes fail: they would change the rank."""
    text = """<ir_version: 8, opset_import: ["": 13]>
    g (float[n, 1, 4] x) => (float[k] y) { s = Squeeze(x) y = Sigmoid(s) }"""
    model = onnx.parser.parse_model(text)
    feeds = {"x": floats(1, 1, 4)}
    nodes.assert_agree(nodes.tensorflow(model, feeds), nodes.onnx_runtime(model, feeds))
    with pytest.raises(Exception, match="8 values, but the requested shape has 4"):
        nodes.tensorflow(model, {"x": floats(2, 1, 4)})


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concatenation(axis: int) -> None:
    agrees("Concat", {"a": floats(2, 3), "b": floats(2, 3)}, axis=axis)


@pytest.mark.parametrize("length", [6, 7, 8])
def test_split_into_a_number_of_outputs(length: int) -> None:
    agrees("Split", {"x": floats(2, length)}, opset=18, outputs=3, num_outputs=3, axis=1)


def test_split() -> None:
    agrees("Split", {"x": floats(8, 2)}, opset=13, outputs=2)
    agrees("Split", {"x": floats(2, 7)}, opset=11, outputs=2, split=[3, 4], axis=1)
    agrees("Split", {"x": floats(2, 7)}, {"split": ints(0, 7)}, opset=13, outputs=2, axis=-1)
    agrees("Split", {"x": floats(2, 7), "split": ints(3, 4)}, opset=13, outputs=2, axis=1, dynamic={"x": {1: "n"}})


@pytest.mark.parametrize("shape", [(4, 1, 3), (3,), (1, 1), (2, 4, 3)])
def test_expand(shape: tuple[int, ...]) -> None:
    x = floats(4, 3) if shape[0] != 2 else floats(1, 3)
    agrees("Expand", {"x": x}, {"shape": ints(*shape)})
    agrees("Expand", {"x": x, "shape": ints(*shape)}, dynamic={"x": {0: "n"}})


def test_tile() -> None:
    agrees("Tile", {"x": floats(2, 3)}, {"repeats": ints(3, 2)})
    agrees("Tile", {"x": ints(1, 2, dtype=np.uint16), "repeats": ints(3)}, wanted=[ints(1, 2, 1, 2, 1, 2, dtype=np.uint16)],
           dynamic={"x": {0: "n"}})  # fmt: skip


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode: str) -> None:
    agrees("DepthToSpace", {"x": floats(2, 12, 3, 4)}, blocksize=2, mode=mode)
    agrees_in_litert("DepthToSpace", {"x": floats(2, 12, 3, 4)}, blocksize=2, mode=mode)


def test_space_to_depth() -> None:
    agrees("SpaceToDepth", {"x": floats(2, 3, 4, 6)}, blocksize=2)


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [0, 1, -2, 9])
def test_triangle(upper: int, k: int) -> None:
    agrees("Trilu", {"x": floats(2, 3, 4)}, {"k": np.array(k)}, upper=upper)
    agrees("Trilu", {"x": floats(4, 4), "k": np.array(k)}, upper=upper)


def test_triangle_of_truth_values() -> None:
    agrees("Trilu", {"x": np.ones((3, 3), bool)}, wanted=[np.triu(np.ones((3, 3), bool))])


def test_center_crop_pad() -> None:
    agrees("CenterCropPad", {"x": floats(5, 4, 3)}, {"shape": ints(2, 7)}, axes=[0, -2], dynamic={"x": {2: "n"}})
    agrees("CenterCropPad", {"x": floats(10, 5)}, {"shape": ints(7, 2)}, dynamic={"x": {}})


def test_reverse_sequence() -> None:
    feeds = {"x": floats(4, 3, 2), "lengths": ints(1, 4, 2)}
    agrees("ReverseSequence", feeds, batch_axis=1, time_axis=0)
    agrees("ReverseSequence", feeds | {"lengths": ints(1, 3, 2, 1)}, batch_axis=0, time_axis=1)


def test_transposition() -> None:
    agrees("Transpose", {"x": floats(2, 3, 4)})
    agrees("Transpose", {"x": floats(2, 3, 4)}, perm=[1, 0, 2])
