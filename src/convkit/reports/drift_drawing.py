"""Draws where two models begin to differ: the error along the graph, and what the first outputs that differ look like.

Every text is escaped; there is no script, and no style but class names. Whatever a picture shows stands in a table as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from convkit.reports.drift import DriftReport, OperatorDrift, Picture, Suspect

__all__ = ["drift_section"]

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 960, 240, 52, 24
_LOW, _HIGH = -8.0, 1.0
"""The decimal logarithms of the smallest and the largest error that are told apart."""
_SIDE = 220
_BINS = 24
_PICTURED = 3
_LISTED = 20


def drift_section(drift: DriftReport | None) -> str:
    """The section of a page, "" where nothing was looked into."""
    if drift is None:
        return ""
    told = f"{drift.compared} of {len(drift.operators)} operators compared on {drift.recipe}"
    told += f", in {drift.source_tracer} and {drift.target_tracer}"
    parts = ["<section><h2>Where the difference starts</h2>", f'<p class="soft">{escape(told)}</p>', _along(drift)]
    parts += [_suspect(s, pictured=i < _PICTURED) for i, s in enumerate(drift.suspects)]
    if not drift.suspects:
        parts.append("<p>Everything inside that could be compared agrees.</p>")
    parts.append(_worst(drift))
    parts += [f"<p>{escape(note)}</p>" for note in drift.notes]
    return "".join(parts) + "</section>"


def _along(drift: DriftReport) -> str:
    """The error of every operator in the order of the graph, on a logarithmic scale."""
    named = {s.name for s in drift.suspects[:_PICTURED]}
    count = max(1, len(drift.operators) - 1)
    marks = []
    for index, operator in enumerate(drift.operators):
        if operator.error is not None:
            x, y = _LEFT + index / count * (_WIDTH - _LEFT - 12), _height(operator.error)
            kind = "gap" if operator.name in named else "legal" if operator.agrees else "changed"
            marks.append(
                f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{5 if kind == "gap" else 3}">'
                f"<title>{escape(_hover(operator))}</title></circle>"
            )
    scale = "".join(
        f'<text x="{_LEFT - 8}" y="{_height(10.0**power) + 4:.1f}" class="tick">1e{power}</text>'
        f'<path d="M{_LEFT} {_height(10.0**power):.1f}H{_WIDTH}"/>'
        for power in range(int(_LOW), int(_HIGH) + 1, 2)
    )
    tolerated = f'<path class="tolerated" d="M{_LEFT} {_height(drift.tolerated):.1f}H{_WIDTH}"/>'
    label = f"Error of every operator along the graph; it starts at {drift.suspects[0].name}" if drift.suspects else "No error"
    return (
        '<ul class="legend"><li class="legal">agrees</li><li class="changed">differs</li><li class="gap">starts here</li></ul>'
        f'<div class="canvas" tabindex="0" role="region" aria-label="Error along the graph">'
        f'<svg class="graph chart" width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(label)}">{scale}{tolerated}{"".join(marks)}</svg></div>'
    )


def _height(error: float) -> float:
    power = max(_LOW, min(_HIGH, math.log10(error))) if error > 0 else _LOW
    return (_HEIGHT - _BOTTOM) * (1 - (power - _LOW) / (_HIGH - _LOW)) + 8


def _hover(operator: OperatorDrift) -> str:
    text = f"{operator.operator} {operator.name}: {operator.error:.1e} of scale"
    if operator.error_in is not None:
        text += f", its inputs {operator.error_in:.1e}"
    text += f"; {operator.counterpart} in the target" if operator.counterpart else ""
    return f"{text}; {operator.layout}" if operator.layout else text


def _suspect(suspect: Suspect, pictured: bool) -> str:
    facts = [("operator", f"{suspect.operator} {suspect.name}")]
    if suspect.place:
        facts.append(("place", suspect.place))
    facts.append(("its inputs", f"agree to {suspect.error_in:.1e} of scale"))
    if suspect.error is not None:
        facts.append(
            ("its result", f"{suspect.observed} is off by {suspect.error:.1e} of scale ({suspect.counterpart} in the target)")
        )
    if len(suspect.among) > 1:
        facts.append(("together with", ", ".join(n for n in suspect.among if n != suspect.name)))
    if suspect.cause:
        facts.append(("cause", suspect.cause))
    if suspect.evidence:
        facts.append(("evidence", suspect.evidence))
    listed = "".join(f"<dt>{escape(label)}</dt><dd>{escape(text)}</dd>" for label, text in facts)
    pictures = _pictures(suspect.picture) if pictured and suspect.picture is not None else ""
    return f"<h3>{escape(suspect.name)}</h3><dl>{listed}</dl>{pictures}"


def _pictures(picture: Picture) -> str:
    drawn = [_scatter(picture.sample), _histogram(picture.sample), _heat(picture.heat)]
    return '<div class="pictures">' + "".join(filter(None, drawn)) + "</div>"


def _figure(title: str, body: str) -> str:
    return (
        f'<figure><svg class="graph chart" width="{_SIDE}" height="{_SIDE}" viewBox="0 0 {_SIDE} {_SIDE}" role="img" '
        f'aria-label="{escape(title)}">{body}</svg><figcaption>{escape(title)}</figcaption></figure>'
    )


def _scatter(sample: Sequence[tuple[float, float]]) -> str:
    """The target's values over the source's; what agrees lies on the diagonal."""
    if not sample:
        return ""
    low, high = _range(sample)

    def place(value: float) -> float:
        return (value - low) / (high - low) * (_SIDE - 16) + 8

    dots = "".join(f'<circle class="changed" cx="{place(a):.1f}" cy="{_SIDE - place(b):.1f}" r="2"/>' for a, b in sample)
    return _figure(f"source → target, {low:.3g} to {high:.3g}", f'<path d="M8 {_SIDE - 8}L{_SIDE - 8} 8"/>{dots}')


def _histogram(sample: Sequence[tuple[float, float]]) -> str:
    """How the values are spread on both sides: the source's upwards, the target's downwards."""
    if not sample:
        return ""
    low, high = _range(sample)
    counts = [[0] * _BINS, [0] * _BINS]
    for pair in sample:
        for side, value in enumerate(pair):
            counts[side][min(_BINS - 1, int((value - low) / (high - low) * _BINS))] += 1
    most = max(max(counts[0]), max(counts[1]))
    width, half = _SIDE / _BINS, _SIDE / 2
    bars = []
    for side, kind in ((0, "legal"), (1, "changed")):
        for index, number in enumerate(counts[side]):
            tall = number / most * (half - 8)
            top = half - tall if side == 0 else half
            bars.append(
                f'<rect class="{kind}" x="{index * width:.1f}" y="{top:.1f}" width="{width - 1:.1f}" height="{tall:.1f}"/>'
            )
    return _figure("values: source above, target below", "".join(bars))


def _range(sample: Sequence[tuple[float, float]]) -> tuple[float, float]:
    values = [v for pair in sample for v in pair]
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 1, high + 1)


def _heat(heat: Sequence[Sequence[float]]) -> str:
    """Where on its grid a tensor differs; the more, the stronger."""
    if not heat or max(map(max, heat)) == 0:
        return ""
    most = max(map(max, heat))
    tall, wide = _SIDE / len(heat), _SIDE / len(heat[0])
    cells = "".join(
        f'<rect class="heat" x="{c * wide:.1f}" y="{r * tall:.1f}" width="{wide:.1f}" height="{tall:.1f}" '
        f'opacity="{value / most:.2f}"/>'
        for r, row in enumerate(heat)
        for c, value in enumerate(row)
        if value > 0.01 * most
    )
    return _figure(f"where it differs, up to {most:.1e} of scale", cells)


def _worst(drift: DriftReport) -> str:
    """The operators that are furthest off, as a table."""
    off = sorted((o for o in drift.operators if not o.agrees and o.error is not None), key=lambda o: -(o.error or 0.0))
    if not off:
        return ""
    rows = "".join(
        f'<tr data-kind="drift"><td><code>{escape(o.name)}</code></td><td>{escape(o.operator)}</td>'
        f'<td class="number">{o.error:.1e}</td><td class="number">{"" if o.error_in is None else f"{o.error_in:.1e}"}</td>'
        f"<td>{escape(o.place)}</td></tr>"
        for o in off[:_LISTED]
    )
    head = "".join(f'<th scope="col">{label}</th>' for label in ("name", "operator", "error", "error of its inputs", "place"))
    caption = f"The {min(_LISTED, len(off))} of {len(off)} operators that are furthest off"
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table><caption>{caption}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
