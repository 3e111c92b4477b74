"""Loops, branches and lists, in TF.js's executor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tfjs_graphs import assert_same, saved

from convkit.workers import toolchains

X = np.array([[0.5, -1.0, 2.0, 0.25], [1.5, 0.1, -0.3, 3.0]], np.float32)


@pytest.fixture(scope="module", autouse=True)
def toolchain():
    toolchains.ensure("tfjs", auto=True)


def test_a_loop_of_any_number_of_rounds(tmp_path: Path) -> None:
    import tensorflow as tf

    weights = tf.Variable(np.eye(4, dtype=np.float32) * 0.5)

    def call(x, n):
        return tf.while_loop(lambda i, _: i < n, lambda i, a: (i + 1, a @ weights + 1.0), [0, x])[1]

    source = saved(tmp_path, call, "x[n,4]", "n:int32[]", tracked=weights)
    assert_same(source, tmp_path / "m.tfjs", [{"x": X, "n": np.array(n, np.int32)} for n in (0, 1, 5)])


def test_two_outputs_of_one_operator_as_results_of_a_round(tmp_path: Path) -> None:
    """Of a function's "node:indices:0" TF.js takes the first output of the node."""
    import tensorflow as tf

    def call(x, n):
        def one_round(i, a, b):
            values, indices = tf.math.top_k(a + tf.cast(b, tf.float32), 4)
            return i + 1, values, indices

        return tf.while_loop(lambda i, *_: i < n, one_round, [0, x, tf.cast(x, tf.int32)])[1:]

    source = saved(tmp_path, call, "x[2,4]", "n:int32[]")
    assert_same(source, tmp_path / "m.tfjs", [{"x": X, "n": np.array(n, np.int32)} for n in (0, 1, 3)])


@pytest.mark.parametrize("backend", ["cpu", "wasm"])
def test_branches(tmp_path: Path, backend: str) -> None:
    import tensorflow as tf

    def call(x):
        swapped = tf.cond(tf.reduce_sum(x) > 0, lambda: tf.split(x, 2, 1)[::-1], lambda: tf.split(x, 2, 1))
        chosen = tf.switch_case(tf.cast(tf.reduce_max(x), tf.int32), [lambda: x, lambda: x * 2.0, lambda: tf.ones_like(x)])
        # Neither branch takes anything.
        return [*swapped, chosen, tf.cond(x[0, 0] > 0, lambda: tf.constant([1.0]), lambda: tf.constant([2.0]))]

    source = saved(tmp_path, call, "x[2,4]")
    assert_same(source, tmp_path / "m.tfjs", [{"x": x} for x in (X, -X, X * 0.1, X * 9)], backend)


def test_nested(tmp_path: Path) -> None:
    import tensorflow as tf

    def call(x):
        def outer(i, a):
            a = tf.cond(tf.reduce_sum(a) > 3.0, lambda: a * 0.5, lambda: a + 1.0)
            return i + 1, tf.while_loop(lambda j, _: j < i, lambda j, b: (j + 1, b + 0.1), [0, a])[1]

        return tf.while_loop(lambda i, _: i < 4, outer, [0, x])[1]

    assert_same(saved(tmp_path, call, "x[n,4]"), tmp_path / "m.tfjs", [{"x": X}, {"x": X[:1] * 3}])


@pytest.mark.parametrize("layer", ["LSTM", "GRU"])
def test_recurrent_layers_of_any_length(layer: str, tmp_path: Path) -> None:
    import keras

    model = keras.Sequential([keras.Input((None, 3)), getattr(keras.layers, layer)(5, return_sequences=True)])
    model.add(keras.layers.Bidirectional(getattr(keras.layers, layer)(4)))
    source = saved(tmp_path, lambda x: model(x, training=False), "x[n,t,3]", tracked=model)
    rng = np.random.default_rng(0)
    assert_same(
        source, tmp_path / "m.tfjs", [{"x": rng.standard_normal((n, t, 3)).astype(np.float32)} for n, t in ((1, 2), (3, 9))]
    )
