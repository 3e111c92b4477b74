"""Sums and means over many values, axis after axis, and a long axis in two stages.

Kernels that add value to value in one float lose a digit for every tenfold of values: the mean of a million pixels is wrong in
its fourth. Of sums of sums, each is short (pairwise summation: Higham, Accuracy and Stability of Numerical Algorithms, §4.2).
"""

from __future__ import annotations

import math
from typing import Any

import torch

from convkit.legalization import exported_program as programs

__all__ = ["stage_reductions"]

_aten = torch.ops.aten
_OVER_AXES = {_aten.mean.dim: _aten.mean.dim, _aten.sum.dim_IntList: _aten.sum.dim_IntList}
_OVER_ALL = {_aten.mean.default: _aten.mean.dim, _aten.sum.default: _aten.sum.dim_IntList}
_MANY = 4096
"""Values from which on the last digits of a float matter: as many units in the last place may go."""

_LEAST_PART = 16


def stage_reductions(program: torch.export.ExportedProgram) -> None:
    """Replaces sums and means of at least 4096 values over axes of known sizes, in place."""
    for node in list(programs.calls(program)):
        if node.target not in _OVER_AXES and node.target not in _OVER_ALL:
            continue
        axes, keeps = _axes(node), bool(node.args[2]) if len(node.args) > 2 else bool(node.kwargs.get("keepdim", False))
        if _is_long(node.args[0].meta["val"], axes):
            operator = _OVER_AXES.get(node.target) or _OVER_ALL[node.target]
            dtype = {name: value for name, value in node.kwargs.items() if name == "dtype"}
            with node.graph.inserting_before(node):
                result = node.args[0]
                for axis in sorted(axes, reverse=True):  # those in front keep their numbers
                    result = _stage(node, operator, result, axis, keeps, dtype)
            node.replace_all_uses_with(result)
            node.graph.erase_node(node)
    program.graph_module.recompile()


def _axes(node: torch.fx.Node) -> list[int]:
    rank = node.args[0].meta["val"].dim()
    given = node.args[1] if node.target in _OVER_AXES and len(node.args) > 1 else None
    return [int(axis) % rank for axis in given] if given else list(range(rank))


def _is_long(x: torch.Tensor, axes: list[int]) -> bool:
    sizes = [x.shape[axis] for axis in axes]
    known = [size for size in sizes if isinstance(size, int)]
    if not x.is_floating_point() or len(known) < len(sizes) or math.prod(known) < _MANY:
        return False
    return len(axes) > 1 or _split(x, axes[0]) is not None


def _split(x: torch.Tensor, axis: int) -> list[int] | None:
    """The shape with a long axis as two, as near to square as its divisors are; None where that is not worth it, or not known."""
    size, others = x.shape[axis], [n if isinstance(n, int) else -1 for n in x.shape]
    if size < _MANY or others.count(-1) > 1:
        return None
    part = next(n for n in range(math.isqrt(size), 0, -1) if size % n == 0)
    return [*others[:axis], size // part, part, *others[axis + 1 :]] if part >= _LEAST_PART else None


def _stage(
    node: torch.fx.Node, operator: Any, value: torch.fx.Node, axis: int, keeps: bool, dtype: dict[str, Any]
) -> torch.fx.Node:
    def call(target: Any, *args: Any, **kwargs: Any) -> torch.fx.Node:
        made = node.graph.call_function(target, args, kwargs)
        made.meta = {**node.meta, "val": target(*torch.fx.node.map_arg(args, lambda n: n.meta["val"]), **kwargs)}
        return made

    shape = _split(value.meta["val"], axis)
    if shape is not None:
        value = call(operator, call(_aten.reshape.default, value, shape), [axis + 1], False, **dtype)
    return call(operator, value, [axis], keeps, **dtype)
