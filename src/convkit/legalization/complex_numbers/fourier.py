"""Fourier transforms as products with matrices of cosines and sines.

Long ones whose length is a product are two shorter ones with factors in between (Cooley and Tukey, 1965): a length of 4096
takes matrices of 64 x 64. `norm` is ATen's fft_norm_mode: 0 divides by nothing, 1 by √n, 2 by n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from convkit.legalization.complex_numbers.arithmetic import multiply
from convkit.legalization.complex_numbers.pairs import Pair, on_pairs, pair_of

_WHOLE = 512
"""Points up to which a transform is one product."""


@on_pairs("_fft_c2c")
def between_complex(z: Any, dims: Sequence[int], norm: int, forward: bool) -> Pair:
    for dim in dims:
        z = _along(z, dim, forward)
    return _scaled(z, norm, [z.re.shape[dim] for dim in dims])


@on_pairs("_fft_r2c")
def from_real(x: torch.Tensor, dims: Sequence[int], norm: int, onesided: bool) -> Pair:
    """The last of the axes is transformed first, and cut in half when `onesided`."""
    *others, last = dims
    sizes = [x.shape[dim] for dim in dims]
    count = x.shape[last] // 2 + 1 if onesided else x.shape[last]
    z = _along(x, last, forward=True, count=count)
    for dim in others:
        z = _along(z, dim, forward=True)
    return _scaled(z, norm, sizes)


@on_pairs("_fft_c2r")
def to_real(z: Pair, dims: Sequence[int], norm: int, last_size: int) -> torch.Tensor:
    """The inverse of `from_real` with half of the last axis, whose other half is the mirrored conjugate."""
    *others, last = dims
    sizes = [*(z.re.shape[dim] for dim in others), last_size]
    for dim in others:
        z = _along(z, dim, forward=False)
    half = last_size // 2 + 1
    re, im = (part.narrow(last, 0, half).movedim(last, -1) for part in z)
    cosines, sines = _waves(half, last_size, last_size, re.dtype)
    # Every frequency stands for itself and its mirror image, but the first and, of even lengths, the last.
    places = torch.arange(half)
    alone = (places == 0) | (places * 2 == last_size)
    weights = torch.where(alone, 1.0, 2.0).to(re.dtype)
    x = (re * weights) @ cosines - (im * weights) @ sines
    return _scaled(Pair(x, x), norm, sizes).re.movedim(-1, last)


def _along(z: Any, dim: int, forward: bool, count: int | None = None) -> Pair:
    """The transform along one axis of a pair or of a real tensor, or the first `count` points of it."""
    re, im = pair_of(z)
    moved = re.movedim(dim, -1), im.movedim(dim, -1) if isinstance(im, torch.Tensor) else None
    found = _transformed(*moved, forward, re.shape[dim] if count is None else count)
    return Pair(found.re.movedim(-1, dim), found.im.movedim(-1, dim))


def _transformed(re: torch.Tensor, im: torch.Tensor | None, forward: bool, count: Any) -> Pair:
    """The first points of the transform along the last axis."""
    size = re.shape[-1]
    if isinstance(size, int) and size > _WHOLE and (factor := _factor(size)) > 1:
        found = _factored(re, im, forward, factor, size // factor)
        return Pair(found.re.narrow(-1, 0, count), found.im.narrow(-1, 0, count))
    cosines, sines = _waves(size, count, size, re.dtype)
    sines = -sines if forward else sines
    if im is None:
        return Pair(re @ cosines, re @ sines)
    return Pair(re @ cosines - im @ sines, re @ sines + im @ cosines)


def _factor(size: int) -> int:
    """The largest divisor that is not above the root."""
    return next(n for n in range(math.isqrt(size), 0, -1) if size % n == 0)


def _factored(re: torch.Tensor, im: torch.Tensor | None, forward: bool, rows: int, columns: int) -> Pair:
    """A transform of rows x columns points: along the rows, turned, along the columns."""
    parts = [None if part is None else part.unflatten(-1, (rows, columns)).transpose(-1, -2) for part in (re, im)]
    assert parts[0] is not None
    inner = _transformed(parts[0], parts[1], forward, rows)  # (..., columns, rows)
    cosines, sines = _waves(columns, rows, rows * columns, re.dtype)
    turned = multiply(inner, Pair(cosines, -sines if forward else sines))
    outer = _transformed(turned.re.transpose(-1, -2), turned.im.transpose(-1, -2), forward, columns)  # (..., rows, columns)
    return Pair(*(part.transpose(-1, -2).flatten(-2) for part in outer))


def _waves(rows: Any, columns: Any, period: Any, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin of 2π · row · column / period; the product is reduced in whole numbers, where nothing is rounded.

    Known sizes are computed in float64: such tables become constants of the program (`convkit.legalization.constants`).
    """
    known = all(isinstance(size, int) for size in (rows, columns, period))
    phases = (torch.arange(rows).unsqueeze(1) * torch.arange(columns)) % period
    angles = phases.to(torch.float64 if known else dtype) * (2 * math.pi / period)
    return torch.cos(angles).to(dtype), torch.sin(angles).to(dtype)


def _scaled(z: Pair, norm: int, sizes: Sequence[Any]) -> Pair:
    if norm == 0:
        return z
    points = math.prod(sizes)
    factor = 1 / points if norm == 2 else points**-0.5
    return Pair(z.re * factor, z.im * factor)


@on_pairs("prims::fft_c2c")
def unscaled_between_complex(z: Pair, *, dim: Sequence[int], forward: bool) -> Pair:
    return between_complex(z, dim, 0, forward)


@on_pairs("prims::fft_r2c")
def unscaled_from_real(x: torch.Tensor, *, dim: Sequence[int], onesided: bool) -> Pair:
    return from_real(x, dim, 0, onesided)


@on_pairs("prims::fft_c2r")
def unscaled_to_real(z: Pair, *, dim: Sequence[int], last_dim_size: int) -> torch.Tensor:
    return to_real(z, dim, 0, last_dim_size)
