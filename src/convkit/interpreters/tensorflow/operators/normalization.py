"""Normalisation over batches, channels, groups and features. Half precision is normalised in float32 where ONNX says so."""

from __future__ import annotations

import tensorflow as tf

from convkit.interpreters.operators import Value
from convkit.interpreters.tensorflow.layout import over_channels
from convkit.interpreters.tensorflow.refusals import attribute_of, is_used, one_of
from convkit.interpreters.tensorflow.sizes import product, rank_of, shape_tensor, sizes_of
from convkit.interpreters.tensorflow.table import operator
from convkit.interpreters.tensorflow.transposed import plain


def _per_channel(vector, rank, axis=1):
    """A vector of channels as it broadcasts against N × C × …, or with the channels along another axis."""
    return tf.reshape(vector, [-1] + [1] * (rank - 1 - axis)) if rank > axis + 1 else vector


def _is_at_rest(node):
    if not attribute_of(node, "spatial", 1):
        return "statistics of every element by itself (spatial=0)"
    return "the statistics of the batch as outputs, in training" if any(is_used(node, k) for k in range(1, 5)) else None


@operator("BatchNormalization", since=7, accepts=_is_at_rest)
def batch_normalization(x, scale, bias, mean, variance, *, epsilon=1e-5, momentum=0.9, spatial=1):
    return _batch_normalized(x, scale, bias, mean, variance, epsilon)


@operator("BatchNormalization", since=14)
def batch_normalization_or_training(x, scale, bias, mean, variance, *, epsilon=1e-5, momentum=0.9, training_mode=0):
    if not training_mode:
        return _batch_normalized(x, scale, bias, mean, variance, epsilon)
    x = plain(x)
    axes = [axis for axis in range(rank_of(x)) if axis != 1]
    wide = tf.cast(x, mean.dtype)
    own_mean, own_variance = tf.nn.moments(wide, axes)
    running = [old * momentum + new * (1 - momentum) for old, new in ((mean, own_mean), (variance, own_variance))]
    return _batch_normalized(x, scale, bias, own_mean, own_variance, epsilon), *running


def _batch_normalized(x, scale, bias, mean, variance, epsilon):
    """One product and one sum, whose factors are constants of the model."""
    factor = tf.cast(scale, mean.dtype) * tf.math.rsqrt(variance + epsilon)
    offset = tf.cast(bias, mean.dtype) - mean * factor

    def scaled(x, axis):
        rank = rank_of(x)
        wide = tf.cast(x, mean.dtype) * _per_channel(factor, rank, axis) + _per_channel(offset, rank, axis)
        return tf.cast(wide, x.dtype)

    return over_channels(scaled, x)


def _standardized(x, axes, epsilon):
    """The standardised tensor, the mean and one over the standard deviation."""
    mean = tf.reduce_mean(x, axes, keepdims=True)
    centred = x - mean
    inverse = tf.math.rsqrt(tf.reduce_mean(tf.square(centred), axes, keepdims=True) + epsilon)
    return centred * inverse, mean, inverse


def _stashed(x, stash_type=1):
    """The tensor in the dtype that statistics are taken in."""
    return tf.cast(x, tf.float32) if stash_type == 1 and x.dtype.size < 4 else x


@operator("InstanceNormalization", since=6)
def instance_normalization(x, scale, bias, *, epsilon=1e-5):
    def normalized(x, axis):
        rank = rank_of(x)
        result = _standardized(_stashed(x), [k for k in range(1, rank) if k != axis], epsilon)[0]
        return tf.cast(result, x.dtype) * _per_channel(scale, rank, axis) + _per_channel(bias, rank, axis)

    return over_channels(normalized, x)


@operator("LayerNormalization")
def layer_normalization(x, scale, bias=None, *, axis=-1, epsilon=1e-5, stash_type=1):
    rank = rank_of(x)
    result, mean, inverse = _standardized(_stashed(x, stash_type), list(range(axis % rank, rank)), epsilon)
    result = tf.cast(result, x.dtype) * scale
    return (result if bias is None else result + bias), mean, inverse


