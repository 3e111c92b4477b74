"""`convkit formats`."""

from __future__ import annotations

import click

from convkit.cli import common


@click.command("formats", epilog="Example: convkit formats --matrix")
@click.option("--matrix", is_flag=True, help="Show the best route of every pair.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout, and nothing else.")
def command(matrix: bool, as_json: bool) -> int:
    """List the formats, their variants and what runs them; with --matrix, the routes between them."""
    from convkit.errors import ConvkitError
    from convkit.formats import Format, Variant
    from convkit.planner import plan_routes
    from convkit.registry import runtime_for

    if not matrix:
        listed = [
            {
                "format": v.format.value,
                "variant": v.value,
                "title": v.title,
                "suffix": v.suffix,
                "runtime": getattr(runtime_for(v), "name", None),
            }
            for v in Variant
        ]
        if as_json:
            common.emit_json(listed)
            return 0
        common.lines([(f"{e['format']}", f"{e['title']} {e['suffix']}  runs in {e['runtime'] or '–'}") for e in listed])
        return 0
    table = {}
    for source in Format:
        for target in Format:
            if source is target:
                continue
            try:
                table[source, target] = str(plan_routes(source.default_variant, target)[0])
            except ConvkitError:
                table[source, target] = ""
    if as_json:
        common.emit_json([{"from": s.value, "to": t.value, "route": r or None} for (s, t), r in table.items()])
        return 0
    common.lines([(s.value, f"→ {t.value:<11} {route or 'no route yet'}") for (s, t), route in table.items()])
    return 0
