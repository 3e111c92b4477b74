"""Real ONNX files (`onnx_real_models.toml`), each to every target: proved, or why not.

Usage: python -m benchmarks.onnx_real_models [--to pytorch,executorch,litert,savedmodel] [--only REGEX] [--route NAME,NAME]
       [--timeout SECONDS] [--warm] [--output DIRECTORY]

proved    converted, run in the target's own runtime, signature kept, numbers agree; at all sizes that the list names
refused   the check said no, with a reason; nothing was converted
drift     it runs and disagrees
failed    the conversion, or the converted model at another size, failed

Every row is a conversion in fresh workers, imports included, as the command line has it (`--warm` keeps the workers, for work on
the importers). Memory is that of the largest process. Writes `table.md` and `rows.json`.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import re
import sys
import tempfile
import time
import tomllib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import convkit
from benchmarks.onnx_node_suite import Trail, reason_of
from benchmarks.wheels import CACHE, fetch, unpacked
from convkit.events import Event
from convkit.reports.schema import Stage
from convkit.signature import TensorSpec
from convkit.workers.pool import WorkerPool, fresh_pool

LIST = Path(__file__).with_suffix(".toml")
OUTPUT = CACHE.parent / "onnx-real-models"
TARGETS = ("pytorch", "executorch", "litert", "savedmodel")
_RATE = 16000
Sizes = Mapping[str, int | list[int]]


@dataclass(frozen=True)
class Model:
    """One file; see the head of the list for what the fields mean."""

    name: str
    package: str
    path: str
    sha256: str
    about: str
    sizes: Sequence[Sizes] = ({},)
    tolerance: float | None = None
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return unpacked(self.package) / self.path

    def check(self) -> None:
        """Raises SystemExit where the file is not the one that was looked at."""
        if hashlib.sha256(self.file.read_bytes()).hexdigest() != self.sha256:
            raise SystemExit(f"{self.file} is not what it was: its SHA-256 is another")

    def feeds(self, sizes: Sizes) -> dict[str, np.ndarray]:
        """Inputs that suit the model, at some sizes of its dynamic dimensions."""
        specs = convkit.inspect(self.file).signatures[0].inputs
        if unknown := set(self.inputs) - {s.name for s in specs}:
            raise SystemExit(f"{self.name} has no input {', '.join(unknown)}")
        return {spec.name: _values(spec, _shape(spec, sizes), self.inputs.get(spec.name, {}), sizes) for spec in specs}


def _shape(spec: TensorSpec, sizes: Sizes) -> list[int]:
    whole = sizes.get(spec.name)
    if isinstance(whole, list):
        return whole
    return [int(sizes[d]) if isinstance(d, str) else d for d in spec.shape or ()]  # type: ignore[arg-type]


def _values(spec: TensorSpec, shape: list[int], suits: Mapping[str, Any], sizes: Sizes) -> np.ndarray:
    generator = np.random.default_rng(zlib.crc32(spec.name.encode()))
    if "value" in suits:
        value = suits["value"]
        return np.full(shape, sizes[value] if isinstance(value, str) else value).astype(spec.dtype)
    if "audio" in suits:
        return (suits["audio"] * _voice(shape)).astype(spec.dtype)
    if "image" in suits:
        return _picture(shape, *suits["image"]).astype(spec.dtype)
    if "edges" in suits:
        count = int(sizes[suits["edges"]])  # type: ignore[arg-type]
        sources = generator.integers(0, count, shape[-1])
        return np.stack([sources, (sources + generator.integers(1, count, shape[-1])) % count]).astype(spec.dtype)
    if spec.dtype == "bool":
        return generator.random(shape) < 0.5
    low, high = suits.get("low"), suits.get("high")
    if low is None or high is None:
        return generator.standard_normal(shape).astype(spec.dtype)
    if suits.get("whole") or spec.dtype.startswith(("int", "uint")):
        return generator.integers(low, high, shape).astype(spec.dtype)
    return generator.uniform(low, high, shape).astype(spec.dtype)


def _voice(shape: Sequence[int]) -> np.ndarray:
    """A hum with overtones that swells, in a little noise, along the longest axis; digital silence would prove nothing."""
    axis = int(np.argmax(shape))
    moments = np.arange(shape[axis]) / _RATE
    hum = sum(np.sin(2 * np.pi * 180 * k * moments) / k for k in (1, 2, 3)) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * moments))
    noise = 0.02 * np.random.default_rng(0).standard_normal(shape)
    return np.asarray(np.moveaxis(np.broadcast_to(hum, (*np.delete(shape, axis), shape[axis])), -1, axis) / 2 + noise)


def _picture(shape: Sequence[int], low: float, high: float) -> np.ndarray:
    """Lines of something like letters, 18 pixels high, and a few dark boxes; pixels are the last two axes."""
    generator = np.random.default_rng(0)
    height, width = shape[-2:]
    strokes = generator.random((-(-height // 3), -(-width // 3))) < 0.6
    strokes[np.arange(len(strokes)) % 10 >= 6] = False  # between the lines
    strokes[:, np.arange(strokes.shape[1]) % 5 >= 4] = False  # between the letters
    pixels = 0.95 - 0.85 * np.kron(strokes, np.ones((3, 3)))[:height, :width]
    for _ in range(4):
        top, left = generator.integers(0, height), generator.integers(0, width)
        pixels[top : top + height // 6, left : left + width // 6] = generator.uniform(0.1, 0.6)
    noise = 0.02 * generator.standard_normal(shape)
    return low + (high - low) * np.clip(pixels + noise, 0, 1)


def models(file: Path = LIST) -> list[Model]:
    """The list."""
    return [Model(**entry) for entry in tomllib.loads(file.read_text())["model"]]


@dataclass
class Row:
    """One model to one target.

    Attributes:
        difference: The largest over all outputs and sizes, as a share of the output's scale.
        peak: Bytes of the largest process.
        reason: Why it is not proved.
        passed_over: Better routes than the one taken, and why they were not.
    """

    model: str
    target: str
    verdict: str
    seconds: float = 0.0
    peak: int = 0
    route: str = ""
    difference: float | None = None
    reason: str = ""
    passed_over: str = ""


@dataclass
class Watcher(Trail):
    """An observer that also knows the largest worker."""

    peak: int = 0

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        if isinstance(event.detail, Stage):
            self.peak = max(self.peak, event.detail.peak_memory or 0)

    def told(self) -> str:
        """Every route that did not do it, and why."""
        return " · ".join(f"{r}: {reason_of(e)}" for r, e in zip(self.routes, self.errors, strict=False))


def convert(model: Model, target: str, scratch: Path, pool: WorkerPool, options: argparse.Namespace) -> Row:
    """One conversion, with its proof at every size."""
    row, watcher, start = Row(model.name, target, "failed"), Watcher(), time.perf_counter()
    try:
        result = convkit.convert(
            model.file, target, scratch / "converted", inputs=model.feeds(model.sizes[0]), timeout=options.timeout,
            tolerance=model.tolerance,
            pool=pool, observe=watcher, route=options.route.split(",") if options.route else None,
        )  # fmt: skip
        row.seconds = time.perf_counter() - start
        report = result.report
        assert report.validation is not None
        row.verdict, row.route, row.difference = result.verdict.value, str(watcher.routes[-1]), report.validation.required
        row.passed_over = watcher.told()
        row.peak = max(stage.peak_memory or 0 for attempt in report.attempts for stage in attempt.stages)
        for sizes in model.sizes[1:]:
            _again(model, sizes, result.artifact.path, pool, options.timeout, row)
    except convkit.ConvkitError as error:
        row.seconds = row.seconds or time.perf_counter() - start
        row.peak = max(row.peak, watcher.peak)
        if not row.route:
            row.verdict = _verdict(error)
        row.reason = row.reason or watcher.told() or " · ".join(filter(None, (error.message, error.hint)))
    return row


def _again(model: Model, sizes: Sizes, converted: Path, pool: WorkerPool, timeout: float, row: Row) -> None:
    """The converted model at other sizes of its dynamic dimensions."""
    try:
        report = convkit.validate(
            model.file, converted, inputs=model.feeds(sizes), tolerance=model.tolerance, timeout=timeout, pool=pool
        )
    except convkit.ConvkitError as error:
        row.verdict, row.reason = "failed", f"at {_told(sizes)}: {error.message}"
        raise
    row.difference = max(row.difference or 0.0, report.required)
    if report.verdict.value != "proved":
        worst = [f"{o.name} by {o.required:.1e}" for s in report.sets for o in s.outputs if not o.passed]
        row.verdict, row.reason = "drift", f"at {_told(sizes)}: {'; '.join([*report.signature_differences, *worst])}"


def _told(sizes: Sizes) -> str:
    return ", ".join(f"{name}={size}" for name, size in sizes.items())


def _verdict(error: convkit.ConvkitError) -> str:
    if isinstance(error, convkit.OperatorGapError):
        return "refused"
    return "drift" if isinstance(error, convkit.DriftError) else "failed"


def table(rows: Sequence[Row], known: Sequence[Model]) -> str:
    """A row per model, a column per target, then every reason."""
    targets = list(dict.fromkeys(r.target for r in rows))
    cells = {(r.model, r.target): r for r in rows}
    lines = ["| model | what it is | " + " | ".join(targets) + " |", "| --- " * (len(targets) + 2) + "|"]
    for model in known:
        mine = [cells.get((model.name, t)) for t in targets]
        if any(mine):
            lines.append(f"| {model.name} | {model.about} | " + " | ".join(_cell(r) for r in mine) + " |")
    proved = [sum(r.verdict == "proved" for r in rows if r.target == t) for t in targets]
    counts = [sum(r.target == t for r in rows) for t in targets]
    lines.append("| **proved** | | " + " | ".join(f"**{p} of {n}**" for p, n in zip(proved, counts, strict=True)) + " |")
    lines += ["", "## What is not proved", ""]
    lines += [f"- {r.model} → {r.target}, {r.verdict}: {r.reason}" for r in rows if r.verdict != "proved"]
    lines += ["", "## Proved, but not over the best route", ""]
    lines += [f"- {r.model} → {r.target} ({r.route}): {r.passed_over}" for r in rows if r.verdict == "proved" and r.passed_over]
    return "\n".join(lines)


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    if row.difference is None:
        return f"{row.verdict}, {row.seconds:.0f} s"
    return f"{row.verdict}, {row.difference:.0e}, {row.seconds:.0f} s, {row.peak / 2**20:.0f} MB"


def pools(warm: bool) -> Callable[[], contextlib.AbstractContextManager[WorkerPool]]:
    """Makes the pool of a row: fresh, or always the same."""
    if not warm:
        return fresh_pool
    from convkit.workers.pool import default_pool

    return lambda: contextlib.nullcontext(default_pool())


def main(
    known: Sequence[Model] | None = None, targets: Sequence[str] = TARGETS, output: Path = OUTPUT, about: str | None = __doc__
) -> int:
    """Converts all, says a line each, writes the table."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", default=",".join(targets), help="target formats")
    parser.add_argument("--only", default="", help="models whose name matches this regular expression")
    parser.add_argument("--route", help="take exactly these converters")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds per stage")
    parser.add_argument("--warm", action="store_true", help="keep the workers from row to row")
    parser.add_argument("--output", type=Path, default=output, help="the directory for the table")
    options = parser.parse_args()
    chosen = [m for m in (models() if known is None else known) if re.search(options.only, m.name)]
    fetch(m.package for m in chosen)
    rows = []
    pool_of_row = pools(options.warm)
    options.output.mkdir(parents=True, exist_ok=True)
    for model in chosen:
        model.check()
        for target in options.to.split(","):
            with tempfile.TemporaryDirectory() as scratch, pool_of_row() as pool:
                row = convert(model, target, Path(scratch), pool, options)
            rows.append(row)
            print(f"{row.verdict:8} {row.seconds:5.1f} s  {row.model} → {target}  {row.route} {row.reason}", flush=True)
            (options.output / "rows.json").write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n")
    (options.output / "table.md").write_text(table(rows, chosen) + "\n")
    print(f"{sum(r.verdict == 'proved' for r in rows)} of {len(rows)} proved; {options.output / 'table.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
