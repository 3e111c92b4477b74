"""Reading from and writing to computed places: scatters and reductions by index or by segment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from convkit.legalization.torch.decompositions import UNROLLED, decomposes

if TYPE_CHECKING:
    import torch


def _neutral(reduce: str, dtype: torch.dtype) -> float:
    """What leaves the other operand of a reduction as it is."""
    import torch

    limits: Any = None
    if not dtype.is_floating_point:
        limits = torch.iinfo(dtype)
    lowest, highest = (-math.inf, math.inf) if limits is None else (limits.min, limits.max)
    return {"sum": 0, "mean": 0, "prod": 1, "amax": lowest, "amin": highest}[reduce]


@decomposes("scatter.reduce", reason="a scatter_reduce")
def scatter_with_reduction(x: torch.Tensor, dim: int, index: torch.Tensor, src: torch.Tensor, *, reduce: str) -> torch.Tensor:
    """Adds to, or multiplies, the places that an index names."""
    return x.scatter_reduce(dim, index, src, {"add": "sum", "multiply": "prod"}[reduce])


@decomposes("scatter.value_reduce", reason="a scatter_reduce")
def scatter_value_with_reduction(x: torch.Tensor, dim: int, index: torch.Tensor, value: float, *, reduce: str) -> torch.Tensor:
    """Adds a number to, or multiplies with it, the places that an index names."""
    import torch

    src = torch.full(index.shape, value, dtype=x.dtype, device=x.device)
    return x.scatter_reduce(dim, index, src, {"add": "sum", "multiply": "prod"}[reduce])


_LARGEST_MASK = 1 << 22
"""How many comparisons of an index with positions are written out at once."""


@decomposes("scatter_add.default", reason="sums under a mask of equal positions")
def scatter_add(x: torch.Tensor, dim: int, index: torch.Tensor, src: torch.Tensor) -> Any:
    """The places that an index names, with what is written there added."""
    if x.dim() == 0 or not _is_moderate(x, dim, index):
        return NotImplemented
    return _reduced(x, dim, index, src, "sum", include_self=True)


@decomposes("scatter_reduce.two", reason="reduces under a mask of equal positions")
def scatter_reduce(
    x: torch.Tensor, dim: int, index: torch.Tensor, src: torch.Tensor, reduce: str, *, include_self: bool = True
) -> Any:
    """The places that an index names, reduced with what is written there."""
    if x.dim() == 0 or index.dim() == 0:
        return NotImplemented
    if reduce == "sum" and include_self:
        return x.scatter_add(dim, index, src)  # most targets have that
    if _is_moderate(x, dim, index):
        return _reduced(x, dim, index, src, reduce, include_self=include_self)
    if include_self and reduce != "mean" and isinstance(index.shape[dim], int) and index.shape[dim] <= UNROLLED:
        return _reduced_by_rows(x, dim, index, src, reduce)
    return NotImplemented


def _is_moderate(x: torch.Tensor, dim: int, index: torch.Tensor) -> bool:
    sizes = [*index.shape, x.shape[dim]]
    return not all(isinstance(n, int) for n in sizes) or math.prod(sizes) <= _LARGEST_MASK


def _reduced(
    x: torch.Tensor, dim: int, index: torch.Tensor, src: torch.Tensor, reduce: str, *, include_self: bool
) -> torch.Tensor:
    """Every position along `dim` with all that is written to it: what is written elsewhere is neutral."""
    import torch

    written = src[tuple(slice(0, n) for n in index.shape)]
    for axis, (size, whole) in enumerate(zip(index.shape, x.shape, strict=True)):
        if axis != dim % x.dim() and size != whole:
            pads = [0] * (2 * (x.dim() - 1 - axis)) + [0, whole - size]
            index = torch.nn.functional.pad(index, pads, value=-1)  # a position that there is not
            written = torch.nn.functional.pad(written, pads)
    positions = torch.arange(x.shape[dim], device=x.device).unsqueeze(-1)
    is_target = index.movedim(dim, -1).unsqueeze(-2) == positions
    values = written.to(x.dtype).movedim(dim, -1).unsqueeze(-2)
    chosen = torch.where(is_target, values, torch.full_like(values, _neutral(reduce, x.dtype)))
    found = {"sum": torch.sum, "mean": torch.sum, "prod": torch.prod, "amax": torch.amax, "amin": torch.amin}[reduce](chosen, -1)
    before = x.movedim(dim, -1)
    if not include_self:
        before = torch.where(is_target.any(-1), torch.full_like(before, _neutral(reduce, x.dtype)), before)
    combine = {"amax": torch.maximum, "amin": torch.minimum, "prod": torch.mul}.get(reduce, torch.add)
    result = combine(before, found.to(x.dtype))
    if reduce == "mean":
        count = is_target.to(x.dtype).sum(-1).to(x.dtype) + (1 if include_self else 0)
        count = count.clamp_min(1)
        result = result / count if x.is_floating_point() else torch.div(result, count, rounding_mode="floor")
    return result.movedim(-1, dim)


def _reduced_by_rows(x: torch.Tensor, dim: int, index: torch.Tensor, src: torch.Tensor, reduce: str) -> torch.Tensor:
    """Row by row of the index, within one of which nothing is written twice: its positions along the other axes are apart."""
    import torch

    combine = {"amax": torch.maximum, "amin": torch.minimum, "prod": torch.mul, "sum": torch.add}[reduce]
    for step in range(index.shape[dim]):
        where = index.narrow(dim, step, 1)
        new = combine(x.gather(dim, where), src.narrow(dim, step, 1)[tuple(slice(0, n) for n in where.shape)])
        x = x.scatter(dim, where, new)
    return x


@decomposes("index_reduce.default", reason="a scatter_reduce whose index is spread over the other axes")
def index_reduce(
    x: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor, reduce: str, *, include_self: bool = True
) -> Any:
    """The slices that an index names, reduced with those of `source`."""
    if x.dim() == 0:
        return NotImplemented
    shape = [1] * x.dim()
    shape[dim] = -1
    spread = index.reshape(shape).expand(source.shape)
    name = {"prod": "prod", "mean": "mean", "amax": "amax", "amin": "amin"}[reduce]
    return x.scatter_reduce(dim, spread, source, name, include_self=include_self)


@decomposes("put.default", reason="a scatter into the flat tensor")
def put(x: torch.Tensor, index: torch.Tensor, source: torch.Tensor, accumulate: bool = False) -> torch.Tensor:
    """Writes to flat positions, or adds to them."""
    import torch

    flat = x.reshape(-1)
    places = index.reshape(-1)
    places = torch.where(places < 0, places + flat.shape[0], places)
    values = source.reshape(-1)
    return (flat.scatter_add(0, places, values) if accumulate else flat.scatter(0, places, values)).reshape(x.shape)


@decomposes("as_strided_scatter.default", reason="a scatter to the positions that the strides name")
def as_strided_scatter(
    x: torch.Tensor, src: torch.Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Any:
    """Writes `src` to the elements that a strided view of the contiguous tensor holds."""
    import torch

    if not all(isinstance(n, int) for n in (*x.shape, *size, *stride)) or not x.is_contiguous():
        return NotImplemented
    places = torch.full((), storage_offset or 0, dtype=torch.int64)
    for count, step in zip(size, stride, strict=True):
        places = places.unsqueeze(-1) + torch.arange(count) * step
    return x.reshape(-1).scatter(0, places.reshape(-1), src.reshape(-1)).reshape(x.shape)


@decomposes("diagonal_scatter.default", reason="a choice by the distance from the diagonal")
def diagonal_scatter(x: torch.Tensor, src: torch.Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """Writes `src` to a diagonal."""
    import torch

    rows, columns = x.shape[dim1], x.shape[dim2]
    moved = x.movedim((dim1, dim2), (-2, -1))
    row, column = torch.arange(rows).unsqueeze(-1), torch.arange(columns)
    place = row if offset >= 0 else row + offset
    spread = src.index_select(-1, place.reshape(-1).clamp(0, src.shape[-1] - 1)).unsqueeze(-1)
    return torch.where(column - row == offset, spread, moved).movedim((-2, -1), (dim1, dim2))


@decomposes("segment_reduce.default", reason="reduces every segment of the axis under a mask")
def segment_reduce(
    data: torch.Tensor,
    reduce: str,
    *,
    lengths: torch.Tensor | None = None,
    indices: torch.Tensor | None = None,
    offsets: torch.Tensor | None = None,
    axis: int = 0,
    unsafe: bool = False,
    initial: float | None = None,
) -> Any:
    """Reductions of consecutive runs along an axis; the axes before it have lengths or offsets of their own."""
    import torch

    if indices is not None or (lengths is None and offsets is None):
        return NotImplemented
    if lengths is not None:
        ends = lengths.cumsum(-1)
        starts = ends - lengths
    else:
        assert offsets is not None
        starts, ends = offsets[..., :-1], offsets[..., 1:]
    name = {"max": "amax", "min": "amin"}.get(reduce, reduce)
    positions = torch.arange(data.shape[axis], device=data.device)
    inside = (positions >= starts.unsqueeze(-1)) & (positions < ends.unsqueeze(-1))
    trailing = data.dim() - axis - 1
    mask = inside.reshape(*inside.shape, *([1] * trailing))
    neutral = torch.full_like(data, _neutral(name, data.dtype))
    chosen = torch.where(mask, data.unsqueeze(axis), neutral.unsqueeze(axis))
    found = getattr(chosen, {"mean": "sum"}.get(name, name))(axis + 1)
    count = inside.to(data.dtype).sum(-1).reshape(*starts.shape, *([1] * trailing))
    if initial is not None:
        first = torch.full_like(found, initial)
        found = {"amax": torch.maximum, "amin": torch.minimum, "prod": torch.mul}.get(name, torch.add)(found, first)
    if name == "mean":
        # Torch divides what `initial` gave, too, and leaves empty segments at it; nan where there is none.
        empty = torch.full_like(found, math.nan if initial is None else initial)
        found = torch.where(count == 0, empty, found / count.clamp_min(1))
    return found


@decomposes("index_add.default", reason="a scatter_add whose index is spread over the other axes")
def index_add(x: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor, *, alpha: float = 1) -> Any:
    """Adds the slices of `source` to those that an index names."""
    if x.dim() == 0:
        return NotImplemented
    shape = [1] * x.dim()
    shape[dim] = -1
    return x.scatter_add(dim, index.reshape(shape).expand(source.shape), source if alpha == 1 else source * alpha)


@decomposes("index_put.default", "_unsafe_index_put.default", reason="a scatter into the flat tensor")
def index_put(x: torch.Tensor, indices: Sequence[Any], values: torch.Tensor, accumulate: bool = False) -> Any:
    """Writes to the places that index tensors for the first axes name, or adds to them; a mask must be the only index."""
    import torch

    given = list(indices)
    while given and given[-1] is None:
        given.pop()
    if len(given) == 1 and given[0] is not None and given[0].dtype is torch.bool:
        mask = given[0]
        shape = [*mask.shape, *[1] * (x.dim() - mask.dim())]
        mask = mask.reshape(shape)
        if all(size == 1 for size in values.shape):
            values = values.reshape(())
        if values.dim() <= x.dim() - given[0].dim():  # the same for every place
            values = values.to(x.dtype)
            return torch.where(mask, x + values if accumulate else values, x)
        if accumulate or values.dim() != x.dim() - given[0].dim() + 1 or values.shape[0] == 1:
            return NotImplemented
        rows = values.to(x.dtype).expand(values.shape[0], *x.shape[given[0].dim() :])
        return x.masked_scatter(mask, rows)
    leading = next((k for k, index in enumerate(given) if index is not None), 0)
    named = given[leading:]
    if not named or any(index is None or index.dtype is torch.bool for index in named):
        return NotImplemented
    axes = list(range(leading, leading + len(named)))
    moved = x.movedim(axes, list(range(len(named)))) if leading else x
    places = torch.zeros((), dtype=torch.int64)
    for index, size in zip(named, moved.shape, strict=False):
        places = places * size + torch.where(index < 0, index + size, index).to(torch.int64)
    index_axes = list(range(places.dim()))
    shape = [*x.shape[:leading], *places.shape, *x.shape[leading + len(named) :]]
    written = values.to(x.dtype).expand(shape)
    if leading:
        written = written.movedim([leading + k for k in index_axes], index_axes)
    for size in moved.shape[len(named) :]:
        places = places.unsqueeze(-1) * size + torch.arange(size)
    flat = moved.reshape(-1)
    scattered = flat.scatter_add if accumulate else flat.scatter
    result = scattered(0, places.reshape(-1), written.reshape(-1)).reshape(moved.shape)
    return result.movedim(list(range(len(named))), axes) if leading else result


@decomposes("masked_scatter.default", reason="gathers by the number of set elements before each")
def masked_scatter(x: torch.Tensor, mask: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """The elements of `source` in turn where a mask is set."""
    import torch

    x, mask = torch.broadcast_tensors(x, mask)
    number = mask.reshape(-1).to(torch.int64).cumsum(0) - 1
    taken = source.reshape(-1).index_select(0, number.clamp_min(0)).reshape(x.shape)
    return torch.where(mask, taken, x)


@decomposes("gather.default", reason="takes indices of 64 bits")
def gather(x: torch.Tensor, dim: int, index: torch.Tensor, *, sparse_grad: bool = False) -> Any:
    """The elements at indices along an axis."""
    import torch

    return NotImplemented if index.dtype is torch.int64 else x.gather(dim, index.to(torch.int64))
