"""Loading and preparing ONNX models."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from legalization.onnx import plain_target as plain
from onnx import TensorProto, helper, numpy_helper

from convkit.errors import ConversionError
from convkit.legalization.onnx import preparation


def prepared(text: str) -> ir.Model:
    return preparation.prepared(ir.from_proto(onnx.parser.parse_model(text)))


def ran(model: ir.Model, **feeds: np.ndarray) -> list[np.ndarray]:
    return plain.run(ir.to_proto(model), feeds)


def test_constants_become_initializers_wherever_they_are() -> None:
    model = prepared("""<ir_version: 8, opset_import: ["": 17]>
    g (float[2] x, bool c) => (float[2] y, float[2] k) {
      k = Constant <value = float[2] {5, 6}> ()
      two = Constant <value_float = 2.0> ()
      y = If (c) <
        then_branch = t () => (float[2] a) { b = Constant <value_floats = [1.0, 2.0]> () a = Mul (x, b) },
        else_branch = e () => (float[2] b) { b = Constant <value_floats = [3.0, 4.0]> () }
      >
    }""")
    assert all(node.op_type != "Constant" for graph in model.graphs() for node in graph)
    assert all(not graph.initializers for graph in model.graphs() if graph is not model.graph)
    assert [o.name for o in model.graph.outputs] == ["y", "k"]
    x = np.array([1, 10], np.float32)
    np.testing.assert_array_equal(ran(model, x=x, c=np.array(True))[0], [1, 20])
    y, k = ran(model, x=x, c=np.array(False))
    np.testing.assert_array_equal(y, [3, 4])
    np.testing.assert_array_equal(k, [5, 6])


def test_initializers_of_two_bodies_may_have_one_name() -> None:
    def branch(name: str, number: float) -> onnx.GraphProto:
        node = helper.make_node("Add", ["x", "w"], [f"{name}_out"])
        held = numpy_helper.from_array(np.array([number], np.float32), "w")
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(f"{name}_out", 1, [1])], [held])

    node = helper.make_node("If", ["c"], ["y"], then_branch=branch("t", 1.0), else_branch=branch("e", 2.0))
    x, c = helper.make_tensor_value_info("x", 1, [1]), helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    graph = helper.make_graph([node], "g", [x, c], [helper.make_tensor_value_info("y", 1, [1])])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model = preparation.prepared(ir.from_proto(proto))
    assert len(model.graph.initializers) == 2
    assert ran(model, x=np.zeros(1, np.float32), c=np.array(True)) == [1]
    assert ran(model, x=np.zeros(1, np.float32), c=np.array(False)) == [2]


def test_a_body_that_gives_back_an_outer_value() -> None:
    model = prepared("""<ir_version: 8, opset_import: ["": 17]>
    g (float[2] x, bool c) => (float[2] y) {
      a = Neg (x)
      y = If (c) <then_branch = t () => (float[2] a) {}, else_branch = e () => (float[2] b) { b = Abs (a) }>
    }""")
    np.testing.assert_array_equal(ran(model, x=np.ones(2, np.float32), c=np.array(True))[0], [-1, -1])


def test_functions_are_inlined() -> None:
    model = prepared("""<ir_version: 8, opset_import: ["": 17, "own": 1]>
    g (float[2] x) => (float[2] y) { y = own.twice (x) }
    <domain: "own", opset_import: ["": 17]>
    twice (a) => (b) { two = Constant <value_float = 2.0> () b = Mul (a, two) }""")
    assert [node.op_type for node in model.graph] == ["Mul"]
    np.testing.assert_array_equal(ran(model, x=np.ones(2, np.float32))[0], [2, 2])


def test_shapes_and_types_are_inferred_in_bodies_too() -> None:
    model = prepared("""<ir_version: 8, opset_import: ["": 17]>
    g (float[n, 4] x, bool c) => (y) {
      y = If (c) <then_branch = t () => (a) { s = Shape (x) a = Cast <to = 1> (s) },
                  else_branch = e () => (b) { z = Shape (x) b = Cast <to = 1> (z) }>
    }""")
    assert model.graph.outputs[0].dtype is ir.DataType.FLOAT
    assert all(value.shape == [2] for graph in model.graphs() if graph is not model.graph for n in graph for value in n.outputs)


def test_nodes_come_in_order_and_unused_ones_go() -> None:
    nodes = [
        helper.make_node("Neg", ["a"], ["y"]),
        helper.make_node("Abs", ["x"], ["unused"]),
        helper.make_node("Abs", ["x"], ["a"]),
    ]
    infos = [helper.make_tensor_value_info(name, 1, [2]) for name in "xy"]
    held = [numpy_helper.from_array(np.ones(3, np.float32), "idle")]
    proto = helper.make_model(
        helper.make_graph(nodes, "g", infos[:1], infos[1:], held), opset_imports=[helper.make_opsetid("", 17)]
    )
    model = preparation.prepared(ir.from_proto(proto))
    assert [node.op_type for node in model.graph] == ["Abs", "Neg"]
    assert not model.graph.initializers


@pytest.mark.parametrize("opset", [5, 99])
def test_opsets_outside_of_the_range(opset: int) -> None:
    node = helper.make_node("Add", ["x", "x"], ["y"])
    infos = [helper.make_tensor_value_info(name, 1, [2]) for name in "xy"]
    proto = helper.make_model(
        helper.make_graph([node], "g", infos[:1], infos[1:]), opset_imports=[helper.make_opsetid("", opset)]
    )
    with pytest.raises(ConversionError, match=f"opset {opset}; convkit reads opsets 7 to 28"):
        preparation.prepared(ir.from_proto(proto))


def test_an_older_opset_whose_operators_have_not_changed() -> None:
    node = helper.make_node("Not", ["x"], ["y"])
    infos = [helper.make_tensor_value_info(name, TensorProto.BOOL, [2]) for name in "xy"]
    proto = helper.make_model(helper.make_graph([node], "g", infos[:1], infos[1:]), opset_imports=[helper.make_opsetid("", 1)])
    assert preparation.prepared(ir.from_proto(proto)).opset_imports[""] == preparation.OLDEST_OPSET


def test_both_spellings_of_the_own_domain() -> None:
    node = helper.make_node("Neg", ["x"], ["y"], domain="ai.onnx")
    infos = [helper.make_tensor_value_info(name, 1, [2]) for name in "xy"]
    proto = helper.make_model(
        helper.make_graph([node], "g", infos[:1], infos[1:]), opset_imports=[helper.make_opsetid("ai.onnx", 15)]
    )
    assert dict(preparation.prepared(ir.from_proto(proto)).opset_imports) == {"": 15}


def test_sparse_constants_are_refused(tmp_path: Path) -> None:
    values, places = numpy_helper.from_array(np.ones(2, np.float32), "v"), numpy_helper.from_array(np.array([1, 3]), "p")
    node = helper.make_node("Constant", [], ["y"], sparse_value=helper.make_sparse_tensor(values, places, [4]))
    graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info("y", 1, [4])])
    onnx.save(helper.make_model(graph), tmp_path / "sparse.onnx")
    with pytest.raises(ConversionError, match="cannot read the model"):
        preparation.load(tmp_path / "sparse.onnx")


def test_weights_are_neither_copied_nor_serialised(tmp_path: Path) -> None:
    """100 MB of external data: preparation reads shapes only."""
    count, size = 50, 724
    nodes = [helper.make_node("MatMul", [f"x{k}", f"w{k}"], [f"x{k + 1}"]) for k in range(count)]
    held = [numpy_helper.from_array(np.full((size, size), k, np.float32), f"w{k}") for k in range(count)]
    first, last = (helper.make_tensor_value_info(name, 1, ["n", size]) for name in ("x0", f"x{count}"))
    model = helper.make_model(helper.make_graph(nodes, "g", [first], [last], held), opset_imports=[helper.make_opsetid("", 17)])
    path = tmp_path / "large.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=0)
    started = time.process_time()
    loaded = preparation.load(path)
    assert time.process_time() - started < 0.5
    assert all(isinstance(v.const_value, ir.ExternalTensor) for v in loaded.graph.initializers.values())
    assert all(node.outputs[0].shape is not None for node in loaded.graph)
