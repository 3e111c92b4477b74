"""Every pair of formats, both ways, on every fixture: the README's table, made by a run.

Usage: python -m benchmarks.thirty_pairs [--model NAME] [--only PYTORCH-TFJS] [--json FILE] [--write]

Each model is an exported program first, and brought to the five other formats. From each of the six files it is converted to
the five others (thirty pairs), over the route that the planner takes, and from each result back to where it came from. A pair
passes when the conversion is proved (signature kept, max |Δ| at most 1e-4 of scale); a round trip when its end is
proved and agrees with its start as well. With --write, the README's table is replaced by this run's.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path

import convkit
from benchmarks import pair_models
from convkit.workers.pool import WorkerPool, fresh_pool

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ("digits_cnn", "digits_lstm", "digits_transformer")
LIMIT = 1e-4
FORMATS = tuple(convkit.Format)
OPTIONS = {convkit.Format.EXECUTORCH: {"upper_bound": 128}}
"""ExecuTorch plans memory for a largest size, which the formats on the way back do not tell; the models' own is this."""
MARKS = ("<!-- thirty pairs: made by benchmarks.thirty_pairs -->", "<!-- end of thirty pairs -->")


@dataclass(frozen=True)
class Row:
    """One conversion: `kind` is "start" (from the exported program), "pair" or "back"."""

    model: str
    source: str
    target: str
    kind: str
    passed: bool
    seconds: float
    route: str = ""
    difference: float | None = None
    why: str = ""


def first_file(model: str, folder: Path) -> Path:
    """The exported program of a model."""
    if model in FIXTURES:
        return ROOT / "fixtures" / model / f"{model}.pt2"
    path = folder / f"{model}.pt2"
    pair_models.save(model, path)
    return path


class Run:
    """The conversions of one model."""

    def __init__(self, model: str, folder: Path, pool: WorkerPool) -> None:
        self.model, self.folder, self.pool = model, folder, pool
        self.files = {convkit.Format.PYTORCH: first_file(model, folder)}

    def rows(self, pairs: list[tuple[convkit.Format, convkit.Format]]) -> Iterator[Row]:
        """Converts over the pairs, and back."""
        pytorch = convkit.Format.PYTORCH
        for fmt in dict.fromkeys(source for source, _ in pairs if source is not pytorch):
            row, path = self.convert(self.files[pytorch], pytorch, fmt, "start")
            if path is None:
                yield row
            else:
                self.files[fmt] = path
        for source, target in pairs:
            if source not in self.files:
                yield Row(self.model, source.value, target.value, "pair", False, 0.0, why="no file to start from")
                continue
            start = self.files[source]
            row, path = self.convert(start, source, target, "pair")
            yield row
            if path is not None:
                yield self.back(path, start, target, source)

    def back(self, path: Path, start: Path, source: convkit.Format, target: convkit.Format) -> Row:
        """The second half of a round trip: its end is compared with `start` too."""
        row, end = self.convert(path, source, target, "back")
        if end is None:
            return row
        try:
            agreement = convkit.validate(start, end, tolerance=LIMIT, pool=self.pool)
        except convkit.ConvkitError as error:
            return Row(**{**asdict(row), "passed": False, "why": f"{type(error).__name__}: {error.message}"})
        passed = agreement.verdict.value == "proved"
        told = "; ".join(agreement.signature_differences) or f"needs a tolerance of {agreement.required:.1e}"
        why = "" if passed else f"the end of the round trip differs from its start: {told}"
        return Row(**{**asdict(row), "passed": passed, "difference": agreement.required, "why": why})

    def convert(self, path: Path, source: convkit.Format, target: convkit.Format, kind: str) -> tuple[Row, Path | None]:
        """One conversion, and what it wrote if it is proved."""
        output = self.folder / f"{self.model}.{kind}.{source.value}{target.default_variant.suffix}"
        start = time.perf_counter()
        names = (self.model, source.value, target.value, kind)
        try:
            result = convkit.convert(
                path, target, output, tolerance=LIMIT, force=True, pool=self.pool, options=OPTIONS.get(target)
            )
        except convkit.ConvkitError as error:
            why = f"{type(error).__name__}: {error.message}"
            return Row(*names, False, time.perf_counter() - start, why=why), None
        validation = result.report.validation
        assert validation is not None
        route = " → ".join(result.report.attempts[-1].route)
        row = Row(*names, result.ok, time.perf_counter() - start, route, validation.required)
        return row, result.artifact.path


def table(rows: list[Row]) -> str:
    """Rows → a Markdown table: from (down) × to (across), with how many models passed both the pair and the way back."""
    models = list(dict.fromkeys(r.model for r in rows))
    lines = [f"| from ↓ to → | {' | '.join(f.title for f in FORMATS)} |", "| --- " * (len(FORMATS) + 1) + "|"]
    for source in FORMATS:
        cells = []
        for target in FORMATS:
            there = [r for r in rows if (r.source, r.target, r.kind) == (source.value, target.value, "pair")]
            back = [r for r in rows if (r.source, r.target, r.kind) == (target.value, source.value, "back")]
            if not there:
                cells.append("–")
                continue
            worst = max((r.difference or 0.0 for r in there), default=0.0)
            passed = sum(r.passed for r in there), sum(r.passed for r in back)
            cells.append(f"{passed[0]}/{len(models)}, back {passed[1]}/{len(models)} ({worst:.0e})")
        lines.append(f"| **{source.title}** | {' | '.join(cells)} |")
    return "\n".join(lines)


def write_readme(text: str) -> None:
    """Puts the table between its marks.

    Raises:
        ValueError: The README has no marks.
    """
    path = ROOT / "README.md"
    begin, end = map(re.escape, MARKS)
    old = path.read_text(encoding="utf-8")
    new, count = re.subn(f"(?s){begin}.*?{end}", lambda _: f"{MARKS[0]}\n{text}\n{MARKS[1]}", old)
    if count != 1:
        raise ValueError(f"{path} has {count} places for the table")
    path.write_text(new, encoding="utf-8")


def main() -> int:
    """Converts, prints a line each and the table, and exits with 1 when a cell fails."""
    names = [f.value for f in FORMATS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", choices=(*FIXTURES, *pair_models.MODELS), help="only this one")
    parser.add_argument("--only", action="append", help=f"only this pair, FROM-TO of {', '.join(names)}")
    parser.add_argument("--json", type=Path, help="write the rows here as well")
    parser.add_argument("--write", action="store_true", help="replace the README's table")
    options = parser.parse_args()
    pairs = list(permutations(FORMATS, 2))
    if options.only:
        wanted = {tuple(pair.split("-")) for pair in options.only}
        pairs = [(s, t) for s, t in pairs if (s.value, t.value) in wanted]
    rows: list[Row] = []
    with fresh_pool() as pool:
        for model in options.model or (*FIXTURES, *pair_models.MODELS):
            with tempfile.TemporaryDirectory() as folder:
                for row in Run(model, Path(folder), pool).rows(pairs):
                    rows.append(row)
                    told = f"{row.difference:.1e}  {row.route}" if row.passed else row.why
                    verdict = "ok  " if row.passed else "FAIL"
                    print(
                        f"{verdict} {row.seconds:5.1f} s  {row.model} {row.kind} {row.source} → {row.target}  {told}", flush=True
                    )
    failed = sum(not r.passed for r in rows)
    print(table(rows))
    print(f"{len(rows) - failed} passed, {failed} failed")
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n")
    if options.write:
        write_readme(table(rows))
    return 1 if failed or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
