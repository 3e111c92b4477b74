"""Elements put at places given by indices."""

from __future__ import annotations

import torch

from convkit.interpreters.operators import UnsupportedError
from convkit.interpreters.pytorch import unsigned
from convkit.interpreters.pytorch.operators.indexing import from_start
from convkit.interpreters.pytorch.sizes import product
from convkit.interpreters.pytorch.table import operator

_REDUCTIONS = {"max": "amax", "min": "amin", "mul": "prod"}


def _accepts_reduction(node):
    reduction = node.attributes.get_string("reduction", "none")
    return None if reduction in ("none", "add", *_REDUCTIONS) else f"the reduction '{reduction}'"


@operator("Scatter", "ScatterElements", accepts=_accepts_reduction)
def scatter_elements(x, indices, updates, *, axis=0, reduction="none", node):
    return _scatter(x, axis, from_start(indices, x.shape[axis]), updates, reduction, node)


def _scatter(x, axis, indices, updates, reduction, node):
    if reduction == "none":
        return torch.scatter(x, axis, indices, updates)
    if reduction == "add":
        return torch.scatter_add(x, axis, indices, updates)
    if reduction == "mul":
        return torch.scatter_reduce(x, axis, indices, updates, "prod")
    ordered = [unsigned.ordered(t, node) for t in (x, updates)]
    return unsigned.ordered(torch.scatter_reduce(ordered[0], axis, indices, ordered[1], _REDUCTIONS[reduction]), node)


@operator("ScatterND", accepts=_accepts_reduction)
def scatter_nd(x, indices, updates, *, reduction="none", node):
    depth = indices.shape[-1]
    if not isinstance(depth, int):
        raise UnsupportedError("how many axes are indexed is dynamic")
    places = list(indices.to(torch.int64).unbind(-1))
    if reduction in ("none", "add"):
        return torch.index_put(x, places, updates, accumulate=reduction == "add")
    # All indexed axes as one, all others as another.
    inner = list(x.shape[depth:])
    place = torch.zeros_like(places[0])
    for axis, index in enumerate(places):
        place = place * x.shape[axis] + from_start(index, x.shape[axis])
    flat = x.reshape(product(list(x.shape[:depth])), product(inner))
    rows = updates.reshape(-1, product(inner))
    indices = place.reshape(-1, 1).expand(rows.shape)
    return _scatter(flat, 0, indices, rows, reduction, node).reshape(x.shape)


@operator("TensorScatter")
def tensor_scatter(cache, update, starts=None, *, axis=-2, mode="linear"):
    """A key-value cache with new entries from a position of its own for every batch element."""
    axis = axis % cache.dim()
    shape = [1] * cache.dim()
    shape[axis] = -1
    places = torch.arange(update.shape[axis]).reshape(shape)
    if starts is not None:
        places = places + starts.to(torch.int64).reshape([-1] + [1] * (cache.dim() - 1))
    if mode == "circular":
        places = places % cache.shape[axis]
    return torch.scatter(cache, axis, places.expand(update.shape), update)
