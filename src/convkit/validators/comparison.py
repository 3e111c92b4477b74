"""Runs two artifacts in their own runtimes on the same inputs and compares: the proof."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from convkit import readers
from convkit.arrays import load_arrays, save_arrays
from convkit.artifact import Artifact, ModelInfo
from convkit.components import Runtime
from convkit.errors import ConversionError, InputSpecError, NoRouteError, SourceRunError
from convkit.formats import Variant
from convkit.registry import host_versions, lacking_packages, runtime_for
from convkit.reports.schema import SetResult, Tolerance, ValidationReport
from convkit.signature import Signature, TensorSpec
from convkit.validators.domains import integer_bounds
from convkit.validators.inputs import InputSet, generated, perturbed
from convkit.validators.numerics import compare_output, compare_outputs
from convkit.validators.tolerance import ILL_CONDITIONED, NOISE_FACTOR, above_noise, default_tolerance
from convkit.workers.pool import Answer, Worker, WorkerPool

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


def titled(runtime: Runtime) -> str:
    """The runtime's name with its version."""
    version = next(iter(host_versions(runtime.host).values()), None)
    return f"{runtime.name} {version}" if version else runtime.name


@dataclass(frozen=True)
class Comparison:
    """What to compare, and how.

    Attributes:
        source: The reference, with its signature.
        source_info: What its reader found, if it was read.
        given: An `.npz` with the user's own inputs by name; generated ones otherwise.
        sizes_from: An `.npz` with example inputs whose sizes a dynamic dimension takes.
        tolerance: The user's relative tolerances: "" for all outputs, or by name.
        seeds: Random input sets.
        timeout: Seconds per side.
        runtime: What runs the target; by default the runtime that is registered for its variant.
        coarsest: A tolerance for floating-point outputs where the default is a stricter one.
    """

    source: Artifact
    source_info: ModelInfo | None
    given: Path | None = None
    sizes_from: Path | None = None
    tolerance: Mapping[str, float] | None = None
    seeds: int = 3
    timeout: float | None = None
    runtime: Runtime | None = None
    coarsest: Tolerance | None = None

    def run(self, target: Artifact, scratch: Path, pool: WorkerPool) -> tuple[ValidationReport, list[Answer]]:
        """Compares `target` with the source.

        Args:
            target: A complete artifact on disk.
            scratch: An existing directory for arrays.
            pool: Whose workers run both sides, at the same time.

        Returns:
            The report, and the workers' answers (source, target) with their times and memory.

        Raises:
            ConversionError: One of the two does not load or does not run.
            WorkerCrashError: Its runtime killed the worker.
        """
        signature = self.source.signature
        assert signature is not None
        info = readers.inspect(target.path)
        target = target.with_signature(_aligned(signature, info.signature))
        sides = (runtime_of(self.source.variant), self.runtime or runtime_of(target.variant))
        trials = _trials(self._input_sets(signature, info), scratch)
        # The source runs on the perturbed inputs too: how far it moves is its own noise.
        files = (
            [(t.inputs, t.expected) for t in trials] + [(t.moved, t.noisy) for t in trials if t.moved],
            [(t.inputs, t.got) for t in trials],
        )

        def run_side(side: int) -> Answer:
            runtime, artifact = sides[side], (self.source, target)[side]
            return pool.worker(runtime.host).call(
                "convkit.workers.running:run",
                {
                    "module": runtime.module,
                    "artifact": artifact.to_json(),
                    "inputs": [str(i) for i, _ in files[side]],
                    "outputs": [str(o) for _, o in files[side]],
                    "settings": dict(runtime.settings),
                    "restarts": [len(trials)],  # the perturbed inputs come from where the others came from
                },
                stage="validate",
                component=titled(runtime),
                timeout=self.timeout,
            )

        if pool.worker(sides[0].host) is pool.worker(sides[1].host):
            answers = [run_side(0), run_side(1)]
        else:
            answers = _both(run_side, [pool.worker(s.host) for s in sides])
        report = ValidationReport(titled(sides[0]), titled(sides[1]))
        if info.signature is not None:
            actual = _as_it_runs(signature, info.signature, trials)
            report.signature_differences = actual.differences(info.signature)
            report.notes += _wrongly_declared(signature, actual)
        report.tolerances = self._tolerances(signature, info)
        self._fill(report, trials, answers)
        return report, answers

    def as_compared(self, target: Artifact) -> Artifact:
        """The target with the signature that it is run with."""
        assert self.source.signature is not None
        return target.with_signature(_aligned(self.source.signature, readers.inspect(target.path).signature))

    def tolerated_inside(self, target: Artifact) -> float:
        """How far a tensor inside the target may be off, as a share of its scale: what a single operator may do, or the user's
        own tolerance where that is larger."""
        quantized = any(_is_quantized(i) for i in (self.source_info, readers.inspect(target.path)) if i is not None)
        return max(default_tolerance("float32", 0, quantized).relative, *(self.tolerance or {}).values(), 0.0)

    def input_sets(self, target: Artifact) -> list[InputSet]:
        """The input sets that `run` compares a target on."""
        assert self.source.signature is not None
        return self._input_sets(self.source.signature, readers.inspect(target.path))

    def tolerances(self, target: Artifact) -> dict[str, Tolerance]:
        """What `run` holds each output of a target to, before it knows the source's noise."""
        assert self.source.signature is not None
        return self._tolerances(self.source.signature, readers.inspect(target.path))

    def _input_sets(self, signature: Signature, target: ModelInfo) -> list[InputSet]:
        if self.given is not None:
            return [InputSet("given", load_arrays(self.given))]
        bounds = integer_bounds(self.source_info, signature) | integer_bounds(target, signature)
        sizes = {} if self.sizes_from is None else _sizes(signature, load_arrays(self.sizes_from))
        recorded = {} if self.source_info is None else self.source_info.metadata.get("dynamic_ranges", {})
        ranges = {dim: (limits[0], limits[1]) for dim, limits in recorded.items()}
        return list(generated(signature, bounds, sizes, self.seeds, ranges))

    def _tolerances(self, signature: Signature, target: ModelInfo) -> dict[str, Tolerance]:
        own = self.tolerance or {}
        if unknown := set(own) - {"", *signature.output_names}:
            raise InputSpecError(
                f"a tolerance was given for {', '.join(sorted(unknown))}, which is no output of the model",
                hint="its outputs are " + ", ".join(signature.output_names),
            )
        operators = sum((self.source_info or target).operators.values())
        quantized = any(_is_quantized(i) for i in (self.source_info, target) if i is not None)
        return {
            t.name: Tolerance(own.get(t.name, own[""]) if "" in own else own[t.name], "given")
            if "" in own or t.name in own
            else self._default(default_tolerance(t.dtype, operators, quantized))
            for t in signature.outputs
        }

    def _default(self, tolerance: Tolerance) -> Tolerance:
        # An exact output stays exact.
        coarser = self.coarsest is not None and 0 < tolerance.relative < self.coarsest.relative
        return self.coarsest if self.coarsest is not None and coarser else tolerance

    def _fill(self, report: ValidationReport, trials: list[_Trial], answers: list[Answer]) -> None:
        ill_conditioned: list[SetResult] = []
        for trial, mine, theirs in zip(trials, answers[0].result, answers[1].result, strict=False):
            if mine["error"]:
                report.notes.append(f"inputs dropped ({trial.recipe}): the source does not run on them: {mine['error']}")
                continue
            if theirs["error"]:
                raise ConversionError(
                    f"the converted model does not run ({trial.recipe}): {theirs['error']}",
                    stage="validate",
                    component=report.target_runtime,
                )
            expected = load_arrays(trial.expected)
            noise = self._noise(expected, trial)
            allowed = {
                n: t if n in (self.tolerance or {}) or "" in (self.tolerance or {}) else above_noise(t, noise.get(n, 0.0))
                for n, t in report.tolerances.items()
            }
            metrics = compare_outputs(expected, load_arrays(trial.got), allowed)
            result = SetResult(trial.recipe, metrics, mine["seconds"], theirs["seconds"])
            worst = max(noise, key=lambda n: noise[n], default="")
            if not self.tolerance and worst and noise[worst] * NOISE_FACTOR > ILL_CONDITIONED and not result.exactly_equal:
                report.notes.append(
                    f"inputs not counted ({trial.recipe}): the source's own output '{worst}' moves by {noise[worst]:.1e} of its "
                    "scale when the inputs move by a last bit"
                )
                ill_conditioned.append(result)
            else:
                report.sets.append(result)
        if not report.sets and not ill_conditioned:
            raise SourceRunError(
                f"the source itself runs on none of the inputs: {answers[0].result[0]['error']}",
                stage="validate",
                component=report.source_runtime,
                hint="give inputs that suit the model: --inputs data.npz",
            )
        if not report.sets:
            raise SourceRunError(
                "the source is ill-conditioned on all inputs that were tried, so nothing could be proved; " + report.notes[-1],
                stage="validate",
                component=report.source_runtime,
                hint="give inputs that suit the model: --inputs data.npz; or say what to accept: --tolerance 1e-2",
            )
        outputs = [o for s in report.sets for o in s.outputs]
        silent = [n for n in report.tolerances if not any(o.scale for o in outputs if o.name == n)]
        if silent:
            report.notes.append(f"output {', '.join(silent)} was zero (or empty) on all inputs: that proves little")

    @staticmethod
    def _noise(expected: Mapping[str, np.ndarray], trial: _Trial) -> dict[str, float]:
        """What share of its scale each of the source's outputs moves by when its inputs move by a last bit."""
        if trial.moved is None or not trial.noisy.exists():
            return {}
        noisy = load_arrays(trial.noisy)
        return {
            name: compare_output(name, array, noisy[name], Tolerance(0.0, "noise")).required for name, array in expected.items()
        }


