"""Tiny transformers of many architectures (`transformers_tiny.py`), static and dynamic, to every target: right, or why not.

Usage: python -m benchmarks.transformers_models [--to onnx,litert,executorch,savedmodel,tfjs] [--forms static,dynamic] [--cnn]
       [--only REGEX] [--every N] [--from N] [--timeout SECONDS] [--again] [--make] [--probe] [--output DIRECTORY]

`--cnn` takes the families of `cnn_families.py` in their place.

Exported programs are made once and kept under build/ (`--make`: only made; `--again`: also those that torch could not export).
"dynamic" has batch and length dynamic, batch alone where torch.export fixes the length, and is left out where it fixes both.
All conversions share one pool of warm workers, as a process that uses the API does.

right     proved by convkit, and within 1e-4 of the scale of what the module itself computes eagerly: on the inputs that it was
          exported with, or, dynamic, at another batch and length
refused   the check said no, with a reason; nothing was converted
drift     it runs and disagrees, which convkit says
wrong     it runs and disagrees with eager torch, which convkit does not say
failed    the conversion failed, or the check itself; the reason says where

`convkit check` is asked before, as users ask it, and with `--probe` its deepest form too: what is not right should have been a
gap.

Writes `<target>.jsonl`, a conversion a line, and `table.md`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import convkit
from benchmarks import cnn_families, transformers_tiny
from benchmarks.check_truth import confusion, said
from benchmarks.executorch_models import Apart, built, limited
from benchmarks.onnx_node_corpus import Case
from benchmarks.onnx_node_suite import Trail, reason_of, run
from benchmarks.wheels import CACHE
from convkit.arrays import save_arrays
from convkit.workers.pool import WorkerPool, fresh_pool

ROOT = CACHE.parent / "transformers-models"
TARGETS = ("onnx", "litert", "executorch", "savedmodel", "tfjs")
FORMS = ("static", "dynamic")
VERDICTS = ("right", "refused", "drift", "wrong", "failed")
_MAKING = 300
"""Seconds that torch.export gets for one program."""
_CLOSE = 1e-4
_PER_POOL = 100
"""Frameworks keep something of every model that they have seen; fresh workers bound it."""


@dataclass
class Row:
    """One program to one target.

    Attributes:
        difference: The largest |Δ| against eager torch as a share of the output's largest number.
        check: What `convkit check` says: "legal" or "gap".
        probe: What `convkit check --probe` says, where it was asked.
        reason: Why it is not right.
        passed_over: Better routes than the one taken, and why they were not.
    """

    name: str
    form: str
    target: str
    verdict: str
    route: str = ""
    difference: float | None = None
    seconds: float = 0.0
    check: str = ""
    probe: str = ""
    reason: str = ""
    passed_over: str = ""


class Program(Case):
    """An exported program, its inputs, and what the module computes eagerly: one directory."""

    def __init__(self, name: str, form: str) -> None:
        super().__init__(f"{name}.{form}", (), _CLOSE, 0.0)

    @property
    def directory(self) -> Path:
        return ROOT / "programs" / self.name

    @property
    def model(self) -> Path:
        return self.directory / "model.pt2"

    def difference(self, got: dict[str, np.ndarray]) -> float:
        """The largest relative difference; infinite where shapes differ or a reference is too small to prove anything."""
        found = 0.0
        for name, expected in self.expected().items():
            if got[name].shape != expected.shape:
                return float("inf")
            scale = float(np.abs(expected).max())
            delta = float(np.abs(got[name].astype(np.float64) - expected).max())
            found = max(found, delta / scale if scale > 1e-3 and np.isfinite(delta) else float("inf"))
        return found


def make(name: str, form: str) -> None:
    """Exports an architecture, and writes its inputs and eager outputs beside it."""
    import torch

    with limited(_MAKING), torch.no_grad():
        module, inputs = built(name)
        if form == "static":
            program = torch.export.export(module, inputs, strict=False)
        else:
            program, longer = _dynamic(module, _resized(inputs, 2, 0))
            inputs = _resized(inputs, 3, longer)
        outputs = module(*inputs)
    directory = Program(name, form).directory
    directory.mkdir(parents=True, exist_ok=True)
    draft = directory / "draft.pt2"
    torch.export.save(program, draft)
    signature = convkit.inspect(draft).signatures[0]
    for file, names, tensors in (
        ("inputs.npz", signature.input_names, inputs),
        ("expected.npz", signature.output_names, outputs if isinstance(outputs, tuple) else (outputs,)),
    ):
        save_arrays(directory / file, {n: t.detach().numpy() for n, t in zip(names, tensors, strict=True)})
    draft.rename(directory / "model.pt2")


def _resized(inputs: Sequence[Any], batch: int, longer: int) -> tuple[Any, ...]:
    """Inputs like these with another batch and, for tokens and samples, a greater length."""
    import torch

    generator = torch.Generator().manual_seed(1)
    found = []
    for x in inputs:
        step = 40 if x.is_floating_point() else 1
        shape = [batch, x.shape[1] + longer * step] if x.ndim == 2 else [batch, *x.shape[1:]]
        if x.is_floating_point():
            found.append(torch.randn(shape, generator=generator))
        else:
            found.append(torch.randint(3, 99, shape, generator=generator))
    return tuple(found)


def _dynamic(module: Any, inputs: Sequence[Any]) -> tuple[Any, int]:
    """The program, dynamic in batch and length or in batch alone, and by how much inputs may be longer (see `_resized`)."""
    import torch

    batch = torch.export.Dim("batch", min=1, max=64)
    lengths = [{1: _length(i, x.is_floating_point())} if x.ndim == 2 else {} for i, x in enumerate(inputs)]
    if any(lengths):
        with contextlib.suppress(Exception):
            shapes = tuple({0: batch, **length} for length in lengths)
            return torch.export.export(module, tuple(inputs), dynamic_shapes=shapes, strict=False), 3
    return torch.export.export(module, tuple(inputs), dynamic_shapes=tuple({0: batch} for _ in inputs), strict=False), 0


def _length(number: int, is_audio: bool) -> Any:
    """Tokens up to the number of the tiny models' positions, or samples of a waveform."""
    import torch

    least, most = (400, 1600) if is_audio else (2, 32)
    return torch.export.Dim(f"length_{number}", min=least, max=most)


