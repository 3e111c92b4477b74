"""Reads the weights of a TF.js model into arrays, quantised ones in full precision.

What TF.js makes of the bytes: tfjs-core/src/io/io_utils.ts (decodeWeight).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convkit.readers.damage import DamagedFileError
from convkit.readers.tfjs_weights import Weight, WeightGroup, weight_groups

if TYPE_CHECKING:
    import numpy as np

__all__ = ["read_weights"]

_LENGTH = struct.Struct("<I")


def read_weights(file: Path, model: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays by weight name, in TF.js's dtypes (float32, int32, bool, complex64; strings as objects).

    Args:
        file: The `model.json`, whose directory holds the shards.
        model: Its content.

    Raises:
        UnreadableModelError: when a shard lies elsewhere, is missing, or has another size than its weights.
        DamagedFileError: when an entry of the manifest is none.
    """
    arrays: dict[str, np.ndarray] = {}
    for group in weight_groups(file, model):
        arrays.update(_arrays(group))
    return arrays


def _arrays(group: WeightGroup) -> dict[str, np.ndarray]:
    data = memoryview(b"".join(shard.read_bytes() for shard in group.shards))
    arrays, offset = {}, 0
    for weight in group.weights:
        if weight.size is None:
            arrays[weight.name], offset = _strings(data, offset, weight)
            continue
        if not weight.is_for_training:
            arrays[weight.name] = _numbers(data[offset : offset + weight.size], weight)
        offset += weight.size
    if offset != len(data):
        raise DamagedFileError(f"its shards have {len(data)} bytes, and its weights take {offset}")
    return arrays


def _numbers(data: memoryview, weight: Weight) -> np.ndarray:
    import numpy as np

    stored = np.dtype(weight.stored).newbyteorder("<")
    values = np.frombuffer(data, stored).reshape(weight.shape)
    if weight.stored == weight.dtype:
        return values.astype(_loaded_dtype(weight.dtype))
    if weight.stored == "float16":
        return values.astype(np.float32)
    # JavaScript's numbers are float64, and its Math.round takes halves up.
    affine = values.astype(np.float64) * weight.scale + weight.minimum
    return affine.astype(np.float32) if weight.dtype == "float32" else np.floor(affine + 0.5).astype(np.int32)


def _loaded_dtype(dtype: str) -> str:
    return {"float16": "float32", "uint8": "int32", "uint16": "int32"}.get(dtype, dtype)


def _strings(data: memoryview, offset: int, weight: Weight) -> tuple[np.ndarray, int]:
    """Strings are stored one by one, each behind its length of four bytes."""
    import numpy as np

    if weight.elements * _LENGTH.size > len(data) - offset:
        raise DamagedFileError(f"the strings of {weight.name!r} go beyond the end of its shard")
    values = []
    for _ in range(weight.elements):
        if offset + _LENGTH.size > len(data):
            raise DamagedFileError(f"the strings of {weight.name!r} go beyond the end of its shard")
        (length,) = _LENGTH.unpack_from(data, offset)
        offset += _LENGTH.size
        if length > len(data) - offset:
            raise DamagedFileError(f"the strings of {weight.name!r} go beyond the end of its shard")
        values.append(bytes(data[offset : offset + length]))
        offset += length
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(weight.shape), offset