@dataclass(frozen=True)
class _Trial:
    """The files of one input set: inputs, perturbed inputs (None where nothing can be perturbed), and outputs."""

    recipe: str
    inputs: Path
    moved: Path | None
    expected: Path
    noisy: Path
    got: Path


def _trials(sets: list[InputSet], scratch: Path) -> list[_Trial]:
    trials = []
    for index, chosen in enumerate(sets):
        inputs = scratch / f"inputs-{index}.npz"
        save_arrays(inputs, chosen.arrays)
        moved: Path | None = None
        if (shifted := perturbed(chosen.arrays)) is not None:
            moved = scratch / f"moved-{index}.npz"
            save_arrays(moved, shifted)
        outputs = (scratch / f"{role}-{index}.npz" for role in ("expected", "noisy", "got"))
        trial = _Trial(chosen.recipe, inputs, moved, *outputs)
        for path in (trial.expected, trial.noisy, trial.got):
            path.unlink(missing_ok=True)  # of an earlier route
        trials.append(trial)
    return trials


def _both(run_side: Callable[[int], Answer], workers: list[Worker]) -> list[Answer]:
    """Runs both sides at the same time; when one fails, the other is not waited for."""
    with ThreadPoolExecutor(2) as threads:
        futures = [threads.submit(run_side, side) for side in (0, 1)]
        _, unfinished = wait(futures, return_when=FIRST_EXCEPTION)
        for future in unfinished:
            workers[futures.index(future)].abandon()
        failed = [f for f in futures if f not in unfinished and f.exception() is not None]
        return [f.result() for f in (failed or futures)]


