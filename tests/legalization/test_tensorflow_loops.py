"""Unrolled recurrent layers compute what the loops computed, at every batch size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow_models import FIXTURES

from convkit.legalization.tensorflow_loops import CannotUnrollError, has_tensor_lists, unrolled
from convkit.loading.tensorflow import edge_function
from convkit.readers import inspect


def operators(function: Any) -> set[str]:
    graph = function.graph.as_graph_def()
    return {n.op for n in graph.node} | {n.op for f in graph.library.function for n in f.node_def}


def layers() -> dict[str, Callable[[], Any]]:
    import keras

    layer = keras.layers
    return {
        "lstm_backwards": lambda: layer.LSTM(4, go_backwards=True),
        "gru": lambda: layer.GRU(4),
        "bidirectional_sequences": lambda: layer.Bidirectional(layer.LSTM(3, return_sequences=True)),
        "stacked": lambda: keras.Sequential([layer.SimpleRNN(4, return_sequences=True), layer.GRU(3)]),
    }


@pytest.mark.parametrize("name", ["lstm_backwards", "gru", "bidirectional_sequences", "stacked"])
def test_keras_layers(name: str) -> None:
    import tensorflow as tf

    layer = layers()[name]()
    layer.build((None, 5, 2))
    traced = tf.function(lambda x: layer(x), input_signature=[tf.TensorSpec([None, 5, 2], tf.float32)])
    function = traced.get_concrete_function()
    assert has_tensor_lists(function.graph.as_graph_def())
    straight, rounds = unrolled(function)
    assert rounds in (5, 10)
    assert not {op for op in operators(straight) if op.startswith(("TensorList", "While", "StatelessWhile"))}
    for batch in (1, 4):
        x = tf.constant(np.random.default_rng(batch).standard_normal((batch, 5, 2)), tf.float32)
        expected, (result,) = function(x).numpy(), straight(x)
        assert np.abs(expected).max() > 1e-2
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_trained_model_keeps_its_edge() -> None:
    path: Path = FIXTURES / "digits_lstm" / "digits_lstm.savedmodel"
    signature = inspect(path).signature
    assert signature is not None
    straight, rounds = unrolled(edge_function(path, signature))
    assert rounds == 8
    assert [tuple(t.shape) for t in straight.inputs[:1]] == [(None, 8, 8)]
    assert [t.shape[1] for t in straight.outputs] == [10]


def test_slices_that_add_axes_become_what_a_dynamic_size_allows() -> None:
    """As a `map_fn` over pictures of any size leaves them behind."""
    import tensorflow as tf

    def resized(x: Any) -> Any:
        return tf.map_fn(lambda image: image[tf.newaxis, :, tf.newaxis, 1, 1:][0] * 2.0, x)

    function = tf.function(resized, input_signature=[tf.TensorSpec([1, None, 6, 3], tf.float32)]).get_concrete_function()
    straight, rounds = unrolled(function)
    assert rounds == 1
    assert not any(node.attr["new_axis_mask"].i for node in straight.graph.as_graph_def().node if node.op == "StridedSlice")
    pictures = tf.random.normal([1, 5, 6, 3])
    np.testing.assert_array_equal(straight(pictures)[0], function(pictures))


def test_loop_over_values_of_the_input_is_refused() -> None:
    import tensorflow as tf

    def halve(x: Any) -> Any:
        return tf.while_loop(lambda y: tf.reduce_max(y) > 1.0, lambda y: (y / 2.0,), (x,))[0]

    function = tf.function(halve, input_signature=[tf.TensorSpec([None], tf.float32)]).get_concrete_function()
    assert not has_tensor_lists(function.graph.as_graph_def())
    with pytest.raises(CannotUnrollError, match="condition"):
        unrolled(function)


def test_dynamic_number_of_steps_is_refused() -> None:
    import keras
    import tensorflow as tf

    layer = keras.layers.GRU(3)
    layer.build((None, None, 2))
    traced = tf.function(lambda x: layer(x), input_signature=[tf.TensorSpec([None, None, 2], tf.float32)])
    with pytest.raises(CannotUnrollError, match="dynamic"):
        unrolled(traced.get_concrete_function())
