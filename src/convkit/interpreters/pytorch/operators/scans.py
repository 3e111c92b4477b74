"""Along one axis: running sums and products, norms, the largest elements in order."""

from __future__ import annotations

import numpy as np
import torch

from convkit.interpreters.operators import Either, Sizes, UnsupportedError
from convkit.interpreters.pytorch import unsigned
from convkit.interpreters.pytorch.operators.indexing import from_start
from convkit.interpreters.pytorch.table import operator


@operator("CumSum")
def running_sum(x, axis: Either, *, exclusive=0, reverse=0):
    return _running(torch.cumsum, 0, x, axis, exclusive, reverse)


@operator("CumProd")
def running_product(x, axis: Either, *, exclusive=0, reverse=0):
    return _running(torch.cumprod, 1, x, axis, exclusive, reverse)


def _running(function, start, x, axis, exclusive, reverse):
    if isinstance(axis, np.ndarray):
        return _running_along(function, start, x, int(axis.item()), exclusive, reverse)
    # Which axis is only known at run time: along every one, and then the right one of these.
    chosen = from_start(axis.reshape(()), x.dim())
    total = x
    for candidate in range(x.dim()):
        total = torch.where(chosen == candidate, _running_along(function, start, x, candidate, exclusive, reverse), total)
    return total


def _running_along(function, start, x, axis, exclusive, reverse):
    x = torch.flip(x, [axis]) if reverse else x
    if exclusive:
        # Everything moves on by one element; subtracting x instead would make NaN of what is infinite.
        first = torch.full_like(torch.narrow(x, axis, 0, 1), start)
        total = torch.narrow(function(torch.cat([first, x], axis), axis, dtype=x.dtype), axis, 0, x.shape[axis])
    else:
        total = function(x, axis, dtype=x.dtype)
    return torch.flip(total, [axis]) if reverse else total


@operator("LpNormalization")
def lp_normalization(x, *, axis=-1, p=2):
    norm = torch.sum(torch.abs(x), axis, keepdim=True) if p == 1 else torch.sqrt(torch.sum(x * x, axis, keepdim=True))
    return x / torch.where(norm == 0, 1, norm)  # what is zero stays zero


@operator("TopK")
def top_k_attribute(x, *, k, axis=-1, node):
    return _top_k(x, k, axis, True, node)


@operator("TopK", since=10)
def top_k(x, k: Sizes, *, axis=-1, largest=1, sorted=1, node):
    return _top_k(x, k[0], axis, bool(largest), node)


def _top_k(x, k, axis, largest, node):
    """Of equal elements the first comes first: a stable sort, as torch.topk promises no order of ties."""
    size = x.shape[axis]
    if isinstance(k, int) and isinstance(size, int) and k > size:
        raise UnsupportedError(f"the {k} largest of {size} elements")
    values, indices = torch.sort(unsigned.ordered(x, node), dim=axis, descending=largest, stable=True)
    if isinstance(k, int) and not isinstance(size, int):
        # A slice would promise for every size of the axis what holds from k on.
        places = torch.arange(k)
        values, indices = (torch.index_select(t, axis, places) for t in (values, indices))
    else:
        values, indices = (torch.ops.aten.slice.Tensor(t, axis, 0, k) for t in (values, indices))
    return unsigned.ordered(values, node), indices
