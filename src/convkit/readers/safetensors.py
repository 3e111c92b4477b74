"""safetensors: eight bytes of header length, a JSON header, then the tensors' bytes without gaps.

Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from convkit.artifact import ModelInfo
from convkit.formats import Variant
from convkit.readers.damage import DamagedFileError

__all__ = ["matches", "read"]

# The reference implementation's own limit.
_HEADER_LIMIT = 100_000_000
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64,
    "I64": 64, "F64": 64, "C64": 64, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


def matches(path: Path, head: bytes) -> Variant | None:
    """The header is a JSON object: its brace follows the length."""
    return Variant.SAFETENSORS if len(head) > 9 and head[8:10] in {b'{"', b"{ ", b"{}", b"{\n"} else None


def read(path: Path, variant: Variant) -> ModelInfo:
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(_HEADER_LIMIT, size - 8):
            raise DamagedFileError(f"its header claims {length} bytes of {size}")
        header = json.loads(stream.read(length).decode("utf-8"))
    written = header.pop("__metadata__", {})
    dtypes: dict[str, int] = {}
    end = parameters = 0
    # The reference implementation demands tensors without gaps or overlaps, in the order of their offsets.
    for name, entry in sorted(header.items(), key=lambda item: tuple(item[1]["data_offsets"])):
        start, stop = entry["data_offsets"]
        elements = _elements(name, entry["shape"])
        bits = elements * _BITS.get(entry["dtype"], 0)
        if start != end or (stop - start) * 8 != bits:
            raise DamagedFileError(f"the tensor {name!r} has the bytes {start} to {stop} for {entry['shape']}")
        end = stop
        parameters += elements
        dtypes[entry["dtype"]] = dtypes.get(entry["dtype"], 0) + 1
    if end != size - 8 - length:
        raise DamagedFileError(f"its tensors take {end} bytes, the file has {size - 8 - length} for them")
    metadata: dict[str, Any] = {"tensors": len(header), "dtypes": dtypes}
    if written:
        metadata["metadata"] = {str(key): str(value)[:200] for key, value in written.items()}
    return ModelInfo(
        variant,
        path,
        size,
        parameters=parameters,
        metadata=metadata,
        requires=("the code that builds the module (--factory FILE.py:FUNCTION)",),
        notes=("weights only: the file holds no program and no input shapes",),
    )


def _elements(name: str, shape: Any) -> int:
    if not all(type(d) is int and d >= 0 for d in shape):
        raise DamagedFileError(f"the tensor {name!r} has the shape {shape}")
    return math.prod(shape)
