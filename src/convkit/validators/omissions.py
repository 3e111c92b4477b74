"""Operators that a target does without: what they read is there, and goes past them."""

from __future__ import annotations

from convkit.traces import TracedOperator
from convkit.validators.agreement import Agreement
from convkit.validators.causes import Cause
from convkit.validators.edges import Edges
from convkit.validators.operator_kinds import kind_of

__all__ = ["omitted"]

_DROPPED = "dropped"
_JOINING = {"add", "subtract", "multiply", "divide", "concatenation"}


def omitted(graph: Agreement, edges: Edges, operator: TracedOperator) -> Cause | None:
    """Why an operator of the source is taken to have no counterpart; None where it may have one."""
    return _bypassed(graph, edges, operator) or _never_joined(graph, edges, operator)


def _bypassed(graph: Agreement, edges: Edges, operator: TracedOperator) -> Cause | None:
    """Whether what reads an operator's result reads one of its inputs instead."""
    for name in operator.outputs:
        for reader in graph.readers.get(name, ()):
            position = edges.bypassed(reader, graph.observed(reader), name, operator)
            if position is not None:
                return Cause(_DROPPED, f"{_lost(operator)}: {reader.name} reads its input {position} instead", "", specific=True)
    return None


def _never_joined(graph: Agreement, edges: Edges, operator: TracedOperator) -> Cause | None:
    """Whether both of an operator's operands are in the target, and nothing there reads both."""
    operands = graph.computed_inputs(operator)
    right = [n for n in operands if n in graph.known and graph.known[n].error <= graph.tolerated]
    if kind_of(operator.operator) not in _JOINING or len(operands) != 2 or right != operands or edges.joins(operator, operands):
        return None
    alone = [n for n in operands if edges.goes_on(n) and len(graph.readers.get(n, ())) == 1]
    kept = f", and {alone[0]} goes on alone" if len(alone) == 1 else ""
    evidence = f"{' and '.join(operands)} agree, and nothing in the target reads both"
    return Cause(_DROPPED, f"{_lost(operator)}: its operands never meet{kept}", evidence, specific=True)


def _lost(operator: TracedOperator) -> str:
    return "the residual is lost" if kind_of(operator.operator) == "add" else "it is left out"
