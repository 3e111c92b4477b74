"""Runs two artifacts in their own runtimes on the same inputs and compares: the proof."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from convkit import readers
from convkit.arrays import load_arrays
from convkit.artifact import Artifact, ModelInfo
from convkit.components import Runtime
from convkit.errors import NoRouteError
from convkit.formats import Variant
from convkit.registry import lacking_packages, runtime_for
from convkit.reports.schema import Tolerance, ValidationReport
from convkit.signature import Signature, TensorSpec
from convkit.validators.bench import Bench
from convkit.validators.domains import Domain, domains_of, told
from convkit.validators.experiments import Experiments, look_closer
from convkit.validators.inputs import InputSet, SavedSet, Sizing, generated
from convkit.validators.judging import Judge, Run, is_quantized, refuse_unknown, runs_of, tolerances
from convkit.validators.own_metrics import MetricRequest, judge_by_own
from convkit.validators.tolerance import default_tolerance
from convkit.validators.trials import Sides, Trial, titled, trials_of
from convkit.workers.pool import Answer, WorkerPool

__all__ = ["Comparison", "runtime_of", "titled"]


def runtime_of(variant: Variant) -> Runtime:
    """The runtime for a variant.

    Raises:
        NoRouteError: None is registered, or it is not installed.
    """
    runtime = runtime_for(variant)
    if runtime is None:
        raise NoRouteError(f"nothing here runs a {variant.title}, so a conversion could not be proved")
    lacking = lacking_packages(runtime.host)
    if lacking:
        raise NoRouteError(
            f"{runtime.name} is not installed, so a conversion could not be proved",
            hint=f"pip install {' '.join(lacking)}, or convert without proof: --no-validate",
        )
    return runtime


def _silent(text: str) -> None:
    """The progress of those who only want the result."""


@dataclass(frozen=True)
class Comparison:
    """What to compare, and how.

    Attributes:
        source: The reference, with its signature.
        source_info: What its reader found, if it was read.
        given: The user's own inputs by name; generated ones where there are none.
        sizes_from: An `.npz` with example inputs whose sizes a dynamic dimension takes.
        tolerance: The user's relative tolerances: "" for all outputs, or by name.
        seeds: Random input sets.
        timeout: Seconds per side.
        runtime: What runs the target; by default the runtime that is registered for its variant.
        coarsest: A tolerance for floating-point outputs where the default is a stricter one.
        stress: Whether inputs that find bugs follow the plain ones; see `convkit.validators.stress`.
        count_non_finite: Whether differences in how NaN and infinity spread count among them.
        progress: Is told what is being tried.
        notes: What was assumed of the source and of the user's inputs; the report has them.
        metrics: The user's own metrics.
        float64: Compute both sides' distances from float64 in any case, not only where an output misses its tolerance.
        known: What readers have found of the targets, by path: a target stays what it is while it is compared.
    """

    source: Artifact
    source_info: ModelInfo | None
    given: Sequence[SavedSet] = ()
    sizes_from: Path | None = None
    tolerance: Mapping[str, float] | None = None
    seeds: int = 3
    timeout: float | None = None
    runtime: Runtime | None = None
    coarsest: Tolerance | None = None
    stress: bool = False
    count_non_finite: bool = False
    progress: Callable[[str], None] = _silent
    notes: tuple[str, ...] = ()
    metrics: tuple[MetricRequest, ...] = ()
    float64: bool = False
    known: dict[Path, ModelInfo] = field(default_factory=dict, compare=False)

    @property
    def signature(self) -> Signature:
        """The source's, which both sides are run with."""
        assert self.source.signature is not None
        return self.source.signature

    def run(self, target: Artifact, scratch: Path, pool: WorkerPool) -> tuple[ValidationReport, list[Answer]]:
        """Compares `target` with the source.

        Args:
            target: A complete artifact on disk.
            scratch: An existing directory for arrays.
            pool: Whose workers run both sides, at the same time.

        Returns:
            The report, and the workers' answers (source, target) with their times and memory.

        Raises:
            InputSpecError: A tolerance or a metric is for something that is no output.
            ConversionError: One of the two does not load or does not run.
            WorkerCrashError: Its runtime killed the worker.
            UsageError: A metric of the user's fails.
        """
        signature, info = self.signature, self.info(target)
        held_to = self.tolerances(target)
        refuse_unknown(signature, [m.output for m in self.metrics], "a metric")
        target = self.as_compared(target)
        sides = self.sides(target, pool)
        report = ValidationReport(*sides.titles, notes=list(self.notes))
        report.domains = told(self._domains(target)) if not self.given else {}
        trials = trials_of(self.input_sets(target), scratch)
        report.input_files = {trial.recipe: trial.inputs for trial in trials}
        answers = sides.run(trials)
        if info.signature is not None:
            actual = _as_it_runs(signature, info.signature, trials)
            report.signature_differences = actual.differences(info.signature)
            report.notes += _wrongly_declared(signature, actual)
        report.tolerances = held_to
        self._judge(report, sides, trials, answers, thorough=True)
        if self.stress and report.sets:
            from convkit.validators.stress.recipes import Setting  # what a plain comparison need not wait for
            from convkit.validators.stress.running import add_stress

            limits = _limits(signature, info.signature)
            setting = Setting(signature, self._domains(target), self._sizing(), limits=limits)
            bench = self.bench(target, scratch, pool)
            add_stress(bench, setting, report, self.count_non_finite, self.progress)
        return report, answers

    def bench(self, target: Artifact, scratch: Path, pool: WorkerPool) -> Bench:
        """The two models, to be compared on one input set after the other.

        Args:
            target: With the signature that it is run with.
            scratch: An existing directory; what further comparisons write is in one of its own.
            pool: Whose workers run both sides.
        """
        sides = self.sides(target, pool)
        held_to = self.tolerances(target)

        def judge(trials: list[Trial], answers: list[Answer]) -> ValidationReport:
            report = ValidationReport(*sides.titles)
            report.tolerances = dict(held_to)
            self._judge(report, sides, trials, answers, thorough=False)
            return report

        directory = scratch / "bench"
        directory.mkdir(exist_ok=True)
        return Bench(sides, judge, directory)

    def sides(self, target: Artifact, pool: WorkerPool) -> Sides:
        """Both models with their runtimes; the target with the signature that it is run with."""
        runtimes = runtime_of(self.source.variant), self.runtime or runtime_of(target.variant)
        return Sides((self.source, target), runtimes, pool, self.timeout)

    def as_compared(self, target: Artifact) -> Artifact:
        """The target with the signature that it is run with."""
        return target.with_signature(_aligned(self.signature, self.info(target).signature))

    def tolerated_inside(self, target: Artifact) -> float:
        """How far a tensor inside the target may be off, as a share of its scale: what a single operator may do, or the user's
        own tolerance where that is larger."""
        quantized = any(is_quantized(i) for i in (self.source_info, self.info(target)) if i is not None)
        coarsest = 0.0 if self.coarsest is None else self.coarsest.relative
        return max(default_tolerance("float32", 0, quantized).relative, coarsest, *(self.tolerance or {}).values())

    def input_sets(self, target: Artifact) -> list[InputSet]:
        """The input sets that `run` compares a target on."""
        if self.given:
            return [InputSet(given.recipe, load_arrays(given.file)) for given in self.given]
        sizing = self._sizing()
        return list(generated(self.signature, self._domains(target), sizing.given, self.seeds, sizing.ranges))

    def tolerances(self, target: Artifact) -> dict[str, Tolerance]:
        """What `run` holds each output of a target to, before it knows the source's noise."""
        return tolerances(self.signature, (self.source_info, self.info(target)), self.tolerance or {}, self.coarsest)

    def info(self, target: Artifact) -> ModelInfo:
        """What a reader finds of a target."""
        if target.path not in self.known:
            self.known[target.path] = readers.inspect(target.path)
        return self.known[target.path]

    def _judge(
        self, report: ValidationReport, sides: Sides, trials: Sequence[Trial], answers: Sequence[Answer], thorough: bool
    ) -> None:
        """Fills a report with what came of the trials; `thorough` where a second look at what differs may take seconds."""
        judge, runs = Judge(report, self.tolerance or {}), runs_of(trials, answers)
        if not self.given:
            runs = _as_declared(self.signature, trials, runs)
        for run in runs:
            judge.take(run)
        experiments = Experiments(sides, [t.inputs for t in trials], trials[0].inputs.parent, unbounded=self.float64)
        look_closer(judge, experiments, thorough=thorough, float64=self.float64 and thorough)
        if thorough:
            judge_by_own(self.metrics, self.signature, judge, runs, sides.pool, self.timeout)
        judge.close()

    def _domains(self, target: Artifact) -> dict[str, Domain]:
        return domains_of((self.source_info, self.info(target)), self.signature)

    def _sizing(self) -> Sizing:
        sizes = {} if self.sizes_from is None else _sizes(self.signature, load_arrays(self.sizes_from))
        recorded = {} if self.source_info is None else self.source_info.metadata.get("dynamic_ranges", {})
        return Sizing(self.signature, sizes, {dim: (limits[0], limits[1]) for dim, limits in recorded.items()})


