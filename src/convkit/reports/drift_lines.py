"""The terminal face of a drift report: where it starts, why, and how it grows along the graph."""

from __future__ import annotations

import math

from convkit.reports.drift import DriftReport, OperatorDrift, Suspect

__all__ = ["drift_lines", "sparkline"]

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 60
_SHOWN = 5
_FLOOR = -8.0
"""The decimal logarithm of the smallest error that a sparkline tells from none: a last bit of float32."""


def drift_lines(report: DriftReport) -> list[tuple[str, str]]:
    """Label and text of every line."""
    total = len(report.operators)
    seen = f"{report.compared} of {total} operators compared ({report.recipe}; {report.source_tracer} and {report.target_tracer})"
    lines = [("drift", seen)]
    if errors := [o for o in report.operators if o.error is not None]:
        worst = max(o.error or 0.0 for o in errors)
        text = f"{sparkline(errors)}  error along the graph, 1e-8 to 1 of scale; largest {_short(worst)}"
        lines.append(("", text))
    for number, suspect in enumerate(report.suspects[:_SHOWN]):
        lines.append(("starts at" if number == 0 else "or at", _started(suspect)))
        if suspect.cause:
            lines.append(("cause", f"{suspect.cause} ({suspect.evidence})" if suspect.evidence else suspect.cause))
    if not report.suspects:
        lines.append(("starts at", "no operator: all that could be compared agrees within " + _short(report.tolerated)))
    named = {s.name for s in report.suspects}
    lines += [("grows at", _grown(o)) for o in report.amplifiers[:_SHOWN] if o.name not in named]
    return lines + [("note", note) for note in report.notes]


def sparkline(operators: list[OperatorDrift]) -> str:
    """The errors in their order, on a logarithmic scale, at most sixty characters: each the largest of its part."""
    step = max(1, math.ceil(len(operators) / _WIDTH))
    parts = [operators[i : i + step] for i in range(0, len(operators), step)]
    return "".join(_block(max(o.error or 0.0 for o in part)) for part in parts)


def _block(error: float) -> str:
    height = (math.log10(min(error, 1.0)) - _FLOOR) / -_FLOOR if error > 0 else 0.0
    return _BLOCKS[max(0, min(len(_BLOCKS) - 1, int(height * len(_BLOCKS))))]


def _started(suspect: Suspect) -> str:
    text = f"{suspect.operator} {suspect.name}"
    if suspect.place and suspect.place != suspect.name:
        text += f" ({suspect.place})"
    text += f": its inputs agree to {_short(suspect.error_in)}, "
    if suspect.error is None:
        return text + "and nothing behind it can be compared"
    text += f"its result is off by {_short(suspect.error)} of scale"
    others = [name for name in suspect.among if name != suspect.name]
    if others:
        text += f"; the target computes it together with {', '.join(others[:4])}{', …' if len(others) > 4 else ''}"
    return text


def _grown(operator: OperatorDrift) -> str:
    before, behind = _short(operator.error_in or 0.0), _short(operator.error or 0.0)
    return f"{operator.operator} {operator.name}: {before} of its inputs become {behind}"


def _short(value: float) -> str:
    return f"{value:.1e}" if value else "0"
