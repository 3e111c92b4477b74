"""Dynamic sizes of the TensorFlow importer: their arithmetic, and shapes made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from convkit.interpreters.host import DataDependentError, Host
from convkit.interpreters.tensorflow.backend import Size
from convkit.interpreters.tensorflow.sizes import as_sizes, is_static, known, product, shape_tensor, size_tensor, sizes_of


def traced(function: Callable[[Any], Any], shape: tuple[int | None, ...] = (None, 3), fed: tuple[int, ...] = (5, 3)) -> Any:
    """What a function of a tensor of unknown sizes computes."""
    graph = tf.function(function, input_signature=[tf.TensorSpec(shape)], autograph=False)
    return graph(tf.zeros(fed)).numpy().tolist()


def test_arithmetic() -> None:
    def numbers(x: Any) -> Any:
        n = sizes_of(x)[0]
        return shape_tensor([n + 1, 1 + n, n - 2, 9 - n, n * 2, 2 * n, n // 2, 11 // n, n % 3, -n, n * n, 7])

    assert traced(numbers) == [6, 6, 3, 4, 10, 10, 2, 2, 2, -5, 25, 7]


def test_known_sizes_are_a_list() -> None:
    assert shape_tensor([2, np.int64(3)]) == [2, 3]
    assert is_static([1, 2])
    assert product([2, 3, 4]) == 24


def test_known_sizes_survive_beside_dynamic_ones() -> None:
    def reshaped(x: Any) -> Any:
        result = tf.reshape(x, shape_tensor([sizes_of(x)[0], 1, 3]))
        assert result.shape.as_list() == [None, 1, 3]
        return tf.shape(result)

    assert traced(reshaped) == [5, 1, 3]


def test_the_same_size_is_one_object() -> None:
    def checked(x: Any) -> Any:
        first, second = sizes_of(x)[0], sizes_of(x)[0]
        assert first is second and first == second
        assert product([first, 3]).roots == product([second]).roots
        assert product([2, first, 3]).factor == 6
        return size_tensor(first)

    assert traced(checked) == 5


def test_what_is_not_true_of_every_size_is_data_dependent() -> None:
    def checked(x: Any) -> Any:
        n, other = sizes_of(x)
        assert n >= 0 and n > -1 and not n < 0 and n != -1
        for question in (lambda: n == 3, lambda: n == other, lambda: n > 0, lambda: bool(n), lambda: n < other):
            with pytest.raises(DataDependentError):
                question()
        return size_tensor(n)

    traced(checked, (None, None))


def test_sizes_from_data() -> None:
    def read(x: Any) -> Any:
        values = as_sizes(tf.constant([4, 2**63 - 1], tf.int64) + tf.cast(tf.shape(x)[0] * 0, tf.int64))
        assert all(isinstance(v, Size) for v in values)
        return shape_tensor(values)

    assert traced(read) == [4, 2**31 - 1]


def test_sizes_of_unknown_number_or_rank_are_refused() -> None:
    def vector(x: Any) -> Any:
        as_sizes(tf.cast(x, tf.int32))

    with pytest.raises(DataDependentError):
        traced(vector, (None,), (2,))
    with pytest.raises(DataDependentError):
        tf.function(sizes_of, input_signature=[tf.TensorSpec(None)], autograph=False).get_concrete_function()


def test_known_numbers() -> None:
    assert known(Host.of([1, 2])).tolist() == [1, 2]
    assert known(tf.constant(1)) is None
