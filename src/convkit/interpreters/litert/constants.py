"""The arrays of a file's constants: dense, packed below a byte, or sparse."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from convkit.readers.damage import DamagedFileError

__all__ = ["PARTS_OF_A_BYTE", "Sparsity", "array_of", "itemsize"]

PARTS_OF_A_BYTE = {"int4": 2, "uint4": 2, "int2": 4}
"""How many elements of a type share a byte, the first one in its lowest bits."""

_OTHER_WIDTHS = {"bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1}
_LARGEST_DENSE = 1 << 32
"""Elements beyond which a sparse constant is taken for a damaged one."""


@dataclass(frozen=True)
class Sparsity:
    """How a sparse constant's values are laid out (`SparsityParameters` of the schema, after the TACO paper).

    Attributes:
        order: The order in which dimensions are stored; block dimensions come after the tensor's own.
        blocks: For each block dimension the tensor's dimension that it divides.
        dimensions: In stored order: the size of a dense one, or (segments, indices) of a compressed one.
    """

    order: tuple[int, ...]
    blocks: tuple[int, ...]
    dimensions: tuple[int | tuple[tuple[int, ...], tuple[int, ...]], ...]


def itemsize(dtype: str) -> int:
    """Bytes of one element; of types below a byte: 1."""
    if dtype in PARTS_OF_A_BYTE:
        return 1
    return _OTHER_WIDTHS.get(dtype) or np.dtype(dtype).itemsize


def array_of(raw: np.ndarray, dtype: str, shape: tuple[int, ...], sparsity: Sparsity | None) -> np.ndarray:
    """A constant.

    Args:
        raw: Its bytes.
        dtype: Of its elements.
        shape: Of the dense array.
        sparsity: None for a dense one.

    Returns:
        An array of that shape; elements below a byte as int8 or uint8, those that numpy lacks as ml_dtypes has them.

    Raises:
        DamagedFileError: It has not the bytes that its shape needs.
    """
    parts = PARTS_OF_A_BYTE.get(dtype, 1)
    count = math.prod(shape)
    if sparsity is not None:
        if count > _LARGEST_DENSE:
            raise DamagedFileError(f"a sparse constant of the shape {list(shape)}")
        whole = raw[: len(raw) // itemsize(dtype) * itemsize(dtype)]
        values = _unpacked(raw, dtype, parts * len(raw)) if parts > 1 else _typed(whole, dtype)
        return _dense(values, shape, sparsity)
    needed = -(-count // parts) * itemsize(dtype)
    if len(raw) < needed:
        raise DamagedFileError(f"a constant of the shape {list(shape)} needs {needed} bytes, and has {len(raw)}")
    raw = raw[:needed]
    return (_unpacked(raw, dtype, count) if parts > 1 else _typed(raw, dtype)).reshape(shape)


def _typed(raw: np.ndarray, dtype: str) -> np.ndarray:
    if dtype in _OTHER_WIDTHS:
        import ml_dtypes

        return raw.view(np.dtype(getattr(ml_dtypes, dtype)))
    # Buffers need not be aligned to their type.
    return np.frombuffer(raw.tobytes(), dtype)


def _unpacked(raw: np.ndarray, dtype: str, count: int) -> np.ndarray:
    parts = PARTS_OF_A_BYTE[dtype]
    width = 8 // parts
    shifts = np.arange(parts, dtype=np.uint8) * width
    values = (raw[:, None] >> shifts) & np.uint8((1 << width) - 1)
    values = values.reshape(-1)[:count]
    if dtype.startswith("u"):
        return values
    sign = 1 << (width - 1)
    return ((values.astype(np.int16) ^ sign) - sign).astype(np.int8)


def _dense(values: np.ndarray, shape: tuple[int, ...], sparsity: Sparsity) -> np.ndarray:
    """The dense array of a sparse constant: every stored dimension multiplies the list of places."""
    rank = len(shape)
    if sorted(sparsity.order) != list(range(rank + len(sparsity.blocks))) or len(sparsity.dimensions) != len(sparsity.order):
        raise DamagedFileError("a sparse constant's dimensions do not fit its shape")
    places = np.zeros((1, 0), np.int64)
    for dimension in sparsity.dimensions:
        places = _extended(places, dimension, max(math.prod(shape), len(values)))
    if len(places) != len(values):
        raise DamagedFileError(f"a sparse constant has {len(values)} values for {len(places)} places")
    found = np.zeros((len(places), rank), np.int64)
    by_dimension = {d: places[:, position] for position, d in enumerate(sparsity.order)}
    for d in range(rank):
        found[:, d] = by_dimension[d]
    for number, d in enumerate(sparsity.blocks):
        size: Any = sparsity.dimensions[sparsity.order.index(rank + number)]
        if not isinstance(size, int) or not 0 <= d < rank:
            raise DamagedFileError("a sparse constant's blocks do not fit its shape")
        found[:, d] = found[:, d] * size + by_dimension[rank + number]
    if len(found) and ((found < 0).any() or (found >= np.array(shape)).any()):
        raise DamagedFileError("a sparse constant has values outside of its shape")
    dense = np.zeros(shape, values.dtype)
    dense[tuple(found.T)] = values
    return dense


def _extended(places: np.ndarray, dimension: Any, most: int) -> np.ndarray:
    """Places with one more coordinate; `most` is what there can be of them."""
    if isinstance(dimension, int):
        if dimension < 1 or len(places) * dimension > most:
            raise DamagedFileError("a sparse constant has more places than its shape")
        inner = np.tile(np.arange(dimension), len(places))
        return np.column_stack([np.repeat(places, dimension, axis=0), inner])
    segments, indices = (np.array(v, np.int64) for v in dimension)
    counts = np.diff(segments)
    if len(counts) != len(places) or (counts < 0).any() or counts.sum() != len(indices) or len(indices) > most:
        raise DamagedFileError("a sparse constant's segments do not fit")
    return np.column_stack([np.repeat(places, counts, axis=0), indices])
