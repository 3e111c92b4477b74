"""Order statistics: sort, kthvalue, median, mode, bucketize."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from convkit.legalization.torch.decompositions import decomposes

if TYPE_CHECKING:
    import torch

_RANKED = 256
"""How many elements are sorted by comparing each with each."""


def _whole_axis(x: torch.Tensor, dim: int) -> int | None:
    """The size of an axis that is known and not empty."""
    size = x.shape[dim] if x.dim() else 1
    return size if isinstance(size, int) and size > 0 else None


@decomposes("sort.default", "sort.stable", reason="by the rank of each element, or as the top k of the whole axis")
def sort(x: torch.Tensor, *arguments: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    """By the rank of each element, which keeps equal ones in order; beyond some hundreds by the runtime's own top-k."""
    import torch

    if arguments:  # aten.sort.default takes them by position, aten.sort.stable by name
        dim, descending = arguments[0], arguments[1] if len(arguments) > 1 else descending
    if x.dim() == 0:
        return NotImplemented
    size = x.shape[dim]
    if not isinstance(size, int) or size > _RANKED:
        return x.topk(size, dim, largest=descending, sorted=True)
    last = x.transpose(dim, -1)
    mine, others = last.unsqueeze(-1), last.unsqueeze(-2)
    positions = torch.arange(size, device=x.device)
    earlier = (others == mine) & (positions.unsqueeze(0) < positions.unsqueeze(1))
    before = (others > mine if descending else others < mine) | earlier
    rank = before.to(torch.int64).sum(-1)
    order = torch.zeros_like(rank).scatter(-1, rank, positions.expand(rank.shape))
    return last.gather(-1, order).transpose(dim, -1), order.transpose(dim, -1)


@decomposes("max.dim", reason="the largest, and the place of the largest")
def max_dim(x: torch.Tensor, dim: int, keepdim: bool = False) -> Any:
    """The largest along an axis, and where it is first."""
    return NotImplemented if x.dim() == 0 else (x.amax(dim, keepdim), x.argmax(dim, keepdim))


@decomposes("min.dim", reason="the smallest, and the place of the smallest")
def min_dim(x: torch.Tensor, dim: int, keepdim: bool = False) -> Any:
    """The smallest along an axis, and where it is first."""
    return NotImplemented if x.dim() == 0 else (x.amin(dim, keepdim), x.argmin(dim, keepdim))


