"""The dtypes that TF.js has (float32, int32, bool, string, complex64), and the others' place among them.

Source: tfjs-core/src/types.ts (DataTypeMap). Wide types lose range or precision, which the model's edge declares; integers
of 8 and 16 bits are computed in 32 and wrapped around where an operator can leave their range.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from convkit.legalization.tfjs.nodes import RefusedError

__all__ = ["NARROWED", "UNHELD", "edge_dtype", "narrow_array", "narrow_attributes", "narrow_dtype", "wrapped"]

NARROWED = {
    **dict.fromkeys(("int8", "uint8", "int16", "uint16", "uint32", "int64", "uint64"), "int32"),
    **dict.fromkeys(("float16", "bfloat16", "float64"), "float32"),
    "complex128": "complex64",
}
"""dtype → what TF.js computes it in."""

UNHELD = frozenset(("int64", "uint32", "uint64"))
"""Integers that int32 does not hold."""

_SMALL = {"uint8": (0, 256), "int8": (-128, 256), "uint16": (0, 65536), "int16": (-32768, 65536)}
_INT32 = np.iinfo(np.int32)
_FLOAT32 = np.finfo(np.float32)


def edge_dtype(dtype: str) -> str:
    """The dtype that an input or output has in TF.js."""
    return NARROWED.get(dtype, dtype)


def narrow_dtype(dtype: Any) -> Any:
    """A `tf.DType` as TF.js computes it."""
    import tensorflow as tf

    base = dtype.base_dtype
    return tf.as_dtype(NARROWED[base.name]) if base.name in NARROWED else base


def narrow_array(array: np.ndarray) -> np.ndarray:
    """A constant in the dtype that TF.js computes it in.

    Integers beyond 32 bits become the nearest that 32 bits hold: they stand for "no limit" (the end of a slice, the start
    of a minimum). Finite numbers stay finite for the same reason.
    """
    name = array.dtype.name
    if name not in NARROWED:
        return array
    wanted = np.dtype(NARROWED[name])
    if name in UNHELD:
        array = np.clip(array, _INT32.min if array.dtype.kind == "i" else 0, _INT32.max)
    elif name == "float64":
        array = np.where(np.isfinite(array), np.clip(array, _FLOAT32.min, _FLOAT32.max), array)
    return np.asarray(array).astype(wanted)


def narrow_attributes(attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a node, with dtypes as TF.js computes them; in place."""
    import tensorflow as tf

    def narrowed(enum: int) -> int:
        return int(narrow_dtype(tf.as_dtype(enum)).as_datatype_enum)

    for value in attributes.values():
        if value.HasField("type"):
            value.type = narrowed(value.type)
        elif value.HasField("list") and value.list.type:
            value.list.type[:] = [narrowed(t) for t in value.list.type]
    return attributes


def wrapped(tensor: Any, dtype: str) -> Any:
    """An int32 result brought back into the range of the source's dtype, as its own arithmetic does.

    Raises:
        RefusedError: The dtype's arithmetic does not fit into 32 bits.
    """
    import tensorflow as tf

    if dtype not in _SMALL:
        if dtype in ("uint32", "uint64"):
            raise RefusedError(f"{dtype} arithmetic does not fit into int32")
        return tensor
    low, size = _SMALL[dtype]
    return tf.math.floormod(tensor - low, size) + low
