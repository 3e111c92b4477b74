"""Elementwise arithmetic: division that rounds, logarithms of sums, the complementary error function."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from convkit.legalization.torch.decompositions import decomposes

if TYPE_CHECKING:
    import torch

# W. Press et al., "Numerical Recipes", 6.2: erfc(x) = t exp(-x² + P(t)) with t = 1 / (1 + x / 2), to 1.2e-7 of the value.
_ERFC = (
    0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806, 0.09678418, 0.37409196, 1.00002368, -1.26551223,
)  # fmt: skip


@decomposes("erfc.default", "special_erfc.default", reason="a polynomial in 1 / (1 + x / 2)")
def erfc(x: torch.Tensor) -> Any:
    """1 - erf(x), of which the tail keeps its relative precision."""
    import torch

    if x.dtype == torch.float64:
        return 1 - torch.erf(x)
    x = x if x.is_floating_point() else x.to(torch.get_default_dtype())
    size = x.abs()
    t = 1 / (1 + size / 2)
    total = torch.full_like(t, _ERFC[0])
    for coefficient in _ERFC[1:]:
        total = total * t + coefficient
    tail = t * torch.exp(total - size * size)
    tail = torch.where(torch.isinf(size), torch.zeros_like(tail), tail)
    return torch.where(x < 0, 2 - tail, tail)


@decomposes("div.Tensor_mode", "div.Scalar_mode", reason="the quotient of what a remainder leaves")
def divide(x: torch.Tensor, other: Any, *, rounding_mode: str | None = None) -> Any:
    """The quotient rounded down, as Python's // has it."""
    return _floor_divided(x, other) if rounding_mode == "floor" else NotImplemented


@decomposes("floor_divide.default", "floor_divide.Scalar", reason="the quotient of what a remainder leaves")
def floor_divide(x: torch.Tensor, other: Any) -> Any:
    """The quotient rounded down."""
    return _floor_divided(x, other)


def _floor_divided(x: torch.Tensor, other: Any) -> Any:
    """Exact where x / other itself would round up to a whole number (c10/util/generic_math.h, `div_floor_floating`)."""
    import torch

    dtype = torch.result_type(x, other)
    if not dtype.is_floating_point:
        return NotImplemented
    x = x.to(dtype)
    other = other.to(dtype) if isinstance(other, torch.Tensor) else torch.full_like(x, other)
    rest = torch.fmod(x, other)
    quotient = (x - rest) / other
    quotient = torch.where((rest != 0) & ((other < 0) != (rest < 0)), quotient - 1, quotient)
    whole = torch.floor(quotient)
    whole = torch.where(quotient - whole > 0.5, whole + 1, whole)
    return torch.where(other == 0, x / other, whole)


@decomposes("remainder.Scalar", "remainder.Tensor", reason="the remainder of C, moved by a divisor where the signs differ")
def remainder(x: torch.Tensor, other: Any) -> Any:
    """What remains of whole numbers, with the divisor's sign, as Python's % has it."""
    import torch

    dtype = torch.result_type(x, other)
    if dtype.is_floating_point:
        return NotImplemented
    divisor = other if isinstance(other, torch.Tensor) else torch.scalar_tensor(other, dtype=dtype)
    rest = torch.fmod(x, divisor)
    return torch.where((rest != 0) & ((rest < 0) != (divisor < 0)), rest + divisor, rest)


@decomposes("logical_xor.default", reason="whether the two differ")
def logical_xor(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Whether exactly one of the two is not zero."""
    return (x != 0) != (other != 0)


@decomposes("ldexp.Tensor", reason="a product with a power of two")
def ldexp(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """x · 2ʸ."""
    import torch

    return x * torch.pow(2.0, other)


@decomposes("logaddexp.default", reason="the larger operand and the logarithm of what the smaller adds")
def logaddexp(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """ln(eˣ + eʸ)."""
    import torch

    large, small = torch.maximum(x, other), torch.minimum(x, other)
    # Two equal infinities have no difference.
    return torch.where(large == small, large + math.log(2), large + torch.log1p(torch.exp(small - large)))


@decomposes("logaddexp2.default", reason="the larger operand and the logarithm of what the smaller adds")
def logaddexp2(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """log2(2ˣ + 2ʸ)."""
    import torch

    large, small = torch.maximum(x, other), torch.minimum(x, other)
    added = torch.log1p(torch.exp((small - large) * math.log(2))) / math.log(2)
    return torch.where(large == small, large + 1, large + added)


@decomposes("round.decimals", reason="scaled, rounded, scaled back")
def round_decimals(x: torch.Tensor, *, decimals: int = 0) -> Any:
    """Rounds half to even after scaling, as torch does (aten/src/ATen/native/cpu/UnaryOpsKernel.cpp, `round_decimals_kernel`)."""
    if not x.is_floating_point():
        return NotImplemented if decimals < 0 else x.clone()
    scale = 10.0 ** abs(decimals)
    return (x / scale).round() * scale if decimals < 0 else (x * scale).round() / scale


@decomposes("frexp.Tensor", reason="the logarithm's whole part, corrected")
def frexp(x: torch.Tensor) -> Any:
    """Mantissa from 1/2 to 1 and exponent of 2; numbers below the smallest normal one are treated as the others."""
    import torch

    if x.dtype not in (torch.float32, torch.float64):
        return NotImplemented
    size = x.abs()
    is_plain = torch.isfinite(x) & (x != 0)
    exponent = torch.floor(torch.log2(torch.where(is_plain, size, torch.ones_like(x)))) + 1
    # In two steps, because 2^-exponent alone may overflow.
    half = torch.floor(exponent / 2)
    mantissa = x * torch.pow(2.0, -half) * torch.pow(2.0, half - exponent)
    too_large, too_small = is_plain & (mantissa.abs() >= 1), is_plain & (mantissa.abs() < 0.5)
    mantissa = torch.where(too_large, mantissa / 2, torch.where(too_small, mantissa * 2, mantissa))
    exponent = exponent + too_large.to(x.dtype) - too_small.to(x.dtype)
    whole = torch.where(is_plain, exponent, torch.zeros_like(exponent)).to(torch.int32)
    return torch.where(is_plain, mantissa, x), whole


@decomposes("dist.default", reason="the norm of the difference")
def dist(x: torch.Tensor, other: torch.Tensor, p: float = 2) -> torch.Tensor:
    """The p-norm of x - y."""
    import torch

    return torch.linalg.vector_norm(x - other, p)


@decomposes("_trilinear.default", reason="a sum of products")
def trilinear(
    x: torch.Tensor,
    other: torch.Tensor,
    third: torch.Tensor,
    expand1: Any,
    expand2: Any,
    expand3: Any,
    sumdim: Any,
    unroll_dim: int = 1,
) -> torch.Tensor:
    """Three tensors, with axes of size 1 put in, multiplied and summed along axes."""

    def spread(tensor: torch.Tensor, axes: Any) -> torch.Tensor:
        for axis in axes:
            tensor = tensor.unsqueeze(axis)
        return tensor

    product = spread(x, expand1) * spread(other, expand2) * spread(third, expand3)
    return product.sum(sumdim) if sumdim else product
