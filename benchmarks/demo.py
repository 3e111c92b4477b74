"""The demo: every fixture, from its exported program, to every format that has a way there; prints one table.

Usage: python -m benchmarks.demo [--output DIR]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

import convkit
from convkit.reports.terminal import human_bytes

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ("onnx", "savedmodel", "litert", "executorch", "tfjs")


def main() -> int:
    """Converts, prints, and exits with 1 when a conversion is not proved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "demo-out", help="where the converted models go")
    output = parser.parse_args().output
    names = json.loads((ROOT / "fixtures" / "fixtures.json").read_text())["models"]
    table = Table(title="shipped models, converted and proved")
    for column in ("model", "to", "route", "seconds", "max |Δ| / scale", "top-1 agreement", "size", "verdict"):
        table.add_column(column, justify="right" if column in {"seconds", "size"} else "left")
    failed = 0
    console = Console(width=140 if not sys.stdout.isatty() else None)
    for name in names:
        for target in TARGETS:
            start = time.perf_counter()
            source = ROOT / "fixtures" / name / f"{name}.pt2"
            destination = output / f"{name}{convkit.Format(target).default_variant.suffix}"
            console.print(f"converting {name} to {target} …", style="dim")
            try:
                result = convkit.convert(source, target, destination, force=True)
            except convkit.ConvkitError as error:
                failed += 1
                table.add_row(name, target, "–", f"{time.perf_counter() - start:.1f}", "–", "–", "–", f"[red]{error.message}")
                continue
            validation = result.report.validation
            assert validation is not None
            agreement = "–" if validation.top1 is None else f"{100 * validation.top1:.4g} %"
            size = sum(p.stat().st_size for p in ([destination] if destination.is_file() else destination.rglob("*")))
            table.add_row(
                name,
                target,
                " → ".join(result.report.attempts[-1].route),
                f"{time.perf_counter() - start:.1f}",
                f"{validation.required:.1e}",
                agreement,
                human_bytes(size),
                result.verdict.value,
            )
            failed += not result.ok
    console.print(table)
    console.print(f"The models and their reports are in {output}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
