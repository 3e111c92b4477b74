"""Parts of tensors, and margins around them."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from convkit.interpreters.operators import Known, Value
from convkit.interpreters.tensorflow.backend import Size
from convkit.interpreters.tensorflow.refusals import one_of
from convkit.interpreters.tensorflow.sizes import (
    as_sizes,
    as_tensor,
    is_static,
    known,
    rank_of,
    shape_tensor,
    size_tensor,
    sizes_of,
)
from convkit.interpreters.tensorflow.table import operator

_LARGEST_INT32 = 2**31 - 1
_TO_THE_END = 10**9
"""What exporters write where they mean all the rest: this, or a largest integer."""
_MOST_SLICED = 5


@operator("Slice")
def slice_of_attributes(x, *, starts, ends, axes=None):
    return _slice(x, starts, ends, range(len(starts)) if axes is None else axes, [1] * len(starts))


@operator("Slice", since=10)
def slice_tensor(x, starts: Value, ends: Value, axes: Known = None, steps: Value = None):
    starts, ends = as_sizes(starts), as_sizes(ends)
    axes = range(len(starts)) if axes is None else [int(axis) for axis in axes.flat]
    return _slice(x, starts, ends, axes, [1] * len(starts) if steps is None else as_sizes(steps))


def _slice(x, starts, ends, axes, steps):
    sizes = sizes_of(x)
    parts = [slice(None)] * len(sizes)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        parts[axis % len(sizes)] = _part(start, end, step, sizes[axis % len(sizes)])
    if len(sizes) > _MOST_SLICED and is_static(sizes):
        return _picked(x, parts, sizes)
    return x if all(part == slice(None) for part in parts) else x[tuple(parts)]


def _picked(x, parts, sizes):
    """Slices of many dimensions, one by one: TensorFlow Lite's slicing knows five."""
    for axis, (part, size) in enumerate(zip(parts, sizes, strict=True)):
        if part != slice(None):
            x = tf.gather(x, np.arange(size, dtype=np.int32)[part], axis=axis)
    return x


def _part(start, end, step, size):
    """One dimension's slice; what is out of range is clamped, a start for steps backwards to the first element too."""
    if is_static((start, end, step, size)):
        if step > 0:
            return slice(*slice(start, end, step).indices(size))
        first = min(max(start + size if start < 0 else start, 0), size - 1)
        stop = min(max(end + size if end < 0 else end, -1), size - 1)
        return slice(first, None if stop < 0 else stop, step) if size else slice(0, 0)
    if is_static((start, step)) and step < 0 and start < -1:
        start = Size(tf.maximum(size_tensor(size) + _bound(start), 0))  # TensorFlow would clamp to before the first
    if is_static((end, step)) and step > 0 and end > 0:
        # TFLiteConverter makes a size of a number, which LiteRT refuses where the dimension is shorter.
        end = None if end >= _TO_THE_END else Size(tf.minimum(size_tensor(size), end))
        start = None if end is None and start == 0 and step == 1 else start
    return slice(*(None if v is None else _bound(v) for v in (start, end, step)))


def _bound(value):
    return size_tensor(value) if isinstance(value, Size) else max(-_LARGEST_INT32, min(value, _LARGEST_INT32))


_MODES = ("constant", "reflect", "edge", "wrap")


@operator("Pad", accepts=one_of("mode", _MODES))
def pad_of_attributes(x, *, pads, mode="constant", value=0.0):
    return _pad(x, list(pads), mode, tf.cast(value, x.dtype) if value else 0, None)


@operator("Pad", since=11, accepts=one_of("mode", _MODES))
def pad(x, pads: Value, value: Value = None, axes: Known = None, *, mode="constant"):
    """With a zero of Python's it is LiteRT's PAD, with a tensor its PADV2, which the fast kernels lack."""
    numbers = np.zeros(1) if value is None else known(value)
    is_zero = numbers is not None and not numbers.any()
    return _pad(x, as_sizes(pads), mode, 0 if is_zero else tf.cast(tf.reshape(as_tensor(value), []), x.dtype), axes)


def _pad(x, pads, mode, value, axes):
    rank = rank_of(x)
    axes = range(rank) if axes is None else [int(axis) % rank for axis in axes.flat]
    before, after = [0] * rank, [0] * rank
    for position, axis in enumerate(axes):
        before[axis], after[axis] = pads[position], pads[position + len(pads) // 2]
    x, before, after = _cropped(x, before, after)
    if mode == "constant":
        if all(not isinstance(p, Size) and p == 0 for p in (*before, *after)):
            return x
        return tf.pad(x, _pairs(before, after), constant_values=value)
    sizes = sizes_of(x)
    if (
        mode == "reflect"
        and is_static((*sizes, *before, *after))
        and all(max(b, a) < size for b, a, size in zip(before, after, sizes, strict=True))
    ):
        return tf.pad(x, _pairs(before, after), "REFLECT") if any((*before, *after)) else x
    for axis, (b, a, size) in enumerate(zip(before, after, sizes, strict=True)):
        if isinstance(b, Size) or isinstance(a, Size) or b or a:
            x = tf.gather(x, _source(mode, b, a, size), axis=axis)
    return x


def _pairs(before, after):
    if is_static((*before, *after)):
        return np.array([before, after], np.int32).T
    return tf.stack([shape_tensor(before), shape_tensor(after)], axis=1)


def _cropped(x, before, after):
    """Negative margins cut off; returns the rest and the margins to add. Dynamic ones may have either sign."""
    sizes = sizes_of(x)
    parts, changed = [], False
    for b, a, size in zip(before, after, sizes, strict=True):
        first = tf.maximum(-b.tensor, 0) if isinstance(b, Size) else max(-b, 0)
        cut = tf.minimum(a.tensor, 0) if isinstance(a, Size) else min(a, 0)
        untouched = not isinstance(b, Size) and not isinstance(a, Size) and b >= 0 and a >= 0
        changed = changed or not untouched
        parts.append(slice(None) if untouched else slice(first, size_tensor(size) + cut))
    return (x[tuple(parts)] if changed else x), _positive(before), _positive(after)


def _positive(margins):
    return [Size(tf.maximum(m.tensor, 0)) if isinstance(m, Size) else max(m, 0) for m in margins]


def _source(mode, before, after, size):
    """Which element of a dimension every element of the padded one is."""
    if is_static((before, after, size)):
        return np.asarray(_INDEX[mode](np.arange(-before, size + after), size, np), np.int32)
    index = tf.range(-size_tensor(before), size_tensor(size) + size_tensor(after))
    return _INDEX[mode](index, size_tensor(size), tf)


def _reflected(index, size, module):
    """Back and forth over the elements, the outermost ones met once at every turn."""
    period = module.maximum(2 * size - 2, 1)
    index = index % period
    return module.minimum(index, period - index)


_INDEX = {
    "edge": lambda index, size, module: module.maximum(module.minimum(index, size - 1), 0),
    "reflect": _reflected,
    "wrap": lambda index, size, module: index % size,
}
