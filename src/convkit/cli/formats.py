"""`convkit formats`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from convkit.cli import common

if TYPE_CHECKING:
    from convkit.formats import Format


@click.command("formats", epilog="Example: convkit formats --matrix")
@click.option("--matrix", is_flag=True, help="Show the best route of every pair.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout, and nothing else.")
def command(matrix: bool, as_json: bool) -> int:
    """List the formats, their variants and what runs them; with --matrix, the routes between them."""
    from convkit.formats import Format, Variant
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
    pairs = [_pair(source, target) for source in Format for target in Format if source is not target]
    if as_json:
        common.emit_json(pairs)
        return 0
    common.lines([(p["from"], f"→ {p['to']:<11} {p['route'] or 'no route'}{_remark(p)}") for p in pairs])
    ready = sum(p["status"] == "ready" for p in pairs)
    common.line("", f"{ready} of {len(pairs)} pairs are ready here; `convkit doctor` says what the others need")
    return 0


def _pair(source: Format, target: Format) -> dict[str, Any]:
    """The best route between two formats, its steps, and whether it can run here."""
    from convkit.errors import NoRouteError
    from convkit.planner import plan_routes

    found: dict[str, Any] = {"from": source.value, "to": target.value, "route": None, "steps": [], "others": 0, "needs": []}
    try:
        route, *others = plan_routes(source.default_variant, target)
    except NoRouteError:
        return {**found, "status": "no route"}
    steps = [{"converter": s.name, "from": s.sources[0].format.value, "to": s.target.format.value} for s in route.steps]
    status = "ready" if not route.obstacles else "installs itself at first use" if route.installable else "lacks packages"
    found |= {"route": str(route), "steps": steps, "others": len(others), "needs": list(route.obstacles)}
    return {**found, "status": status}


def _remark(pair: dict[str, Any]) -> str:
    """What is worth saying after a route: that it is not ready, and how many others there are."""
    remarks = [] if pair["status"] in {"ready", "no route"} else [pair["status"], *pair["needs"]]
    remarks += [f"{pair['others']} more"] if pair["others"] else []
    return f"  ({'; '.join(remarks)})" if remarks else ""
