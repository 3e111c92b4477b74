"""`convkit inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from convkit.cli import common


@click.command("inspect", epilog="Example: convkit inspect model.tflite --json")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout, and nothing else.")
def command(source: Path, as_json: bool) -> int:
    """Show what SOURCE is and holds, told from its content: no framework is loaded, nothing is executed."""
    from convkit import api
    from convkit.reports import terminal

    info = api.inspect(source)
    if as_json:
        common.emit_json(info.to_json())
    else:
        common.lines(terminal.inspection_lines(info))
    return 0
