"""Messages of tensors: what goes in comes out, and what is no message is refused. Node's side is tested with the runtime."""

from __future__ import annotations

import json

import numpy as np
import pytest

from convkit.javascript.wire import PREFIX, WireError, pack_message, unpack_message

ARRAYS = {
    "scalar": np.array(-0.0, np.float32),
    "specials": np.array([np.nan, np.inf, -np.inf], np.float64),
    "half": np.array([[1.5], [65504]], np.float16),
    "wide": np.array([-(2**63), 2**63 - 1]),
    "bytes": np.arange(5, dtype=np.uint8),
    "truth": np.array([[True, False]]),
    "none": np.zeros((2, 0), np.int32),
    "pairs": np.array([1 + 2j], np.complex64),
    "text": np.array(["", "日本\0x", "a" * 300]),
    "transposed": np.arange(6, dtype=np.int32).reshape(2, 3).T,
    "big end first": np.array([1, 2], ">f4"),
}


def test_what_goes_in_comes_out():
    header, tensors = unpack_message(b"".join(pack_message({"operation": "run"}, ARRAYS)))
    assert header["operation"] == "run"
    assert list(tensors) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert tensors[name].shape == array.shape
        assert tensors[name].dtype.newbyteorder("=") == array.dtype.newbyteorder("=") or array.dtype.kind == "U"
        np.testing.assert_array_equal(tensors[name], array)
        assert tensors[name].flags.writeable


@pytest.mark.parametrize(
    "array", [np.array([b"x"]), np.array([None]), np.array([1 + 2j]), np.array(["2020-01-01"], "datetime64[D]")]
)
def test_what_cannot_be_sent(array):
    with pytest.raises(WireError, match="can be sent"):
        pack_message({}, {"x": array})


def message(header: object, payload: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return PREFIX.pack(len(text), len(payload)) + text + payload


def entry(**changes: object) -> dict:
    return {"tensors": [{"name": "x", "dtype": "float32", "shape": [2], "bytes": 8, **changes}]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 11,
        message(entry(), b"\0" * 8)[:-1],
        message(entry(), b"\0" * 8) + b"\0",
        message(b"{", b""),
        message(b"[" * 100_000, b""),
        message([], b""),
        message({}, b""),
        message(entry(bytes=-8), b"\0" * 8),
        message(entry(bytes=12), b"\0" * 8),
        message(entry(bytes="many"), b"\0" * 8),
        message(entry(shape=[3]), b"\0" * 8),
        message(entry(shape=[-2]), b"\0" * 8),
        message(entry(shape=[1 << 62, 4]), b"\0" * 8),
        message(entry(dtype="object"), b"\0" * 8),
        message(entry(dtype="string", shape=[1]), b"\xff" * 8),
        message(entry(dtype="string", shape=[9]), b"\0" * 8),
        message({"tensors": 5}, b""),
    ],
    ids=lambda data: data[12:80].decode(errors="replace"),
)
def test_what_is_no_message(data):
    with pytest.raises(WireError):
        unpack_message(data)
