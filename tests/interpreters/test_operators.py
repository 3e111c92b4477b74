"""The table of operators: versions, and what is refused before anything is computed."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from convkit.interpreters.operators import Operators


def _node(**attributes: int) -> ir.Node:
    return ir.node("Thing", [ir.val("x", ir.DataType.FLOAT, [2])], attributes)


def test_a_function_says_which_nodes_it_does_not_accept() -> None:
    operator = Operators("Test")

    @operator("Thing", since=3, accepts=lambda node: "too large" if node.attributes.get_int("size", 0) > 4 else None)
    def thing(x, *, size=0):
        return x

    assert operator.refusal(_node(size=5), 3) == "too large"
    assert operator.refusal(_node(size=4), 3) is None
    assert operator.refusal(_node(), 2) == "the Test importer has no Thing in opset 2, only from 3 on"
    assert "attribute other" in str(operator.refusal(_node(other=1), 3))


def test_the_newest_version_up_to_the_opset_is_taken_and_none_is_registered_twice() -> None:
    operator = Operators("Test")
    for since in (1, 7):
        operator("Thing", since=since)(lambda x, since=since: since)
    assert [operator.find("ai.onnx", "Thing", opset).function(None) for opset in (1, 6, 7, 28)] == [1, 1, 7, 7]  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="registered twice"):
        operator("Thing", since=7)(lambda x: x)
