"""A model that Keras fails on leaves nothing behind for the next one."""

from __future__ import annotations

import pytest

from convkit.loading.keras_state import undisturbed


def test_the_scope_of_a_layer_with_an_impossible_name_is_left():
    import keras
    import tensorflow as tf

    def named(name: str) -> keras.layers.Layer:
        return keras.layers.Dense(2, name=name)

    traced = tf.function(lambda x: named("\0")(x), input_signature=[tf.TensorSpec([None, 3])])
    with pytest.raises(ValueError), undisturbed():
        traced.get_concrete_function()
    layer = named("dense")
    layer.build((None, 3))
    assert [weight.path for weight in layer.weights] == ["dense/kernel", "dense/bias"]
