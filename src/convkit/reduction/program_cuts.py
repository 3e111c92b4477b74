"""Some nodes of an exported program as a program of their own. Runs in torch's process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convkit.artifact import Artifact
from convkit.errors import ConversionError

if TYPE_CHECKING:
    import torch

__all__ = ["cut", "order"]

_BOOKKEEPING = ("aten._assert", "aten.sym_", "<built-in function")
"""Checks of sizes, and arithmetic on them: they follow from the operators."""


def order(artifact: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The place and operator of every node of the main graph, in its order."""
    from convkit.legalization.exported_program import operator_name, place_of

    return [(str(place_of(node)), operator_name(node.target)) for node in _nodes(artifact)[1]]


def cut(artifact: Mapping[str, Any], kept: Sequence[int], file: str) -> int:
    """Writes the nodes of these positions, and those that compute the sizes that they need, to a file.

    Returns:
        How many nodes the file has.

    Raises:
        ConversionError: They cannot be exported on their own.
    """
    from convkit.loading import pytorch_capture
    from convkit.probing.program_models import Cut

    program, nodes = _nodes(artifact)
    try:
        module, signature, feeds = Cut(program, [nodes[k] for k in sorted(kept)], has_weights=True).model()
        exported = pytorch_capture.export(module, signature, feeds, imported=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ConversionError(f"these nodes cannot be exported alone: {error}", component="torch.export") from error
    pytorch_capture.save(exported, signature, Path(file))
    return len(_operators(exported))


def _nodes(artifact: Mapping[str, Any]) -> tuple[torch.export.ExportedProgram, list[torch.fx.Node]]:
    from convkit.loading import pytorch as loading

    program = loading.exported_program(Artifact.from_json(artifact))
    return program, _operators(program)


def _operators(program: torch.export.ExportedProgram) -> list[torch.fx.Node]:
    import operator

    return [
        n
        for n in program.graph.nodes
        if n.op == "call_function" and n.target is not operator.getitem and not str(n.target).startswith(_BOOKKEEPING)
    ]
