"""uint64 as torch computes with it here: the same 64 bits in an int64 (see `TorchBackend.wrap`).

Sums, differences and products wrap around alike. Order, quotients and conversions to floats do not: they are here.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import torch

__all__ = ["divide", "is_unsigned", "ordered", "shift_right", "to_float"]

_SIGN = -(2**63)


def is_unsigned(node: ir.Node, position: int = 0) -> bool:
    """Whether an input is uint64."""
    value = node.inputs[position] if position < len(node.inputs) else None
    return value is not None and value.dtype is ir.DataType.UINT64


def ordered(x: Any, node: ir.Node) -> Any:
    """A tensor (or a Python int) whose signed order is that of the node's first input; the function is its own inverse."""
    return x ^ _SIGN if is_unsigned(node) else x


def shift_right(x: Any, count: Any) -> Any:
    """Shifts zeros in; the count is between 0 and 63."""
    kept = torch.bitwise_not(torch.bitwise_left_shift(torch.bitwise_right_shift(torch.full_like(x, _SIGN), count), 1))
    return torch.bitwise_and(torch.bitwise_right_shift(x, count), kept)


def divide(a: Any, b: Any) -> Any:
    """The quotient of unsigned values: of half the dividend, doubled and corrected by at most one."""
    a, b = torch.broadcast_tensors(a, b)
    large = b < 0
    divisor = torch.where(large, 1, b)
    half = torch.bitwise_and(torch.bitwise_right_shift(a, 1), 2**63 - 1)
    quotient = torch.div(half, divisor, rounding_mode="trunc") * 2
    rest = a - quotient * divisor
    at_least = (a ^ _SIGN) >= (b ^ _SIGN)
    return torch.where(large, at_least.to(a.dtype), quotient + ((rest ^ _SIGN) >= (divisor ^ _SIGN)).to(a.dtype))


def to_float(x: Any, dtype: torch.dtype) -> Any:
    """Halves the large values first and keeps the lost bit, so that rounding is that of the whole number."""
    halved = torch.bitwise_or(torch.bitwise_and(torch.bitwise_right_shift(x, 1), 2**63 - 1), torch.bitwise_and(x, 1))
    return torch.where(x < 0, halved.to(dtype) * 2, x.to(dtype))
