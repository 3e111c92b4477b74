"""Which of a program's refused nodes are causes, and which follow from them; and where the causes are. Worker side."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from convkit.legalization.places import Place

if TYPE_CHECKING:
    import torch

__all__ = ["causes", "located", "preferred"]

_GENERAL = ("", "CK101", "CK107")
"""Codes of reasons that say no more than that there is no translation, or no kernel."""


def causes(gaps: Mapping[torch.fx.Node, str]) -> dict[torch.fx.Node, str]:
    """The refused nodes without those that only follow from others.

    Where a value has a dtype or a size that a target does not have, all that is computed from it is refused for the same reason:
    the user can change where it begins. The checks that torch.export writes are never what the user wrote.
    """
    written = {n: r for n, r in gaps.items() if not str(n.target).startswith("aten._assert")} or gaps
    first = {n: r for n, r in written.items() if all(written.get(given) != r for given in _givers(n))}
    return first or dict(written)


def _givers(node: torch.fx.Node) -> Iterator[torch.fx.Node]:
    """The nodes whose results a node takes, behind the picking from tuples."""
    for given in node.all_input_nodes:
        yield from given.all_input_nodes if given.target is operator.getitem else (given,)


def preferred(reasons: Mapping[tuple[str, str], Mapping[str, None]]) -> list[tuple[str, str]]:
    """Of several reasons for one operator at the same places the one that tells more.

    Args:
        reasons: By operator and reason its places.
    """

    def is_general(reason: str) -> bool:
        return getattr(reason, "code", "") in _GENERAL

    def is_told_better(name: str, reason: str) -> bool:
        others = [r for n, r in reasons if n == name and r != reason and not is_general(r)]
        return is_general(reason) and any(set(reasons[name, reason]) <= set(reasons[name, r]) for r in others)

    return [(name, reason) for name, reason in reasons if not is_told_better(name, reason)]


def located(name: str, place: Place, known: Mapping[str, list[Place]]) -> list[Place]:
    """The places of a node that lost its source line, as a decomposition of the graph around it does.

    Args:
        name: The operator that it was made of.
        place: What it says itself.
        known: The places of the program's operators before it was decomposed.
    """
    if place.line or not known.get(name):
        return [place]
    same = [other for other in known[name] if other.module == place.module]
    return list(dict.fromkeys(same or ([place] if place.module else known[name])))
