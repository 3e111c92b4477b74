"""`convkit diff`."""

from __future__ import annotations

from pathlib import Path

import click

from convkit.cli import common


@click.command(
    "diff",
    epilog="""\b
Examples:
  convkit check model.onnx --to litert --report new.json; convkit diff main.json new.json

Exit code 0: no new gaps. 1: new gaps.""",
)
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout, and nothing else.")
def command(old: Path, new: Path, as_json: bool) -> int:
    """Compare two reports of `convkit check` (JSON): which gaps are new, and which are gone."""
    from convkit.reports.difference import compare

    found = compare(old, new)
    if as_json:
        common.emit_json(found.to_json())
    else:
        common.lines([*(("new", str(g)) for g in found.new), *(("fixed", str(g)) for g in found.fixed)])
        common.line("", f"{len(found.new)} new, {len(found.fixed)} fixed, {found.kept} as before")
    return 0 if found.ok else 1
