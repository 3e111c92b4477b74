"""LiteRT files with every dynamic dimension fixed: LiteRT.js runs a model at the sizes that its file has, and no others."""

from __future__ import annotations

import struct
from pathlib import Path

from convkit.readers.flatbuffer import FlatBuffer, Table

__all__ = ["fix_sizes"]

# tensorflow/lite/schema/schema.fbs: Model.subgraphs, SubGraph.tensors, Tensor.shape and Tensor.shape_signature.
_SUBGRAPHS, _TENSORS, _SHAPE, _SHAPE_SIGNATURE = 2, 0, 0, 7


def fix_sizes(source: Path, target: Path) -> None:
    """Writes a copy of a file in which dynamic dimensions have the sizes that the file was converted at (mostly 1).

    A dynamic dimension is -1 in a tensor's `shape_signature`; `shape` has a size for it, which takes its place.
    """
    data = bytearray(source.read_bytes())
    model = FlatBuffer(bytes(data)).root()
    for tensor in (tensor for graph in model.children(_SUBGRAPHS) for tensor in graph.children(_TENSORS)):
        _fix(tensor, data)
    target.write_bytes(data)


def _fix(tensor: Table, data: bytearray) -> None:
    shape, dynamic = tensor.numbers(_SHAPE, "i"), tensor.numbers(_SHAPE_SIGNATURE, "i")
    if len(shape) == len(dynamic) and -1 in dynamic:
        start, length = tensor.span(_SHAPE_SIGNATURE)
        struct.pack_into(f"<{length}i", data, start, *shape)
