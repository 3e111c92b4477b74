"""Functions of mathematical physics: the inverse error function, modified Bessel functions, entropy.

Sources: M. Giles, "Approximating the erfinv function" (GPU Computing Gems, 2011); Abramowitz and Stegun, 9.8.1 to 9.8.4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from convkit.legalization.torch.decompositions import decomposes

if TYPE_CHECKING:
    import torch

_ERFINV_CENTRE = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164,
    0.246640727, 1.50140941,
)  # fmt: skip
_ERFINV_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
    1.00167406, 2.83297682,
)  # fmt: skip

_BESSEL_SPLIT = 3.75
_I0_SMALL = (0.0045813, 0.0360768, 0.2659732, 1.2067492, 3.0899424, 3.5156229, 1.0)
_I0_LARGE = (
    0.00392377, -0.01647633, 0.02635537, -0.02057706, 0.00916281, -0.00157565, 0.00225319, 0.01328592, 0.39894228,
)  # fmt: skip
_I1_SMALL = (0.00032411, 0.00301532, 0.02658733, 0.15084934, 0.51498869, 0.87890594, 0.5)
_I1_LARGE = (
    -0.00420059, 0.01787654, -0.02895312, 0.02282967, -0.01031555, 0.00163801, -0.00362018, -0.03988024, 0.39894228,
)  # fmt: skip


def _polynomial(x: torch.Tensor, coefficients: Sequence[float]) -> torch.Tensor:
    """By Horner's rule, highest power first."""
    import torch

    total = torch.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total


def _real(x: torch.Tensor) -> torch.Tensor:
    import torch

    return x if x.is_floating_point() else x.to(torch.get_default_dtype())


@decomposes(
    "erfinv.default", "special_erfinv.default", reason="Giles' polynomials, and two of Newton's steps for double precision"
)
def erfinv(x: torch.Tensor) -> torch.Tensor:
    """erf⁻¹ elementwise; ±inf at ±1, nan beyond."""
    import torch

    x = _real(x)
    w = -torch.log((1 - x) * (1 + x))
    centre = _polynomial(w - 2.5, _ERFINV_CENTRE)
    tail = _polynomial(torch.sqrt(w.clamp_min(0)) - 3, _ERFINV_TAIL)
    result = torch.where(w < 5, centre, tail) * x
    if x.dtype == torch.float64:
        for _ in range(2):
            result = result - (torch.erf(result) - x) / (2 / math.sqrt(math.pi) * torch.exp(-result * result))
    result = torch.where(x.abs() == 1, x * math.inf, result)
    return torch.where(x.abs() > 1, torch.full_like(x, math.nan), result)


@decomposes("i0.default", "special_i0.default", reason="polynomials")
def i0(x: torch.Tensor) -> torch.Tensor:
    """The modified Bessel function of the first kind and order 0."""
    import torch

    size = _real(x).abs()
    small = _polynomial((size / _BESSEL_SPLIT).square(), _I0_SMALL)
    return torch.where(size < _BESSEL_SPLIT, small, size.exp() * _decay(size, _I0_LARGE))


@decomposes("special_i0e.default", reason="polynomials")
def i0e(x: torch.Tensor) -> torch.Tensor:
    """i0(x) · exp(-|x|)."""
    import torch

    size = _real(x).abs()
    small = _polynomial((size / _BESSEL_SPLIT).square(), _I0_SMALL)
    return torch.where(size < _BESSEL_SPLIT, small * (-size).exp(), _decay(size, _I0_LARGE))


@decomposes("special_i1.default", reason="polynomials")
def i1(x: torch.Tensor) -> torch.Tensor:
    """The modified Bessel function of the first kind and order 1."""
    import torch

    x = _real(x)
    size = x.abs()
    small = _polynomial((size / _BESSEL_SPLIT).square(), _I1_SMALL) * size
    result = torch.where(size < _BESSEL_SPLIT, small, size.exp() * _decay(size, _I1_LARGE))
    return torch.where(x < 0, -result, result)


@decomposes("special_i1e.default", reason="polynomials")
def i1e(x: torch.Tensor) -> torch.Tensor:
    """i1(x) · exp(-|x|)."""
    import torch

    x = _real(x)
    size = x.abs()
    small = _polynomial((size / _BESSEL_SPLIT).square(), _I1_SMALL) * size * (-size).exp()
    result = torch.where(size < _BESSEL_SPLIT, small, _decay(size, _I1_LARGE))
    return torch.where(x < 0, -result, result)


def _decay(size: torch.Tensor, coefficients: Sequence[float]) -> torch.Tensor:
    far = size.clamp_min(_BESSEL_SPLIT)
    return _polynomial(_BESSEL_SPLIT / far, coefficients) / far.sqrt()


@decomposes("exp2.default", "special_exp2.default", reason="exp(x ln 2)")
def exp2(x: torch.Tensor) -> torch.Tensor:
    """2ˣ, exact for whole numbers up to rounding of exp."""
    import torch

    return torch.pow(2.0, _real(x))
