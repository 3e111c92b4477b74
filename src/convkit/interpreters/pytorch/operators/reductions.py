"""Reductions over axes, which are an attribute in older opsets and an input in newer ones."""

from __future__ import annotations

import functools
import itertools
import math

import torch

from convkit.interpreters.operators import Either, UnsupportedError
from convkit.interpreters.pytorch import unsigned
from convkit.interpreters.pytorch.operators.indexing import from_start
from convkit.interpreters.pytorch.sizes import declared_shape
from convkit.interpreters.pytorch.table import operator


def _is_empty(x, axes):
    """Whether the reduced set is known to be empty."""
    return any(isinstance(x.shape[axis], int) and x.shape[axis] == 0 for axis in axes)


def _kept_shape(x, axes, keepdims):
    return [1 if axis in axes else size for axis, size in enumerate(x.shape) if keepdims or axis not in axes]


def _exact(x):
    """Integers as doubles, for what has fractions in between."""
    return x if x.is_floating_point() else x.double()


def _sum(x, axes, keepdims):
    return torch.sum(x, axes, keepdim=keepdims) if x.is_floating_point() else torch.sum(x, axes, keepdim=keepdims, dtype=x.dtype)


def _mean(x, axes, keepdims):
    if x.is_floating_point():
        return torch.mean(x, axes, keepdim=keepdims)
    return torch.div(_sum(x, axes, keepdims), math.prod(x.shape[axis] for axis in axes), rounding_mode="trunc")


def _product(x, axes, keepdims):
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, axis, keepdim=keepdims, dtype=x.dtype)
    return x


def _extreme(reduce, empty, x, axes, keepdims):
    if not _is_empty(x, axes):
        return reduce(x, axes, keepdim=keepdims)
    if x.dtype is torch.bool:
        value = empty > 0
    else:
        value = empty if x.is_floating_point() else (torch.iinfo(x.dtype).max if empty > 0 else torch.iinfo(x.dtype).min)
    return torch.full(_kept_shape(x, axes, keepdims), value, dtype=x.dtype)


def _log_sum_exp(x, axes, keepdims):
    if _is_empty(x, axes):
        return torch.full(_kept_shape(x, axes, keepdims), -math.inf, dtype=x.dtype)
    return torch.logsumexp(_exact(x), axes, keepdim=keepdims)


_REDUCTIONS = {
    "ReduceL1": lambda x, axes, keepdims: _sum(torch.abs(x), axes, keepdims),
    "ReduceL2": lambda x, axes, keepdims: torch.sqrt(_sum(_exact(x) * _exact(x), axes, keepdims)),
    "ReduceLogSum": lambda x, axes, keepdims: torch.log(_sum(_exact(x), axes, keepdims)),
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceMax": functools.partial(_extreme, torch.amax, -math.inf),
    "ReduceMean": _mean,
    "ReduceMin": functools.partial(_extreme, torch.amin, math.inf),
    "ReduceProd": _product,
    "ReduceSum": _sum,
    "ReduceSumSquare": lambda x, axes, keepdims: _sum(x * x, axes, keepdims),
}


def _along_computed(reduce, x, axes, keepdims, node):
    """Over axes that only the data tell: over all that give the promised shape, and then the right one of these.

    Raises:
        UnsupportedError: The shape of the result depends on them.
    """
    candidates = list(itertools.combinations(range(x.dim()), axes.shape[0]))
    declared = declared_shape(node)
    if declared is not None:
        candidates = [c for c in candidates if _kept_shape(x, c, keepdims) == declared]
    shapes = [_kept_shape(x, c, keepdims) for c in candidates]
    if not shapes or any(shape != shapes[0] for shape in shapes):
        raise UnsupportedError("the shape of the result depends on axes that are computed from data")
    given = from_start(axes, x.dim())
    result = reduce(axes=candidates[0])
    for candidate in candidates[1:]:
        chosen = torch.all(torch.stack([torch.any(given == axis) for axis in candidate]))
        result = torch.where(chosen, reduce(axes=candidate), result)
    return result


_AXES_AS_INPUT = {"ReduceSum": 13}
"""Since which version the axes are an input; 18 for all others."""

_ORDERED = ("ReduceMax", "ReduceMin")


def _register(name, reduce):
    def apply(x, *, axes, keepdims, node):
        axes = [int(axis) % x.dim() for axis in axes] if axes is not None and len(axes) else list(range(x.dim()))
        if name in _ORDERED:
            return unsigned.ordered(reduce(unsigned.ordered(x, node), axes, bool(keepdims)), node)
        return reduce(x, axes, bool(keepdims))

    @operator(name)
    def with_attribute(x, *, axes=None, keepdims=1, node):
        return apply(x, axes=axes, keepdims=keepdims, node=node)

    @operator(name, since=_AXES_AS_INPUT.get(name, 18))
    def with_input(x, axes: Either | None = None, *, keepdims=1, noop_with_empty_axes=0, node):
        if isinstance(axes, torch.Tensor) and axes.shape[0] != 0:
            return _along_computed(functools.partial(apply, x, keepdims=keepdims, node=node), x, axes, keepdims, node)
        if noop_with_empty_axes and (axes is None or not len(axes)):
            # Every element is a set of its own: the sum is skipped, the square, root or logarithm is not.
            return reduce(x.unsqueeze(-1), [x.dim()], False)
        return apply(x, axes=axes, keepdims=keepdims, node=node)


for _name, _reduce in _REDUCTIONS.items():
    _register(_name, _reduce)


def _largest(x, axis, keepdims, last):
    if not last:
        return torch.argmax(x, axis, keepdim=bool(keepdims))
    return x.shape[axis] - 1 - torch.argmax(torch.flip(x, [axis]), axis, keepdim=bool(keepdims))


def _smallest(x, axis, keepdims, last):
    if not last:
        return torch.argmin(x, axis, keepdim=bool(keepdims))
    return x.shape[axis] - 1 - torch.argmin(torch.flip(x, [axis]), axis, keepdim=bool(keepdims))


@operator("ArgMax")
def arg_max(x, *, axis=0, keepdims=1, select_last_index=0, node):
    return _largest(unsigned.ordered(x, node), axis, keepdims, select_last_index)


@operator("ArgMin")
def arg_min(x, *, axis=0, keepdims=1, select_last_index=0, node):
    return _smallest(unsigned.ordered(x, node), axis, keepdims, select_last_index)
