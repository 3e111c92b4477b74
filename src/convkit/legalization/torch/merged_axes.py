"""Permutations of many axes as ones of few: kernels know few axes, and windows are cut with many.

A model that cuts a volume into windows (Liu et al., Video Swin Transformer, 2021) views it with eight axes, permutes them, and
views the result with three. Axes that are neighbours before and after are one axis to the permutation. Where too many are left
(Twins-SVT's heads and windows have seven), permutations that go before make neighbours of some.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterator
from typing import Any

import torch

from convkit.legalization import exported_program as programs

__all__ = ["with_few_axes"]

_VIEWS = (torch.ops.aten.view.default, torch.ops.aten.reshape.default, torch.ops.aten._unsafe_view.default)
_COPIES = (torch.ops.aten.clone.default, torch.ops.aten.contiguous.default)


def with_few_axes(program: torch.export.ExportedProgram, most: int) -> torch.export.ExportedProgram:
    """The program with at most so many axes in permutations between two views; itself where none has more.

    Args:
        program: Is not changed.
        most: Axes that the target's kernels take; at least four.
    """
    if not any(_is_to_merge(node, most) for node in programs.calls(program)):
        return program
    changed = programs.copied(program)
    for node in [n for n in programs.calls(changed) if _is_to_merge(n, most)]:
        _merge(node, most)
    changed.graph.eliminate_dead_code()
    changed.graph_module.recompile()
    return changed


def _is_to_merge(node: torch.fx.Node, most: int) -> bool:
    if node.target is not torch.ops.aten.permute.default or node.meta["val"].dim() <= most:
        return False
    (view,) = node.all_input_nodes
    return view.target in _VIEWS and len(view.users) == 1 and all(user.target in _VIEWS for user in _ends(node))


def _ends(node: torch.fx.Node) -> Iterator[torch.fx.Node]:
    """What reads a node's values, behind copies of them."""
    for user in node.users:
        if user.target in _COPIES:
            yield from _ends(user)
        else:
            yield user


def _stages(order: list[int], most: int) -> Iterator[list[int]]:
    """The orders of axes that lead to `order` by permutations of at most so many axes each."""
    current = sorted(order)
    while len(_runs(current, order)) > most:
        first, second = next((a, b) for a, b in itertools.pairwise(order) if current.index(b) != current.index(a) + 1)
        current = [axis for axis in current if axis != second]
        current.insert(current.index(first) + 1, second)
        yield current
    yield order


def _runs(before: list[int], after: list[int]) -> list[list[int]]:
    """The axes in their new order, those together that follow each other before and after."""
    runs: list[list[int]] = []
    for axis in after:
        if runs and before.index(axis) == before.index(runs[-1][-1]) + 1:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    return runs


def _merge(permutation: torch.fx.Node, most: int) -> None:
    graph, (view,) = permutation.graph, permutation.all_input_nodes
    rank = permutation.meta["val"].dim()
    order = [int(axis) % rank for axis in permutation.args[1]]
    current, moved = list(range(rank)), view.args[0]
    for following in _stages(order, most):
        runs = _runs(current, following)
        before = sorted(runs, key=lambda run: current.index(run[0]))
        places = [before.index(run) for run in runs]
        with graph.inserting_before(permutation):
            sizes = [_product(graph, [view.args[1][axis] for axis in run]) for run in before]
            merged = graph.call_function(torch.ops.aten.reshape.default, (moved, sizes))
            moved = graph.call_function(torch.ops.aten.permute.default, (merged, places))
        shape = [math.prod(view.meta["val"].shape[axis] for axis in run) for run in before]
        value = view.meta["val"].new_empty(shape)
        merged.meta, moved.meta = ({**permutation.meta, "val": v} for v in (value, value.permute(places)))
        current = following
    permutation.replace_all_uses_with(moved)
    _retell(moved)


def _product(graph: torch.fx.Graph, sizes: list[Any]) -> Any:
    """The size of merged axes; -1, which the view infers, stays that."""
    if -1 in sizes:
        return -1
    product = sizes[0]
    for size in sizes[1:]:
        if isinstance(product, int) and isinstance(size, int):
            product *= size
            continue
        values = [s.meta["val"] if isinstance(s, torch.fx.Node) else s for s in (product, size)]
        product = graph.call_function(operator.mul, (product, size))
        product.meta["val"] = values[0] * values[1]
    return product


def _retell(node: torch.fx.Node) -> None:
    """Copies of what has fewer axes now have fewer, too."""
    for user in node.users:
        if user.target in _COPIES:
            user.meta = {**user.meta, "val": torch.empty_like(node.meta["val"], memory_format=torch.contiguous_format)}
            _retell(user)
