"""Operators of ai.onnx.ml on numbers: scaling, encoding, linear models. Where the specification is silent ONNX Runtime leads."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from convkit.interpreters.tensorflow.refusals import attribute_of, one_of
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


def _has_numbers(*groups):
    """Refuses a node that has none of the attributes in one of the groups: what it has instead is made of strings."""

    def accepts(node):
        return (
            None if all(any(n in node.attributes for n in group) for group in groups) else "labels or categories that are strings"
        )

    return accepts


_KEYS, _VALUES = (tuple(f"{kind}_{dtype}" for dtype in ("floats", "int64s", "tensor")) for kind in ("keys", "values"))


@operator("LabelEncoder", since=2, domain=_ML, accepts=_has_numbers(_KEYS[:2], _VALUES[:2]))
def label_encoder_of_lists(
    x,
    *,
    keys_floats=None,
    keys_int64s=None,
    values_floats=None,
    values_int64s=None,
    default_float=-0.0,
    default_int64=-1,
    default_string="",
):
    equal = tf.equal(x[..., None], tf.constant(keys_int64s if keys_floats is None else keys_floats, x.dtype))
    return _values(equal, *_labels(values_floats, values_int64s, None, default_float, default_int64, None))


@operator("LabelEncoder", since=4, domain=_ML, accepts=_has_numbers(_KEYS, _VALUES))
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
    default_string="",
    default_tensor=None,
):
    """Since version 4 a NaN among the keys finds NaN."""
    keys = tf.constant(next(k for k in (keys_floats, keys_int64s, keys_tensor) if k is not None), x.dtype)
    equal = tf.equal(x[..., None], keys)
    if x.dtype.is_floating:
        equal = tf.logical_or(equal, tf.logical_and(tf.not_equal(x, x)[..., None], tf.not_equal(keys, keys)))
    return _values(equal, *_labels(values_floats, values_int64s, values_tensor, default_float, default_int64, default_tensor))


def _labels(values_floats, values_int64s, values_tensor, default_float, default_int64, default_tensor):
    """The labels, and the one of an unknown key."""
    if values_floats is not None:
        return np.array(values_floats, np.float32), default_float
    if values_int64s is not None:
        return np.array(values_int64s, np.int64), default_int64
    return values_tensor, default_tensor if default_tensor is not None else -1 if values_tensor.dtype.kind == "i" else -0.0


def _values(equal, values, default):
    """The label of the first key that is equal; every element was compared with every key."""
    found = tf.gather(tf.constant(values), tf.argmax(tf.cast(equal, tf.int32), -1, tf.int32))
    return tf.where(tf.reduce_any(equal, -1), found, tf.constant(np.array(default, values.dtype).reshape(())))


def _one_hot_of_numbers(node):
    if not attribute_of(node, "zeros", 1):
        return "an unknown category as an error (zeros=0)"
    return _has_numbers(("cats_int64s",))(node)


@operator("OneHotEncoder", domain=_ML, accepts=_one_hot_of_numbers)
def one_hot_encoder(x, *, cats_int64s=None, zeros=1):
    return tf.cast(tf.equal(tf.cast(x, tf.int64)[..., None], tf.constant(cats_int64s, tf.int64)), tf.float32)


def _scores(x, coefficients, intercepts, count):
    weights = np.array(coefficients, np.float32).reshape(count, -1).T
    scores = tf.matmul(tf.cast(x, tf.float32), tf.constant(weights))
    return scores if not intercepts else scores + tf.constant(intercepts, tf.float32)


_TRANSFORMS = {"NONE": tf.identity, "LOGISTIC": tf.sigmoid, "SOFTMAX": tf.nn.softmax}


def _has_transform(node):
    if attribute_of(node, "targets", 1) == 1 and attribute_of(node, "post_transform", "NONE") != "NONE":
        return "the score of one target transformed (ONNX Runtime leaves it as it is)"
    return one_of("post_transform", _TRANSFORMS)(node)


@operator("LinearRegressor", domain=_ML, accepts=_has_transform)
def linear_regressor(x, *, coefficients, intercepts=None, targets=1, post_transform="NONE"):
    return _TRANSFORMS[post_transform](_scores(x, coefficients, intercepts, targets))


def _classifies_numbers(node):
    return _has_numbers(("classlabels_ints",))(node) or one_of("post_transform", _TRANSFORMS)(node)


@operator("LinearClassifier", domain=_ML, accepts=_classifies_numbers)
def linear_classifier(x, *, coefficients, intercepts=None, classlabels_ints=None, multi_class=0, post_transform="NONE"):
    """Labels and scores. One score for two classes is that of the second."""
    labels = tf.constant(classlabels_ints, tf.int64)
    rows = len(intercepts) if intercepts else len(coefficients) // sizes_of(x)[-1]
    scores = _scores(x, coefficients, intercepts, rows)
    if rows == 1 and len(classlabels_ints) == 2:
        chosen = tf.gather(labels, tf.cast(scores[:, 0] > 0, tf.int32))
        both = [-scores, scores] if post_transform == "LOGISTIC" else [1 - scores, scores]
        scores = tf.concat(both, 1)
        return chosen, tf.sigmoid(scores) if post_transform == "LOGISTIC" else scores
    chosen = tf.gather(labels, tf.argmax(scores, 1, tf.int32))
    return chosen, _TRANSFORMS[post_transform](scores)
