"""Arithmetic, exponentials, products of matrices, and the ways in and out of complex numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from convkit.legalization.complex_numbers.pairs import Pair, on_pairs, pair_of, paired

_MOST_FACTORS = 16
"""Whole powers up to here are products."""


@on_pairs("view_as_complex")
def view_as_complex(x: torch.Tensor) -> Pair:
    return Pair(x.select(-1, 0), x.select(-1, 1))


@on_pairs("view_as_real")
def view_as_real(z: Pair) -> torch.Tensor:
    return torch.stack(z, -1)


@on_pairs("complex")
def complex_(re: torch.Tensor, im: torch.Tensor) -> Pair:
    return paired(re, im)


@on_pairs("polar")
def polar(absolute: torch.Tensor, angle: torch.Tensor) -> Pair:
    return paired(absolute * torch.cos(angle), absolute * torch.sin(angle))


@on_pairs("real")
def real(z: Pair) -> torch.Tensor:
    return z.re


@on_pairs("imag")
def imag(z: Pair) -> torch.Tensor:
    return z.im


@on_pairs("abs")
def absolute(z: Pair) -> torch.Tensor:
    """Without the overflow of squares: the larger part is taken out."""
    larger = torch.maximum(z.re.abs(), z.im.abs())
    scale = torch.where(larger > 0, larger, torch.ones_like(larger))
    return larger * torch.sqrt((z.re / scale).square() + (z.im / scale).square())


@on_pairs("angle")
def angle(z: Pair) -> torch.Tensor:
    return torch.atan2(z.im, z.re)


@on_pairs("sgn")
def sgn(z: Pair) -> Pair:
    size = absolute(z)
    size = torch.where(size > 0, size, torch.ones_like(size))
    return Pair(z.re / size, z.im / size)


@on_pairs("_conj", "_conj_physical", "conj_physical", "conj")
def conjugate(z: Pair) -> Pair:
    return Pair(z.re, -z.im)


@on_pairs("neg", "_neg_view")
def negative(z: Pair) -> Pair:
    return Pair(-z.re, -z.im)


@on_pairs("add")
def add(a: Any, b: Any, *, alpha: Any = 1) -> Pair:
    (x, y), (u, v) = pair_of(a), pair_of(_times(b, alpha))
    return paired(x + u, y + v)


@on_pairs("sub")
def subtract(a: Any, b: Any, *, alpha: Any = 1) -> Pair:
    (x, y), (u, v) = pair_of(a), pair_of(_times(b, alpha))
    return paired(x - u, y - v)


@on_pairs("rsub")
def subtract_from(a: Any, b: Any, alpha: Any = 1) -> Pair:
    return subtract(b, a, alpha=alpha)


def _times(value: Any, factor: Any) -> Any:
    return value if factor == 1 else multiply(value, factor)


@on_pairs("mul")
def multiply(a: Any, b: Any) -> Pair:
    return _product(a, b, lambda x, y: x * y)


@on_pairs("mm", "bmm", "matmul", "mv", "dot")
def matrix_product(a: Any, b: Any) -> Pair:
    return _product(a, b, torch.matmul)


@on_pairs("addmm", "baddbmm")
def matrix_product_and_sum(bias: Any, a: Any, b: Any, *, beta: Any = 1, alpha: Any = 1) -> Pair:
    return add(_times(bias, beta), _times(matrix_product(a, b), alpha))


def _product(a: Any, b: Any, multiplied: Callable[[Any, Any], Any]) -> Pair:
    """Of two operands, of which one may be real; neither need be a pair where a number is complex."""
    if not isinstance(b, Pair | complex):
        x, y = pair_of(a)
        return paired(multiplied(x, b), multiplied(y, b))
    if not isinstance(a, Pair | complex):
        u, v = pair_of(b)
        return paired(multiplied(a, u), multiplied(a, v))
    (x, y), (u, v) = pair_of(a), pair_of(b)
    return paired(multiplied(x, u) - multiplied(y, v), multiplied(x, v) + multiplied(y, u))


@on_pairs("div", "true_divide")
def divide(a: Any, b: Any, *, rounding_mode: None = None) -> Pair:
    if isinstance(b, Pair):
        return multiply(a, reciprocal(b))
    if isinstance(b, complex):
        return multiply(a, 1 / b)
    x, y = pair_of(a)
    return paired(x / b, y / b)


@on_pairs("reciprocal")
def reciprocal(z: Pair) -> Pair:
    """1/z as conj(z/s)/s / |z/s|², where s is the larger part, so that no square overflows."""
    larger = torch.maximum(z.re.abs(), z.im.abs())
    x, y = z.re / larger, z.im / larger
    square = (x * x + y * y) * larger
    return Pair(x / square, -y / square)


@on_pairs("exp")
def exponential(z: Pair) -> Pair:
    size = torch.exp(z.re)
    return Pair(size * torch.cos(z.im), size * torch.sin(z.im))


@on_pairs("log")
def logarithm(z: Pair) -> Pair:
    return Pair(torch.log(absolute(z)), angle(z))


@on_pairs("sqrt")
def square_root(z: Pair) -> Pair:
    size = absolute(z)
    re, im = torch.sqrt(((size + z.re) / 2).clamp(min=0)), torch.sqrt(((size - z.re) / 2).clamp(min=0))
    return Pair(re, torch.where(z.im < 0, -im, im))


@on_pairs("pow")
def power(base: Any, exponent: Any) -> Pair:
    if isinstance(exponent, int | float) and exponent == int(exponent) and 0 < abs(exponent) <= _MOST_FACTORS:
        result = base
        for _ in range(abs(int(exponent)) - 1):
            result = multiply(result, base)
        return reciprocal(result) if exponent < 0 else result
    if isinstance(base, Pair):
        return exponential(multiply(exponent, logarithm(base)))
    if isinstance(base, torch.Tensor):
        return exponential(multiply(exponent, logarithm(paired(base, 0.0))))
    return exponential(multiply(exponent, complex(torch.log(torch.tensor(complex(base))).item())))


@on_pairs("eq")
def equal(a: Any, b: Any) -> torch.Tensor:
    (x, y), (u, v) = pair_of(a), pair_of(b)
    return torch.logical_and(x == u, torch.as_tensor(y == v))


@on_pairs("ne")
def unequal(a: Any, b: Any) -> torch.Tensor:
    return torch.logical_not(equal(a, b))
