"""ONNX's backend node tests through the pipeline, to every target: what is right, what is refused, and what is neither.

Usage: python -m benchmarks.onnx_node_suite [--to pytorch,savedmodel,litert,executorch] [--only REGEX] [--every N]
       [--route NAME,NAME] [--jobs N] [--timeout SECONDS] [--output DIRECTORY]

Every case is converted as a user's model is: checked first, then converted over the routes that are left, in the pipeline's warm
workers (an import costs seconds, a case milliseconds; a crash or a time-out costs one case). What comes out is run in the
target's own runtime and compared with what the standard says, not with ONNX Runtime. A case counts when ONNX Runtime passes it.

right           the numbers agree
refused         the check said no, with a reason; nothing was converted
refused though right    the check said no, and the same model converts and is right when forced
missed          the check said yes, and the conversion says no
does not run    a file was written that its runtime cannot load or run
wrong           a file was written that computes something else
crashed, timed out      a worker died or was ended

`convkit check` is asked too, as users ask it: a "false legal" is a case that it calls legal and that is not right, a "false gap"
one that is right and that it calls a gap.

Writes `<target>.jsonl` (a case a line) and `summary.md` (a table, then every case that is neither right nor refused).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import convkit
from benchmarks import onnx_node_corpus as corpus
from benchmarks.check_truth import said
from benchmarks.onnx_node_corpus import Case
from convkit import readers
from convkit.arrays import load_arrays
from convkit.artifact import Artifact
from convkit.events import Event
from convkit.planner import Route
from convkit.validators.comparison import runtime_of
from convkit.workers.pool import WorkerPool, fresh_pool

TARGETS = ("pytorch", "savedmodel", "litert", "executorch")
OUTPUT = corpus.CORPUS.parent / "results"
VERDICTS = ("right", "refused", "refused though right", "missed", "does not run", "wrong", "crashed", "timed out")
SILENT_VERDICTS = ("missed", "does not run", "wrong", "crashed", "timed out")
"""What a check should have predicted."""
_CASES_PER_POOL = 400
"""Frameworks keep something of every model that they have seen; fresh workers bound it."""


@dataclass(frozen=True)
class Outcome:
    """What became of one case on its way to one target.

    Attributes:
        verdict: One of `VERDICTS`.
        reason: Why, where it is not right.
        route: The route that was taken, or the best one.
        refused_first: Why better routes than the one taken said no.
        seconds: Of check, conversion and run.
        check: What `convkit check` says: "legal" or "gap".
    """

    case: str
    target: str
    verdict: str
    reason: str = ""
    route: str = ""
    refused_first: str = ""
    seconds: float = 0.0
    operators: tuple[str, ...] = ()
    check: str = ""


@dataclass
class Trail:
    """An observer: the routes that were tried, and how each ended."""

    routes: list[Route] = field(default_factory=list)
    errors: list[convkit.ConvkitError] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        if isinstance(event.detail, Route):
            self.routes.append(event.detail)
        elif event.stage == "failed" and isinstance(event.detail, convkit.ConvkitError):
            self.errors.append(event.detail)

    @property
    def first_refusal(self) -> str:
        return reason_of(self.errors[0]) if self.errors else ""

    def culprit(self) -> convkit.ConvkitError | None:
        """The first error that a check has not predicted, else the first."""
        unpredicted = [e for e in self.errors if not isinstance(e, convkit.OperatorGapError)]
        return next(iter([*unpredicted, *self.errors]), None)


def reason_of(error: convkit.ConvkitError) -> str:
    return error.message if not isinstance(error, convkit.OperatorGapError) else "; ".join(error.gaps) or error.message


def verdict_on(error: convkit.ConvkitError) -> str:
    """What an error that ended a conversion says of it."""
    if isinstance(error, convkit.OperatorGapError):
        return "refused"
    if isinstance(error, convkit.WorkerCrashError):
        return "crashed"
    return "timed out" if isinstance(error, convkit.WorkerTimeoutError) else "missed"


@dataclass(frozen=True)
class Suite:
    """How cases are converted.

    Attributes:
        target: The format.
        route: The names of the converters to take; None for the pipeline's own choice.
        timeout: Seconds per stage.
        force_refused: Whether what a check refuses is tried all the same.
    """

    target: str
    route: tuple[str, ...] | None = None
    timeout: float = 60.0
    force_refused: bool = True

    def outcome(self, case: Case, pool: WorkerPool) -> Outcome:
        """One case, judged."""
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as scratch:
            found = self._outcome(case, pool, Path(scratch), ignore_gaps=False)
            if found.verdict == "refused" and self.force_refused:
                forced = self._outcome(case, pool, Path(scratch), ignore_gaps=True)
                if forced.verdict == "right":
                    found = replace(found, verdict="refused though right")
        seconds = round(time.perf_counter() - start, 3)
        return replace(
            found,
            seconds=seconds,
            operators=case.operators,
            check=said(case.model, self.target, pool=pool, timeout=self.timeout).says,
        )

    def _outcome(self, case: Case, pool: WorkerPool, scratch: Path, *, ignore_gaps: bool) -> Outcome:
        trail = Trail()
        answer = Outcome(case.name, self.target, "right")
        try:
            result = convkit.convert(
                case.model, self.target, scratch / ("tried" if ignore_gaps else "converted"), inputs=case.inputs(),
                route=self.route, validate=False, ignore_gaps=ignore_gaps, timeout=self.timeout, pool=pool, observe=trail,
            )  # fmt: skip
        except convkit.ConvkitError as error:
            culprit = trail.culprit() or error
            at = trail.errors.index(culprit) if culprit in trail.errors else 0
            route = str(trail.routes[at]) if trail.routes else ""
            return replace(answer, verdict=verdict_on(culprit), reason=reason_of(culprit), route=route)
        answer = replace(answer, route=str(trail.routes[-1]), refused_first=trail.first_refusal)
        try:
            got = run(result.artifact, case, pool, scratch, self.timeout)
        except convkit.ConvkitError as error:
            kind = verdict_on(error)
            return replace(answer, verdict="does not run" if kind == "missed" else kind, reason=error.message)
        difference = corpus.differs(case, list(case.expected().values()), list(got.values()))
        return answer if difference is None else replace(answer, verdict="wrong", reason=difference)


def run(artifact: Artifact, case: Case, pool: WorkerPool, scratch: Path, timeout: float) -> dict[str, Any]:
    """What a model computes on a case's inputs in its own runtime, in the signature's order."""
    runtime, outputs = runtime_of(artifact.variant), scratch / "outputs.npz"
    own = readers.inspect(artifact.path).signature
    wanted = artifact.signature
    if own is not None and wanted is not None and set(own.input_names) == set(wanted.input_names):
        artifact = artifact.with_signature(own)  # its dtypes may be narrower at the edge
    arguments = {
        "module": runtime.module, "artifact": artifact.to_json(),
        "inputs": [str(case.directory / "inputs.npz")], "outputs": [str(outputs)],
    }  # fmt: skip
    answer = pool.worker(runtime.host).call("convkit.workers.running:run", arguments, stage="run", timeout=timeout)
    if answer.result[0]["error"]:
        raise convkit.ConversionError(answer.result[0]["error"])
    got = load_arrays(outputs)
    names = wanted.output_names if wanted is not None and set(wanted.output_names) == set(got) else tuple(got)
    return {name: got[name] for name in names}


def onnx_runtime_passes(cases: Sequence[Case]) -> dict[str, str]:
    """Case → "" where ONNX Runtime is right, else how it is not; kept beside the corpus."""
    import onnxruntime

    path = corpus.CORPUS / f"onnxruntime-{onnxruntime.__version__}.json"
    if path.exists() and set(known := json.loads(path.read_text())) >= {c.name for c in cases}:
        return dict(known)
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch, fresh_pool() as pool:
        for case in cases:
            model = Artifact(convkit.Variant.ONNX, case.model, None)
            try:
                got = run(model, case, pool, Path(scratch), 60)
                found[case.name] = corpus.differs(case, list(case.expected().values()), list(got.values())) or ""
            except convkit.ConvkitError as error:
                found[case.name] = error.message
    path.write_text(json.dumps(found, indent=1) + "\n")
    return found


def outcomes(suite: Suite, cases: Sequence[Case], jobs: int) -> Iterator[Outcome]:
    """The outcomes of cases, in order; every job has workers of its own."""

    def part(chunk: Sequence[Case]) -> list[Outcome]:
        with fresh_pool() as pool:
            return [suite.outcome(case, pool) for case in chunk]

    size = min(_CASES_PER_POOL, -(-len(cases) // jobs)) or 1
    chunks = [cases[start : start + size] for start in range(0, len(cases), size)]
    if jobs == 1:
        for chunk in chunks:
            with fresh_pool() as pool:
                yield from (suite.outcome(case, pool) for case in chunk)
        return
    with ThreadPoolExecutor(jobs) as threads:
        for found in threads.map(part, chunks):
            yield from found


def table(found: Sequence[Outcome]) -> str:
    """One row per target: how many cases, and the share of each verdict."""
    lines = [
        "| target | cases | " + " | ".join(VERDICTS) + " | false legal | false gap |",
        "| --- " * (len(VERDICTS) + 4) + "|",
    ]
    for target in dict.fromkeys(o.target for o in found):
        mine = [o for o in found if o.target == target]
        counts = Counter(o.verdict for o in mine)
        share = f"{counts['right']} ({counts['right'] / len(mine):.1%})"
        lines.append(
            f"| {target} | {len(mine)} | {share} | "
            + " | ".join(str(counts[v]) for v in VERDICTS[1:])
            + f" | {len(false_legals(mine))} | {len(false_gaps(mine))} |"
        )
    return "\n".join(lines)


def false_legals(found: Sequence[Outcome]) -> list[Outcome]:
    """What `convkit check` should have called a gap."""
    return [o for o in found if o.check == "legal" and o.verdict != "right"]


def false_gaps(found: Sequence[Outcome]) -> list[Outcome]:
    """What `convkit check` should have called legal."""
    return [o for o in found if o.check == "gap" and o.verdict == "right"]


def misses(found: Sequence[Outcome]) -> str:
    """Per target: what no check predicted, then the refusals by reason."""
    lines = []
    for target in dict.fromkeys(o.target for o in found):
        mine = [o for o in found if o.target == target]
        lines += ["", f"## {target}: neither right nor refused", ""]
        lines += [f"- `{o.case}` {o.verdict} ({o.route}): {_short(o.reason)}" for o in mine if o.verdict in SILENT_VERDICTS]
        for title, wrong in (("false legal", false_legals(mine)), ("false gap", false_gaps(mine))):
            lines += ["", f"## {target}: {title}", "", *(f"- `{o.case}`: {_short(o.reason)}" for o in wrong)]
        lines += ["", f"## {target}: refused", ""]
        reasons: dict[str, list[Outcome]] = {}
        for outcome in mine:
            if outcome.verdict.startswith("refused"):
                reasons.setdefault(re.sub(r" ?\(at [^)]*\)", "", outcome.reason), []).append(outcome)
        for reason, those in sorted(reasons.items(), key=lambda item: -len(item[1])):
            forced = sum(o.verdict == "refused though right" for o in those)
            though = f", {forced} of them right when forced" if forced else ""
            lines.append(f"- {len(those)}{though}: {_short(reason)} (`{those[0].case}`{', …' if len(those) > 1 else ''})")
    return "\n".join(lines)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 300 else text[:300] + " …"


def main() -> int:
    """Runs the cases, says every unpredicted miss as it happens, writes the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", default=",".join(TARGETS), help="target formats")
    parser.add_argument("--only", default="", help="cases whose name matches this regular expression")
    parser.add_argument("--every", type=int, default=1, help="only every Nth case")
    parser.add_argument("--route", help="take exactly these converters")
    parser.add_argument("--jobs", type=int, default=1, help="processes of every kind side by side")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds per stage")
    parser.add_argument("--no-force", action="store_true", help="do not try what a check refuses")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the directory for the results")
    options = parser.parse_args()
    cases = corpus.load()
    passes = onnx_runtime_passes(cases)
    chosen = [c for c in cases if not passes[c.name] and re.search(options.only, c.name)][:: options.every]
    options.output.mkdir(parents=True, exist_ok=True)
    route = tuple(options.route.split(",")) if options.route else None
    found: list[Outcome] = []
    for target in options.to.split(","):
        suite = Suite(target, route, options.timeout, not options.no_force)
        start = time.perf_counter()
        with (options.output / f"{target}.jsonl").open("w") as lines:
            for outcome in outcomes(suite, chosen, options.jobs):
                found.append(outcome)
                print(json.dumps(asdict(outcome)), file=lines, flush=True)
                if outcome.verdict in SILENT_VERDICTS:
                    print(f"{target} {outcome.verdict}: {outcome.case}: {_short(outcome.reason)}", flush=True)
        print(f"{target}: {time.perf_counter() - start:.0f} s", flush=True)
    (options.output / "summary.md").write_text(table(found) + "\n" + misses(found) + "\n")
    print(table(found))
    return 1 if any(o.verdict in SILENT_VERDICTS for o in found) else 0


if __name__ == "__main__":
    sys.exit(main())
