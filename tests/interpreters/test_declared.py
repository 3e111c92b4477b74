"""What the outputs of a file tell of values of unknown rank."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from convkit.interpreters.declared import declared_rank, squeezed_axes
from convkit.legalization.onnx import preparation


def squeezed(text: str) -> ir.Value:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 13]> g (float[n, 1, 4] x) => {text}')
    nodes = preparation.prepared(ir.from_proto(model)).graph
    return next(node.outputs[0] for node in nodes if node.op_type == "Squeeze")


@pytest.mark.parametrize(
    ("text", "rank"),
    [
        ("(float[a] y) { y = Squeeze(x) }", 1),
        ("(float[a, 4] y) <float two = {2}> { s = Squeeze(x) t = Sigmoid(s) u = Mul(two, t) y = Concat<axis = 0>(t, u) }", 2),
        ("(float[a, 4] y) <float[4] w = {1, 2, 3, 4}> { s = Squeeze(x) y = Add(s, w) }", None),
        ("(float[a] y) { s = Squeeze(x) y = ReduceMax<axes = [0], keepdims = 0>(s) }", None),
    ],
)
def test_the_rank_follows_from_what_is_made_of_it(text: str, rank: int | None) -> None:
    assert declared_rank(squeezed(text)) == rank


def test_the_axes_of_a_squeeze_without_axes() -> None:
    assert squeezed_axes([1, 3, 1], None) == [0, 2]
    assert squeezed_axes([None, 1, 4], 2) == [1]
    assert squeezed_axes([None, 1, 4], 1) == [0, 1]
    assert squeezed_axes([None, 1, 4], None) is None
    assert squeezed_axes([None, 1, None], 1) is None  # which of the two
