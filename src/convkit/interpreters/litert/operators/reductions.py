"""Reductions along constant axes."""

from __future__ import annotations

import functools

import torch

from convkit.interpreters.litert.table import Arithmetic, operator
from convkit.interpreters.operators import Known


def _register(name, reduce, **how):
    @operator(name, **how)
    def reduction(x, axes: Known, *, keep_dims=False):
        axes = sorted({int(a) % max(x.dim(), 1) for a in axes.reshape(-1)})
        return reduce(x, axes, keep_dims) if axes and x.dim() else x


def _one_by_one(function):
    """For torch's reductions that take one axis."""

    def reduce(x, axes, keep_dims):
        return functools.reduce(lambda y, axis: function(y, axis, keep_dims), sorted(axes, reverse=True), x)

    return reduce


_register("SUM", lambda x, axes, keep: x.sum(axes, keepdim=keep))
_register("MEAN", lambda x, axes, keep: _mean(x, axes, keep))
_register("REDUCE_MAX", lambda x, axes, keep: x.amax(axes, keepdim=keep), arithmetic=Arithmetic.LEVELS)
_register("REDUCE_MIN", lambda x, axes, keep: x.amin(axes, keepdim=keep), arithmetic=Arithmetic.LEVELS)
_register("REDUCE_PROD", _one_by_one(lambda x, axis, keep: x.prod(axis, keepdim=keep)))
_register("REDUCE_ANY", _one_by_one(lambda x, axis, keep: x.any(axis, keepdim=keep)))
_register("REDUCE_ALL", _one_by_one(lambda x, axis, keep: x.all(axis, keepdim=keep)))


def _mean(x, axes, keep):
    if x.is_floating_point():
        return x.mean(axes, keepdim=keep)
    total = x.to(torch.int64).sum(axes, keepdim=keep)
    count = 1
    for axis in axes:
        count = count * x.shape[axis]
    return torch.div(total, count, rounding_mode="trunc")
