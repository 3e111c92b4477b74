"""The layout solver: which permutation of axes makes one tensor another."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from convkit.validators.layouts import Layout, difference, layouts, solved


def tensor(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(4))))
def test_every_permutation_of_four_axes_is_found(axes):
    expected = tensor(2, 3, 4, 5)
    got = np.ascontiguousarray(expected.transpose(np.argsort(axes)))
    layout, apart = solved(expected, got)
    assert apart == 0
    np.testing.assert_array_equal(layout.read(got, expected.shape), expected)


def test_axes_of_one_can_stand_anywhere():
    expected = tensor(1, 3, 1, 5)
    got = np.ascontiguousarray(expected.reshape(3, 5).T).reshape(5, 1, 3)
    layout, apart = solved(expected, got)
    assert apart == 0 and layout.axes == (1, 0)


def test_another_shape_in_the_same_order():
    expected = tensor(2, 3, 4)
    layout, apart = solved(expected, expected.reshape(6, 4))
    assert apart == 0 and layout == Layout()
    assert solved(expected, tensor(5, 5)) is None


def test_square_axes_do_not_hide_a_transposition():
    expected = tensor(4, 4)
    layout, apart = solved(expected, expected.T.copy())
    assert apart == 0 and layout.axes == (1, 0)
    assert str(layout) == "axes permuted by [1, 0]"


def test_what_differs_anyhow_keeps_its_layout():
    expected = tensor(8, 8)
    layout, _ = solved(expected, np.random.default_rng(1).standard_normal((8, 8)).astype(np.float32))
    assert layout == Layout()


def test_the_natural_layout_comes_first():
    assert next(layouts((2, 3), (2, 3))) == Layout()
    assert next(layouts((1, 3, 4, 4), (1, 4, 4, 3))).axes == (2, 0, 1)


def test_differences_of_what_is_not_finite():
    a = np.array([1, np.inf, np.nan, -2], np.float32)
    assert difference(a, a.copy(), 2.0) == 0
    assert difference(a, np.array([1, np.inf, np.nan, -1], np.float32), 2.0) == 0.5
    assert difference(a, np.array([1, -np.inf, np.nan, -2], np.float32), 2.0) == float("inf")
    assert difference(a, np.array([1, np.inf, 0, -2], np.float32), 2.0) == float("inf")
    assert difference(np.array([1 + 1j]), np.array([1 - 1j]), 2.0) == 1.0
