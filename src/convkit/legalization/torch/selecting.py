"""Reading what a condition selects, where the number of results depends on the data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from convkit.legalization.torch.decompositions import UNROLLED, decomposes

if TYPE_CHECKING:
    import torch


@decomposes("nonzero.default", reason="every element's place among those found, by counting")
def nonzero(x: torch.Tensor) -> Any:
    """Every element's place among those found, by counting; what is not found goes to a row that is cut off.

    ExecuTorch's own kernel promises its result with axes swapped in memory, and gives it without (executorch 1.4.1): whatever
    reads it then refuses it for its dimension order.
    """
    import torch

    sizes = list(x.shape)
    if not sizes or not all(isinstance(size, int) for size in sizes):
        return NotImplemented
    count = math.prod(sizes)
    flat, total = _packed(x, count)
    number = total.item()
    torch._check(number >= 0)
    torch._check(number <= count)
    # Cut off last: of empty tensors the runtime's `cat` forgets the other axes.
    return _positions(flat, sizes).narrow(0, 0, number)


def _packed(x: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The flat positions of what is not zero, then zeros; and how many there are."""
    import torch

    is_found = x.reshape(-1) != 0
    place = is_found.to(torch.int64).cumsum(0)
    # Written over ranges, not over zeros: the integers of ranges are narrower in litert-torch, which scatters into its like only.
    nothing, numbers = torch.arange(count + 1) * 0, torch.arange(count)
    flat = nothing.scatter(0, torch.where(is_found, place - 1, count), numbers)
    return flat, place[-1:].sum()


def _positions(flat: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """Flat positions as rows of positions along each axis."""
    import torch

    strides = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    return torch.stack([flat // step % size for step, size in zip(strides, sizes, strict=True)], 1)


@decomposes("nonzero_static.default", reason="every element's place among those found, by counting")
def nonzero_static(x: torch.Tensor, *, size: int, fill_value: int = -1) -> Any:
    """The positions of the first `size` elements that are not zero, filled up."""
    import torch

    sizes = list(x.shape)
    if not sizes or not all(isinstance(n, int) for n in (*sizes, size)) or not math.prod(sizes):
        return NotImplemented
    flat, total = _packed(x, math.prod(sizes))
    flat = flat[:size] if size <= flat.shape[0] else torch.nn.functional.pad(flat, [0, size - flat.shape[0]])
    is_found = (torch.arange(size) < total).unsqueeze(-1)
    return torch.where(is_found, _positions(flat, sizes), fill_value)


@decomposes("masked_select.default", reason="gathers what nonzero finds")
def masked_select(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The elements where a mask is set, in order."""
    import torch

    x, mask = torch.broadcast_tensors(x, mask)
    return x.reshape(-1).index_select(0, mask.reshape(-1).nonzero().squeeze(1))


@decomposes("combinations.default", reason="rows that begin with each element in turn")
def combinations(x: torch.Tensor, r: int = 2, with_replacement: bool = False) -> Any:
    """All choices of r elements, in order."""
    import torch

    if not isinstance(x.shape[0], int) or r < 1 or x.shape[0] ** (r - 1) > UNROLLED:
        return NotImplemented

    def rows(rest: torch.Tensor, width: int) -> torch.Tensor:
        """The choices of `width` elements: (number, width)."""
        if width == 1 or not rest.shape[0]:
            return rest.unsqueeze(1).expand(-1, width)
        parts = []
        for first in range(rest.shape[0]):
            others = rows(rest[first if with_replacement else first + 1 :], width - 1)
            parts.append(torch.cat([rest[first].expand(others.shape[0], 1), others], 1))
        return torch.cat(parts)

    return rows(x, r)


@decomposes("unique_consecutive.default", reason="keeps what differs from the element before it")
def unique_consecutive(x: torch.Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None) -> Any:
    """The first of every run of equal elements, the run that each element is in, and how long each is."""
    import torch

    if (dim is not None and x.dim() != 1) or any(isinstance(n, int) and n == 0 for n in x.shape) or x.dim() == 0:
        return NotImplemented
    flat = x.reshape(-1)
    is_first = torch.cat([torch.ones(1, dtype=torch.bool), flat[1:] != flat[:-1]])
    starts = is_first.nonzero().squeeze(1)
    nothing = torch.zeros(0, dtype=torch.int64)
    inverse = (is_first.to(torch.int64).cumsum(0) - 1).reshape(x.shape) if return_inverse else nothing
    counts = nothing
    if return_counts:
        ends = torch.cat([starts[1:], torch.full((1,), flat.shape[0], dtype=torch.int64)])
        counts = ends - starts
    return flat.index_select(0, starts), inverse, counts


@decomposes("narrow_copy.default", reason="a slice")
def narrow_copy(x: torch.Tensor, dim: int, start: int, length: int) -> torch.Tensor:
    """A copy of some rows along an axis."""
    return x.narrow(dim, start, length).clone()


@decomposes("empty_permuted.default", reason="zeros: what it holds is not defined")
def empty_permuted(size: Any, physical_layout: Any, **options: Any) -> torch.Tensor:
    """A tensor to be filled."""
    import torch

    return torch.zeros(size, dtype=options.get("dtype"), device=options.get("device"))
