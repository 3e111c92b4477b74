"""What a file says of a value's rank where shape inference cannot: by the outputs that are made of it."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

__all__ = ["declared_rank", "squeezed_axes"]

_KEEP_RANK = frozenset(
    (
        *("Abs", "Cast", "Ceil", "Clip", "Concat", "CumSum", "Dropout", "Elu", "Erf", "Exp", "Floor", "HardSigmoid", "HardSwish"),
        *("Identity", "LeakyRelu", "Log", "LogSoftmax", "Neg", "Not", "Pad", "Relu", "Round", "Sigmoid", "Slice", "Softmax"),
        *("Softplus", "Sqrt", "Tanh", "Tile"),
    )
)
_BROADCAST = frozenset(("Add", "And", "Div", "Equal", "Greater", "Less", "Max", "Min", "Mul", "Or", "Pow", "Sub"))


def declared_rank(value: ir.Value) -> int | None:
    """The rank that a file declares for a value, or for what follows from it through operators that keep the rank."""
    seen = set()
    while value not in seen:
        if value.shape is not None:
            return len(value.shape)
        seen.add(value)
        value = next((n.outputs[0] for n, position in value.uses() if _keeps_rank(n, position)), value)
    return None


def _keeps_rank(node: ir.Node, position: int) -> bool:
    if node.op_type in _KEEP_RANK:
        return position == 0 or node.op_type == "Concat"
    if node.op_type not in _BROADCAST:
        return False
    return all(k == position or (v is not None and v.shape is not None and not len(v.shape)) for k, v in enumerate(node.inputs))


def squeezed_axes(sizes: Sequence[int | None], result: int | None) -> list[int] | None:
    """The axes that a Squeeze without axes removes, or None where that is not certain.

    Args:
        sizes: Of its input; None for dynamic ones, which may be 1.
        result: The declared rank of its output.
    """
    ones = [axis for axis, size in enumerate(sizes) if size == 1]
    dynamic = [axis for axis, size in enumerate(sizes) if size is None]
    if not dynamic or result == len(sizes) - len(ones):
        return ones
    return sorted([*ones, *dynamic]) if result == len(sizes) - len(ones) - len(dynamic) else None
