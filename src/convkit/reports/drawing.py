"""Draws a model's graph as SVG: layers from top to bottom, gaps marked; of a large model what is around its gaps.

Every text is escaped; there is no script and no style in it but class names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from convkit.legalization.target import Verdict
from convkit.reports.graphs import Node

__all__ = ["drawn"]

_MOST_NODES = 300
"""More boxes than this tell nobody anything."""
_WHOLE = 60
"""From here on a model with gaps is drawn around them only: they are what is looked for."""
_HOPS = 3
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 132, 28, 18, 30, 8
_LETTERS = 19
_CLASSES = {Verdict.LEGAL: "legal", Verdict.REWRITTEN: "changed", Verdict.GAP: "gap"}


def drawn(nodes: Sequence[Node]) -> tuple[str, str]:
    """The picture, and what it leaves out; both empty where there is nothing to draw."""
    shown = _shown(nodes)
    if not shown:
        return "", ""
    left = len(nodes) - len(shown)
    note = f"{len(shown)} of {len(nodes)} operators: those around what is not legal" if left else ""
    return _picture(shown), note


def _shown(nodes: Sequence[Node]) -> list[Node]:
    """All nodes of a small model, else those within a few steps of what is not legal; never more than can be read."""
    if len(nodes) <= (_WHOLE if any(node.verdict is Verdict.GAP for node in nodes) else _MOST_NODES):
        return list(nodes)
    users: dict[str, list[str]] = {}
    by_key = {node.key: node for node in nodes}
    for node in nodes:
        for given in node.inputs:
            users.setdefault(given, []).append(node.key)
    near: dict[str, None] = {}
    gravest = Verdict.GAP if any(node.verdict is Verdict.GAP for node in nodes) else Verdict.REWRITTEN
    for node in nodes:
        if node.verdict is gravest and len(near) < _MOST_NODES // 2:
            near |= dict.fromkeys(_around(node.key, by_key, users))
    return [node for node in nodes if node.key in near][:_MOST_NODES]


def _around(key: str, by_key: Mapping[str, Node], users: Mapping[str, Sequence[str]]) -> list[str]:
    found, edge = [key], [key]
    for _ in range(_HOPS):
        edge = [n for k in edge for n in (*(by_key[k].inputs if k in by_key else ()), *users.get(k, ())[:4]) if n not in found]
        found += edge
    return found


def _picture(nodes: Sequence[Node]) -> str:
    places = _placed(nodes)
    right = max(x for x, _ in places.values()) + _WIDTH + _MARGIN
    bottom = max(y for _, y in places.values()) + _HEIGHT + _MARGIN
    edges = [
        _edge(places[given], places[node.key]) for node in nodes for given in node.inputs if given in places
    ]  # fmt: skip
    boxes = [_box(node, *places[node.key]) for node in nodes]
    gaps = sum(node.verdict is Verdict.GAP for node in nodes)
    label = f"The model's graph: {len(nodes)} operators, {gaps} of them gaps"
    return (
        f'<svg class="graph" role="img" aria-label="{label}" viewBox="0 0 {right} {bottom}" width="{right}" height="{bottom}">'
        f"<g>{''.join(edges)}</g><g>{''.join(boxes)}</g></svg>"
    )


def _placed(nodes: Sequence[Node]) -> dict[str, tuple[int, int]]:
    """Left upper corners. A node is below all that it takes, and in its layer in the order of what it takes."""
    layers: dict[str, int] = {}
    rows: list[list[Node]] = []
    for node in nodes:  # in the order of computation
        layer = max((layers[k] + 1 for k in node.inputs if k in layers), default=0)
        layers[node.key] = layer
        while len(rows) <= layer:
            rows.append([])
        rows[layer].append(node)
    columns: dict[str, float] = {}
    for row in rows:

        def wanted(node: Node) -> float:
            given = [columns[k] for k in node.inputs if k in columns]
            return sum(given) / len(given) if given else 0.0

        for column, node in enumerate(sorted(row, key=wanted)):
            columns[node.key] = max(column, round(wanted(node)) if len(row) == 1 else column)
    return {
        key: (_MARGIN + int(columns[key] * (_WIDTH + _GAP_X)), _MARGIN + layer * (_HEIGHT + _GAP_Y))
        for key, layer in layers.items()
    }


def _edge(start: tuple[int, int], end: tuple[int, int]) -> str:
    x0, y0, x1, y1 = start[0] + _WIDTH // 2, start[1] + _HEIGHT, end[0] + _WIDTH // 2, end[1]
    bend = _GAP_Y // 2
    return f'<path d="M{x0} {y0}C{x0} {y0 + bend} {x1} {y1 - bend} {x1} {y1}"/>'


def _box(node: Node, x: int, y: int) -> str:
    name = node.operator.removeprefix("aten.").partition(".")[0] if node.operator.startswith("aten.") else node.operator
    label = name if len(name) <= _LETTERS else name[: _LETTERS - 1] + "…"
    told = " · ".join(filter(None, (node.operator, node.place, node.reason)))
    return (
        f'<g class="{_CLASSES[node.verdict]}"><title>{escape(told)}</title>'
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="5"/>'
        f'<text x="{x + _WIDTH // 2}" y="{y + 18}">{escape(label)}</text></g>'
    )
