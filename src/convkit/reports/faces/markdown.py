"""Markdown: for a pull request, or the summary of a step of continuous integration (GitHub's dialect)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from convkit.components import Face
from convkit.legalization.target import Finding, Verdict
from convkit.reports.document import Comparison, Document, RouteSection
from convkit.reports.drift_lines import drift_lines

__all__ = ["FACE"]

_MOST_PLACES = 5
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


def render(document: Document) -> str:
    """Title and verdict, then gaps, what is rewritten, comparisons that fail, and the rest folded away."""
    mark = "✅" if document.passed else "❌"
    facts = [(_text(label), _text(text)) for label, text in document.facts]
    parts = [f"## {mark} {_text(document.title)}: {_text(document.verdict)}", _table(("", ""), facts)]
    parts += [_route(route, position) for position, route in enumerate(document.routes)]
    if document.comparisons:
        failed = [c for c in document.comparisons if not c.passed]
        if failed:
            parts += ["### Outputs that drift", _comparisons(failed)]
        parts.append(_folded(f"All {len(document.comparisons)} comparisons", _comparisons(document.comparisons)))
    if document.drift is not None:
        told = (
            f"- **{_text(label)}** {_text(text)}" if label else f"- {_text(text)}" for label, text in drift_lines(document.drift)
        )
        parts += ["### Where the difference starts", "\n".join(told)]
    if document.notes:
        parts.append("\n".join(f"- {_text(note)}" for note in document.notes))
    return "\n\n".join(parts) + "\n"


def _route(route: RouteSection, position: int) -> str:
    label = "Route" if position == 0 else "Other route"
    parts = [f"### {label}: {_text(route.name)}", _text(route.summary)]
    if route.gaps:
        rows = [(f"`{_code(f.operator)}` ×{f.count}", f.code, _text(f.reason), _places(f), _text(f.hint)) for f in route.gaps]
        parts.append(_table(("operator", "code", "why", "where", "what to do"), rows))
    if rewritten := route.with_verdict(Verdict.REWRITTEN):
        told = [(f"`{_code(f.operator)}` ×{f.count}", _text(f.reason)) for f in rewritten]
        parts.append(_folded(f"{len(rewritten)} kinds of operators are rewritten", _table(("operator", "how"), told)))
    return "\n\n".join(parts)


def _comparisons(comparisons: Iterable[Comparison]) -> str:
    rows = [
        (
            "ok" if c.passed else "**drift**",
            _text(c.output),
            _text(c.recipe),
            _text(c.problem) or c.smallest,
            f"{c.allowed:.1e}",
            _text(c.noise),
            f"{c.max_abs:.2e}",
            "" if c.cosine is None else f"{c.cosine:.6f}",
            _text(", ".join(c.metrics)),
        )
        for c in comparisons
    ]
    return _table(
        ("", "output", "inputs", "smallest tolerance that passes", "allowed", "noise", "max abs", "cosine", "metrics"), rows
    )


def _places(finding: Finding) -> str:
    more = len(finding.where) - _MOST_PLACES
    shown = [f"`{_code(place)}`" for place in finding.where[:_MOST_PLACES]]
    return ", ".join([*shown, *([f"{more} more"] if more > 0 else [])])


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(header)} |", "| --- " * len(header) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows)])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|") if "\\|" not in text else " ".join(text.split())


def _folded(summary: str, body: str) -> str:
    return f"<details><summary>{_text(summary)}</summary>\n\n{body}\n\n</details>"


def _text(text: str) -> str:
    """Text with what Markdown or HTML would read as markup escaped: names come from files."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """Text between backticks, which cannot be escaped there."""
    return " ".join(text.split()).replace("`", "'").replace("|", "\\|")


FACE = Face("markdown", (".md",), render)
