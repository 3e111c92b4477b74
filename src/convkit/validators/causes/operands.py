"""Causes that show when the operator is computed anew: its operands, its axis, its function."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from convkit.validators.causes.case import Case, Cause, cause

__all__ = ["FUNCTIONS"]


def _erf(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "gelu (erf)": lambda x: 0.5 * x * (1 + _erf(x / np.sqrt(2))),
    "gelu (tanh)": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "gelu (sigmoid)": lambda x: x * _sigmoid(1.702 * x),
    "silu": lambda x: x * _sigmoid(x),
    "sigmoid": _sigmoid,
    "hard sigmoid (slope 0.2)": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "hard sigmoid (slope 1/6)": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard swish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "tanh": np.tanh,
    "erf": _erf,
    "erf by tanh (as in the approximate GELU)": lambda x: np.tanh(2 / np.sqrt(np.pi) * (x + 0.08943 * x**3)),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "softplus": lambda x: np.logaddexp(x, 0),
    "exp": np.exp,
    "square root": np.sqrt,
    "reciprocal square root": lambda x: 1 / np.sqrt(x),
}
"""Functions of one tensor that stand for each other in faulty conversions."""

_LARGEST = 1 << 20
"""Elements up to which functions are computed; of more, the first ones."""
_BINARY: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "power": np.power,
}


def _floats(case: Case) -> Iterator[np.ndarray]:
    for array in case.inputs:
        if array is not None and array.dtype.kind == "f":
            yield array.astype(np.float64)


@cause(10)
def dropped(case: Case) -> Cause | None:
    """The operator does nothing: one of its inputs comes out."""
    if not case.whole or case.kind in {"reshape", "transpose", "identity", "cast"}:
        return None
    for position, array in enumerate(case.inputs):
        if array is None or array.size <= 1:
            continue
        supposed = array if array.shape == case.got.shape else None
        if supposed is None:
            try:
                supposed = np.broadcast_to(array, case.got.shape)
            except ValueError:
                continue
        if case.explains(supposed):
            lost = "the residual is lost" if case.kind == "add" else "the operator is left out"
            return Cause("dropped", f"{lost}: its input {position} comes out as it is", case.evidence(supposed))
    return None


@cause(11)
def swapped_operands(case: Case) -> Cause | None:
    """a − b for b − a."""
    function = _BINARY.get(case.kind)
    given = list(_floats(case))
    if not case.whole or function is None or len(given) != 2 or case.kind in {"add", "multiply"}:
        return None
    supposed = _limited(function(given[1], given[0]))
    if not case.reproduces(_limited(function(*given))) or not case.explains(supposed):
        return None
    return Cause("swapped-operands", "the operands stand in each other's place", case.evidence(supposed))


def _limited(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32)


@cause(12)
def other_arithmetic(case: Case) -> Cause | None:
    """Another of the four operations, or another constant operand."""
    given = list(_floats(case))
    if not case.whole or case.kind not in _BINARY or len(given) != 2:
        return None
    for name, function in _BINARY.items():
        supposed = _limited(function(*given))
        if name != case.kind and case.explains(supposed):
            return Cause("other-operator", f"it computes {name}, not {case.kind}", case.evidence(supposed))
    return None


@cause(13)
def other_function(case: Case) -> Cause | None:
    """Another activation, or an approximation of it."""
    given = list(_floats(case))
    if not case.whole or len(given) != 1 or given[0].shape != case.expected.shape or given[0].size > _LARGEST:
        return None
    mine = next((n for n, f in FUNCTIONS.items() if case.reproduces(f(given[0]))), None)
    for name, function in FUNCTIONS.items():
        supposed = function(given[0])
        if name not in (mine, "identity") and case.explains(supposed):
            code = "gelu-approximation" if mine in ("gelu (erf)", "gelu (tanh)", "erf") else "other-function"
            return Cause(code, f"it computes {name}, not {mine or case.kind}", case.evidence(supposed))
    return _other_slope(case, given[0])


def _other_slope(case: Case, x: np.ndarray) -> Cause | None:
    below = x < 0
    if case.kind not in {"relu", "leaky relu", "prelu"} or not below.any():
        return None
    slope = float(np.median(case.got[below] / x[below]))
    supposed = np.where(below, slope * x, x)
    if not case.explains(supposed):
        return None
    return Cause("other-function", f"values below zero are multiplied by {slope:.4g}", case.evidence(supposed))


@cause(14)
def other_axis(case: Case) -> Cause | None:
    """Softmax, or its logarithm, over another axis."""
    given = list(_floats(case))
    if not case.whole or case.kind not in {"softmax", "log softmax"} or len(given) != 1:
        return None
    for axis in range(given[0].ndim):
        shifted = given[0] - given[0].max(axis=axis, keepdims=True)
        supposed = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
        if case.kind == "softmax":
            supposed = np.exp(supposed)
        if not case.reproduces(supposed) and case.explains(supposed):
            return Cause("wrong-axis", f"it runs over axis {axis}", case.evidence(supposed))
    return None


@cause(15)
def other_order(case: Case) -> Cause | None:
    """Parts of a concatenation or of a split in another order."""
    parts = [a for a in case.inputs if a is not None and a.ndim == case.expected.ndim]
    if not case.whole or case.kind != "concatenation" or len(parts) != 2:
        return None
    for axis in range(case.expected.ndim):
        try:
            supposed = np.concatenate(parts[::-1], axis)
        except ValueError:
            continue
        if case.explains(supposed):
            return Cause(
                "swapped-operands", f"the parts are joined in the other order along axis {axis}", case.evidence(supposed)
            )
    return None
