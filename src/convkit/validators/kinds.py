"""What an output is: class scores, a mask, labels, … told from its dtype, rank, name and values; `VALUES` where they do not tell.

A wrong guess would report a number that means nothing, so every kind needs a sign that the others do not show: values that
sum to one, values that are zero and one, a name, or a number of classes that only ImageNet has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from convkit.components import OutputKind

__all__ = ["Inferred", "class_axis", "inferred", "sums_to_one"]

_IMAGENET = frozenset({1000, 1001, 21841, 21842, 21843})
_VOCABULARY = 1000
"""From this size on a last axis of named logits is a vocabulary, and no list of classes per position."""
_LEAST_GRID = 8
_GLANCE = 1024
"""Values that most outputs are told from a mask by."""
_MOST_CLASSES = 256
_ROUNDED = 1e-3

_SCORES = re.compile(r"logit|prob|score|softmax|sigmoid|class(?!_token)|\bcls\b|pred", re.IGNORECASE)
_PIXELS = re.compile(r"seg|mask|logit|class|prob", re.IGNORECASE)
_MASK = re.compile(r"mask|seg|matte|alpha", re.IGNORECASE)
_TOKENS = re.compile(r"logit|token|vocab|lm_", re.IGNORECASE)
_BOXES = re.compile(r"box", re.IGNORECASE)


@dataclass(frozen=True)
class Inferred:
    """What an output is taken for, and the sign of it."""

    kind: OutputKind
    why: str

    def __str__(self) -> str:
        return f"{self.kind.value} ({self.why})" if self.why else self.kind.value


def inferred(name: str, array: np.ndarray) -> Inferred:
    """What an output of that name with these values is.

    Args:
        name: Of the output.
        array: What the source gave, of any shape and dtype.
    """
    values = Inferred(OutputKind.VALUES, "")
    if array.size == 0 or array.dtype.kind not in "biuf":
        return values
    if array.dtype.kind == "b":
        return Inferred(OutputKind.MASK, "booleans")
    if array.dtype.kind in "iu":
        return _of_integers(name, array)
    if array.ndim >= 2 and _BOXES.search(name) and array.shape[-1] == 4:
        return Inferred(OutputKind.BOXES, "its name, and four numbers each")
    if array.ndim >= 2 and _is_binary(array):
        return Inferred(OutputKind.MASK, "all values are 0 or 1")
    return _of_pixels(name, array) or _of_rows(name, array) or values


def class_axis(array: np.ndarray) -> int | None:
    """The axis of the classes in scores per pixel, (N, C, H, W) or (N, H, W, C); None where neither sizes nor values tell.

    There are fewer classes than rows or columns, or the values along the axis are probabilities.
    """
    if array.ndim != 4 or array.dtype.kind != "f":
        return None
    possible = []
    for axis, grid in ((1, (array.shape[2], array.shape[3])), (3, (array.shape[1], array.shape[2]))):
        if 2 <= array.shape[axis] <= _MOST_CLASSES and min(grid) >= _LEAST_GRID:
            possible.append((axis, array.shape[axis] < min(grid)))
    fewer = [axis for axis, is_fewer in possible if is_fewer]
    if len(fewer) == 1:
        return fewer[0]
    summing = [axis for axis, _ in possible if sums_to_one(array, axis)]
    return summing[0] if len(summing) == 1 else None


def _of_integers(name: str, array: np.ndarray) -> Inferred:
    if array.ndim >= 2 and (_is_binary(array) or (_MASK.search(name) and array.max() <= 1)):
        return Inferred(OutputKind.MASK, "all values are 0 or 1")
    return Inferred(OutputKind.LABELS, "integers")


def _of_pixels(name: str, array: np.ndarray) -> Inferred | None:
    axis = class_axis(array)
    if axis is not None and sums_to_one(array, axis):
        return Inferred(OutputKind.PIXEL_SCORES, "values that sum to 1")
    if array.ndim >= 3 and _MASK.search(name) and _is_grid(array) and array.min() >= 0.0 and array.max() <= 1.0:
        return Inferred(OutputKind.MASK, "its name, and values between 0 and 1")
    return Inferred(OutputKind.PIXEL_SCORES, "its name") if axis is not None and _PIXELS.search(name) else None


def _of_rows(name: str, array: np.ndarray) -> Inferred | None:
    if array.ndim < 2 or array.shape[-1] < 2:
        return None
    if array.ndim == 3 and array.shape[-1] >= _VOCABULARY and _TOKENS.search(name):
        return Inferred(OutputKind.TOKEN_LOGITS, "its name, and a last axis as large as a vocabulary")
    if array.ndim == 2 and _SCORES.search(name):
        return Inferred(OutputKind.SCORES, "its name")
    if array.ndim == 2 and sums_to_one(array, -1):
        return Inferred(OutputKind.SCORES, "rows that sum to 1")
    if array.ndim == 2 and array.shape[-1] in _IMAGENET:
        return Inferred(OutputKind.SCORES, f"{array.shape[-1]} of them, as ImageNet has classes")
    return None


def _is_binary(array: np.ndarray) -> bool:
    """Whether both 0 and 1 occur, and nothing else."""
    return all(_holds_only_bits(part) for part in (array.ravel()[:_GLANCE], array)) and bool(array.any() and not array.all())


def _holds_only_bits(array: np.ndarray) -> bool:
    return bool(((array == 0) | (array == 1)).all())


def _is_grid(array: np.ndarray) -> bool:
    return len([n for n in array.shape if n >= _LEAST_GRID]) >= 2


def sums_to_one(array: np.ndarray, axis: int) -> bool:
    """Whether the values along an axis are probabilities of classes, and not the same everywhere."""
    if not (array.min() >= 0.0 and array.max() > array.min()):  # NaN is none of the two
        return False
    return bool(np.abs(array.sum(axis, dtype=np.float64) - 1.0).max() < _ROUNDED)
