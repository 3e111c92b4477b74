"""Are faults found whose source is no ONNX file: exported programs of torch, LiteRT files, SavedModels, TF.js graphs, `.pte`?

    python -m benchmarks.planted_sources [--count 6] [--only litert] [--kind corrupted_weight] [--json out.jsonl]

A fault is planted into a copy of the source (see `benchmarks.source_faults`), the faulty copy is converted, and the conversion
validated against the sound source, as in `benchmarks.planted_faults`. The sources are the shipped models in what PyTorch and
Keras made of them; TF.js graphs and `.pte` files are conversions of these. What an ExecuTorch file computes
inside is told by position among the operators of one kind: the file keeps no names.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import numpy as np

from benchmarks.planted_faults import Case, summary, tell
from benchmarks.source_faults import PLANTERS, Fault
from convkit import api
from convkit.errors import ConvkitError
from convkit.reports.drift import DriftReport
from convkit.reports.schema import ValidationReport
from convkit.validators.operator_kinds import kind_of

FIXTURES = Path(__file__).parent.parent / "fixtures"
MODELS = ("digits_cnn", "digits_transformer", "digits_lstm")
SUFFIXES = {"pytorch": ".pt2", "litert": ".tflite", "savedmodel": ".savedmodel", "tfjs": "", "executorch": ".pte"}
TARGETS = {
    "pytorch": ("onnx", "litert", "savedmodel", "executorch", "tfjs"),
    "litert": ("onnx", "pytorch", "savedmodel", "tfjs"),
    "savedmodel": ("onnx", "litert", "tfjs", "pytorch"),
    "tfjs": ("savedmodel", "onnx", "pytorch", "litert"),
    "executorch": ("onnx", "pytorch", "litert", "savedmodel"),
}


def sound(source: str, model: str, directory: Path) -> tuple[Path, Path]:
    """The sound model of a format, and the file that faults are planted into: another one only for ExecuTorch."""
    if source in ("pytorch", "litert", "savedmodel"):
        path = FIXTURES / model / f"{model}{SUFFIXES[source]}"
        return path, path
    origin = FIXTURES / model / f"{model}{'.savedmodel' if source == 'tfjs' else '.pt2'}"
    path = directory / f"{model}.sound{SUFFIXES[source]}"
    if not path.exists():
        api.convert(origin, source, output=path, validate=False)
    return path, path if source == "tfjs" else origin


def offered(source: str, directory: Path, kind: str | None) -> Iterator[tuple[str, Fault]]:
    """Faults of all kinds and models in turn, drawn, and the same every time; with the model."""
    kinds: dict[str, list[tuple[str, Fault]]] = {}
    for model in MODELS:
        try:
            origin = sound(source, model, directory)[1]
        except ConvkitError as error:
            print(f"not offered: {model} as {source}: {error}", flush=True)
            continue
        for fault in PLANTERS["pytorch" if source == "executorch" else source](origin):
            if kind in (None, fault.kind):
                kinds.setdefault(fault.kind, []).append((model, fault))
    for chosen in kinds.values():
        np.random.default_rng(crc32(source.encode())).shuffle(chosen)  # type: ignore[arg-type]
    for step in range(max(map(len, kinds.values()), default=0)):
        yield from (chosen[step] for chosen in kinds.values() if step < len(chosen))


def measured(source: str, target: str, model: str, fault: Fault, directory: Path) -> Case | None:
    """What became of one fault; None where it changes nothing, or cannot be converted."""
    reference, origin = sound(source, model, directory)
    case = Case(fault.kind, model, fault.operator, source, target)
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        faulty = Path(scratch) / f"faulty{origin.suffix}"
        fault.write(faulty)
        try:
            if api.validate(origin, faulty, locate=False).required <= 1e-4:
                return None
            converted = faulty
            if target != "pytorch" or source != "executorch":  # whose faults are planted into what it was made of
                converted = Path(scratch) / f"converted.{target}"
                api.convert(faulty, target, output=converted, validate=False)
        except ConvkitError as error:
            print(f"not measured: {fault.kind} {model} {source} → {target}: {error}", flush=True)
            return None
        start = time.perf_counter()
        try:
            report = api.validate(reference, converted)
        except ConvkitError as error:
            case.error = str(error)[:300]
            return case
        case.seconds = time.perf_counter() - start
    return judged(case, report, origin)


def judged(case: Case, report: ValidationReport, origin: Path) -> Case | None:
    """The case with what the report says; None where the guilty operator is no operator of its own there."""
    case.detected = report.verdict.value == "drift"
    if report.drift is None or not report.drift.suspects:
        return case
    node = case.node if case.source != "executorch" else _of_its_kind(case.node, origin, report.drift)
    if node is None:
        return None
    named = [s.name for s in report.drift.suspects]
    first = report.drift.suspects[0]
    case.suspects = named[:5]
    case.rank = next((i + 1 for i, n in enumerate(named) if n == node or n.endswith(f"/{node}")), None)
    case.first, case.cause, case.code = f"{first.operator} {first.name}", first.cause, first.code
    return case


def _of_its_kind(node: str, origin: Path, drift: DriftReport) -> str | None:
    """The operator at the same place among those of one kind, None where there are more or fewer of them."""
    import torch

    calls = [n for n in torch.export.load(origin).graph.nodes if n.op == "call_function"]
    kind = next(kind_of(str(n.target)) for n in calls if n.name == node)
    mine = [n.name for n in calls if kind_of(str(n.target)) == kind]
    theirs = [o.name for o in drift.operators if kind_of(o.operator) == kind]
    return theirs[mine.index(node)] if len(mine) == len(theirs) else None


def main() -> int:
    """Runs; the exit code is 1 when a fault is not detected."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=6, help="faults a source format")
    parser.add_argument("--only", choices=[*TARGETS])
    parser.add_argument("--kind")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cases = []
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        for source in [arguments.only] if arguments.only else TARGETS:
            those: list[Case] = []
            for model, fault in offered(source, directory, arguments.kind):
                target = TARGETS[source][len(those) % len(TARGETS[source])]
                case = measured(source, target, model, fault, directory)
                if case is None:
                    continue
                those.append(case)
                tell(case, arguments.json)
                if len(those) == arguments.count:
                    break
            cases += those
    print(summary(cases))
    return int(not all(c.detected for c in cases))


if __name__ == "__main__":
    sys.exit(main())
