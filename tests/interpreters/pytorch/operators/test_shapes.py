"""Reshaping operators of the PyTorch importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnx_nodes as nodes
import pytest
import torch
from onnx import TensorProto, helper

from convkit.interpreters.pytorch.importer import OnnxModule
from convkit.legalization.onnx import preparation
from convkit.loading import pytorch_capture
from convkit.signature import Signature, TensorSpec
from interpreters.pytorch.operators.operator_checks import agrees, floats, ints

_TWO = {"x": {0: "n", 1: "m"}}


@pytest.mark.parametrize("target", [(0, -1), (-1,), (0, 0, 2, 2), (-1, 4), (1, 0, -1)])
def test_reshape(target: tuple[int, ...]) -> None:
    agrees("Reshape", {"x": floats(2, 3, 4)}, {"shape": ints(*target)}, dynamic=_TWO)


def test_reshape_of_nothing() -> None:
    agrees("Reshape", {"x": floats(0, 3)}, {"shape": ints(3, 0)}, allowzero=1)
    agrees("Reshape", {"x": floats(0, 3)}, {"shape": ints(3, -1)})


def test_reshape_to_a_shape_from_data() -> None:
    """The graph promises the shape that the data state."""
    feeds = {"x": floats(2, 6), "shape": ints(3, 4)}
    model = nodes.node_model("Reshape", feeds)
    for size, dim in zip((3, 4), model.graph.output[0].type.tensor_type.shape.dim, strict=False):
        dim.dim_value = size
    nodes.assert_agree(nodes.pytorch(model, feeds), [feeds["x"].reshape(3, 4)])


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1])
def test_flatten(axis: int) -> None:
    agrees("Flatten", {"x": floats(2, 3, 4)}, axis=axis, dynamic=_TWO)


@pytest.mark.parametrize("opset", [11, 13])
def test_squeeze_and_unsqueeze(opset: int) -> None:
    def axes(*values: int) -> dict[str, object]:
        return {"axes": list(values)} if opset < 13 else {"constants": {"axes": ints(*values)}}

    agrees("Squeeze", {"x": floats(1, 3, 1, 4)}, opset=opset, dynamic={"x": {1: "n"}}, **axes(0, -2))
    agrees("Squeeze", {"x": floats(1, 3, 1)}, opset=opset)
    agrees("Unsqueeze", {"x": floats(3, 4)}, opset=opset, dynamic=_TWO, **axes(-1, 0, 2))


def test_squeeze_of_a_dynamic_size() -> None:
    """One at run time, though not in the signature."""
    agrees("Squeeze", {"x": floats(1, 3)}, {"axes": ints(0)}, dynamic={"x": {1: "n"}})


def test_squeeze_without_axes_takes_what_the_file_declares() -> None:
    """A batch that the file's outputs have no axis for is 1; another fails, in place of a wrong result."""
    graph = helper.make_graph(
        [helper.make_node("Squeeze", ["x"], ["s"]), helper.make_node("Sigmoid", ["s"], ["y"])],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    feeds = {"x": floats(1, 1, 4)}
    signature = Signature((TensorSpec("x", "float32", ("batch", 1, 4)),), (TensorSpec("y", "float32", ("n",)),))
    module = OnnxModule(preparation.prepared(ir.from_proto(model))).eval()
    program = pytorch_capture.export(module, signature, feeds, free=True).module()
    nodes.assert_agree([program(torch.from_numpy(feeds["x"]))[0].numpy()], nodes.onnx_runtime(model, feeds))
    with pytest.raises(RuntimeError):
        program(torch.zeros(2, 1, 4))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concatenation(axis: int) -> None:
    agrees("Concat", {"a": floats(2, 3), "b": floats(2, 3)}, axis=axis, dynamic={"a": {0: "n"}, "b": {0: "n"}})


@pytest.mark.parametrize("length", [6, 7, 8])
def test_split_into_a_number_of_outputs(length: int) -> None:
    agrees("Split", {"x": floats(2, length)}, opset=18, outputs=3, num_outputs=3, axis=1, dynamic={"x": {0: "n"}})


def test_split_of_a_dynamic_axis() -> None:
    agrees("Split", {"x": floats(7, 2)}, opset=18, outputs=3, num_outputs=3, dynamic={"x": {0: "n"}})
    agrees("Split", {"x": floats(8, 2)}, opset=13, outputs=2, dynamic={"x": {0: "n"}})


def test_split_into_given_sizes() -> None:
    agrees("Split", {"x": floats(2, 7)}, opset=11, outputs=2, split=[3, 4], axis=1)
    agrees("Split", {"x": floats(2, 7)}, {"split": ints(0, 7)}, opset=13, outputs=2, axis=-1)


@pytest.mark.parametrize("shape", [(4, 1, 3), (3,), (1, 1), (2, 4, 3)])
def test_expand(shape: tuple[int, ...]) -> None:
    agrees("Expand", {"x": floats(4, 3) if shape[0] != 2 else floats(1, 3)}, {"shape": ints(*shape)})


def test_expand_of_a_dynamic_batch() -> None:
    agrees("Expand", {"x": floats(3, 1)}, {"shape": ints(1, 5)}, dynamic={"x": {0: "n"}})


def test_tile() -> None:
    agrees("Tile", {"x": floats(2, 3)}, {"repeats": ints(3, 2)}, dynamic=_TWO)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode: str) -> None:
    agrees("DepthToSpace", {"x": floats(2, 12, 3, 4)}, blocksize=2, mode=mode, dynamic={"x": {0: "n", 2: "h", 3: "w"}})


def test_space_to_depth() -> None:
    agrees("SpaceToDepth", {"x": floats(2, 3, 4, 6)}, blocksize=2, dynamic={"x": {0: "n"}})


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [0, 1, -2, 9])
def test_triangle(upper: int, k: int) -> None:
    agrees("Trilu", {"x": floats(2, 3, 4)}, {"k": np.array(k)}, upper=upper, dynamic={"x": {1: "n", 2: "m"}})


def test_triangle_from_data() -> None:
    agrees("Trilu", {"x": floats(4, 4), "k": np.array(1)})


def test_center_crop_pad() -> None:
    agrees("CenterCropPad", {"x": floats(5, 4, 3)}, {"shape": ints(2, 7)}, axes=[0, -2])
    agrees("CenterCropPad", {"x": floats(10, 5)}, {"shape": ints(7, 2)})


def test_reverse_sequence() -> None:
    feeds = {"x": floats(4, 3, 2), "lengths": ints(1, 4, 2)}
    agrees("ReverseSequence", feeds, batch_axis=1, time_axis=0, dynamic={"x": {0: "time"}})
    agrees("ReverseSequence", feeds | {"lengths": ints(1, 3, 2, 1)}, batch_axis=0, time_axis=1)


def test_transposition() -> None:
    agrees("Transpose", {"x": floats(2, 3, 4)}, dynamic=_TWO)
    agrees("Transpose", {"x": floats(2, 3, 4)}, perm=[1, 0, 2])