def _aligned(wanted: Signature, found: Signature | None) -> Signature:
    """The signature to run the target with: its own when it has the source's names, else the source's by position."""
    if found is None or set(found.input_names) != set(wanted.input_names):
        return wanted
    return found if set(found.output_names) == set(wanted.output_names) else wanted


def _as_it_runs(declared: Signature, found: Signature, trials: list[Trial]) -> Signature:
    """The source's signature, with the target's shape for an output that the source itself does not return as it declares it.

    A dimension with a name that no input has tells only that the source does not know its size.
    """
    ran = [(_sizes(declared, load_arrays(t.inputs)), load_arrays(t.expected)) for t in trials if t.expected.exists()]
    theirs, known = {t.name: t for t in found.outputs}, set(declared.dynamic_dims)

    def fits(spec: TensorSpec) -> bool:
        return all(_fits(result[spec.name].shape, spec, sizes) for sizes, result in ran if spec.name in result)

    def actual(spec: TensorSpec) -> TensorSpec:
        other = theirs.get(spec.name, spec)
        if spec.shape is not None and len(other.shape or ()) == len(spec.shape) and fits(other):
            pairs = zip(spec.shape, other.shape or (), strict=True)
            spec = replace(spec, shape=tuple(b if isinstance(a, str) and a not in known else a for a, b in pairs))
        return spec if fits(spec) or not fits(other) else replace(spec, shape=other.shape)

    return replace(declared, outputs=tuple(actual(spec) for spec in declared.outputs))


