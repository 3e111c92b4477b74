"""Sequences and optionals of the PyTorch importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_nodes as nodes
import pytest

from interpreters.pytorch.operators.operator_checks import floats

_X = floats(4, 6)


def _check(text: str, **feeds: np.ndarray) -> None:
    model = onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17]>\n' + text)
    nodes.assert_agree(nodes.pytorch(model, feeds), nodes.onnx_runtime(model, feeds))


def test_building_changing_and_joining() -> None:
    _check(
        """g (float[n,6] x) => (float[m,6] y, float[2,n,6] z, int64 count) <int64 first = {0}, int64 last = {-1}> {
            twice = Add(x, x)
            empty = SequenceEmpty()
            one = SequenceInsert(empty, twice)
            two = SequenceInsert(one, x, first)
            three = SequenceInsert(two, x)
            y = ConcatFromSequence <axis = 0> (three)
            back = SequenceErase(three, last)
            z = ConcatFromSequence <axis = 0, new_axis = 1> (back)
            count = SequenceLength(three)
        }""",
        x=_X,
    )


@pytest.mark.parametrize(("split", "form"), (("int64 s = {2}", "s"), ("int64[3] s = {1,2,3}", "s"), ("int64 s = {2}", "")))
def test_splitting(split: str, form: str) -> None:
    keeps = ", keepdims = 1" if not form else ""
    given = f", {form}" if form else ""
    _check(
        f"""g (float[n,6] x) => (float[n,k] y) <{split}, int64 second = {{1}}> {{
            parts = SplitToSequence <axis = 1{keeps}> (x{given})
            y = SequenceAt(parts, second)
        }}""",
        x=_X,
    )


def test_pieces_without_their_axis() -> None:
    _check(
        """g (float[n,6] x) => (float[n] y) <int64 third = {2}> {
            parts = SplitToSequence <axis = 1, keepdims = 0> (x)
            y = SequenceAt(parts, third)
        }""",
        x=_X,
    )


def test_a_body_for_every_element() -> None:
    _check(
        """g (float[n,6] x, float[n,6] w) => (float[k,6] y) {
            parts = SequenceConstruct(x, w, x)
            mapped = SequenceMap(parts, w) <body = b (float[n,6] p, float[n,6] q) => (float[n,6] r) { r = Mul(p, q) }>
            y = ConcatFromSequence <axis = 0> (mapped)
        }""",
        x=_X,
        w=_X + 1,
    )


def test_optionals() -> None:
    _check(
        """g (float[n,6] x) => (float[n,6] y, bool has) {
            o = Optional(x)
            has = OptionalHasElement(o)
            y = OptionalGetElement(o)
        }""",
        x=_X,
    )
