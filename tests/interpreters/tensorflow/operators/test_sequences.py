"""Sequences and optionals of the TensorFlow importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_nodes as nodes
import pytest
from onnx import TensorProto, helper, numpy_helper

_rng = np.random.default_rng(0)
FEEDS = {"x": _rng.normal(size=(2, 6)).astype(np.float32)}


def build(chain, constants=None, dtype=TensorProto.FLOAT) -> onnx.ModelProto:
    made = [helper.make_node(op, ins.split(), outs.split(), **attributes) for op, ins, outs, attributes in chain]
    initializers = [numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6])
    y = helper.make_tensor_value_info("y", dtype, None)
    return helper.make_model(
        helper.make_graph(made, "g", [x], [y], initializers), opset_imports=[helper.make_opsetid("", 18)], ir_version=8
    )


def agrees(model) -> None:
    nodes.assert_agree(nodes.tensorflow(model, FEEDS), nodes.onnx_runtime(model, FEEDS))


@pytest.mark.parametrize("split", [None, 4, 2, [2, 3, 1], [6]])
def test_split_and_concat(split) -> None:
    constants = {} if split is None else {"s": np.array(split)}
    chain = [
        ("SplitToSequence", "x s" if split is not None else "x", "q", {"axis": 1}),
        ("ConcatFromSequence", "q", "y", {"axis": 0 if split == 2 else 1}),
    ]
    agrees(build(chain, constants))


def test_split_into_elements_without_their_axis() -> None:
    chain = [
        ("SplitToSequence", "x", "q", {"axis": 1, "keepdims": 0}),
        ("ConcatFromSequence", "q", "y", {"axis": -1, "new_axis": 1}),
    ]
    agrees(build(chain))


def test_insert_erase_and_look_up() -> None:
    chain = [
        ("Neg", "x", "a", {}),
        ("Exp", "x", "b", {}),
        ("SequenceConstruct", "x a b", "q", {}),
        ("SequenceErase", "q zero", "r", {}),
        ("SequenceInsert", "r x last", "s", {}),
        ("SequenceInsert", "s b", "t", {}),
        ("SequenceErase", "t", "u", {}),
        ("SequenceAt", "u last", "v", {}),
        ("SequenceAt", "u zero", "w", {}),
        ("Sub", "v w", "y", {}),
    ]
    agrees(build(chain, {"zero": np.array(0), "last": np.array(-1)}))


def test_length() -> None:
    chain = [("SequenceConstruct", "x x x", "q", {}), ("SequenceLength", "q", "y", {})]
    agrees(build(chain, dtype=TensorProto.INT64))


def test_optional() -> None:
    chain = [("Optional", "x", "o", {}), ("OptionalGetElement", "o", "y", {})]
    agrees(build(chain))
    chain = [("Optional", "x", "o", {}), ("OptionalHasElement", "o", "y", {})]
    agrees(build(chain, dtype=TensorProto.BOOL))


def test_a_dynamic_dimension_is_not_split() -> None:
    from convkit.interpreters.interpreter import NodeError

    chain = [("SplitToSequence", "x", "q", {"axis": 0}), ("ConcatFromSequence", "q", "y", {"axis": 0})]
    with pytest.raises(NodeError, match="dynamic dimension"):
        nodes.tensorflow(build(chain), FEEDS)
