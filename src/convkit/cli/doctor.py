"""`convkit doctor`."""

from __future__ import annotations

import click

from convkit.cli import common


@click.command("doctor", epilog="Exit code 0: everything that is installed works. 1: something is broken.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout, and nothing else.")
def command(as_json: bool) -> int:
    """Check this installation: packages, runtimes, toolchains, plugins, and what each missing one costs."""
    from convkit import doctor

    findings = doctor.examine()
    if as_json:
        common.emit_json({"schema_version": 1, "findings": [f.to_json() for f in findings]})
    else:
        marks = {"ok": "ok", "missing": "missing", "broken": "BROKEN"}
        common.lines([(marks[f.state], f"{f.subject}: {f.detail}") for f in findings])
    return 1 if any(f.state == "broken" for f in findings) else 0
