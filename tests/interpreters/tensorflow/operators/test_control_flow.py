"""If, Loop and Scan of the TensorFlow importer, against ONNX Runtime and in LiteRT."""

from __future__ import annotations

import litert_nodes
import numpy as np
import onnx
import onnx_ir as ir
import onnx_nodes as nodes
import pytest
from onnx import TensorProto, helper, numpy_helper

from convkit.interpreters.interpreter import NodeError

_rng = np.random.default_rng(0)
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def info(name, dtype=FLOAT, shape=()):
    return helper.make_tensor_value_info(name, dtype, shape)


def build(chain, inputs, outputs, constants=None, opset=18) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()]
    graph = helper.make_graph(chain, "g", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def agrees(model, feeds, lite=True) -> set[str]:
    wanted = nodes.onnx_runtime(model, feeds)
    nodes.assert_agree(nodes.tensorflow(model, feeds), wanted)
    if not lite:
        return set()
    outputs, used = litert_nodes.litert(model, feeds)
    nodes.assert_agree(outputs, wanted)
    return used


def branch(operator, *inputs, **attributes):
    return helper.make_graph(
        [helper.make_node(operator, list(inputs), ["r"], **attributes)], operator, [], [info("r", FLOAT, None)]
    )


def conditional(then, otherwise, shape=(2, 3), condition=None):
    choice = helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=otherwise, name="choice")
    inputs = [info("x", FLOAT, shape)] + ([info("c", BOOL)] if condition is None else [])
    return build([choice], inputs, [info("y", FLOAT, None)], {} if condition is None else {"c": np.array(condition)})


@pytest.mark.parametrize("value", [True, False])
def test_a_condition_on_data_keeps_both_branches(value) -> None:
    model = conditional(branch("Neg", "x"), branch("Exp", "x"))
    used = agrees(model, {"x": _rng.normal(size=(2, 3)).astype(np.float32), "c": np.array(value)})
    assert "IF" in used


@pytest.mark.parametrize("value", [True, False])
def test_a_known_condition_leaves_one_branch(value) -> None:
    model = conditional(branch("Neg", "x"), branch("Exp", "x"), condition=value)
    used = agrees(model, {"x": _rng.normal(size=(2, 3)).astype(np.float32)})
    assert used == {"NEG" if value else "EXP"}


def test_branches_of_other_numbers_of_axes_are_refused() -> None:
    model = conditional(branch("Neg", "x"), branch("ReduceSum", "x", keepdims=0))
    with pytest.raises(NodeError, match="different numbers of axes"):
        nodes.tensorflow(model, {"x": np.ones((2, 3), np.float32), "c": np.array(True)})


def test_torchs_squeeze_of_a_dynamic_axis() -> None:
    """Squeezes if the size is 1: nothing else fits what follows."""
    then = helper.make_graph([helper.make_node("Squeeze", ["x", "one"], ["r"])], "t", [], [info("r", FLOAT, None)])
    chain = [
        helper.make_node("Shape", ["x"], ["s"], start=1, end=2),
        helper.make_node("Equal", ["s", "one"], ["c"]),
        helper.make_node("If", ["c"], ["q"], then_branch=then, else_branch=branch("Identity", "x")),
        helper.make_node("MatMul", ["q", "w"], ["y"]),
    ]
    constants = {"one": np.array([1]), "w": _rng.normal(size=(3, 2)).astype(np.float32)}
    model = build(chain, [info("x", FLOAT, ["n", "t", 3])], [info("y", FLOAT, None)], constants)
    agrees(model, {"x": _rng.normal(size=(4, 1, 3)).astype(np.float32)})
    other = {"x": _rng.normal(size=(4, 2, 3)).astype(np.float32)}
    with pytest.raises(Exception, match="24 values, but the requested shape has 12"):
        nodes.tensorflow(model, other)
    with pytest.raises(RuntimeError, match="RESHAPE"):
        litert_nodes.litert(model, other)


def loop(trips, ends_at=None, row=("n", 3), count=None):
    """Doubles x in every round, and stacks it; `ends_at`: stops when the first element exceeds a number."""
    chain = [helper.make_node("Add", ["v", "v"], ["w"]), helper.make_node("Identity", ["w"], ["stacked"])]
    if ends_at is None:
        chain.append(helper.make_node("Identity", ["going"], ["more"]))
    else:
        chain += [
            helper.make_node("ReduceMax", ["w"], ["largest"], keepdims=0),
            helper.make_node("Less", ["largest", "end"], ["more"]),
        ]
    edges = [info("i", INT64), info("going", BOOL), info("v", FLOAT, row)]
    results = [info("more", BOOL), info("w", FLOAT, row), info("stacked", FLOAT, row)]
    body = helper.make_graph(chain, "body", edges, results)
    node = helper.make_node("Loop", ["m", "c", "x"], ["y", "rows"], body=body)
    inputs = [info("x", FLOAT, row)] + ([info("m", INT64)] if trips is None else [])
    constants = {"c": np.array(True)}
    constants |= {} if trips is None else {"m": np.array(trips)}
    constants |= {} if ends_at is None else {"end": np.float32(ends_at)}
    outputs = [info("y", FLOAT, row), info("rows", FLOAT, [count or "k", *row])]
    return build([node], inputs, outputs, constants)


ROW = {"x": np.array([[1, 0.5, 0.25], [0.5, 0.25, 0.125]], np.float32)}


@pytest.mark.parametrize("row", [(2, 3), ("n", 3)])
def test_a_loop_of_a_known_number_of_rounds_is_unrolled(row) -> None:
    assert "WHILE" not in agrees(loop(4, row=row), ROW)


