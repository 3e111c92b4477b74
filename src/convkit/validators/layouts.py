"""Which permutation of axes, if any, makes one tensor another: the layout solver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np

__all__ = ["Layout", "difference", "layouts", "scale_of", "solved"]

_SAMPLE = 4096
_LARGEST_RANK = 6
_BETTER = 0.3
"""How much nearer a less natural layout must bring two tensors."""


@dataclass(frozen=True)
class Layout:
    """How to read a tensor to get it into another's order.

    Attributes:
        axes: The permutation to apply; () where the order of the elements is the same already.
        dropped: The tensor's shape without its axes of size one, which the permutation goes by; () for `axes` ().
    """

    axes: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()

    def read(self, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The tensor, in the other's order and shape."""
        ordered = array.reshape(self.dropped).transpose(self.axes) if self.axes else array
        return ordered.reshape(shape)

    def __str__(self) -> str:
        return f"axes permuted by {list(self.axes)}" if self.axes else "same layout"


def layouts(wanted: tuple[int, ...], found: tuple[int, ...]) -> Iterator[Layout]:
    """The layouts that give a tensor of shape `found` the shape `wanted`, the most natural first.

    Axes of size one do not count: they can stand anywhere.
    """
    if int(np.prod(wanted)) != int(np.prod(found)):
        return
    mine, theirs = (tuple(n for n in shape if n != 1) for shape in (wanted, found))
    if mine == theirs:
        yield Layout()
    if sorted(mine) == sorted(theirs) and len(mine) <= _LARGEST_RANK:
        for axes in permutations(range(len(theirs))):
            if axes != tuple(range(len(axes))) and tuple(theirs[a] for a in axes) == mine:
                yield Layout(axes, theirs)
    if mine != theirs:
        yield Layout()


def solved(expected: np.ndarray, got: np.ndarray, likely: Layout | None = None) -> tuple[Layout, float] | None:
    """The layout in which `got` is most like `expected`, and how unlike they are on a sample; None where no layout fits.

    Args:
        expected: The reference.
        got: Any tensor.
        likely: Whose permutation is the most natural one, where the shapes allow it.

    Returns:
        With the mean |Δ| as a share of the reference's mean magnitude: a few wrong elements do not make tensors unlike.
    """
    places = _sample(expected.size)
    wanted = np.asarray(expected).reshape(-1)[places]
    best: tuple[Layout, float] | None = None
    for layout in sorted(layouts(expected.shape, got.shape), key=lambda x: likely is None or x.axes != likely.axes):
        values = _picked(got, layout, expected.shape, places)
        apart = _unlikeness(wanted, values)
        # What differs anyhow differs a little less in some layout or other.
        if best is None or apart < _BETTER * best[1]:
            best = layout, apart
        if apart == 0.0:
            break
    return best


def _sample(size: int) -> np.ndarray:
    if size <= _SAMPLE:
        return np.arange(size)
    return np.random.default_rng(0).integers(0, size, _SAMPLE)


def _picked(got: np.ndarray, layout: Layout, shape: tuple[int, ...], places: np.ndarray) -> np.ndarray:
    """The elements of `got` at flat places of the other tensor; nothing is copied but them."""
    if not layout.axes:
        return np.asarray(got.reshape(-1)[places])
    ordered = got.reshape(layout.dropped).transpose(layout.axes)
    return np.asarray(ordered[np.unravel_index(places, ordered.shape)])


def _unlikeness(expected: np.ndarray, got: np.ndarray) -> float:
    wide = np.complex128 if "c" in (expected.dtype.kind, got.dtype.kind) else np.float64
    mine, theirs = expected.astype(wide), got.astype(wide)
    with np.errstate(invalid="ignore", over="ignore"):
        delta = np.abs(theirs - mine)
    finite = np.isfinite(delta)
    # NaN and infinities that stand in the same places are alike.
    other = ~finite & (mine != theirs) & ~(np.isnan(mine) & np.isnan(theirs))
    magnitude = float(np.abs(mine[np.isfinite(mine)]).mean()) if np.isfinite(mine).any() else 0.0
    return _share(float(delta[finite].sum()) / max(1, delta.size), magnitude) + float(other.mean() if other.size else 0.0)


def scale_of(array: np.ndarray) -> float:
    """max |x| over finite values, 0 where there are none."""
    return float(np.abs(array[np.isfinite(array)]).max(initial=0.0))


def difference(expected: np.ndarray, got: np.ndarray, scale: float) -> float:
    """max |Δ| as a share of a scale; infinite where NaN or infinities stand in other places."""
    if expected.dtype.kind == "c" or got.dtype.kind == "c":
        delta = np.abs(got.astype(np.complex128) - expected.astype(np.complex128))
        return _share(float(delta.max(initial=0.0)), scale)
    wide = np.dtype(np.float32 if expected.dtype == got.dtype == np.float32 else np.float64)
    mine: np.ndarray = expected.astype(wide, copy=False)
    theirs: np.ndarray = got.astype(wide, copy=False)
    with np.errstate(invalid="ignore", over="ignore"):
        delta = np.abs(theirs - mine)
    largest = float(delta.max(initial=0.0))
    if np.isfinite(largest):
        return _share(largest, scale)
    # Equal infinities differ by NaN.
    same = (mine == theirs) | (np.isnan(mine) & np.isnan(theirs))
    rest = delta[~same]
    return float("inf") if not np.isfinite(rest).all() else _share(float(rest.max(initial=0.0)), scale)


def _share(largest: float, scale: float) -> float:
    return 0.0 if largest == 0.0 else largest / scale if scale > 0 else float("inf")
