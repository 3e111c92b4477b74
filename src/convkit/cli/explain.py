"""`convkit explain`."""

from __future__ import annotations

from dataclasses import asdict

import click

from convkit.cli import common


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from convkit.legalization.codes import CODES

    return [name for name in CODES if name.startswith(incomplete.upper())]


@click.command("explain", epilog="Examples: convkit explain CK105 · convkit explain")
@click.argument("code", required=False, shell_complete=_complete)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout, and nothing else.")
def command(code: str | None, as_json: bool) -> int:
    """Say what the CODE of a finding means and what helps; without one, list them all."""
    from convkit.errors import UsageError
    from convkit.legalization.codes import CODES

    if code is not None and code.upper() not in CODES:
        raise UsageError(f"there is no code {code!r}", hint=f"the codes are {', '.join(CODES)}")
    chosen = [*CODES.values()] if code is None else [CODES[code.upper()]]
    if as_json:
        common.emit_json([asdict(c) for c in chosen])
    elif code is None:
        common.lines([(c.name, f"{c.title} ({c.level})") for c in chosen])
    else:
        (found,) = chosen
        parts = [
            ("", found.title),
            ("kind", f"{found.symbol}, {found.level}"),
            ("why", found.explanation),
            ("help", found.way_out),
        ]
        common.lines([(label or found.name, text) for label, text in parts])
    return 0
