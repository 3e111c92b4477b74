"""Elementwise operators of IEEE 754 arithmetic that order, compare and copy signs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from convkit.legalization.torch.decompositions import decomposes

if TYPE_CHECKING:
    import torch


@decomposes("fmax.default", reason="maximum, where neither operand is nan")
def fmax(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The larger operand; the other one where one is nan."""
    return _ignoring_nan(x, other, "maximum")


@decomposes("fmin.default", reason="minimum, where neither operand is nan")
def fmin(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The smaller operand; the other one where one is nan."""
    return _ignoring_nan(x, other, "minimum")


def _ignoring_nan(x: torch.Tensor, other: torch.Tensor, name: str) -> torch.Tensor:
    import torch

    dtype = torch.result_type(x, other)
    x, other = torch.broadcast_tensors(x.to(dtype), other.to(dtype))
    found = getattr(torch, name)(x, other)
    if not dtype.is_floating_point:
        return found
    return torch.where(torch.isnan(x), other, torch.where(torch.isnan(other), x, found))


def _is_negative(x: torch.Tensor) -> torch.Tensor:
    """The sign bit: 1 / -0 is the one question that tells the zeros apart."""
    return (x < 0) | ((x == 0) & (1 / x < 0)) if x.is_floating_point() else x < 0


@decomposes("signbit.default", reason="a comparison, which for zeros is one of 1 / x")
def signbit(x: torch.Tensor) -> torch.Tensor:
    """Whether the sign bit is set; not for nan, whose sign no target keeps."""
    import torch

    return torch.zeros_like(x) if x.dtype is torch.bool else _is_negative(x)


@decomposes("copysign.Tensor", reason="the magnitude, negated where the sign bit is set")
def copysign(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """|x| with the sign of `other`."""
    import torch

    dtype = torch.result_type(x, other)
    dtype = dtype if dtype.is_floating_point else torch.get_default_dtype()
    magnitude, sign = torch.broadcast_tensors(x.to(dtype).abs(), other.to(dtype))
    return torch.where(_is_negative(sign), -magnitude, magnitude)


@decomposes("copysign.Scalar", reason="the magnitude, negated where the sign is negative")
def copysign_scalar(x: torch.Tensor, other: float) -> torch.Tensor:
    """|x| with the sign of `other`."""
    import torch

    magnitude = (x if x.is_floating_point() else x.to(torch.get_default_dtype())).abs()
    return -magnitude if math.copysign(1, other) < 0 else magnitude


@decomposes("hypot.default", reason="scaled by the larger operand, so that squares do not overflow")
def hypot(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """√(x² + y²); infinite where one is, even if the other is nan."""
    import torch

    x, other = torch.broadcast_tensors(x.abs(), other.abs())
    large, small = torch.maximum(x, other), torch.minimum(x, other)
    ratio = small / torch.where(large == 0, torch.ones_like(large), large)
    is_infinite = (x == math.inf) | (other == math.inf)
    return torch.where(is_infinite, torch.full_like(large, math.inf), large * torch.sqrt(1 + ratio * ratio))


@decomposes("nextafter.default", reason="one unit in the last place, added or subtracted")
def nextafter(x: torch.Tensor, other: torch.Tensor) -> Any:
    """The next number towards `other`.

    Adding |x| · u(1 + 2u), u half a unit in the last place of 1, rounds to the neighbour (S. Rump et al., "Computing predecessor
    and successor in rounding to nearest", 2009); the numbers near 0 are as far apart as the smallest is from 0.
    """
    import torch

    x, other = torch.broadcast_tensors(x, other)
    if x.dtype not in (torch.float32, torch.float64):
        return NotImplemented
    limits = torch.finfo(x.dtype)
    unit = limits.eps / 2
    direction = torch.where(other > x, torch.ones_like(x), -torch.ones_like(x))
    # The step itself must be a normal number, so small ones are scaled; by a power of two, which is exact.
    scale = torch.where(x.abs() < limits.tiny / limits.eps * 4, 1 / limits.eps**2, 1.0).to(x.dtype)
    scaled = x * scale
    moved = (scaled + direction * (scaled.abs() * (unit * (1 + 2 * unit)))) / scale
    moved = torch.where(x.abs() < 2 * limits.tiny, x + direction * (limits.tiny * limits.eps), moved)
    inwards = torch.where(x > 0, torch.full_like(x, limits.max), torch.full_like(x, limits.min))
    moved = torch.where(torch.isinf(x), inwards, moved)
    return torch.where((x == other) | torch.isnan(other), other, moved)


@decomposes("isin.Tensor_Tensor", reason="compares each element with each")
def isin(elements: torch.Tensor, tested: torch.Tensor, *, assume_unique: bool = False, invert: bool = False) -> torch.Tensor:
    """Whether each element is among those tested for."""
    import torch

    dtype = torch.result_type(elements, tested)
    found = (elements.to(dtype).unsqueeze(-1) == tested.to(dtype).reshape(-1)).any(-1)
    return ~found if invert else found


@decomposes("isneginf.default", reason="a comparison")
def isneginf(x: torch.Tensor) -> torch.Tensor:
    """Whether an element is -inf."""
    import torch

    return x == -math.inf if x.is_floating_point() else torch.zeros_like(x, dtype=torch.bool)


@decomposes("isposinf.default", reason="a comparison")
def isposinf(x: torch.Tensor) -> torch.Tensor:
    """Whether an element is inf."""
    import torch

    return x == math.inf if x.is_floating_point() else torch.zeros_like(x, dtype=torch.bool)


@decomposes("angle.default", reason="π where negative")
def angle(x: torch.Tensor) -> Any:
    """0 or π; nan for nan."""
    import torch

    if x.is_complex():
        return NotImplemented
    x = x if x.is_floating_point() else x.to(torch.get_default_dtype())
    found = torch.where(x < 0, torch.full_like(x, math.pi), torch.zeros_like(x))
    return torch.where(torch.isnan(x), x, found)
