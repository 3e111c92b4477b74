"""`convkit plan`."""

from __future__ import annotations

from pathlib import Path

import click

from convkit.cli import common


@click.command("plan", epilog="Example: convkit plan model.onnx --to litert")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--to", "target", required=True, metavar="FORMAT", help="The format to reach.")
@click.option("--via", metavar="FORMAT", help="Only routes through a format.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout, and nothing else.")
def command(source: Path, target: str, via: str | None, as_json: bool) -> int:
    """Show the routes from SOURCE to a format: in which order they would be tried, and why."""
    from convkit import api
    from convkit.reports import terminal

    routes = api.plan(source, target, via=via)
    if as_json:
        common.emit_json(
            {
                "schema_version": 1,
                "routes": [
                    {
                        "steps": r.names,
                        "variants": [v.value for v in r.variants],
                        "cost": r.cost,
                        "obstacles": list(r.obstacles),
                        "installs_itself": r.installable,
                    }
                    for r in routes
                ],
            }
        )
        return 0
    for number, route in enumerate(routes, 1):
        common.line(f"{number}.", f"{route}   cost {route.cost:g}")
        for step in route.steps:
            text = f"{step.target.title}: {terminal.describe_step(step)}"
            common.line("", text + (f", {step.reason}" if step.reason else ""))
        for obstacle in route.obstacles:
            how = "installed at first use" if route.installable else "missing"
            common.line("", f"{how}: {obstacle}")
    return 0
