"""What an ONNX graph does with its inputs first, in the words of `input_domains`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from convkit.readers.input_domains import MOST_CONSTANTS, Affine, Choice, Logarithm, Moved, Step, Truth, arithmetic

__all__ = ["steps"]

_MOVES = frozenset(
    (
        *("And", "Cast", "CastLike", "Clip", "Expand", "Flatten", "Gather", "Identity", "Not", "Or", "Pad", "Reshape"),
        *("Resize", "Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Upsample"),
    )
)
# TensorProto's codes of float32, uint8, int8, int32, int64, float16, float64 and bfloat16.
_NUMBERS = frozenset((1, 2, 3, 6, 7, 10, 11, 16))


def steps(graph: Any) -> Iterator[Step]:
    """The steps of a GraphProto, in its order; external tensors are not read."""
    import onnx

    tensors = {tensor.name: tensor for tensor in graph.initializer}
    tensors |= {n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant" and n.output and n.attribute}
    constants = _Constants(tensors)
    for node in graph.node:
        if not node.output or not node.input:
            continue
        given, output = list(node.input), node.output[0]
        if node.op_type == "Cast" and any(a.name == "to" and a.i == onnx.TensorProto.BOOL for a in node.attribute):
            yield Truth(given[0], output)
        elif node.op_type in _MOVES:
            for source in given if node.op_type in {"And", "Or"} else given[:1]:
                yield Moved(source, tuple(node.output))
        elif node.op_type in {"Add", "Sub", "Mul", "Div"} and len(given) == 2:
            left, right = ((name, constants.values(name)) for name in given)
            yield from arithmetic(node.op_type.lower(), left, right, output)
        elif node.op_type == "Neg":
            yield Affine(given[0], output, (-1.0,))
        elif node.op_type == "Equal" and len(given) == 2:
            yield from (Truth(a, output) for a, b in (given, given[::-1]) if constants.values(b) in ((0.0,), (1.0,)))
        elif node.op_type == "Where" and len(given) == 3:
            known = [value for name in given[1:] for value in constants.values(name) or ()]
            yield Choice(given[0], min(known, default=None))
        elif node.op_type == "Log":
            yield Logarithm(given[0])


class _Constants:
    """The small constants of a graph, read when they are asked for."""

    def __init__(self, tensors: dict[str, Any]) -> None:
        self._tensors = tensors

    def values(self, name: str) -> tuple[float, ...] | None:
        """The elements of a constant of numbers that is not large, None for anything else."""
        import onnx

        tensor = self._tensors.get(name)
        if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL or min(tensor.dims, default=0) < 0:
            return None
        if not 1 <= math.prod(tensor.dims) <= MOST_CONSTANTS or tensor.data_type not in _NUMBERS:
            return None
        try:
            return tuple(float(v) for v in onnx.numpy_helper.to_array(tensor).ravel())
        except ValueError:  # it has fewer bytes than its shape says: whoever needs the values complains
            return None
