"""HTML: one self-contained page that opens from disk without a network; search and filters, light and dark, any width."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from convkit import __version__
from convkit.components import Face
from convkit.legalization.target import Finding
from convkit.reports.document import Comparison, Document, RouteSection
from convkit.reports.drawing import drawn
from convkit.reports.drift_drawing import drift_section

__all__ = ["FACE"]

_KINDS = {"gap": "gaps", "rewritten": "rewritten", "legal": "legal", "drift": "drift", "agrees": "agrees"}


def render(document: Document) -> str:
    """The page. All that comes from the record is escaped, and the policy allows no script but the page's own."""
    style, script = (files(__package__).joinpath(f"page.{suffix}").read_text("utf-8") for suffix in ("css", "js"))
    kinds = {f.verdict.value for route in document.routes for f in route.findings or ()}
    kinds |= {"agrees" if c.passed else "drift" for c in document.comparisons}
    policy = f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    body = [
        f"<h1>{escape(document.title)}</h1>",
        f'<p><span class="verdict {"good" if document.passed else "bad"}">{escape(document.verdict)}</span></p>',
        "<dl>" + "".join(f"<dt>{escape(label)}</dt><dd>{escape(text)}</dd>" for label, text in document.facts) + "</dl>",
        _filters([kind for kind in _KINDS if kind in kinds]),
        *map(_route, document.routes),
        _graph(document),
        _comparisons(document.comparisons),
        drift_section(document.drift),
        _notes(document.notes),
        f"<footer>convkit {escape(__version__)}</footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>convkit: {escape(document.title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(filter(None, body))
        + f"\n</main>\n<script>{script}</script>\n</body>\n</html>\n"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _filters(kinds: Sequence[str]) -> str:
    boxes = "".join(
        f'<label><input type="checkbox" value="{kind}" checked> {_KINDS[kind]}</label>' for kind in kinds
    )  # fmt: skip
    return (
        '<form hidden role="search"><input type="search" aria-label="Search" placeholder="Search (press /)">'
        f'{boxes}<output aria-live="polite"></output></form>'
    )


def _route(route: RouteSection) -> str:
    kind = "bad" if route.gaps or route.error else "soft"
    parts = [f'<section><h2>{escape(route.name)}</h2><p class="{kind}">{escape(route.summary)}</p>']
    if route.stages:
        parts.append("<dl>" + "".join(f"<dt>{escape(s)}</dt><dd>{escape(told)}</dd>" for s, told in route.stages) + "</dl>")
    if route.findings:
        rows = [_finding(f) for f in route.findings]
        parts.append(
            _table("findings", f"Operators on {route.name}", ("operator", "verdict", "why", "where", "what to do"), rows)
        )
    return "".join(parts) + "</section>"


def _finding(finding: Finding) -> str:
    kind = finding.verdict.value
    verdict = escape(f"{kind} {finding.code}".strip())
    places = ", ".join(f"<code>{escape(place)}</code>" for place in finding.where)
    return (
        f'<tr data-kind="{kind}"><td><code>{escape(finding.operator)}</code> ×{finding.count}</td>'
        f'<td data-label="verdict" class="{"bad" if kind == "gap" else "soft"}">{verdict}</td>'
        f"{_labelled('why', escape(finding.reason))}{_labelled('where', places)}"
        f"{_labelled('what to do', escape(finding.hint))}</tr>"
    )


def _labelled(label: str, content: str) -> str:
    return f'<td data-label="{label}">{content}</td>' if content else "<td></td>"


def _comparisons(comparisons: Iterable[Comparison]) -> str:
    rows = [
        f'<tr data-kind="{"agrees" if c.passed else "drift"}"><td class="state {"good" if c.passed else "bad"}">'
        f"{'agrees' if c.passed else 'drift'}</td><td><code>{escape(c.output)}</code></td><td>{escape(c.recipe)}</td>"
        + "".join(f'<td class="number">{escape(text)}</td>' for text in _numbers(c))
        + f"<td>{_kind_of(c)}</td><td>{escape(c.problem)}</td></tr>"
        for c in comparisons
    ]
    if not rows:
        return ""
    header = (
        "", "output", "inputs", "smallest tolerance that passes", "allowed", "noise", "max |Δ|", "scale", "cosine",
        "SQNR", "metrics", "problem",
    )  # fmt: skip
    return "<section><h2>Validation</h2>" + _table("", "Every output over every input set", header, rows) + "</section>"


def _kind_of(comparison: Comparison) -> str:
    kind = f'<span class="soft">{escape(comparison.kind)}</span>' if comparison.metrics else ""
    return "<br>".join([*map(escape, comparison.metrics), *filter(None, (kind,))])


def _numbers(comparison: Comparison) -> tuple[str, ...]:
    return (
        comparison.smallest,
        f"{comparison.allowed:.1e}",
        comparison.noise,
        f"{comparison.max_abs:.2e}",
        f"{comparison.scale:.3g}",
        "" if comparison.cosine is None else f"{comparison.cosine:.6f}",
        "" if comparison.sqnr_db is None else f"{comparison.sqnr_db:.0f} dB",
    )


def _table(kind: str, caption: str, header: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in header)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table class="{kind}">'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _graph(document: Document) -> str:
    picture, note = drawn(document.graph)
    if not picture:
        return ""
    told = f'<p class="soft">{escape(note)}</p>' if note else ""
    return (
        f'<section><h2>Graph</h2>{told}<ul class="legend">'
        '<li class="gap">gap</li><li class="changed">rewritten</li><li class="legal">legal</li></ul>'
        f'<div class="scroll canvas" tabindex="0" role="region" aria-label="Graph">{picture}</div></section>'
    )


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    return "<section><h2>Notes</h2><ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul></section>"


FACE = Face("html", (".html", ".htm"), render)
