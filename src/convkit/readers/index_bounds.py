"""How far an integer input may count: the rows of the smallest table that it indexes.

Token ids beyond their embedding are no input of the model: one runtime raises, another reads foreign memory. Readers give
the nodes of their graph in execution order; what reaches a lookup through operators that only move or widen values counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Lookup", "Node", "index_bounds"]


@dataclass(frozen=True)
class Lookup:
    """A node that reads `rows` rows of a table at the indices in the value `indices`."""

    indices: str
    rows: int


@dataclass(frozen=True)
class Node:
    """A node that moves values without changing them: every output holds what `source` holds."""

    source: str
    outputs: tuple[str, ...]


def index_bounds(inputs: Iterable[str], nodes: Iterable[Lookup | Node]) -> dict[str, int]:
    """Input name → the smallest number of rows that it indexes; inputs that index nothing are left out."""
    origin = {name: name for name in inputs}
    bounds: dict[str, int] = {}
    for node in nodes:
        if isinstance(node, Node):
            if node.source in origin:
                origin.update(dict.fromkeys(node.outputs, origin[node.source]))
        elif node.indices in origin and node.rows > 0:
            name = origin[node.indices]
            bounds[name] = min(node.rows, bounds.get(name, node.rows))
    return bounds
