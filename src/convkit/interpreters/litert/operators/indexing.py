"""Gathering and scattering by indices, and operators that give indices."""

from __future__ import annotations

import numpy as np
import torch

from convkit.interpreters.litert.table import Arithmetic, operator
from convkit.interpreters.litert.values import torch_dtype
from convkit.interpreters.operators import Known, Sizes, UnsupportedError
from convkit.interpreters.pytorch.sizes import product

_MOVES = Arithmetic.LEVELS


@operator("GATHER", arithmetic=_MOVES)
def gather(x, indices, *, axis=0, batch_dims=0):
    axis, batch = axis % x.dim(), batch_dims % max(indices.dim(), 1) if batch_dims < 0 else batch_dims
    indices = indices.to(torch.int64)
    if batch == 0:
        found = torch.index_select(x, axis, indices.reshape(-1))
        return found.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])
    return _gather_in_batches(x, indices, axis, batch)


def _gather_in_batches(x, indices, axis, batch):
    """x[b…, p…, indices[b…, i…], r…]: every batch has indices of its own."""
    between, rest = list(x.shape[batch:axis]), list(x.shape[axis + 1 :])
    own = list(indices.shape[batch:])
    outer = list(x.shape[:batch])
    x = x.reshape([product(outer), product(between), x.shape[axis], product(rest)])
    indices = indices.reshape([product(outer), 1, product(own), 1]).expand(-1, x.shape[1], -1, x.shape[3])
    return torch.gather(x, 2, indices).reshape([*outer, *between, *own, *rest])


@operator("EMBEDDING_LOOKUP")
def embedding_lookup(indices, table):
    found = torch.index_select(table, 0, indices.reshape(-1).to(torch.int64))
    return found.reshape([*indices.shape, *table.shape[1:]])


@operator("GATHER_ND", arithmetic=_MOVES)
def gather_nd(x, indices):
    depth = indices.shape[-1]
    flat = _flat_indices(indices, list(x.shape[:depth]))
    rest = list(x.shape[depth:])
    found = x.reshape([product(list(x.shape[:depth])), *rest]).index_select(0, flat.reshape(-1))
    return found.reshape([*indices.shape[:-1], *rest])


def _flat_indices(indices, sizes):
    """Positions in the flattened first axes for indices whose last axis counts those axes."""
    indices = indices.to(torch.int64)
    flat = torch.zeros(list(indices.shape[:-1]), dtype=torch.int64)
    for position, size in enumerate(sizes):
        flat = flat * size + indices.select(-1, position)
    return flat


@operator("SCATTER_ND")
def scatter_nd(indices, updates, shape: Sizes):
    depth = indices.shape[-1]
    rest = list(shape[depth:])
    flat = _flat_indices(indices, list(shape[:depth])).reshape(-1)
    zeros = torch.zeros([product(list(shape[:depth])), *rest], dtype=updates.dtype)
    return zeros.index_add(0, flat, updates.reshape([flat.shape[0], *rest])).reshape(list(shape))


@operator("SPARSE_TO_DENSE")
def sparse_to_dense(indices, shape: Sizes, values, default, *, validate_indices=False):
    depth = len(shape)
    indices = indices.reshape(-1, depth) if indices.dim() > 1 else indices.reshape(-1, 1)
    flat = _flat_indices(indices, list(shape))
    filled = default.reshape(1).expand(product(list(shape)))
    return torch.scatter(filled, 0, flat, values.reshape(-1).expand(flat.shape[0])).reshape(list(shape))


@operator("DYNAMIC_UPDATE_SLICE", "STABLEHLO_DYNAMIC_UPDATE_SLICE", arithmetic=_MOVES)
def dynamic_update_slice(x, update, *starts):
    # Starts are clamped so that the update fits (https://openxla.org/stablehlo/spec#dynamic_update_slice).
    starts = starts[0].reshape(-1).unbind() if len(starts) == 1 and x.dim() != 0 else starts
    for axis, start in enumerate(starts):
        if x.shape[axis] == update.shape[axis]:
            continue
        rows = torch.arange(update.shape[axis]) + torch.clamp(start.reshape(()), 0, x.shape[axis] - update.shape[axis])
        whole = x.narrow(axis, 0, x.shape[axis])
        # Inside of the other axes' parts only: update the rows of this axis with what the rest of the axes make.
        return whole.index_copy(axis, rows.to(torch.int64), _inner(x, update, starts, axis, rows))
    return update


