"""ai.onnx.ml: preprocessing and linear models on numbers (trees are rewritten, strings are refused)."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import torch

from convkit.interpreters.operators import UnsupportedError
from convkit.interpreters.pytorch.backend import as_tensor
from convkit.interpreters.pytorch.operators.indexing import from_start
from convkit.interpreters.pytorch.table import operator

_DOMAIN = "ai.onnx.ml"


def _floats(values):
    return as_tensor(np.array(values, np.float32))


@operator("ArrayFeatureExtractor", domain=_DOMAIN)
def array_feature_extractor(x, indices):
    x = x.reshape(1, -1) if x.dim() == 1 else x
    return torch.index_select(x, -1, from_start(indices.reshape(-1), x.shape[-1]))


@operator("Binarizer", domain=_DOMAIN)
def binarizer(x, *, threshold=0.0):
    return torch.gt(x, threshold).to(x.dtype)


@operator("Scaler", domain=_DOMAIN)
def scaler(x, *, offset=(0.0,), scale=(1.0,)):
    return (x.to(torch.float32) - _floats(offset)) * _floats(scale)


@operator("Normalizer", domain=_DOMAIN)
def normalizer(x, *, norm="MAX"):
    x = x.to(torch.float32)
    # ONNX Runtime takes the largest element, not the largest absolute one.
    size = {
        "MAX": lambda: torch.amax(x, -1, keepdim=True),
        "L1": lambda: torch.sum(torch.abs(x), -1, keepdim=True),
        "L2": lambda: torch.sqrt(torch.sum(x * x, -1, keepdim=True)),
    }[norm]()
    return x / torch.where(size == 0, 1, size)


@operator("FeatureVectorizer", domain=_DOMAIN)
def feature_vectorizer(*inputs, inputdimensions=None):
    parts = [x.to(torch.float32).reshape(x.shape[0], -1) for x in inputs]
    for part, width in zip(parts, inputdimensions or (), strict=False):
        if part.shape[1] != width:
            raise UnsupportedError(f"{part.shape[1]} features are cut or filled up to {width}")
    return torch.cat(parts, 1)


@operator("Imputer", domain=_DOMAIN)
def imputer(x, *, imputed_value_floats=None, imputed_value_int64s=None, replaced_value_float=0.0, replaced_value_int64=0):
    if x.is_floating_point():
        values, replaced = _floats(imputed_value_floats), replaced_value_float
        missing = torch.isnan(x) if np.isnan(replaced) else torch.eq(x, replaced)
    else:
        values = as_tensor(np.array(imputed_value_int64s, np.int64))
        missing = torch.eq(x, replaced_value_int64)
    return torch.where(missing, values.to(x.dtype), x)


def _accepts_numbers(node):
    tensors = [a.as_tensor() for a in node.attributes.values() if a.type is ir.AttributeType.TENSOR]
    return "labels that are strings" if any(t.dtype is ir.DataType.STRING for t in tensors) else None


@operator("LabelEncoder", domain=_DOMAIN, since=2)
def label_encoder(
    x,
    *,
    keys_int64s=None,
    keys_floats=None,
    values_int64s=None,
    values_floats=None,
    default_float=-0.0,
    default_int64=-1,
    default_string="_Unused",
):
    keys = np.array(keys_floats if keys_int64s is None else keys_int64s)
    if values_int64s is not None:
        return _look_up(x, keys, np.array(values_int64s, np.int64), default_int64)
    return _look_up(x, keys, np.array(values_floats, np.float32), default_float)


@operator("LabelEncoder", domain=_DOMAIN, since=4, accepts=_accepts_numbers)
def label_encoder_of_tensors(
    x,
    *,
    keys_int64s=None,
    keys_floats=None,
    keys_tensor=None,
    values_int64s=None,
    values_floats=None,
    values_tensor=None,
    default_float=-0.0,
    default_int64=-1,
    default_string="_Unused",
    default_tensor=None,
):
    """Since version 4 NaN is a key like any other."""
    keys = np.asarray(next(k for k in (keys_tensor, keys_int64s, keys_floats) if k is not None))
    values = values_tensor
    if values is None:
        values = np.array(values_floats, np.float32) if values_int64s is None else np.array(values_int64s, np.int64)
    default = default_int64 if values.dtype.kind == "i" else default_float
    return _look_up(x, keys, values, default if default_tensor is None else default_tensor, nan_is_a_key=True)


def _look_up(x, keys, values, default, nan_is_a_key=False):
    """The value of the key that is equal, found by comparing with all keys."""
    keys = as_tensor(np.ascontiguousarray(keys))
    found = torch.eq(x.unsqueeze(-1), keys.to(x.dtype))
    if nan_is_a_key and keys.is_floating_point():
        found = torch.logical_or(found, torch.logical_and(torch.isnan(x).unsqueeze(-1), torch.isnan(keys)))
    table = as_tensor(np.append(values, default).astype(values.dtype))
    nowhere = torch.logical_not(torch.any(found, -1, keepdim=True))
    return torch.index_select(table, 0, torch.argmax(torch.cat([found, nowhere], -1).to(torch.int32), -1).reshape(-1)).reshape(
        x.shape
    )


@operator("LinearRegressor", domain=_DOMAIN)
def linear_regressor(x, *, coefficients, intercepts=None, post_transform="NONE", targets=1):
    return _transformed(_linear(x, coefficients, intercepts, targets), post_transform)


@operator("LinearClassifier", domain=_DOMAIN)
def linear_classifier(x, *, coefficients, intercepts=None, classlabels_ints, multi_class=0, post_transform="NONE"):
    rows = len(coefficients) // x.shape[-1]
    scores = _linear(x, coefficients, intercepts, rows)
    if rows == 1 and len(classlabels_ints) == 2:
        # One row of coefficients is for the second class. ONNX Runtime takes the first's score from one, whatever it is.
        label = torch.gt(scores, 0).to(torch.int64).squeeze(-1)
        second = torch.sigmoid(scores) if post_transform == "LOGISTIC" else scores
        scores = torch.cat([1 - second, second], -1)
    else:
        label = torch.argmax(scores, -1)
        scores = _transformed(scores, post_transform)
    return torch.index_select(as_tensor(np.array(classlabels_ints, np.int64)), 0, label), scores


def _linear(x, coefficients, intercepts, rows):
    x = x.to(torch.float32)
    x = x.unsqueeze(0) if x.dim() == 1 else x
    weights = _floats(coefficients).reshape(rows, -1)
    return torch.nn.functional.linear(x, weights, None if intercepts is None else _floats(intercepts))


def _transformed(scores, name):
    if name not in _TRANSFORMS:
        raise UnsupportedError(f"the post-transform {name}")
    return _TRANSFORMS[name](scores)


_TRANSFORMS = {
    "NONE": lambda scores: scores,
    "LOGISTIC": torch.sigmoid,
    "SOFTMAX": lambda scores: torch.softmax(scores, -1),
}
