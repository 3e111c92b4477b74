"""Splits into one part, which are no splits."""

from __future__ import annotations

import operator

import torch

from convkit.legalization import exported_program as programs

__all__ = ["without_single_parts"]

_SPLITS = ("aten.split.", "aten.split_with_sizes.", "aten.split_copy.", "aten.chunk.", "aten.tensor_split.")


def without_single_parts(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program with the whole in place of an only part; the same program where there is none.

    litert-torch writes operators with a list of results, and fails on a list of one (0.9.4: "'list' object has no attribute
    'dtype'").
    """
    if not any(map(_is_whole, programs.calls(program))):
        return program
    changed = programs.copied(program)
    for node in [n for n in programs.calls(changed) if _is_whole(n)]:
        for part in list(node.users):
            part.replace_all_uses_with(node.args[0])
    changed.graph.eliminate_dead_code()
    changed.graph_module.recompile()
    return changed


def _is_whole(node: torch.fx.Node) -> bool:
    value = node.meta.get("val")
    return (
        str(node.target).startswith(_SPLITS)
        and isinstance(value, list | tuple)
        and len(value) == 1
        and all(user.target is operator.getitem for user in node.users)
    )
