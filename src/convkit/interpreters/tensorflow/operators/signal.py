"""What of signal processing is left when rewrites have made constants of what is known: MelWeightMatrix of computed sizes."""

from __future__ import annotations

import tensorflow as tf

from convkit.interpreters.tensorflow.backend import tensorflow_dtype
from convkit.interpreters.tensorflow.table import operator


@operator("MelWeightMatrix")
def mel_weight_matrix(num_mel_bins, dft_length, sample_rate, lower_edge_hertz, upper_edge_hertz, *, output_datatype=1):
    """Triangles over the bins of a spectrum, as wide as their distance on the mel scale (2595 · log10(1 + f / 700))."""
    bands, length, rate = (tf.cast(tf.reshape(v, []), tf.int32) for v in (num_mel_bins, dft_length, sample_rate))
    low, high = (_mel(tf.cast(tf.reshape(v, []), tf.float32)) for v in (lower_edge_hertz, upper_edge_hertz))
    steps = tf.cast(tf.range(bands + 2), tf.float32) * ((high - low) / tf.cast(bands + 2, tf.float32)) + low
    hertz = 700 * (tf.pow(10.0, steps / 2595) - 1)
    corners = tf.floor(tf.cast(length + 1, tf.float32) * hertz / tf.cast(rate, tf.float32))
    lower, centre, upper = corners[:-2], corners[1:-1], corners[2:]
    bins = tf.expand_dims(tf.cast(tf.range(length // 2 + 1), tf.float32), 1)
    rising = tf.where(centre > lower, (bins - lower) / tf.maximum(centre - lower, 1), tf.ones_like(bins))
    falling = (upper - bins) / tf.maximum(upper - centre, 1)
    on_the_right = (bins >= centre) & (bins < upper)
    weights = tf.where(on_the_right, falling, tf.where((bins >= lower) & (bins <= centre), rising, tf.zeros_like(rising)))
    return tf.cast(weights, tensorflow_dtype(output_datatype))


def _mel(hertz):
    return 2595 * tf.math.log(1 + hertz / 700) / tf.math.log(10.0)
