"""Between a program's bytes and torch's tensors."""

from __future__ import annotations

import math

import torch

from convkit.interpreters.executorch.program import TensorValue

__all__ = ["DTYPES", "decoded", "dtype_of", "reinterpreted"]

# ScalarType: quantised types are read as the integers that they store.
DTYPES = {
    0: torch.uint8, 1: torch.int8, 2: torch.int16, 3: torch.int32, 4: torch.int64, 5: torch.float16, 6: torch.float32,
    7: torch.float64, 8: torch.complex32, 9: torch.complex64, 10: torch.complex128, 11: torch.bool, 12: torch.int8,
    13: torch.uint8, 14: torch.int32, 15: torch.bfloat16, 23: torch.float8_e5m2, 24: torch.float8_e4m3fn, 27: torch.uint16,
    28: torch.uint32, 29: torch.uint64,
}  # fmt: skip


def dtype_of(tensor: TensorValue) -> torch.dtype:
    return DTYPES[tensor.scalar_type]


def decoded(data: bytes, tensor: TensorValue) -> torch.Tensor:
    """A tensor of its own memory in plain order, from bytes in the order that the file declares."""
    stored = [tensor.sizes[axis] for axis in tensor.dim_order]
    if math.prod(stored) == 0:
        return torch.empty(tensor.sizes, dtype=dtype_of(tensor))
    flat = torch.frombuffer(bytearray(data), dtype=dtype_of(tensor))
    return flat.reshape(stored).permute(_inverse(tensor.dim_order)).contiguous()


def reinterpreted(held: torch.Tensor, order: tuple[int, ...], wanted: TensorValue) -> torch.Tensor:
    """The memory of one tensor, which lies there in that order of axes, read as another: what a view does that left no trace."""
    flat = held if order == tuple(range(held.ndim)) else held.permute(order)
    stored = [wanted.sizes[axis] for axis in wanted.dim_order]
    found = flat.reshape(stored)
    return found if wanted.dim_order == tuple(range(len(stored))) else found.permute(_inverse(wanted.dim_order))


def _inverse(order: tuple[int, ...]) -> list[int]:
    return [order.index(axis) for axis in range(len(order))]
