"""Shape arithmetic on values that are known while tracing, with numbers and with a stand-in for symbolic sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import sympy

from convkit.interpreters.host import DataDependentError, Host, evaluate

# sympy's symbols are what torch's SymInts are made of: arithmetic works, and a comparison has no truth value.
N = sympy.Symbol("n", integer=True, positive=True)


def node(operator: str, inputs: int, **attributes: Any) -> ir.Node:
    return ir.node(operator, [ir.Value(name=f"x{k}") for k in range(inputs)], attributes)


def computed(operator: str, *values: Any, **attributes: Any) -> list[Any]:
    results = evaluate(node(operator, len(values), **attributes), 18, [Host.of(v) for v in values])
    assert results is not None
    return results[0].array.tolist()


def test_numbers_go_through_the_reference_implementation() -> None:
    assert computed("Add", [1, 2], [10, 20]) == [11, 22]
    assert computed("Div", [-7], [2]) == [-3]  # towards zero, as ONNX has it
    assert computed("Range", 0, 5, 2) == [0, 2, 4]


def test_a_symbol_stays_a_symbol() -> None:
    shape = Host.of([N, 3, 8])
    assert shape.is_symbolic
    with pytest.raises(DataDependentError):
        shape.known()
    assert computed("Gather", [N, 3, 8], 0) == N
    assert computed("Concat", [N], [-1], axis=0) == [N, -1]
    assert computed("Mul", [N, 3], [2, 2]) == [2 * N, 6]
    assert computed("Slice", [N, 3, 8], [1], [3]) == [3, 8]
    assert computed("Slice", [N, 3, 8], [-1], [-10], [0], [-1]) == [8, 3, N]
    assert computed("Unsqueeze", N, [0]) == [N]
    assert computed("Squeeze", [N], [0]) == N
    assert computed("ReduceProd", [N, 3, 8], keepdims=0) == 24 * N
    assert computed("Reshape", [N, 3, 8, 2], [2, 2]) == [[N, 3], [8, 2]]
    assert computed("ScatterND", [N, 3], [[1]], [N]) == [N, N]


def test_comparisons_of_sizes_together() -> None:
    assert computed("And", [N > 1, True, False], [True, True, N > 2]) == [N > 1, True, False]
    assert computed("And", N > 2, N < 9) == sympy.And(N > 2, N < 9)


def test_a_size_as_a_float_is_computed_exactly() -> None:
    real = Host(np.array([N, 3], object), np.dtype(np.float32))
    numbers = Host.of([2.0, 2.0], np.float32)
    for operator, wanted in (("Mul", [2 * N, 6]), ("Div", [N / 2, 1.5]), ("Sub", [N - 2, 1])):
        results = evaluate(node(operator, 2), 18, [real, numbers])
        assert results is not None
        assert results[0].array.tolist() == wanted
    results = evaluate(node("Cast", 1, to=1), 18, [Host.of([N, 3])])
    assert results is not None
    assert results[0].array.tolist() == [N, 3]


def test_equal_parts_of_a_shape() -> None:
    split = ir.node("Split", [ir.Value(name="x")], num_outputs=2)
    results = evaluate(split, 18, [Host.of([N, 3, 8, 2])])
    assert results is not None
    assert [part.array.tolist() for part in results] == [[N, 3], [8, 2]]


@pytest.mark.parametrize("operator", ["Not", "Where"])
def test_a_choice_by_an_unknown_size_is_left_to_the_framework(operator: str) -> None:
    values = {"Not": [N > 5], "Where": [N > 5, 1, 2]}[operator]
    with pytest.raises(DataDependentError, match="comparison"):
        computed(operator, *values)


def test_an_array_without_symbols_becomes_numbers_again() -> None:
    results = evaluate(node("Gather", 2), 18, [Host.of([N, 3, 8]), Host.of([1, 2])])
    assert results is not None
    assert not results[0].is_symbolic
    assert results[0].known().dtype == np.int64


@pytest.mark.parametrize("operator", ["NonZero", "Range", "ConstantOfShape", "Cos"])
def test_what_needs_the_number_is_left_to_the_framework(operator: str) -> None:
    with pytest.raises(DataDependentError):
        evaluate(node(operator, 1), 18, [Host.of([N, 2])])


def test_large_results_and_random_numbers_are_not_computed_at_once() -> None:
    assert evaluate(node("ConstantOfShape", 1), 18, [Host.of([1000, 1000])]) is None
    assert evaluate(node("RandomNormalLike", 1), 18, [Host.of([1, 2])]) is None
