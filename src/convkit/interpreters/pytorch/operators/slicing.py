"""Parts of a tensor, and what is put around it: Slice and Pad."""

from __future__ import annotations

import sys

import numpy as np
import torch

from convkit.interpreters.operators import Either, Known, Value
from convkit.interpreters.pytorch.backend import as_tensor
from convkit.interpreters.pytorch.sizes import known_sizes, unbacked
from convkit.interpreters.pytorch.table import operator

_BEYOND = np.iinfo(np.int32).max
"""Exporters write this for the end of an axis, or the same of 64 bits."""

_MODES = ("constant", "reflect", "edge", "wrap")


@operator("Slice")
def slice_attributes(x, *, starts, ends, axes=None):
    return _slice(x, starts, ends, axes, None)


@operator("Slice", since=10)
def slice_inputs(x, starts: Value, ends: Value, axes: Known | None = None, steps: Known | None = None):
    is_forwards = steps is None or all(int(step) > 0 for step in steps)
    places = _places if is_forwards else lambda value, *_: _numbers(value, None)
    return _slice(x, places(starts, x, axes), places(ends, x, axes), axes, steps)


def _places(value, x, axes):
    """Where slices begin or end; those that only the data tell counted from the front and within the axis.

    A compiler cannot trace what may be counted from behind, and has no bound for what may be beyond the end.
    """
    known = known_sizes(value)
    if known is not None:
        return known
    places = []
    for position, number in enumerate(value.reshape(-1).unbind()):
        length = x.shape[position if axes is None else int(axes[position]) % x.dim()]
        most = torch.ops.aten.scalar_tensor.default(length, dtype=number.dtype)
        [place] = unbacked(torch.where(number < 0, number + most, number).clamp(min=0).minimum(most))
        torch._check(place <= length)
        places.append(place)
    return places


def _numbers(value, smallest):
    """The ints of an input; from data where they have to be."""
    known = known_sizes(value)
    return unbacked(value, smallest) if known is None else known


def _slice(x, starts, ends, axes, steps):
    for position, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = position if axes is None else int(axes[position]) % x.dim()
        step = 1 if steps is None else int(steps[position])
        x = _forwards(x, axis, start, end, step) if step > 0 else _backwards(x, axis, start, end, -step)
    return x


def _forwards(x, axis, start, end, step):
    if isinstance(end, int) and end >= _BEYOND:
        end = sys.maxsize  # what torch takes for "to the end", without asking whether the axis is shorter
    if _is(start, 0) and step == 1 and _reaches(end, x.shape[axis]):
        return x
    return torch.ops.aten.slice.Tensor(x, axis, start, end, step)


def _reaches(end, length):
    return isinstance(end, int) and (end == sys.maxsize or (isinstance(length, int) and end >= length))


def _backwards(x, axis, start, end, step):
    """Forwards in the mirrored tensor, where index i is index -i - 1 of the other end."""
    length = x.shape[axis]
    if isinstance(length, int) and isinstance(start, int) and start < -length:
        start = -length  # what lies in front of the first element starts at it
    return _forwards(torch.flip(x, [axis]), axis, -start - 1, -end - 1, step)


def _is(size, number):
    return isinstance(size, int) and size == number


def _accepts_mode(node):
    mode = node.attributes.get_string("mode", "constant")
    return None if mode in _MODES else f"the mode '{mode}'"


@operator("Pad", accepts=_accepts_mode)
def pad_attributes(x, *, pads, mode="constant", value=0.0):
    return _pad(x, pads, list(range(x.dim())), mode, value)


@operator("Pad", since=11, accepts=_accepts_mode)
def pad(x, pads: Value, value: Either | None = None, axes: Known | None = None, *, mode="constant"):
    pads = _numbers(pads, 0)
    axes = list(range(x.dim())) if axes is None else [int(a) % x.dim() for a in axes]
    if not isinstance(value, torch.Tensor):
        return _pad(x, pads, axes, mode, 0 if value is None else _scalar(value))
    inside = _pad(torch.ones_like(x, dtype=torch.bool), pads, axes, mode, False)
    return torch.where(inside, _pad(x, pads, axes, mode, 0), value.reshape(()))


def _scalar(value):
    number = as_tensor(value).reshape(()).item()
    return number - 2**64 if value.dtype == np.uint64 and number >= 2**63 else number


def _pad(x, pads, axes, mode, value):
    before, after = pads[: len(axes)], pads[len(axes) :]
    if mode != "constant":
        for axis, first, last in zip(axes, before, after, strict=True):
            if not (_is(first, 0) and _is(last, 0)):
                x = torch.index_select(x, axis, _sources(x.shape[axis], first, last, mode))
        return x
    around = {axis: [first, last] for axis, first, last in zip(axes, before, after, strict=True)}
    for axis, (first, last) in around.items():
        # Negative numbers take elements away; not every target's padding does that.
        cut_first, cut_last = (-p if isinstance(p, int) and p < 0 else 0 for p in (first, last))
        if cut_first or cut_last:
            x = torch.ops.aten.slice.Tensor(x, axis, cut_first, x.shape[axis] - cut_last)
            around[axis] = [0 if cut_first else first, 0 if cut_last else last]
    if all(_is(p, 0) for pair in around.values() for p in pair):
        return x
    first_axis = min(axis for axis, pair in around.items() if not all(_is(p, 0) for p in pair))
    flat = [p for axis in range(x.dim() - 1, first_axis - 1, -1) for p in around.get(axis, (0, 0))]
    return torch.constant_pad_nd(x, flat, value)


def _sources(length, first, last, mode):
    """Which element stands where after padding an axis."""
    if all(isinstance(size, int) for size in (length, first, last)):
        return as_tensor(_fold(np, np.arange(-first, length + last), length, mode, np.minimum))
    places = torch.arange(length + first + last) - first
    return _fold(torch, places, length, mode, lambda a, b: torch.where(a < b, a, b))


def _fold(library, places, length, mode, smaller):
    if mode == "edge":
        return library.clip(places, 0, length - 1)
    if mode == "wrap":
        return places % length
    if _is(length, 1):
        return places * 0
    period = 2 * (length - 1)
    return smaller(places % period, period - places % period)