@operator("RMSNormalization")
def rms_normalization(x, scale, *, axis=-1, epsilon=1e-5, stash_type=1):
    rank = rank_of(x)
    wide = _stashed(x, stash_type)
    square = tf.reduce_mean(tf.square(wide), list(range(axis % rank, rank)), keepdims=True)
    return tf.cast(tf.cast(wide * tf.math.rsqrt(square + epsilon), x.dtype) * scale, x.dtype)


def _in_groups(x, groups, epsilon, stash_type=1):
    """N × groups × (the rest), standardised over the rest."""
    sizes = sizes_of(x)
    parts = tf.reshape(_stashed(x, stash_type), shape_tensor([sizes[0], groups, product(sizes[1:]) // groups]))
    return tf.cast(_standardized(parts, [2], epsilon)[0], x.dtype)


@operator("GroupNormalization", since=18)
def group_normalization_scaled_by_group(x, scale, bias, *, num_groups, epsilon=1e-5):
    result = _in_groups(x, num_groups, epsilon) * scale[:, None] + bias[:, None]
    return tf.reshape(result, shape_tensor(sizes_of(x)))


@operator("GroupNormalization", since=21)
def group_normalization(x, scale, bias, *, num_groups, epsilon=1e-5, stash_type=1):
    result = tf.reshape(_in_groups(x, num_groups, epsilon, stash_type), shape_tensor(sizes_of(x)))
    rank = rank_of(x)
    return result * _per_channel(scale, rank) + _per_channel(bias, rank)


@operator("MeanVarianceNormalization")
def mean_variance_normalization(x, *, axes=(0, 2, 3)):
    mean = tf.reduce_mean(x, list(axes), keepdims=True)
    deviation = tf.sqrt(tf.reduce_mean(tf.square(x - mean), list(axes), keepdims=True))
    return (x - mean) / (deviation + 1e-9)


@operator("LpNormalization", accepts=one_of("p", (1, 2)))
def lp_normalization(x, *, axis=-1, p=2):
    """A slice whose norm is zero stays zero."""
    size = tf.reduce_sum(tf.abs(x), axis, keepdims=True) if p == 1 else tf.sqrt(tf.reduce_sum(tf.square(x), axis, keepdims=True))
    return x / tf.where(tf.equal(size, 0), tf.ones_like(size), size)


@operator("LRN")
def local_response_normalization(x, *, size, alpha=1e-4, beta=0.75, bias=1.0):
    """The squares of neighbouring channels are summed shift by shift, in any layout and rank."""
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2

    def normalized(x, axis):
        rank = rank_of(x)
        squares = tf.pad(tf.square(x), [[before, after] if k == axis else [0, 0] for k in range(rank)])
        shifts = [(slice(None),) * axis + (slice(k, k - size + 1 or None),) for k in range(size)]
        return x / tf.pow(bias + alpha / size * tf.add_n([squares[shift] for shift in shifts]), tf.constant(beta, x.dtype))

    return over_channels(normalized, x)


@operator("Dropout", since=7)
def dropout(x, *, ratio=0.5):
    """At rest. The mask meant nothing then, and is all false."""
    return x, tf.zeros_like(x, tf.bool)


def _drops_nothing(node):
    """Training is given as an input, and drops nothing at the ratio 0."""
    ratio, training = (node.inputs[k] if k < len(node.inputs) else None for k in (1, 2))
    if training is None:
        return None
    if training.const_value is None:
        return "whether it is training is computed while the model runs"
    if not training.const_value.numpy().any():
        return None
    share = None if ratio is None or ratio.const_value is None else ratio.const_value.numpy()
    return None if share is not None and not share.any() else "elements are dropped at random, in training"


@operator("Dropout", since=12, accepts=_drops_nothing)
def dropout_of_nothing(x, ratio: Value = None, training_mode: Value = None, *, seed=None):
    return x, tf.ones_like(x, tf.bool)