def _inner(x, update, starts, axis, rows):
    """The update of the rows of one axis, whole along the axes behind it."""
    if all(x.shape[a] == update.shape[a] for a in range(x.dim()) if a != axis):
        return update
    kept = x.index_select(axis, rows.to(torch.int64))
    remaining = [s if a != axis else torch.zeros((), dtype=torch.int64) for a, s in enumerate(starts)]
    return dynamic_update_slice(kept, update, *remaining)


@operator("ONE_HOT")
def one_hot(indices, depth: Known, on, off, *, axis=0):
    classes = torch.arange(int(depth.reshape(-1)[0]), dtype=indices.dtype)
    axis = indices.dim() if axis == -1 else axis
    shape = [-1 if position == axis else 1 for position in range(indices.dim() + 1)]
    return torch.where(indices.unsqueeze(axis) == classes.reshape(shape), on, off)


@operator("TOPK_V2")
def top_k(x, k: Sizes, *, node):
    values, indices = torch.topk(x, k[0], -1)
    return values, indices.to(torch_dtype(node.operator.outputs[1].dtype))


def _first(function):
    """The first of the largest (or smallest) elements along an axis."""

    def found(x, axis: Known, *, output_type="FLOAT32"):
        return function(x, int(axis.reshape(-1)[0]))

    return found


operator("ARG_MAX")(_first(torch.argmax))
operator("ARG_MIN")(_first(torch.argmin))


@operator("CUMSUM")
def cumulative_sum(x, axis: Known, *, exclusive=False, reverse=False):
    axis = int(axis.reshape(-1)[0]) % x.dim()
    x = x.flip(axis) if reverse else x
    total = torch.cumsum(x, axis)
    total = total - x if exclusive else total
    return total.flip(axis) if reverse else total


@operator("WHERE")
def where(condition):
    return torch.nonzero(condition)


@operator("REVERSE_SEQUENCE", arithmetic=_MOVES)
def reverse_sequence(x, lengths, *, seq_dim=0, batch_dim=0):
    size = x.shape[seq_dim]
    steps = torch.arange(size, dtype=torch.int64)
    lengths = lengths.to(torch.int64).reshape(-1, 1)
    places = torch.where(steps < lengths, lengths - 1 - steps, steps)
    places = places if batch_dim < seq_dim else places.transpose(0, 1)
    shape = [n if a in (seq_dim, batch_dim) else 1 for a, n in enumerate(x.shape)]
    return torch.gather(x, seq_dim, places.reshape(shape).expand(list(x.shape)))


@operator("MATRIX_DIAG")
def matrix_diagonal(x):
    return torch.diag_embed(x)


@operator("MATRIX_SET_DIAG")
def set_diagonal(x, diagonal):
    rows, columns = (torch.arange(n) for n in x.shape[-2:])
    at = rows[:, None] == columns[None, :]
    lacking = x.shape[-1] - diagonal.shape[-1]
    wide = torch.nn.functional.pad(diagonal, (0, lacking)).unsqueeze(-2)
    return torch.where(at, wide, x)


@operator("BUCKETIZE")
def bucketize(x, *, boundaries=()):
    return torch.bucketize(x, torch.tensor(np.array(boundaries, np.float32)), right=True)


def _segments(x, ids, count, reduce, start):
    shape = [ids.shape[0] if axis == 0 else 1 for axis in range(x.dim())]
    places = ids.to(torch.int64).reshape(shape).expand(list(x.shape))
    empty = torch.full([count, *x.shape[1:]], start, dtype=x.dtype)
    return empty.scatter_reduce(0, places, x, reduce, include_self=True)


def _unsorted(reduce, start):
    def segments(x, ids, count: Sizes, *, num_segments=0):
        if ids.dim() != 1:
            raise UnsupportedError("segments of several axes")
        limits = torch.finfo(x.dtype) if x.is_floating_point() else torch.iinfo(x.dtype)
        first = {"lowest": limits.min, "highest": limits.max}.get(start, start)
        return _segments(x, ids, count[0], reduce, first)

    return segments


operator("UNSORTED_SEGMENT_SUM")(_unsorted("sum", 0))
operator("UNSORTED_SEGMENT_PROD")(_unsorted("prod", 1))
operator("UNSORTED_SEGMENT_MAX")(_unsorted("amax", "lowest"))
operator("UNSORTED_SEGMENT_MIN")(_unsorted("amin", "highest"))


@operator("SEGMENT_SUM")
def segment_sum(x, ids: Known):
    return _segments(x, torch.from_numpy(ids.copy()), int(ids.max()) + 1, "sum", 0)