def available(name: str, form: str, apart: Apart, *, again: bool) -> Program | None:
    """The program, made unless it is there; None where torch cannot export it, which a file says."""
    program = Program(name, form)
    failed = ROOT / "programs" / f"{program.name}.failed"
    if program.model.exists():
        return program
    if failed.exists() and not again:
        return None
    try:
        apart.call(make, name, form)
    except Exception as error:
        failed.parent.mkdir(parents=True, exist_ok=True)
        failed.write_text(f"{type(error).__name__}: {' '.join(str(error).split())[:600]}\n")
        print(f"{program.name} is left out: {failed.read_text()[:160]}", flush=True)
        return None
    failed.unlink(missing_ok=True)
    return program


def measured(name: str, form: str, program: Program, target: str, timeout: float, pool: WorkerPool) -> Row:
    """One conversion with its proof, then the converted model against eager torch."""
    row, trail, start = Row(name, form, target, "failed"), Trail(), time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            result = convkit.convert(
                program.model, target, Path(scratch) / "converted", timeout=timeout, pool=pool, observe=trail
            )
            row.difference = program.difference(run(result.artifact, program, pool, Path(scratch), timeout))
            row.verdict = "right" if row.difference <= _CLOSE else "wrong"
            row.reason = "" if row.verdict == "right" else f"differs from eager torch by {row.difference:.1e} of scale"
            row.passed_over = _told(trail)
        except convkit.ConvkitError as error:
            row.verdict = _verdict(trail, error)
            row.reason = _told(trail) or " · ".join(filter(None, (error.message, error.hint)))
        row.route = str(trail.routes[-1]) if trail.routes else ""
    row.seconds = round(time.perf_counter() - start, 2)
    return row


def _told(trail: Trail) -> str:
    return " · ".join(f"{r}: {reason_of(e)}" for r, e in zip(trail.routes, trail.errors, strict=False))


