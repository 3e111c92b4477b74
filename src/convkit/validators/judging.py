"""Judges what both sides computed: how far each output may be off, whether it is, and what that is worth against the noise.

An output passes within the tolerance of its dtype. One that misses it passes within ten times the noise floor of the source
itself, up to a thousandth of its scale; what is further off, and still within the noise, shows nothing, and the inputs do not
count. Beyond it, it drifts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from convkit.arrays import load_arrays
from convkit.artifact import ModelInfo
from convkit.components import Variation
from convkit.errors import ConversionError, InputSpecError, SourceRunError
from convkit.formats import Variant
from convkit.reports.schema import NoiseFloor, OutputMetrics, SetResult, Tolerance, ValidationReport
from convkit.signature import Signature
from convkit.validators import noise
from convkit.validators.metering import metered
from convkit.validators.numerics import compare_outputs
from convkit.validators.tolerance import FAR_OFF, ILL_CONDITIONED, above_noise, default_tolerance, explained
from convkit.validators.trials import Trial
from convkit.workers.pool import Answer

__all__ = ["Judge", "Run", "is_quantized", "refuse_unknown", "runs_of", "tolerances"]

_CLEARLY = 1.25
"""How many times nearer to float64 the nearer side is, where one is."""


def tolerances(
    signature: Signature,
    infos: Sequence[ModelInfo | None],
    own: Mapping[str, float],
    coarsest: Tolerance | None = None,
) -> dict[str, Tolerance]:
    """What each output is held to, before the source's noise is known.

    Args:
        signature: The source's.
        infos: What is known of the two models, the source first.
        own: The user's tolerances: "" for all outputs, or by name.
        coarsest: For floating-point outputs whose default is a stricter one.

    Raises:
        InputSpecError: A tolerance is for something that is no output.
    """
    refuse_unknown(signature, own, "a tolerance")
    known = [info for info in infos if info is not None]
    operators = sum(known[0].operators.values()) if known else 0
    quantized = any(map(is_quantized, known))
    computed = "" if infos[0] is None else str(infos[0].metadata.get("computes_in", ""))

    def default(dtype: str) -> Tolerance:
        found = default_tolerance(dtype, operators, quantized, computed)
        # An exact output stays exact.
        return coarsest if coarsest is not None and 0 < found.relative < coarsest.relative else found

    given = {name: own.get(name, own.get("")) for name in signature.output_names}
    return {t.name: default(t.dtype) if (g := given[t.name]) is None else Tolerance(g, "given") for t in signature.outputs}


def refuse_unknown(signature: Signature, names: Mapping[str, object] | Sequence[str], what: str) -> None:
    """Raises InputSpecError where something was said of an output that the model has not."""
    if unknown := set(names) - {"", *signature.output_names}:
        raise InputSpecError(
            f"{what} was given for {', '.join(sorted(unknown))}, which is no output of the model",
            hint="its outputs are " + ", ".join(signature.output_names),
        )


def is_quantized(info: ModelInfo) -> bool:
    """Whether a model computes in integers: LiteRT says so of its tensors, the others have operators for it."""
    if info.variant is Variant.TFLITE:  # which dequantizes weights of half precision too
        return "quantization" in info.metadata
    return any("quantize" in operator.lower() for operator in info.operators)


@dataclass(frozen=True)
class Run:
    """One input set that both sides were run on.

    Attributes:
        recipe: What made the inputs.
        expected, got: The source's and the target's outputs.
        seconds: Of the source and of the target.
        errors: Why one of the two did not run, "" where it did.
        varied: What the source gave in experiments, by what was varied.
    """

    recipe: str
    expected: Path
    got: Path
    seconds: tuple[float, float]
    errors: tuple[str, str] = ("", "")
    varied: Mapping[str, Path] = field(default_factory=dict)


def runs_of(trials: Sequence[Trial], answers: Sequence[Answer]) -> list[Run]:
    """What came of every trial, from the answers of the source and of the target."""
    return [
        Run(
            trial.recipe,
            trial.expected,
            trial.got,
            (mine["seconds"], theirs["seconds"]),
            (mine["error"] or "", theirs["error"] or ""),
            {noise.INPUTS if trial.moved else noise.reason_of(Variation.WEIGHTS): trial.noisy},
        )
        for trial, mine, theirs in zip(trials, answers[0].result, answers[1].result, strict=False)
    ]


@dataclass
class _Judged:
    """A run's result, and what is known of the source's noise on it."""

    result: SetResult
    floors: dict[str, NoiseFloor]


class Judge:
    """Fills a report, run by run.

    Args:
        report: With the tolerances.
        own: The user's tolerances, which noise does not widen.
    """

    def __init__(self, report: ValidationReport, own: Mapping[str, float]) -> None:
        self._report = report
        self._own = own
        self._judged: dict[int, _Judged] = {}
        self._runs: list[Run] = []

    def take(self, run: Run) -> None:
        """Judges one run; one that the source cannot make becomes a note.

        Raises:
            ConversionError: The target does not run on what the source runs on.
        """
        self._runs.append(run)
        if run.errors[0]:
            self._report.notes.append(f"inputs dropped ({run.recipe}): the source does not run on them: {run.errors[0]}")
            return
        if run.errors[1]:
            raise ConversionError(
                f"the converted model does not run ({run.recipe}): {run.errors[1]}",
                stage="validate",
                component=self._report.target_runtime,
            )
        expected, got = load_arrays(run.expected), load_arrays(run.got)
        outputs = tuple(metered(o, expected, got) for o in compare_outputs(expected, got, self._report.tolerances))
        floors = [noise.least_floors(expected)]
        floors += [
            noise.floors_between(expected, load_arrays(file), reason) for reason, file in run.varied.items() if file.exists()
        ]
        number = len(self._runs) - 1
        self._judged[number] = _Judged(SetResult(run.recipe, outputs, *run.seconds), {})
        self._hold(number, floors)

    @property
    def taken(self) -> list[int]:
        """The numbers of the runs that were judged."""
        return [*self._judged]

    def has_values(self, number: int, name: str) -> bool:
        """Whether both sides gave an output of that name in one shape, so that metrics can measure it."""
        return any(o.name == name and np.isfinite(o.max_abs) for o in self._judged[number].result.outputs)

    def doubtful(self) -> list[int]:
        """The numbers of the runs with an output that fails for its numbers alone: another look at the noise may tell more."""
        return [n for n, judged in self._judged.items() if any(self._is_doubtful(o) for o in judged.result.outputs)]

    def near_misses(self) -> list[int]:
        """Those of the doubtful whose outputs all fail in a way that rounding could explain."""
        doubtful = {n: [o for o in self._judged[n].result.outputs if self._is_doubtful(o)] for n in self.doubtful()}
        return [number for number, outputs in doubtful.items() if all(map(self._may_be_rounding, outputs))]

    def weigh(self, number: int, varied: Path, reason: str) -> None:
        """Holds a run's outputs against the noise that one more experiment shows.

        Args:
            number: Of the run.
            varied: What the source gave in the experiment.
            reason: What was varied.
        """
        self._hold(number, [noise.floors_between(load_arrays(self._runs[number].expected), load_arrays(varied), reason)])

    def refer(self, number: int, wide: Path, narrow: Path | None, reason: str) -> None:
        """Adds how far both sides are from float64.

        Args:
            number: Of the run.
            wide: The outputs in float64.
            narrow: What the same program gives in its own precision, where that is not the source itself: only if it is as near
                to the source as roundings leave it does float64 tell anything of the source.
            reason: As for `weigh`.
        """
        judged, run = self._judged[number], self._runs[number]
        expected, got, truth = load_arrays(run.expected), load_arrays(run.got), load_arrays(wide)
        own = expected if narrow is None else load_arrays(narrow)
        floors = noise.floors_between(own, truth, reason)
        self._hold(number, [floors])

        def referred(output: OutputMetrics) -> OutputMetrics:
            name = output.name
            if name not in floors or name not in got or got[name].shape != truth[name].shape:
                return output
            apart = noise.error_of(expected[name], own[name])
            if narrow is not None and (apart is None or not explained(apart, floors[name])):
                return output
            distances = _distances(expected[name], got[name], truth[name])
            return output if distances is None else replace(output, source_error=distances[0], target_error=distances[1])

        judged.result = replace(judged.result, outputs=tuple(map(referred, judged.result.outputs)))

    def judge_by(self, number: int, name: str, found: Mapping[str, float], failures: Sequence[str]) -> None:
        """Adds what the user's own metrics say of an output, and which of the user's bounds it breaks."""
        judged = self._judged[number]

        def measured(output: OutputMetrics) -> OutputMetrics:
            if output.name != name:
                return output
            told = "; ".join(filter(None, (output.problem, *failures)))
            return replace(output, metrics={**output.metrics, **found}, passed=output.passed and not failures, problem=told)

        judged.result = replace(judged.result, outputs=tuple(map(measured, judged.result.outputs)))

    def close(self) -> None:
        """Puts what counts into the report.

        Raises:
            SourceRunError: Nothing does.
        """
        for judged in self._judged.values():
            if told := self._drowned(judged.result):
                self._report.notes.append(f"inputs not counted ({judged.result.recipe}): {told}")
            else:
                self._report.sets.append(judged.result)
        if not self._judged:
            raise SourceRunError(
                f"the source itself runs on none of the inputs: {self._runs[0].errors[0]}",
                stage="validate",
                component=self._report.source_runtime,
                hint="give inputs that suit the model: --inputs data.npz",
            )
        if not self._report.sets:
            raise SourceRunError(
                "the source is ill-conditioned on all inputs that were tried, so nothing could be proved; "
                + self._report.notes[-1],
                stage="validate",
                component=self._report.source_runtime,
                hint="give inputs that suit the model: --inputs data.npz; or say what to accept: --tolerance 1e-2",
            )
        outputs = [o for s in self._report.sets for o in s.outputs]
        silent = [n for n in self._report.tolerances if not any(o.scale for o in outputs if o.name == n)]
        if silent:
            self._report.notes.append(f"output {', '.join(silent)} was zero (or empty) on all inputs: that proves little")
        self._report.notes += _nearer(self._report)

    def _hold(self, number: int, floors: Sequence[Mapping[str, NoiseFloor]]) -> None:
        """Holds a run's outputs to what is tolerated above the noise, these floors included."""
        judged = self._judged[number]
        judged.floors = noise.combined([judged.floors, *floors])
        judged.result = replace(judged.result, outputs=tuple(self._held(o, judged.floors) for o in judged.result.outputs))

    def _held(self, output: OutputMetrics, floors: Mapping[str, NoiseFloor]) -> OutputMetrics:
        floor, tolerance = floors.get(output.name), self._report.tolerances[output.name]
        if floor is None:
            return output
        allowed = tolerance if self._is_given(output.name) else above_noise(tolerance, floor)
        passed = not output.problem and output.required <= allowed.relative
        return replace(output, noise=floor, allowed=allowed.relative, passed=passed)

    def _is_given(self, name: str) -> bool:
        return name in self._own or "" in self._own

    def _is_doubtful(self, output: OutputMetrics) -> bool:
        return not output.passed and not output.problem and not self._is_given(output.name)

    def _may_be_rounding(self, output: OutputMetrics) -> bool:
        """Whether an output is little off; or is one that roundings make jump: integers, and what has moved much already."""
        loud = output.noise is not None and above_noise(Tolerance(0.0, ""), output.noise).relative >= ILL_CONDITIONED
        return output.required <= FAR_OFF or self._report.tolerances[output.name].relative == 0.0 or loud

    def _drowned(self, result: SetResult) -> str:
        """Why nothing can be told from a run: all that fails may do so by the source's own noise; or ""."""
        failed = [o for o in result.outputs if not o.passed]
        noisy = [(o.name, o.noise) for o in failed if self._is_doubtful(o) and o.noise and explained(o.required, o.noise)]
        if not failed or len(noisy) < len(failed):
            return ""
        name, floor = max(noisy, key=lambda pair: pair[1].relative)
        return f"the source's own output '{name}' moves by {floor.relative:.1e} of its scale when {floor.reason}"


def _distances(expected: np.ndarray, got: np.ndarray, truth: np.ndarray) -> tuple[float, float] | None:
    """max |Δ| of both sides to the truth, as shares of the source's scale; None where they cannot be compared."""
    mine, theirs = noise.error_of(truth, expected), noise.error_of(truth, got)
    return None if mine is None or theirs is None else (mine, theirs)


def _nearer(report: ValidationReport) -> list[str]:
    """Which side is nearer to float64, said once for each output where that is known."""
    told = []
    for name in report.tolerances:
        known = [o for s in report.sets for o in s.outputs if o.name == name and o.target_error is not None]
        if known:
            mine, theirs = max(o.source_error or 0.0 for o in known), max(o.target_error or 0.0 for o in known)
            near, far = ("target", "source") if theirs < mine else ("source", "target")
            alike = max(mine, theirs) <= _CLEARLY * min(mine, theirs)
            side = "both sides are as close to float64" if alike else f"the {near} is closer to float64 than the {far}"
            told.append(f"output '{name}': {side} (source {mine:.1e} of scale, target {theirs:.1e})")
    return told
