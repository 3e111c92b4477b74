"""The walk over a graph: what is known is computed at once, what is not goes to the framework, and errors name the node."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from convkit.interpreters.host import Host
from convkit.interpreters.interpreter import Interpreter, NodeError, Subgraph
from convkit.interpreters.operators import Handler, Known, Operators, Sizes, UnsupportedError
from convkit.legalization.onnx.preparation import prepared

operator = Operators("numpy")


@operator("Relu")
def relu(x):
    return np.maximum(x, 0)


@operator("Reshape")
def reshape(data, shape: Sizes, *, allowzero=0):
    return data.reshape(shape)


@operator("Gather")
def gather(data, indices: Known, *, axis=0):
    return np.take(data, indices, axis)


@operator("Softmax", since=1)
def softmax_flattening(x, *, axis=1):
    raise UnsupportedError("the old form")


@operator("Softmax", since=13)
def softmax(x, *, axis=-1):
    e = np.exp(x)
    return e / e.sum(axis, keepdims=True)


@operator("If")
def if_(condition, *, then_branch, else_branch):
    chosen = then_branch if bool(condition) else else_branch
    return tuple(chosen())


class NumpyBackend:
    """numpy as a framework: the smallest that there is."""

    operators = operator

    def constant(self, value: ir.Value) -> np.ndarray:
        assert value.const_value is not None
        return value.const_value.numpy()

    def tensor(self, host: Host) -> np.ndarray:
        return host.known()

    def shape(self, tensor: Any) -> list[Any]:
        return list(tensor.shape)

    def cast(self, tensor: Any, dtype: ir.DataType) -> Any:
        return np.asarray(tensor).astype(dtype.numpy())

    def place(self, name: str) -> AbstractContextManager[Any]:
        return nullcontext()

    def wrap(self, handler: Handler, arguments: list[Any], attributes: dict[str, Any]) -> Any:
        return handler.function(*arguments, **attributes)


def run(nodes: list[Any], feeds: dict[str, np.ndarray], output: str, opset: int = 18, **constants: np.ndarray) -> np.ndarray:
    infos = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), list(a.shape)) for n, a in feeds.items()]
    kept = [numpy_helper.from_array(a, n) for n, a in constants.items()]
    graph = helper.make_graph(nodes, "g", infos, [helper.make_empty_tensor_value_info(output)], kept)
    model = prepared(ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])))
    interpreter = Interpreter(model.opset_imports, NumpyBackend())
    return np.asarray(interpreter.tensor(interpreter.run(model.graph, list(feeds.values()))[0]))


def test_shapes_are_computed_without_the_framework() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["batch"]),
        helper.make_node("Concat", ["batch", "rest"], ["wanted"], axis=0),  # has no handler, and needs none
        helper.make_node("Reshape", ["x", "wanted"], ["y"]),
    ]
    result = run(nodes, {"x": np.zeros((2, 3, 4), np.float32)}, "y", first=np.array([0]), rest=np.array([-1]))
    assert result.shape == (2, 12)


def test_the_opset_chooses_the_version() -> None:
    nodes = [helper.make_node("Softmax", ["x"], ["y"])]
    x = np.zeros((1, 2), np.float32)
    assert run(nodes, {"x": x}, "y", 13).tolist() == [[0.5, 0.5]]
    with pytest.raises(NodeError, match="the old form"):
        run(nodes, {"x": x}, "y", 12)


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (helper.make_node("Cos", ["x"], ["y"], name="wave"), r"Cos \(wave\): the numpy importer has no Cos in opset 18"),
        (helper.make_node("Relu", ["x"], ["y"], name="r", slope=1), "does not know the attribute slope"),
        (helper.make_node("Gather", ["x"], ["y"], name="g"), "1 inputs, and it needs 2"),
        (helper.make_node("Gather", ["x", "i"], ["y"], name="g"), "must be known before the model runs"),
        (helper.make_node("Gather", ["x", "far"], ["y"], name="g"), "IndexError"),
    ],
)
def test_what_cannot_be_computed_names_the_node_and_the_reason(node: Any, reason: str) -> None:
    feeds = {"x": np.zeros((2, 2), np.float32), "i": np.zeros(1, np.int64)}
    with pytest.raises(NodeError, match=reason):
        run([node], feeds, "y", far=np.array([7]))


def test_a_branch_sees_the_values_around_it() -> None:
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["b"])], "then", [], [helper.make_empty_tensor_value_info("b")])
    other = helper.make_graph([helper.make_node("Relu", ["z"], ["c"])], "else", [], [helper.make_empty_tensor_value_info("c")])
    nodes = [
        helper.make_node("Relu", ["x"], ["z"]),
        helper.make_node("If", ["which"], ["y"], then_branch=inner, else_branch=other),
    ]
    x = np.array([-1.0, 2.0], np.float32)
    assert run(nodes, {"which": np.array(True), "x": x}, "y").tolist() == [0, 2]


def test_a_body_tells_what_it_captures() -> None:
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["b"])], "then", [], [helper.make_empty_tensor_value_info("b")])
    node = helper.make_node("If", ["which"], ["y"], then_branch=inner, else_branch=inner)
    infos = [
        helper.make_tensor_value_info("which", TensorProto.BOOL, []),
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [2]),
    ]
    model = ir.from_proto(helper.make_model(helper.make_graph([node], "g", infos, [helper.make_empty_tensor_value_info("y")])))
    x = model.graph.inputs[1]
    body = Subgraph(next(iter(model.graph)).attributes["then_branch"].as_graph(), Interpreter({"": 18}, NumpyBackend()), {x: 1})
    assert body.captures() == [x]
    assert body.with_outer({x: np.array([-3.0])})()[0].tolist() == [0]