@pytest.mark.parametrize("row", [(2, 3), ("n", 3)])
@pytest.mark.parametrize("trips", [1, 5])
def test_a_number_of_rounds_that_is_an_input(row, trips) -> None:
    assert "WHILE" in agrees(loop(None, row=row), {**ROW, "m": np.array(trips)})


def test_no_round_at_all() -> None:
    agrees(loop(None, row=(2, 3)), {**ROW, "m": np.array(0)}, lite=False)
    agrees(loop(0, row=(2, 3)), ROW, lite=False)


@pytest.mark.parametrize("row", [(2, 3), ("n", 3)])
def test_a_loop_that_the_data_end(row) -> None:
    assert "WHILE" in agrees(loop(20, ends_at=10, row=row), ROW)


def test_a_long_loop_stays_one() -> None:
    model = loop(3000, ends_at=10, row=(2, 3))
    assert "WHILE" in agrees(model, ROW)


def test_a_loop_whose_state_grows() -> None:
    chain = [helper.make_node("Concat", ["v", "x"], ["w"], axis=0), helper.make_node("Identity", ["going"], ["more"])]
    edges = [info("i", INT64), info("going", BOOL), info("v", FLOAT, None)]
    body = helper.make_graph(chain, "body", edges, [info("more", BOOL), info("w", FLOAT, None)])
    node = helper.make_node("Loop", ["m", "", "x"], ["y"], body=body)
    model = build([node], [info("x", FLOAT, (2, 3)), info("m", INT64)], [info("y", FLOAT, [None, 3])])
    agrees(model, {**ROW, "m": np.array(3)}, lite=False)


def test_a_loop_that_collects_a_sequence() -> None:
    chain = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("SequenceInsert", ["v", "square"], ["w"]),
        helper.make_node("Identity", ["going"], ["more"]),
    ]
    sequence = helper.make_tensor_sequence_value_info("v", FLOAT, None)
    result = helper.make_tensor_sequence_value_info("w", FLOAT, None)
    body = helper.make_graph(chain, "body", [info("i", INT64), info("going", BOOL), sequence], [info("more", BOOL), result])
    outer = [
        helper.make_node("SequenceEmpty", [], ["none"]),
        helper.make_node("Loop", ["m", "", "none"], ["all"], body=body),
        helper.make_node("ConcatFromSequence", ["all"], ["y"], axis=0, new_axis=1),
    ]
    model = build(outer, [info("x", FLOAT, (2, 3))], [info("y", FLOAT, [3, 2, 3])], {"m": np.array(3)})
    agrees(model, ROW)


def scan(length, row, **attributes):
    chain = [
        helper.make_node("Add", ["state", "element"], ["next"]),
        helper.make_node("Tanh", ["next"], ["out"]),
        helper.make_node("Identity", ["next"], ["kept"]),
    ]
    edges = [info("state", FLOAT, row), info("element", FLOAT, row)]
    body = helper.make_graph(chain, "body", edges, [info("kept", FLOAT, row), info("out", FLOAT, row)])
    node = helper.make_node("Scan", ["h", "x"], ["last", "y"], body=body, num_scan_inputs=1, **attributes)
    inputs = [info("h", FLOAT, row), info("x", FLOAT, [length, *row])]
    return build([node], inputs, [info("last", FLOAT, row), info("y", FLOAT, None)])


@pytest.mark.parametrize(("length", "row"), [(7, (2, 3)), (7, ("n", 3)), ("t", (2, 3)), ("t", ("n", 3))])
def test_scan(length, row) -> None:
    feeds = {"h": np.ones((2, 3), np.float32), "x": _rng.normal(size=(7, 2, 3)).astype(np.float32)}
    used = agrees(scan(length, row), feeds)
    assert ("WHILE" in used) == isinstance(length, str)


def test_a_long_scan_is_a_loop() -> None:
    feeds = {"h": np.ones((2, 3), np.float32), "x": _rng.normal(size=(900, 2, 3)).astype(np.float32)}
    assert "WHILE" in agrees(scan(900, (2, 3)), feeds)


def test_scan_axes_and_directions() -> None:
    feeds = {"h": np.ones((5, 3), np.float32), "x": _rng.normal(size=(5, 4, 3)).astype(np.float32)}
    for backwards in (0, 1):
        attributes = {"scan_input_axes": [1], "scan_output_axes": [-1]}
        attributes |= {"scan_input_directions": [backwards], "scan_output_directions": [backwards]}
        model = scan(7, (5, 3), **attributes)
        model.graph.input[1].CopyFrom(info("x", FLOAT, [5, 4, 3]))
        agrees(model, feeds, lite=False)


@pytest.mark.parametrize("operator", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("length", [6, "t"])
def test_recurrent_layers(operator, length) -> None:
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[operator]
    feeds = {"x": _rng.normal(size=(6, 2, 5)).astype(np.float32)}
    constants = {
        "w": _rng.normal(size=(2, gates * 4, 5)).astype(np.float32),
        "r": _rng.normal(size=(2, gates * 4, 4)).astype(np.float32),
    }
    dynamic = {"x": {0: "t", 1: "n"}} if length == "t" else {}
    model = nodes.node_model(
        operator, feeds, constants, outputs=2, dynamic=dynamic, hidden_size=4, direction="bidirectional", opset=14
    )
    agrees(model, feeds)


def test_what_control_flow_leaves_is_small() -> None:
    """The unchosen branch of a known condition is not traced, so it may hold what the importer refuses."""
    refused = helper.make_graph([helper.make_node("StringNormalizer", ["x"], ["r"])], "e", [], [info("r", FLOAT, None)])
    model = conditional(branch("Neg", "x"), refused, condition=True)
    assert isinstance(ir.from_proto(model), ir.Model)
    nodes.assert_agree(nodes.tensorflow(model, ROW), [-ROW["x"]])
