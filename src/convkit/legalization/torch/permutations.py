"""Permutations of axes that one another undo."""

from __future__ import annotations

import torch

from convkit.legalization import exported_program as programs

__all__ = ["without_undone"]


def without_undone(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program without permutations that a second one undoes; the same program where there are none.

    ONNX's NonZero has the axes where TensorFlow's Where and torch have the elements, and exporters permute it back at once. In
    between the number of elements is the last axis, whose size only the data tell, and no compiler orders its strides.
    """
    if not any(_undoes(node) for node in programs.calls(program)):
        return program
    changed = programs.copied(program)
    for node in [n for n in programs.calls(changed) if _undoes(n)]:
        inner = node.args[0]
        assert isinstance(inner, torch.fx.Node)
        original = inner.args[0]
        assert isinstance(original, torch.fx.Node)
        node.replace_all_uses_with(original)
    changed.graph.eliminate_dead_code()
    return changed


def _undoes(node: torch.fx.Node) -> bool:
    """Whether a node brings the axes back to where they were before the permutation that it is of."""
    inner = node.args[0] if node.args else None
    if not (_permutes(node) and isinstance(inner, torch.fx.Node) and _permutes(inner)):
        return False
    rank = inner.meta["val"].dim()
    first, second = ([int(axis) % rank for axis in n.args[1]] for n in (inner, node))
    return [first[axis] for axis in second] == list(range(rank))


def _permutes(node: torch.fx.Node) -> bool:
    return node.target is torch.ops.aten.permute.default
