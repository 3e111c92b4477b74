"""Runs two artifacts in their own runtimes on the same inputs and compares: the proof."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convkit import readers
from convkit.arrays import load_arrays, save_arrays
from convkit.artifact import Artifact, ModelInfo
from convkit.components import Runtime
from convkit.errors import ConversionError, NoRouteError
from convkit.formats import Variant
from convkit.registry import installed_version, runtime_for
from convkit.reports.schema import SetResult, Tolerance, ValidationReport
from convkit.signature import Signature
from convkit.validators.domains import integer_bounds
from convkit.validators.inputs import InputSet, generated
from convkit.validators.numerics import compare_outputs
from convkit.validators.tolerance import default_tolerance
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
    lacking = [p for p in runtime.host.packages if runtime.host.toolchain == "main" and installed_version(p) is None]
    if lacking:
        raise NoRouteError(
            f"{runtime.name} is not installed, so a conversion could not be proved",
            hint=f"pip install {' '.join(lacking)}, or convert without proof: --no-validate",
        )
    return runtime


def titled(runtime: Runtime) -> str:
    """The runtime's name with its version."""
    version = installed_version(runtime.host.packages[0]) if runtime.host.packages else None
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
    """

    source: Artifact
    source_info: ModelInfo | None
    given: Path | None = None
    sizes_from: Path | None = None
    tolerance: Mapping[str, float] | None = None
    seeds: int = 3
    timeout: float | None = None

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
        sides = (runtime_of(self.source.variant), runtime_of(target.variant))
        sets = self._input_sets(signature, info)
        paths = [scratch / f"inputs-{i}.npz" for i in range(len(sets))]
        for path, chosen in zip(paths, sets, strict=True):
            save_arrays(path, chosen.arrays)
        outputs = [[scratch / f"{side}-{i}.npz" for i in range(len(sets))] for side in ("source", "target")]

        def run_side(side: int) -> Answer:
            runtime, artifact = sides[side], (self.source, target)[side]
            return pool.worker(runtime.host).call(
                "convkit.workers.running:run",
                {
                    "module": runtime.module,
                    "artifact": artifact.to_json(),
                    "inputs": [str(p) for p in paths],
                    "outputs": [str(p) for p in outputs[side]],
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
            report.signature_differences = signature.differences(info.signature)
        report.tolerances = self._tolerances(signature, info)
        self._fill(report, sets, outputs, answers)
        return report, answers

    def _input_sets(self, signature: Signature, target: ModelInfo) -> list[InputSet]:
        if self.given is not None:
            return [InputSet("given", load_arrays(self.given))]
        bounds = integer_bounds(self.source_info, signature) | integer_bounds(target, signature)
        sizes = {} if self.sizes_from is None else _sizes(signature, load_arrays(self.sizes_from))
        return list(generated(signature, bounds, sizes, self.seeds))

    def _tolerances(self, signature: Signature, target: ModelInfo) -> dict[str, Tolerance]:
        own = self.tolerance or {}
        operators = sum((self.source_info or target).operators.values())
        quantized = any("quantization" in i.metadata for i in (self.source_info, target) if i is not None)
        return {
            t.name: Tolerance(own.get(t.name, own[""]) if "" in own else own[t.name], "given")
            if "" in own or t.name in own
            else default_tolerance(t.dtype, operators, quantized)
            for t in signature.outputs
        }

    def _fill(self, report: ValidationReport, sets: list[InputSet], outputs: list[list[Path]], answers: list[Answer]) -> None:
        scales: dict[str, float] = {}
        for index, chosen in enumerate(sets):
            mine, theirs = answers[0].result[index], answers[1].result[index]
            if mine["error"]:
                report.notes.append(f"inputs dropped ({chosen.recipe}): the source does not run on them: {mine['error']}")
                continue
            if theirs["error"]:
                raise ConversionError(
                    f"the converted model does not run ({chosen.recipe}): {theirs['error']}",
                    stage="validate",
                    component=report.target_runtime,
                )
            expected, got = load_arrays(outputs[0][index]), load_arrays(outputs[1][index])
            metrics = compare_outputs(expected, got, report.tolerances)
            for output in metrics:
                scales[output.name] = max(scales.get(output.name, 0.0), output.scale)
            report.sets.append(SetResult(chosen.recipe, metrics, mine["seconds"], theirs["seconds"]))
        if not report.sets:
            raise ConversionError(
                f"the source itself runs on none of the inputs: {answers[0].result[0]['error']}",
                stage="validate",
                component=report.source_runtime,
                hint="give inputs that suit the model: --inputs data.npz",
            )
        silent = [name for name, scale in scales.items() if scale == 0.0]
        if silent:
            report.notes.append(f"output {', '.join(silent)} was zero (or empty) on all inputs: that proves little")


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


def _sizes(signature: Signature, arrays: Mapping[str, Any]) -> dict[str, int]:
    return {
        dim: arrays[spec.name].shape[axis]
        for spec in signature.inputs
        if spec.name in arrays
        for axis, dim in enumerate(spec.shape or ())
        if isinstance(dim, str)
    }
