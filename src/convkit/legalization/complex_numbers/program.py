"""Rewrites a program's complex numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from convkit.legalization.complex_numbers.arithmetic import view_as_complex
from convkit.legalization.complex_numbers.pairs import functions
from convkit.legalization.constants import fold_tables
from convkit.legalization.exported_program import calls, convert_weights, copied
from convkit.legalization.kept import kept
from convkit.legalization.torch.decompositions import by_torch

__all__ = ["in_real_numbers"]

_MOST_LAYERS = 8
"""Decompositions give composite operators again, which are decomposed in the next run."""


@kept
def in_real_numbers(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program without complex numbers, kept as long as the program is; itself where it has none, or where it cannot be.

    It cannot where its own inputs or outputs are complex, in branches and loops, or where an operator has no function of pairs.
    """
    if not any(map(_touches_complex, calls(program))):
        return program
    return _rewritten(program) or program


def _rewritten(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram | None:
    if any(_is_complex(value.meta.get("val")) for value in _edges(program)):
        return None
    flat = _decomposed(program)
    if any(_touches_complex(node) and _function_of(node) is None for node in calls(flat)):
        return None
    changed = copied(flat)
    for node in list(calls(changed)):
        if _touches_complex(node) and (function := _function_of(node)) is not None:
            node.target = function
    _split_weights(changed)
    changed.graph_module.recompile()
    # Tracing runs these functions: what comes out are the operators that they call.
    traced = changed.run_decompositions({})
    fold_tables(traced)
    return traced


def _decomposed(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program with those operators written out by torch that touch complex numbers and have no function of pairs."""
    for _ in range(_MOST_LAYERS):
        strange = {node.target for node in calls(program) if _touches_complex(node) and _function_of(node) is None}
        composite = {operator for operator in strange if isinstance(operator, torch._ops.OpOverload)}
        program = program.run_decompositions({operator: partial(by_torch, operator) for operator in composite})
        if not composite:
            break
    return program


def _edges(program: torch.export.ExportedProgram) -> list[torch.fx.Node]:
    inputs = set(program.graph_signature.user_inputs)
    placeholders = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in inputs]
    return [*placeholders, *program.graph.output_node().all_input_nodes]


def _touches_complex(node: torch.fx.Node) -> bool:
    return any(_is_complex(other.meta.get("val")) for other in (node, *node.all_input_nodes))


def _is_complex(value: Any) -> bool:
    return any(isinstance(part, torch.Tensor) and part.is_complex() for part in torch.utils._pytree.tree_leaves(value))


def _function_of(node: torch.fx.Node) -> Callable[..., Any] | None:
    name = getattr(node.target, "_schema", None)
    return functions().get(name.name.removeprefix("aten::")) if name is not None else None


def _split_weights(program: torch.export.ExportedProgram) -> None:
    """Stores complex weights as real ones with an axis of two more, and makes pairs of them in the graph."""
    for node in convert_weights(program, _is_complex, lambda tensor: torch.view_as_real(tensor.resolve_conj())):
        with program.graph.inserting_after(node):
            pair = program.graph.call_function(view_as_complex, (node,))
        pair.meta = {**node.meta, "val": torch.view_as_complex(node.meta["val"])}
        node.replace_all_uses_with(pair, delete_user_cb=lambda user, pair=pair: user is not pair)
