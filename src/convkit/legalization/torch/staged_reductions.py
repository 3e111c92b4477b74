"""Sums and means over many values, axis after axis.

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


def stage_reductions(program: torch.export.ExportedProgram) -> None:
    """Replaces sums and means of at least 4096 values over several axes of known sizes, in place."""
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
    return x.is_floating_point() and len(known) == len(sizes) > 1 and math.prod(known) >= _MANY


def _stage(
    node: torch.fx.Node, operator: Any, value: torch.fx.Node, axis: int, keeps: bool, dtype: dict[str, Any]
) -> torch.fx.Node:
    stage = node.graph.call_function(operator, (value, [axis], keeps), dtype)
    stage.meta = {**node.meta, "val": operator(value.meta["val"], [axis], keeps, **dtype)}
    return stage
