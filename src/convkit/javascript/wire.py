"""Named tensors as bytes, for a pipe to Node and for requests of a page; `wire.mjs` is the other side and says how they lie."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

__all__ = ["PREFIX", "WireError", "pack_message", "unpack_message", "unpack_tensors"]

PREFIX = struct.Struct("<IQ")
_LENGTH = struct.Struct("<I")
_NUMBERS = {
    "bool": "?",
    "complex64": "<c8",
    **{f"float{8 * size}": f"<f{size}" for size in (2, 4, 8)},
    **{f"{name}{8 * size}": f"<{kind}{size}" for name, kind in (("int", "i"), ("uint", "u")) for size in (1, 2, 4, 8)},
}


class WireError(ValueError):
    """A message is not what it says it is."""


def pack_message(header: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> list[bytes | memoryview]:
    """The parts of a message, in order.

    Args:
        header: What JSON holds; `tensors` is added to it.
        tensors: Arrays of numbers (up to complex64), booleans or str.

    Raises:
        WireError: An array has another dtype.
    """
    parts: list[bytes | memoryview] = []
    entries = []
    for name, array in tensors.items():
        dtype = "string" if array.dtype.kind == "U" else array.dtype.name
        if dtype != "string" and dtype not in _NUMBERS:
            raise WireError(f"no tensor of {dtype} can be sent")
        part = _packed_strings(array) if dtype == "string" else _packed_numbers(array, dtype)
        parts.append(part)
        entries.append({"name": name, "dtype": dtype, "shape": list(array.shape), "bytes": len(part)})
    text = json.dumps({**header, "tensors": entries}).encode()
    return [PREFIX.pack(len(text), sum(map(len, parts))), text, *parts]


def _packed_numbers(array: np.ndarray, dtype: str) -> memoryview:
    return np.ascontiguousarray(array, _NUMBERS[dtype]).reshape(-1).view(np.uint8).data


def _packed_strings(array: np.ndarray) -> bytes:
    encoded = [str(text).encode("utf-8", "surrogateescape") for text in array.ravel()]
    return b"".join(_LENGTH.pack(len(text)) + text for text in encoded)


def unpack_message(data: bytes | bytearray) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A whole message: its header and its tensors.

    Raises:
        WireError: Its lengths do not add up, or it is no JSON.
    """
    if len(data) < PREFIX.size:
        raise WireError("a message is cut off")
    header_bytes, payload_bytes = PREFIX.unpack_from(data)
    if len(data) != PREFIX.size + header_bytes + payload_bytes:
        raise WireError(f"a message of {len(data)} bytes says that it has {PREFIX.size + header_bytes + payload_bytes}")
    start = PREFIX.size + header_bytes
    try:
        header = json.loads(data[PREFIX.size : start])
    except (ValueError, RecursionError) as error:
        raise WireError(f"a message's header is no JSON: {error}") from None
    if not isinstance(header, dict):
        raise WireError("a message's header is no object")
    return header, unpack_tensors(header, memoryview(data)[start:])


def unpack_tensors(header: Mapping[str, Any], payload: memoryview) -> dict[str, np.ndarray]:
    """The tensors that a header lists, from the message's payload; they own their memory.

    Raises:
        WireError: The list does not fit the payload.
    """
    found: dict[str, np.ndarray] = {}
    offset = 0
    try:
        for entry in header["tensors"]:
            size, shape = int(entry["bytes"]), tuple(int(d) for d in entry["shape"])
            part = payload[offset : offset + size]
            if size < 0 or len(part) != size or min(shape, default=0) < 0:
                raise WireError("it is cut off")
            found[str(entry["name"])] = _unpacked(part, str(entry["dtype"]), shape)
            offset += size
    except (KeyError, TypeError, ValueError, struct.error) as error:
        raise WireError(f"a message's tensors do not fit it: {error}") from None
    return found


def _unpacked(part: memoryview, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    if dtype == "string":
        strings = list(_unpacked_strings(part))
        return np.array(strings, dtype=np.str_).reshape(shape) if strings else np.empty(shape, np.str_)
    kind = np.dtype(_NUMBERS[dtype])
    if math.prod(shape) * kind.itemsize != len(part):
        raise WireError(f"{len(part)} bytes are no {dtype}{list(shape)}")
    return np.frombuffer(part, kind).reshape(shape).copy()


def _unpacked_strings(part: memoryview) -> Iterator[str]:
    offset = 0
    while offset < len(part):
        (length,) = _LENGTH.unpack_from(part, offset)
        offset += _LENGTH.size
        if length > len(part) - offset:
            raise WireError("a string is cut off")
        yield bytes(part[offset : offset + length]).decode("utf-8", "surrogateescape")
        offset += length