def _as_declared(declared: Signature, trials: Sequence[Trial], runs: Sequence[Run]) -> list[Run]:
    """The runs; of made-up inputs those are none of the model on which it alone departs from the shapes that it declares.

    An axis that is an input is drawn like any number, and a file that declares what one axis gives means that axis.
    """

    def departure(trial: Trial) -> str:
        sizes = _sizes(declared, load_arrays(trial.inputs))
        shapes = {name: array.shape for name, array in load_arrays(trial.expected).items()} if trial.expected.exists() else {}
        wrong = (t for t in declared.outputs if t.name in shapes and not _fits(shapes[t.name], t, sizes))
        return "; ".join(f"it declares {t.name} as {list(t.shape or ())} and gives {list(shapes[t.name])}" for t in wrong)

    told = [departure(trial) for trial in trials]
    if all(told):  # it is declared wrongly, see `_wrongly_declared`
        return list(runs)
    return [replace(r, errors=(r.errors[0] or why, r.errors[1])) for r, why in zip(runs, told, strict=False)]


def _fits(shape: tuple[int, ...], spec: TensorSpec, sizes: Mapping[str, int]) -> bool:
    if spec.shape is None:
        return True
    wanted = [sizes.get(d, size) if isinstance(d, str) else d for d, size in zip(spec.shape, shape, strict=False)]
    return len(shape) == len(spec.shape) and wanted == list(shape)


def _wrongly_declared(declared: Signature, actual: Signature) -> list[str]:
    pairs = zip(declared.outputs, actual.outputs, strict=True)
    return [f"the source declares its output {mine}, and returns {real}" for mine, real in pairs if mine.shape != real.shape]


def _limits(mine: Signature, theirs: Signature | None) -> dict[str, tuple[int, int]]:
    """The smallest and the largest integer that an input of both models holds: TF.js and LiteRT narrow some at their edge."""
    narrowed = {} if theirs is None else {t.name: t.dtype for t in theirs.inputs}
    found = {}
    for spec in mine.inputs:
        dtypes = [np.iinfo(d) for d in (spec.dtype, narrowed.get(spec.name, spec.dtype)) if re.fullmatch(r"u?int(8|16|32|64)", d)]
        if len(dtypes) == 2:
            found[spec.name] = max(int(d.min) for d in dtypes), min(int(d.max) for d in dtypes)
    return found


def _sizes(signature: Signature, arrays: Mapping[str, Any]) -> dict[str, int]:
    return {
        dim: arrays[spec.name].shape[axis]
        for spec in signature.inputs
        if spec.name in arrays
        for axis, dim in enumerate(spec.shape or ())
        if isinstance(dim, str)
    }
