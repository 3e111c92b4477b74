"""ai.onnx.ml: preprocessing and linear models on numbers (trees are rewritten, strings are refused)."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import torch

from convkit.interpreters.operators import UnsupportedError
from convkit.interpreters.pytorch.operators.indexing import from_start
from convkit.interpreters.pytorch.table import operator

_DOMAIN = "ai.onnx.ml"


def _floats(values):
    return torch.from_numpy(np.array(values, np.float32))


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
        values = torch.from_numpy(np.array(imputed_value_int64s, np.int64))
        missing = torch.eq(x, replaced_value_int64)
    return torch.where(missing, values.to(x.dtype), x)


def _accepts_numbers(node):
    texts = [name for name in node.attributes if name.endswith("_strings")]
    texts += [
        name
        for name, a in node.attributes.items()
        if a.type is ir.AttributeType.TENSOR and a.as_tensor().dtype is ir.DataType.STRING
    ]
    return f"labels that are strings ({', '.join(texts)})" if texts else None


@operator("LabelEncoder", domain=_DOMAIN, since=2, accepts=_accepts_numbers)
def label_encoder(
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
    keys = next(k for k in (keys_tensor, keys_int64s, keys_floats) if k is not None)
    if values_tensor is not None:
        default = np.full((), -1 if values_tensor.dtype.kind == "i" else -0.0) if default_tensor is None else default_tensor
        return _look_up(x, np.asarray(keys), values_tensor, default)
    if values_int64s is not None:
        return _look_up(x, np.asarray(keys), np.array(values_int64s, np.int64), default_int64)
    return _look_up(x, np.asarray(keys), np.array(values_floats, np.float32), default_float)


def _look_up(x, keys, values, default):
    """The value of the key that is equal (or NaN like the element), found by comparing with all keys."""
    keys = torch.from_numpy(np.ascontiguousarray(keys))
    found = torch.eq(x.unsqueeze(-1), keys.to(x.dtype))
    if keys.is_floating_point():
        found = torch.logical_or(found, torch.logical_and(torch.isnan(x).unsqueeze(-1), torch.isnan(keys)))
    table = torch.from_numpy(np.append(values, default).astype(values.dtype))
    nowhere = torch.logical_not(torch.any(found, -1, keepdim=True))
    return torch.index_select(table, 0, torch.argmax(torch.cat([found, nowhere], -1).to(torch.int32), -1).reshape(-1)).reshape(
        x.shape
    )


@operator("LinearRegressor", domain=_DOMAIN)
def linear_regressor(x, *, coefficients, intercepts=None, post_transform="NONE", targets=1):
    return _transformed(_linear(x, coefficients, intercepts, targets), post_transform)


@operator("LinearClassifier", domain=_DOMAIN, accepts=_accepts_numbers)
def linear_classifier(x, *, coefficients, intercepts=None, classlabels_ints=None, multi_class=0, post_transform="NONE"):
    classes = len(classlabels_ints)
    rows = len(coefficients) // x.shape[-1]
    scores = _linear(x, coefficients, intercepts, rows)
    if rows == 1 and classes == 2:
        # One row of coefficients tells the second class from the first.
        label = torch.gt(torch.sigmoid(scores) if post_transform == "LOGISTIC" else scores, _boundary(post_transform)).to(
            torch.int64
        )
        both = torch.cat([1 - torch.sigmoid(scores), torch.sigmoid(scores)], -1)
        scores = both if post_transform == "LOGISTIC" else _transformed(torch.cat([-scores, scores], -1), post_transform)
        label = label.squeeze(-1)
    else:
        label = torch.argmax(scores, -1)
        scores = _transformed(scores, post_transform)
    return torch.index_select(torch.from_numpy(np.array(classlabels_ints, np.int64)), 0, label), scores


def _boundary(post_transform):
    return 0.5 if post_transform == "LOGISTIC" else 0.0


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