def _aligned(wanted: Signature, found: Signature | None) -> Signature:
    """The signature to run the target with: its own when it has the source's names, else the source's by position."""
    if found is None or set(found.input_names) != set(wanted.input_names):
        return wanted
    return found if set(found.output_names) == set(wanted.output_names) else wanted


def _as_it_runs(declared: Signature, found: Signature, trials: list[_Trial]) -> Signature:
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


def _fits(shape: tuple[int, ...], spec: TensorSpec, sizes: Mapping[str, int]) -> bool:
    if spec.shape is None:
        return True
    wanted = [sizes.get(d, size) if isinstance(d, str) else d for d, size in zip(spec.shape, shape, strict=False)]
    return len(shape) == len(spec.shape) and wanted == list(shape)


def _wrongly_declared(declared: Signature, actual: Signature) -> list[str]:
    pairs = zip(declared.outputs, actual.outputs, strict=True)
    return [f"the source declares its output {mine}, and returns {real}" for mine, real in pairs if mine.shape != real.shape]


def _is_quantized(info: ModelInfo) -> bool:
    """Whether a model computes in integers: LiteRT says so of its tensors, the others have operators for it."""
    if info.variant is Variant.TFLITE:  # which dequantizes weights of half precision too
        return "quantization" in info.metadata
    return any("quantize" in operator.lower() for operator in info.operators)


def _sizes(signature: Signature, arrays: Mapping[str, Any]) -> dict[str, int]:
    return {
        dim: arrays[spec.name].shape[axis]
        for spec in signature.inputs
        if spec.name in arrays
        for axis, dim in enumerate(spec.shape or ())
        if isinstance(dim, str)
    }
