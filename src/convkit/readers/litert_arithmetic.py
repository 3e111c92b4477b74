"""What a LiteRT graph does with its inputs first, in the words of `input_domains`."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence

from convkit.readers.flatbuffer import Table
from convkit.readers.input_domains import MOST_CONSTANTS, Affine, Choice, Logarithm, Moved, Step, Truth, arithmetic

__all__ = ["steps"]

_MOVES = frozenset(
    (
        *("CAST", "EXPAND_DIMS", "GATHER", "LOGICAL_AND", "LOGICAL_NOT", "LOGICAL_OR", "MIRROR_PAD", "PAD", "PADV2", "RESHAPE"),
        *("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "SLICE", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE"),
        *("TILE", "BROADCAST_TO"),
    )
)
# The types of constants (schema.fbs, TensorType) that are scales and offsets.
_KINDS = {0: "f", 2: "i", 4: "q", 10: "d"}
_BOOL = 6
_ARITHMETIC = frozenset(("ADD", "SUB", "MUL", "DIV"))


def steps(subgraph: Table, tensors: Sequence[Table], buffers: Sequence[Table], codes: Sequence[str]) -> Iterator[Step]:
    """The steps of a subgraph, in its order; a value is named by its tensor's index.

    Args:
        subgraph: The subgraph.
        tensors: Of the subgraph.
        buffers: Of the model.
        codes: The names of the model's operators.
    """
    constants = _Constants(tensors, buffers)
    for operator in subgraph.children(3):
        code = operator.number(0, "I")
        name = codes[code] if code < len(codes) else ""
        given, results = operator.numbers(1, "i"), operator.numbers(2, "i")
        if not given or not results or not all(0 <= i < len(tensors) for i in (*given, *results) if i != -1):
            continue
        source, output = str(given[0]), str(results[0])
        if name == "CAST" and tensors[results[0]].number(1, "b") == _BOOL:
            yield Truth(source, output)
        elif name in _MOVES:
            for value in given if name in {"LOGICAL_AND", "LOGICAL_OR"} else given[:1]:
                yield Moved(str(value), (output,))
        elif name == "NEG":
            yield Affine(source, output, (-1.0,))
        elif name in _ARITHMETIC and len(given) == 2:
            left, right = ((str(index), constants.values(index)) for index in given)
            yield from arithmetic(name.lower(), left, right, output)
        elif name in {"EQUAL", "NOT_EQUAL"} and len(given) == 2:
            pairs = (given, given[::-1])
            yield from (Truth(str(a), output) for a, b in pairs if constants.values(b) in ((0.0,), (1.0,)))
        elif name in {"SELECT", "SELECT_V2"} and len(given) == 3:
            known = [value for index in given[1:] for value in constants.values(index) or ()]
            yield Choice(source, min(known, default=None))
        elif name == "LOG":
            yield Logarithm(source)


class _Constants:
    """The small constants of a subgraph, read when they are asked for."""

    def __init__(self, tensors: Sequence[Table], buffers: Sequence[Table]) -> None:
        self._tensors = tensors
        self._buffers = buffers

    def values(self, index: int) -> tuple[float, ...] | None:
        """The elements of a constant of plain numbers that is not large, None for anything else."""
        tensor = self._tensors[index] if 0 <= index < len(self._tensors) else None
        kind = None if tensor is None else _KINDS.get(tensor.number(1, "b"))
        if tensor is None or kind is None:
            return None
        buffer, shape = tensor.number(2, "I"), tensor.numbers(0, "i")
        count = math.prod(shape)
        if not 0 < buffer < len(self._buffers) or not 1 <= count <= MOST_CONSTANTS or min(shape, default=1) < 0:
            return None
        size = count * struct.calcsize("<" + kind)
        start, length = self._buffers[buffer].span(0)
        if length != size:
            return None
        return tuple(map(float, struct.unpack_from(f"<{count}{kind}", self._buffers[buffer].buffer.data, start)))
