"""Elements picked by indices: Gather and its kin, OneHot, and what selects by values (NonZero, Compress, Unique)."""

from __future__ import annotations

import numpy as np
import torch

from convkit.interpreters.operators import Either, UnsupportedError, Value
from convkit.interpreters.pytorch import unsigned
from convkit.interpreters.pytorch.backend import as_tensor
from convkit.interpreters.pytorch.sizes import known_sizes, positions, unbacked
from convkit.interpreters.pytorch.table import operator


def from_start(indices, length):
    """int64 indices that count from the first element, where negative ones count from behind the last."""
    indices = indices.to(torch.int64)
    return torch.where(indices < 0, indices + length, indices)


@operator("Gather")
def gather(x, indices: Either, *, axis=0):
    if isinstance(indices, np.ndarray):
        return _gather_known(x, indices.astype(np.int64), axis)
    if indices.dim() == 0:
        return torch.index_select(x, axis, from_start(indices.reshape(1), x.shape[axis])).squeeze(axis)
    return torch.ops.aten.index.Tensor(x, [None] * (axis % x.dim()) + [indices])


def _gather_known(x, indices, axis):
    if indices.ndim == 0:
        return torch.select(x, axis, int(indices))
    if (indices < 0).any() and isinstance(x.shape[axis], int):
        indices = np.where(indices < 0, indices + x.shape[axis], indices)
    found = as_tensor(np.ascontiguousarray(indices))
    if indices.ndim == 1 and not (indices < 0).any():
        return torch.index_select(x, axis, found)
    return torch.ops.aten.index.Tensor(x, [None] * (axis % x.dim()) + [found])


@operator("GatherElements")
def gather_elements(x, indices, *, axis=0):
    return torch.gather(x, axis, from_start(indices, x.shape[axis]))


@operator("GatherND")
def gather_nd(x, indices, *, batch_dims=0):
    depth = indices.shape[-1]
    if not isinstance(depth, int):
        raise UnsupportedError("how many axes are indexed is dynamic")
    indices = indices.to(torch.int64)
    batch = []
    for axis in range(batch_dims):
        shape = [1] * (indices.dim() - 1)
        shape[axis] = -1
        batch.append(torch.arange(x.shape[axis]).reshape(shape))
    return torch.ops.aten.index.Tensor(x, [*batch, *indices.unbind(-1)])


@operator("OneHot")
def one_hot(indices, depth: Value, values, *, axis=-1):
    [count] = known_sizes(depth) or unbacked(depth.to(torch.int64))
    count = int(count) if isinstance(count, float) else count
    rank = indices.dim() + 1
    places = torch.arange(count).reshape([-1] + [1] * (rank - 1 - axis % rank))
    on = torch.eq(from_start(indices, count).unsqueeze(axis), places)
    return torch.where(on, values[1], values[0])


@operator("NonZero")
def non_zero(x):
    return positions(x.reshape(1) if x.dim() == 0 else x).permute(1, 0)


@operator("Compress")
def compress(x, condition: Either, *, axis=None):
    x, axis = (x.reshape(-1), 0) if axis is None else (x, axis)
    if isinstance(condition, np.ndarray):
        return torch.index_select(x, axis, as_tensor(np.flatnonzero(condition)))
    return torch.index_select(x, axis, positions(condition).squeeze(1))


@operator("Unique")
def unique(x, *, axis=None, sorted=1, node):
    """torch sorts, and does not tell where an element comes first."""
    x = unsigned.ordered(x, node)
    if axis is None:
        values, inverse, counts = torch.unique(x, sorted=True, return_inverse=True, return_counts=True)
        inverse = inverse.reshape(-1)
    else:
        values, inverse, counts = torch.unique(x, sorted=True, return_inverse=True, return_counts=True, dim=axis)
    places = torch.arange(inverse.shape[0])
    first = torch.scatter_reduce(torch.zeros_like(counts), 0, inverse, places, "amin", include_self=False)
    if not sorted:
        order = torch.argsort(first)
        values = torch.index_select(values, axis or 0, order)
        first, counts, inverse = first[order], counts[order], torch.argsort(order)[inverse]
    return unsigned.ordered(values, node), first, inverse, counts
