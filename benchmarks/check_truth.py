"""Is the check right? What it says of models, against what a conversion with proof makes of them: a confusion matrix.

Usage: python -m benchmarks.check_truth CORPUS [--to litert,executorch] [--every N] [--probe] [--output FILE]

CORPUS is a directory of `<case>/model.onnx` or `<case>/model.pt2`, as `benchmarks.onnx_node_suite` and
`benchmarks.torch_operators` make them. A gap that is called and does not convert is a true positive; "false legal" is what the
check should have seen. The conversion is forced past what the check says. What the source's own runtime does not run (an operator
set under development) is left out: nothing can be proved of it. Benchmarks of whole models ask `said` beside what they measure,
and count in the same way.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import convkit
from convkit.workers.pool import WorkerPool, fresh_pool

__all__ = ["Answer", "confusion", "said"]

_PER_POOL = 100
"""Frameworks keep something of every model that they have seen; fresh workers bound it."""


@dataclass(frozen=True)
class Answer:
    """What a check says of one model and one target: "legal" or "gap", and of what."""

    says: str
    why: str = ""


@dataclass(frozen=True)
class Judgement:
    """A check's answer beside what a conversion came to, "legal" or "gap"."""

    model: str
    target: str
    says: str
    why: str
    turns_out: str
    error: str = ""


def said(
    model: Path, target: str, *, pool: WorkerPool | None = None, probe: bool = False, timeout: float | None = None
) -> Answer:
    """What `convkit check` says; what it cannot even read is a gap."""
    try:
        result = convkit.check(model, target, probe=probe, timeout=timeout, pool=pool)
    except convkit.ConvkitError as error:
        return Answer("gap", error.message[:300])
    return Answer("legal") if result.ok else Answer("gap", "; ".join(map(str, result.gaps))[:300])


def confusion(pairs: Iterable[tuple[str, str]]) -> str:
    """One line of counts, precision and recall of "gap".

    Args:
        pairs: What the check said and what the conversion came to, "legal" or "gap" each.
    """
    counts = Counter(pairs)
    hits, false_gaps, false_legals = counts["gap", "gap"], counts["gap", "legal"], counts["legal", "gap"]
    right, total = hits + counts["legal", "legal"], counts.total()
    shares = [f"{hits / (hits + wrong):.1%}" if hits + wrong else "–" for wrong in (false_gaps, false_legals)]
    return (
        f"{right} of {total} right · gaps {hits}, false {false_gaps}, missed {false_legals}"
        f" · precision {shares[0]} · recall {shares[1]}"
    )


def with_pools(models: Sequence[Path]) -> Iterator[tuple[Path, WorkerPool]]:
    """The models, each with the pool to use for it."""
    for first in range(0, len(models), _PER_POOL):
        with fresh_pool() as pool:
            for model in models[first : first + _PER_POOL]:
                yield model, pool


def running(models: Sequence[Path]) -> list[Path]:
    """The models that their own runtime runs."""
    found = []
    for model, pool in with_pools(models):
        with suppress(convkit.ConvkitError):
            convkit.validate(model, model, seeds=1, pool=pool)
            found.append(model)
    return found


def judge(model: Path, target: str, *, probe: bool, pool: WorkerPool) -> Judgement:
    """What the check says of a model, and what the conversion makes of it."""
    answer = said(model, target, pool=pool, probe=probe)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            convkit.convert(model, target, Path(scratch) / "out", ignore_gaps=True, pool=pool)
            turns_out, error = "legal", ""
        except convkit.ConvkitError as caught:
            turns_out, error = "gap", caught.message[:300]
    return Judgement(model.parent.name, target, answer.says, answer.why, turns_out, error)


def main() -> int:
    """Judges every model, says every wrong answer as it comes and a line of counts per target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--to", default="litert,executorch,savedmodel,pytorch")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--probe", action="store_true")
    parser.add_argument("--output", type=Path, help="a file for one JSON object a line")
    arguments = parser.parse_args()
    models = sorted(p for p in arguments.corpus.glob("*/model.*") if p.suffix in (".onnx", ".pt2"))[:: arguments.every]
    models = running(models)
    for target in arguments.to.split(","):
        found: list[Judgement] = []
        for model, pool in with_pools(models):
            found.append(one := judge(model, target, probe=arguments.probe, pool=pool))
            if arguments.output is not None:
                with arguments.output.open("a") as stream:
                    stream.write(json.dumps(asdict(one)) + "\n")
            if one.says != one.turns_out:
                told = f"check says {one.says}, is {one.turns_out}: {one.error or one.why}"
                print(f"  {one.model} → {target}: {told}", flush=True)
        print(f"{target}: {confusion((j.says, j.turns_out) for j in found)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
