"""`convkit toolchain`."""

from __future__ import annotations

from pathlib import Path

import click

from convkit.cli import common


@click.group("toolchain")
def command() -> None:
    """Install, list and remove the locked environments of libraries that do not fit beside the others."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout, and nothing else.")
def list_toolchains(as_json: bool) -> int:
    """List the toolchains: what each is for, and whether it is installed."""
    from convkit.workers import toolchains

    listed = [
        {"name": t.name, "purpose": t.purpose, "installed": t.installed(), "directory": str(t.directory)}
        for t in toolchains.toolchains()
    ]
    if as_json:
        common.emit_json(listed)
        return 0
    common.lines([(f"{e['name']}", f"{'installed' if e['installed'] else 'not installed'}: {e['purpose']}") for e in listed])
    return 0


@command.command("install", epilog="Example: convkit toolchain install onnx2tf")
@click.argument("names", nargs=-1)
@click.option("--wheelhouse", type=click.Path(path_type=Path, exists=True), help="Install from these wheels, offline.")
@click.option("--upgrade", is_flag=True, help="Install again, even when it is there.")
def install(names: tuple[str, ...], wheelhouse: Path | None, upgrade: bool) -> int:
    """Install toolchains; all of them when none is named."""
    from convkit.workers import toolchains

    for toolchain in [toolchains.get(n) for n in names] or [t for t in toolchains.toolchains() if t.needed]:
        toolchain.install(lambda text: click.echo(text, err=True), upgrade, wheelhouse)
        common.line(toolchain.name, "installed")
    return 0


@command.command("download", epilog="Example: convkit toolchain download onnx2tf --to wheels/")
@click.argument("names", nargs=-1)
@click.option("--to", "directory", type=click.Path(path_type=Path), required=True, help="Where to put the wheels.")
def download(names: tuple[str, ...], directory: Path) -> int:
    """Download the wheels of toolchains, to install them elsewhere without a network."""
    from convkit.workers import toolchains

    for toolchain in [toolchains.get(n) for n in names] or toolchains.toolchains():
        toolchain.download(directory)
        common.line(toolchain.name, f"downloaded to {directory}")
    return 0


@command.command("remove")
@click.argument("names", nargs=-1, required=True)
def remove(names: tuple[str, ...]) -> int:
    """Remove toolchains."""
    from convkit.workers import toolchains

    for name in names:
        toolchains.get(name).remove()
        common.line(name, "removed")
    return 0
