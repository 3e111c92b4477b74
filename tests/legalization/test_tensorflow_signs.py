"""Sign bits that become comparisons, in graphs and in the functions of loops."""

import numpy as np
import pytest
import tensorflow as tf

from convkit.legalization.tensorflow_signs import with_compared_signs

_SPECIAL = np.array([1.5, -1.5, 0.0, -0.0, np.inf, -np.inf, 1e-45, -1e-45], np.float32)


def _signbit(x):
    return tf.bitwise.bitwise_and(tf.bitcast(x, tf.int32), tf.constant(tf.int32.min)) < 0


def _in_a_loop(x):
    rounds = tf.cast(tf.size(x), tf.int32)
    found = tf.zeros_like(x, tf.bool)
    return tf.while_loop(lambda i, f: i < rounds, lambda i, f: (i + 1, tf.logical_or(f, _signbit(x))), [tf.constant(0), found])[1]


def _operators(function):
    graph = function.graph.as_graph_def()
    return {n.op for n in graph.node} | {n.op for f in graph.library.function for n in f.node_def}


def _concrete(call, dtype=tf.float32):
    return tf.function(call, input_signature=[tf.TensorSpec([None], dtype, name="x")]).get_concrete_function()


@pytest.mark.parametrize("call", [_signbit, _in_a_loop, lambda x: tf.bitcast(x, tf.int32) < 0])
def test_a_sign_is_the_same(call):
    function = _concrete(call)
    compared = with_compared_signs(function)
    assert [t.name for t in compared.inputs] == [t.name for t in function.inputs]
    (found,) = compared(tf.constant(_SPECIAL))
    np.testing.assert_array_equal(found, np.signbit(_SPECIAL))


def test_weights_stay():
    weight = tf.Variable([2.0, -3.0])
    function = _concrete(lambda x: (x * weight, _signbit(x * weight)))
    products, signs = with_compared_signs(function)(tf.constant([1.0, 1.0]))
    np.testing.assert_array_equal(products, [2, -3])
    np.testing.assert_array_equal(signs, [False, True])


def test_no_bits_are_read_in_the_main_graph():
    compared = with_compared_signs(_concrete(_signbit))
    reachable = tf.compat.v1.graph_util.extract_sub_graph(compared.graph.as_graph_def(), [compared.outputs[0].op.name])
    assert {"Bitcast", "BitwiseAnd"}.isdisjoint(n.op for n in reachable.node)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x < 0,
        lambda x: tf.bitcast(x, tf.int32) < 1,
        lambda x: tf.bitwise.bitwise_and(tf.bitcast(x, tf.int32), 255) < 0,
    ],
)
def test_all_else_stays_as_it_is(call):
    function = _concrete(call)
    assert with_compared_signs(function) is function


def test_of_whole_numbers_it_is_no_sign():
    function = _concrete(lambda x: tf.bitcast(x, tf.uint32) < 1, tf.float32)
    assert with_compared_signs(function) is function
    assert "Bitcast" in _operators(function)
