"""The gamma function's family: lgamma, digamma, polygamma, mvlgamma.

Formulas: NIST Digital Library of Mathematical Functions, chapter 5 (https://dlmf.nist.gov/5) and section 25.11; the coefficients
of Lanczos' series are those of g = 7, n = 9 (P. Godfrey, 2001).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from convkit.legalization.torch.decompositions import decomposes

if TYPE_CHECKING:
    import torch

_LANCZOS_G = 7.0
_LANCZOS = (
    0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
    12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
)  # fmt: skip

# B(2k), k = 1, 2, …
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)
_SHIFT = 8


def _real(x: torch.Tensor) -> torch.Tensor:
    """Integers are computed as torch does: in the default float type."""
    import torch

    return x if x.is_floating_point() else x.to(torch.get_default_dtype())


def _distance(x: torch.Tensor) -> torch.Tensor:
    """The signed distance to the nearest integer below or above: sin(πx) needs no more, and is exact at integers."""
    return x - (x + 0.5).floor()


def _cotangent(x: torch.Tensor) -> torch.Tensor:
    """cot(πx), 0 where it should be."""
    import torch

    distance = _distance(x)
    return torch.sin(math.pi * (0.5 - distance.abs())) / torch.sin(math.pi * distance)


@decomposes("lgamma.default", "special_gammaln.default", reason="Lanczos' series, reflected below 1/2")
def lgamma(x: torch.Tensor) -> torch.Tensor:
    """ln |Γ(x)| elementwise; infinite at 0, -1, -2, … and at ±inf."""
    import torch

    x = _real(x)
    is_reflected = x < 0.5
    z = torch.where(is_reflected, -x, x - 1)
    series = torch.full_like(z, _LANCZOS[0])
    for k, coefficient in enumerate(_LANCZOS[1:], start=1):
        series = series + coefficient / (z + k)
    base = z + (_LANCZOS_G + 0.5)
    # log1p keeps what log would round off: the result is the difference of two large numbers.
    log_base = math.log(_LANCZOS_G + 0.5) + torch.log1p(z / (_LANCZOS_G + 0.5))
    direct = (z + 0.5 - base / log_base) * log_base + 0.5 * math.log(2 * math.pi) + torch.log(series)
    sine = torch.sin(math.pi * _distance(x)).abs()
    reflected = math.log(math.pi) - torch.log(sine) - direct
    result = torch.where(is_reflected, reflected, direct)
    return torch.where(torch.isinf(x) | (sine == 0) & (x <= 0), torch.full_like(x, math.inf), result)


@decomposes(
    "digamma.default",
    "special_digamma.default",
    "special_psi.default",
    reason="Stirling's series after a recurrence, reflected below 1/2",
)
def digamma(x: torch.Tensor) -> torch.Tensor:
    """ψ(x) elementwise; ∓inf at ±0, nan at -1, -2, …"""
    import torch

    x = _real(x)
    is_reflected = x < 0.5
    z = torch.where(is_reflected, 1 - x, x)
    steps = torch.zeros_like(z)
    for k in range(_SHIFT):
        steps = steps + 1 / (z + k)
    w = z + _SHIFT
    direct = torch.log(w) - 0.5 / w - _series(1 / (w * w), [b / (2 * k) for k, b in enumerate(_BERNOULLI, 1)]) - steps
    result = torch.where(is_reflected, direct - math.pi * _cotangent(x), direct)
    result = torch.where((x < 0) & (x == x.floor()) & ~torch.isinf(x), torch.full_like(x, math.nan), result)
    result = torch.where(x == math.inf, x, result)
    return torch.where(x == 0, -1 / x, result)


def _series(y: torch.Tensor, coefficients: list[float]) -> torch.Tensor:
    """c1·y + c2·y² + …, by Horner's rule."""
    import torch

    total = torch.zeros_like(y)
    for coefficient in reversed(coefficients):
        total = (total + coefficient) * y
    return total


@decomposes(
    "polygamma.default", "special_polygamma.default", reason="Euler and Maclaurin's sum for Hurwitz' zeta, reflected below 1/2"
)
def polygamma(n: int, x: torch.Tensor) -> Any:
    """The nth derivative of ψ elementwise; infinite at 0, -1, -2, … (https://dlmf.nist.gov/25.11#E5, 5.15)."""
    import torch

    if n == 0:
        return digamma(x)
    if n < 0 or n > 20:
        return NotImplemented
    x = _real(x)
    is_reflected = x < 0.5
    direct = (-1) ** (n + 1) * math.factorial(n) * _hurwitz_zeta(n + 1, torch.where(is_reflected, 1 - x, x))
    cotangent = _cotangent(x)
    derivative = torch.zeros_like(x)
    for coefficient in reversed(_cotangent_derivative(n)):
        derivative = derivative * cotangent + coefficient
    reflected = (-1) ** n * direct - math.pi ** (n + 1) * derivative
    result = torch.where(is_reflected, reflected, direct)
    is_pole = (x <= 0) & (x == x.floor()) & ~torch.isinf(x)
    return torch.where(is_pole, torch.full_like(x, (-1) ** (n + 1) * math.inf), result)


def _hurwitz_zeta(s: int, q: torch.Tensor) -> torch.Tensor:
    """Σ (q + k)^-s for q ≥ 1/2."""
    import torch

    total = torch.zeros_like(q)
    for k in range(_SHIFT):
        total = total + _inverse_power(q + k, s)
    w = q + _SHIFT
    last = _inverse_power(w, s)
    total = total + w * last / (s - 1) + last / 2
    rising, power = float(s), last / w
    for k, bernoulli in enumerate(_BERNOULLI, start=1):
        total = total + bernoulli * rising / math.factorial(2 * k) * power
        rising *= (s + 2 * k - 1) * (s + 2 * k)
        power = power / (w * w)
    return torch.where(torch.isinf(q), torch.zeros_like(q), total)


def _inverse_power(x: torch.Tensor, exponent: int) -> torch.Tensor:
    inverse = 1 / x
    result = inverse
    for _ in range(exponent - 1):
        result = result * inverse
    return result


def _cotangent_derivative(n: int) -> list[int]:
    """The nth derivative of cot as a polynomial in cot, lowest power first: the derivative of cot is -(1 + cot²)."""
    polynomial = [0, 1]
    for _ in range(n):
        derivative = [k * c for k, c in enumerate(polynomial)][1:]
        polynomial = [-a - b for a, b in zip([*derivative, 0, 0], [0, 0, *derivative], strict=True)]
    return polynomial


@decomposes("mvlgamma.default", "special_multigammaln.default", reason="a sum of lgamma")
def mvlgamma(x: torch.Tensor, p: int) -> Any:
    """ln Γ_p(x) = p (p - 1) / 4 · ln π + Σ ln Γ(x - k / 2)."""
    x = _real(x)
    total = x * 0 + p * (p - 1) / 4 * math.log(math.pi)
    for k in range(p):
        total = total + lgamma(x - k / 2)
    return total