def _verdict(trail: Trail, error: convkit.ConvkitError) -> str:
    """Refused where every route was; drift where the best that a route came to is that."""
    if all(isinstance(e, convkit.OperatorGapError) for e in [*trail.errors, error]):
        return "refused"
    return "drift" if any(isinstance(e, convkit.DriftError) for e in [*trail.errors, error]) else "failed"


def table(rows: Sequence[Row]) -> str:
    """Verdicts by target and form, then every row that is not right."""
    lines = [
        "| → | form | programs | " + " | ".join(VERDICTS) + " | worst right Δ | median s |",
        "|---" * (len(VERDICTS) + 5) + "|",
    ]
    for target in dict.fromkeys(r.target for r in rows):
        for form in FORMS:
            if mine := [r for r in rows if (r.target, r.form) == (target, form)]:
                counts = Counter(r.verdict for r in mine)
                worst = max((r.difference or 0.0 for r in mine if r.verdict == "right"), default=0.0)
                middle = sorted(r.seconds for r in mine)[len(mine) // 2]
                share = f"{counts['right']} ({counts['right'] / len(mine):.0%})"
                others = " | ".join(str(counts[v]) for v in VERDICTS[1:])
                lines.append(f"| {target} | {form} | {len(mine)} | {share} | {others} | {worst:.1e} | {middle:.1f} |")
    lines += ["", f"{len({r.name for r in rows})} architectures", "", *_truth(rows), ""]
    lines += [f"* {r.name}.{r.form} → {r.target}: {r.verdict}: {r.reason[:400]}" for r in rows if r.verdict != "right"]
    return "\n".join(lines) + "\n"


def _truth(rows: Sequence[Row]) -> list[str]:
    """What the checks said against what came of it, a line for each depth and target."""
    lines = []
    for title, says in (("check", lambda r: r.check), ("check --probe", lambda r: r.probe)):
        for target in dict.fromkeys(r.target for r in rows if says(r)):
            pairs = [(says(r), "legal" if r.verdict == "right" else "gap") for r in rows if r.target == target and says(r)]
            lines.append(f"* {title} → {target}: {confusion(pairs)}")
    return lines


def main() -> int:
    """Makes what is missing, converts all, says a line each, writes the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", default=",".join(TARGETS), help="target formats")
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--cnn", action="store_true", help="convolutional networks in place of transformers")
    parser.add_argument("--only", default="", help="programs (name.form) that match this regular expression")
    parser.add_argument("--every", type=int, default=1, help="only every Nth architecture")
    parser.add_argument("--from", type=int, default=0, dest="start", help="the number of the first of them")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds per stage")
    parser.add_argument("--again", action="store_true", help="try again what torch could not export")
    parser.add_argument("--make", action="store_true", help="make the programs and stop")
    parser.add_argument("--probe", action="store_true", help="ask the check with probes too")
    parser.add_argument("--output", type=Path, default=ROOT / "results", help="the directory for the results")
    options = parser.parse_args()
    names = list(cnn_families.FAMILIES if options.cnn else transformers_tiny.ARCHITECTURES)[options.start :: options.every]
    wanted = [(n, f) for n in names for f in options.forms.split(",") if re.search(options.only, f"{n}.{f}")]
    with closing(Apart()) as apart:
        there = [(n, f, p) for n, f in wanted if (p := available(n, f, apart, again=options.again))]
    if options.make:
        return 0
    options.output.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for target in options.to.split(","):
        with (options.output / f"{target}.jsonl").open("w") as lines:
            for first in range(0, len(there), _PER_POOL):
                with fresh_pool() as pool:
                    for name, form, program in there[first : first + _PER_POOL]:
                        check = said(program.model, target, pool=pool, timeout=options.timeout).says
                        row = measured(name, form, program, target, options.timeout, pool)
                        row.check = check
                        if options.probe:
                            row.probe = said(program.model, target, pool=pool, probe=True, timeout=options.timeout).says
                        rows.append(row)
                        print(json.dumps(asdict(row)), file=lines, flush=True)
                        shown = f"{row.verdict:8} {row.difference or 0:.0e} {row.seconds:5.1f} s"
                        print(f"{target:10} {name}.{form:8} {shown} {row.reason[:300]}", flush=True)
        (options.output / "table.md").write_text(table(rows))
    print(table(rows))
    return 0 if all(r.verdict in ("right", "refused") for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