def _smallest(x: torch.Tensor, k: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k smallest, in order, and where they are."""
    values, index = x.topk(k, dim, largest=False, sorted=True)
    return values, index


@decomposes("topk.default", reason="the largest of the negated values, along the last axis")
def topk(x: torch.Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The k largest, or smallest, along an axis, and where they are."""
    is_plain = largest and (x.dim() == 0 or dim % x.dim() == x.dim() - 1)
    if x.dim() == 0 or is_plain or not (x.is_floating_point() or x.dtype.is_signed):
        return NotImplemented
    last = x.transpose(dim, -1)
    values, index = (last if largest else -last).topk(k, -1, True, sorted)
    return (values if largest else -values).transpose(dim, -1), index.transpose(dim, -1)


@decomposes("kthvalue.default", reason="the last of the k smallest")
def kthvalue(x: torch.Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The kth smallest along an axis, and where it is."""
    if x.dim() == 0:
        return NotImplemented
    values, index = _smallest(x, k, dim)
    return _picked(values, index, k - 1, dim, keepdim)


def _picked(values: torch.Tensor, index: torch.Tensor, at: int, dim: int, keepdim: bool) -> tuple[torch.Tensor, torch.Tensor]:
    values, index = values.narrow(dim, at, 1), index.narrow(dim, at, 1)
    return (values, index) if keepdim else (values.squeeze(dim), index.squeeze(dim))


@decomposes("median.dim", reason="the last of the lower half; nan where there is one")
def median_dim(x: torch.Tensor, dim: int, keepdim: bool = False) -> Any:
    """The lower median along an axis, and where it is."""
    import torch

    size = _whole_axis(x, dim)
    if x.dim() == 0 or size is None:
        return NotImplemented
    if x.is_floating_point():
        # The first nan is the median where there is one, as if it were the smallest.
        is_nan = torch.isnan(x)
        first = is_nan.to(torch.int64).argmax(dim, True)
        values, index = _smallest(torch.where(is_nan, torch.full_like(x, math.inf), x), (size + 1) // 2, dim)
        value, place = _picked(values, index, (size - 1) // 2, dim, True)
        has_nan = is_nan.any(dim, True)
        value, place = torch.where(has_nan, torch.full_like(value, math.nan), value), torch.where(has_nan, first, place)
        return (value, place) if keepdim else (value.squeeze(dim), place.squeeze(dim))
    values, index = _smallest(x, (size + 1) // 2, dim)
    return _picked(values, index, (size - 1) // 2, dim, keepdim)


@decomposes("median.default", reason="the last of the lower half; nan where there is one")
def median(x: torch.Tensor) -> Any:
    """The lower median of all elements."""
    found = median_dim(x.reshape(-1), 0)
    return found if found is NotImplemented else found[0]


@decomposes("nanmedian.dim", reason="picks by the number of elements that are not nan")
def nanmedian_dim(x: torch.Tensor, dim: int, keepdim: bool = False) -> Any:
    """The lower median of what is not nan along an axis, and where it is."""
    import torch

    size = _whole_axis(x, dim)
    if x.dim() == 0 or size is None:
        return NotImplemented
    if not x.is_floating_point():
        return median_dim(x, dim, keepdim)
    is_nan = torch.isnan(x)
    count = (~is_nan).to(torch.int64).sum(dim, True)
    values, index = _smallest(torch.where(is_nan, torch.full_like(x, math.inf), x), size, dim)
    at = ((count - 1).clamp_min(0) // 2).expand([1 if k == dim % x.dim() else n for k, n in enumerate(x.shape)])
    value, place = values.gather(dim, at), index.gather(dim, at)
    value = torch.where(count == 0, torch.full_like(value, math.nan), value)
    return (value, place) if keepdim else (value.squeeze(dim), place.squeeze(dim))


@decomposes("nanmedian.default", reason="picks by the number of elements that are not nan")
def nanmedian(x: torch.Tensor) -> Any:
    """The lower median of all elements that are not nan."""
    found = nanmedian_dim(x.reshape(-1), 0)
    return found if found is NotImplemented else found[0]


@decomposes("mode.default", reason="counts equals, comparing each element with each")
def mode(x: torch.Tensor, dim: int = -1, keepdim: bool = False) -> Any:
    """The smallest of the most frequent values along an axis, and the last place that holds it."""
    import torch

    size = _whole_axis(x, dim)
    if x.dim() == 0 or size is None or size > _RANKED:
        return NotImplemented
    last = x.transpose(dim, -1)
    equal = last.unsqueeze(-1) == last.unsqueeze(-2)
    count = equal.to(torch.int64).sum(-1)
    most = count == count.amax(-1, True)
    highest = math.inf if x.is_floating_point() else torch.iinfo(x.dtype).max
    value = torch.where(most, last, torch.full_like(last, highest)).amin(-1, True)
    place = torch.where(last == value, torch.arange(size, device=x.device), 0).amax(-1, True)
    value, place = value.transpose(dim, -1), place.transpose(dim, -1)
    return (value, place) if keepdim else (value.squeeze(dim), place.squeeze(dim))


@decomposes("bucketize.Tensor", reason="counts the boundaries below each element")
def bucketize(x: torch.Tensor, boundaries: torch.Tensor, *, out_int32: bool = False, right: bool = False) -> Any:
    """The number of boundaries below (or, with `right`, not above) each element."""
    return searchsorted(boundaries, x, out_int32=out_int32, right=right)


@decomposes("searchsorted.Tensor", reason="counts the sorted elements below each value")
def searchsorted(
    sequence: torch.Tensor,
    x: torch.Tensor,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: torch.Tensor | None = None,
) -> Any:
    """Where each value would be inserted to keep the last axis of the sequence sorted."""
    import torch

    if sorter is not None:
        sequence = sequence.gather(-1, sorter)
    if sequence.dim() > 1:
        sequence = sequence.unsqueeze(-2)
    values = x.unsqueeze(-1)
    # nan is larger than every number: it goes behind all of them.
    is_before = ~(sequence > values) if right or side == "right" else ~(sequence >= values)
    return is_before.to(torch.int32).sum(-1).to(torch.int32 if out_int32 else torch.int64)


@decomposes("histc.default", reason="counts what falls between each pair of edges")
def histc(x: torch.Tensor, bins: int = 100, low: float = 0, high: float = 0) -> Any:
    """How many elements fall into each of `bins` cells of equal width; the last one holds its upper edge."""
    import torch

    if not x.is_floating_point():
        return NotImplemented
    flat = x.reshape(-1)
    if low == high == 0:
        lowest, highest = flat.amin(), flat.amax()
        is_point = lowest == highest
        lowest, highest = torch.where(is_point, lowest - 1, lowest), torch.where(is_point, highest + 1, highest)
    else:
        low, high = (low - 1, high + 1) if low == high else (low, high)
        lowest, highest = torch.full_like(flat[:1].sum(), low), torch.full_like(flat[:1].sum(), high)
    cell = ((flat - lowest) / (highest - lowest) * bins).floor().clamp_max(bins - 1)
    inside = (flat >= lowest) & (flat <= highest)
    numbers = torch.arange(bins, device=x.device, dtype=x.dtype)
    return ((cell.unsqueeze(-1) == numbers) & inside.unsqueeze(-1)).to(x.dtype).sum(0)
