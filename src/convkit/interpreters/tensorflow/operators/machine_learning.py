"""Operators of ai.onnx.ml on numbers: scaling, encoding, linear models. Where the specification is silent ONNX Runtime leads."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from convkit.interpreters.operators import UnsupportedError
from convkit.interpreters.tensorflow.sizes import rank_of, sizes_of
from convkit.interpreters.tensorflow.table import operator

_ML = "ai.onnx.ml"


@operator("Binarizer", domain=_ML)
def binarizer(x, *, threshold=0.0):
    return tf.cast(x > tf.cast(threshold, x.dtype), x.dtype)


@operator("Scaler", domain=_ML)
def scaler(x, *, offset=(0.0,), scale=(1.0,)):
    return (tf.cast(x, tf.float32) - tf.constant(offset, tf.float32)) * tf.constant(scale, tf.float32)


@operator("Normalizer", domain=_ML)
def normalizer(x, *, norm="MAX"):
    """Rows by their norm; a row of zeros stays. The largest element counts with its sign."""
    x = tf.cast(x, tf.float32)
    norms = {
        "MAX": lambda: tf.reduce_max(x, -1, keepdims=True),
        "L1": lambda: tf.reduce_sum(tf.abs(x), -1, keepdims=True),
        "L2": lambda: tf.sqrt(tf.reduce_sum(tf.square(x), -1, keepdims=True)),
    }
    size = norms[norm]()
    return x / tf.where(tf.equal(size, 0), tf.ones_like(size), size)


@operator("FeatureVectorizer", domain=_ML)
def feature_vectorizer(*features, inputdimensions):
    return tf.concat([tf.cast(_columns(x, n), tf.float32) for x, n in zip(features, inputdimensions, strict=True)], 1)


def _columns(x, count):
    """The first columns of a matrix (a vector is one column), zeros where it has fewer."""
    x = x[:, None] if rank_of(x) == 1 else x
    width = sizes_of(x)[1]
    return x[:, :count] if count <= width else tf.pad(x, [[0, 0], [0, count - width]])


@operator("Imputer", domain=_ML)
def imputer(x, *, imputed_value_floats=None, imputed_value_int64s=None, replaced_value_float=0.0, replaced_value_int64=0):
    if x.dtype.is_floating:
        values, replaced = imputed_value_floats, replaced_value_float
    else:
        values, replaced = imputed_value_int64s, replaced_value_int64
    missing = tf.not_equal(x, x) if np.isnan(replaced) else tf.equal(x, tf.constant(replaced, x.dtype))
    return tf.where(missing, tf.constant(values, x.dtype), x)


@operator("LabelEncoder", since=2, domain=_ML)
def label_encoder(
    x,
    *,
    keys_floats=None,
    keys_int64s=None,
    keys_tensor=None,
    values_floats=None,
    values_int64s=None,
    values_tensor=None,
    default_float=-0.0,
    default_int64=-1,
    default_tensor=None,
    default_string=None,
):
    """Every element is compared with every key."""
    keys = next((k for k in (keys_floats, keys_int64s, keys_tensor) if k is not None), None)
    choices = ((values_floats, np.float32, default_float), (values_int64s, np.int64, default_int64))
    values, dtype, default = next((choice for choice in choices if choice[0] is not None), (values_tensor, None, default_tensor))
    if keys is None or values is None:
        raise UnsupportedError("labels that are strings")
    values = np.array(values, dtype)
    if default is None:
        default = -1 if values.dtype.kind == "i" else 0
    keys = tf.constant(keys, x.dtype)
    equal = tf.equal(x[..., None], keys)
    if x.dtype.is_floating:  # a NaN among the keys finds NaN
        equal = tf.logical_or(equal, tf.logical_and(tf.not_equal(x, x)[..., None], tf.not_equal(keys, keys)))
    found = tf.gather(tf.constant(values), tf.argmax(tf.cast(equal, tf.int32), -1, tf.int32))
    return tf.where(tf.reduce_any(equal, -1), found, tf.constant(np.array(default, values.dtype).reshape(())))


@operator("OneHotEncoder", domain=_ML)
def one_hot_encoder(x, *, cats_int64s=None, zeros=1):
    if cats_int64s is None:
        raise UnsupportedError("categories that are strings")
    if not zeros:
        raise UnsupportedError("an unknown category as an error (zeros=0)")
    return tf.cast(tf.equal(tf.cast(x, tf.int64)[..., None], tf.constant(cats_int64s, tf.int64)), tf.float32)


def _scores(x, coefficients, intercepts, count):
    weights = np.array(coefficients, np.float32).reshape(count, -1).T
    scores = tf.matmul(tf.cast(x, tf.float32), tf.constant(weights))
    return scores if not intercepts else scores + tf.constant(intercepts, tf.float32)


@operator("LinearRegressor", domain=_ML)
def linear_regressor(x, *, coefficients, intercepts=None, targets=1, post_transform="NONE"):
    if post_transform != "NONE":
        raise UnsupportedError(f"a regression followed by {post_transform}")
    return _scores(x, coefficients, intercepts, targets)


@operator("LinearClassifier", domain=_ML)
def linear_classifier(x, *, coefficients, intercepts=None, classlabels_ints=None, multi_class=0, post_transform="NONE"):
    """Labels and scores. One score for two classes is that of the second."""
    if classlabels_ints is None:
        raise UnsupportedError("class labels that are strings")
    if post_transform not in ("NONE", "LOGISTIC", "SOFTMAX"):
        raise UnsupportedError(f"a classification followed by {post_transform}")
    labels = tf.constant(classlabels_ints, tf.int64)
    rows = len(intercepts) if intercepts else len(coefficients) // sizes_of(x)[-1]
    scores = _scores(x, coefficients, intercepts, rows)
    if rows == 1 and len(classlabels_ints) == 2:
        chosen = tf.gather(labels, tf.cast(scores[:, 0] > 0, tf.int32))
        both = [-scores, scores] if post_transform == "LOGISTIC" else [1 - scores, scores]
        scores = tf.concat(both, 1)
        return chosen, tf.sigmoid(scores) if post_transform == "LOGISTIC" else scores
    chosen = tf.gather(labels, tf.argmax(scores, 1, tf.int32))
    after = {"NONE": lambda s: s, "LOGISTIC": tf.sigmoid, "SOFTMAX": tf.nn.softmax}
    return chosen, after[post_transform](scores)
