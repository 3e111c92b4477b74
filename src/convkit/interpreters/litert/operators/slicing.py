"""Parts of tensors, and padding."""

from __future__ import annotations

import torch
from torch.nn import functional

from convkit.interpreters.litert.slices import numpy_slices
from convkit.interpreters.litert.table import Arithmetic, operator
from convkit.interpreters.operators import Known, Sizes, UnsupportedError, Value


@operator("SLICE", arithmetic=Arithmetic.LEVELS)
def slice_(x, begin: Value, size: Value, *, node):
    starts, sizes = node.sizes_of(begin), node.sizes_of(size)
    for axis, (start, count) in enumerate(zip(starts, sizes, strict=True)):
        whole = isinstance(start, int) and start == 0
        if whole and isinstance(count, int) and count in (-1, x.shape[axis]):
            continue
        length = x.shape[axis] - start if isinstance(count, int) and count == -1 else count
        x = x.narrow(axis, start, length)
    return x


@operator("STRIDED_SLICE", arithmetic=Arithmetic.LEVELS)
def strided_slice(
    x,
    begin: Value,
    end: Value,
    strides: Known,
    *,
    begin_mask=0,
    end_mask=0,
    ellipsis_mask=0,
    new_axis_mask=0,
    shrink_axis_mask=0,
    offset=False,
    node,
):
    where = numpy_slices(node.sizes_of(begin), node.sizes_of(end), [int(s) for s in strides], x.dim(), node.operator.options)
    return _indexed(x, where)


def _indexed(x, where):
    """Indexes with numpy's slices; torch has none that go backwards."""
    given = sum(entry is not None and entry is not Ellipsis for entry in where)
    axis = 0
    for entry in where:
        if entry is Ellipsis:
            axis += x.dim() - axis - sum(e is not None for e in where[where.index(Ellipsis) + 1 :])
        elif entry is None:
            x = x.unsqueeze(axis)
            axis += 1
        elif isinstance(entry, slice):
            x = _sliced(x, axis, entry)
            axis += 1
        else:
            x = x.select(axis, entry)
    assert given <= len(where)
    return x


def _sliced(x, axis, entry):
    if entry.step > 0:
        if entry.start in (None, 0) and entry.stop is None and entry.step == 1:
            return x
        return torch.ops.aten.slice.Tensor(x, axis, entry.start, entry.stop, entry.step)
    size = x.shape[axis]
    if not isinstance(size, int):
        if entry.start is None and entry.stop is None and entry.step == -1:
            return x.flip(axis)
        raise UnsupportedError("a slice backwards along a dynamic dimension")
    positions = list(range(size))[entry]
    return x.flip(axis) if positions == list(range(size))[::-1] else x[(slice(None),) * axis + (positions,)]


def _pads(paddings, order):
    """torch's list of paddings, last axis first, for pairs per axis of the file."""
    pairs = [(int(a), int(b)) for a, b in paddings]
    if order is not None:
        pairs = [pairs[axis] for axis in order]
    return [p for pair in reversed(pairs) for p in pair]


@operator("PAD", elementwise=True)
def pad(x, paddings: Known, *, order=None):
    return functional.pad(x, _pads(paddings, order))


@operator("PADV2", elementwise=True)
def pad_with(x, paddings: Known, value: Value, *, order=None, node):
    return functional.pad(x, _pads(paddings, order), value=node.number(2))


@operator("MIRROR_PAD", arithmetic=Arithmetic.LEVELS)
def mirror_pad(x, paddings: Known, *, mode="REFLECT"):
    inset = 1 if mode == "REFLECT" else 0
    for axis, (begin, end) in enumerate(paddings):
        begin, end = int(begin), int(end)
        size = x.shape[axis]
        parts = [x]
        if begin:
            parts.insert(0, x.narrow(axis, inset, begin).flip(axis))
        if end:
            parts.append(x.narrow(axis, size - inset - end, end).flip(axis))
        x = torch.cat(parts, axis) if len(parts) > 1 else x
    return x


@operator("RANGE")
def range_(start: Sizes, limit: Sizes, delta: Sizes, *, node):
    from convkit.interpreters.litert.values import torch_dtype

    return torch.arange(start[0], limit[0], delta[0], dtype=torch_dtype(node.output.dtype))
