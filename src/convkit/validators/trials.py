"""Runs two models on input sets, each in its own runtime, at the same time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convkit.arrays import save_arrays
from convkit.artifact import Artifact
from convkit.components import Runtime, Variation
from convkit.errors import ConversionError, ConvkitError, SourceRunError, WorkerCrashError, WorkerTimeoutError
from convkit.registry import host_versions
from convkit.validators.inputs import InputSet, perturbed
from convkit.workers.pool import Answer, Worker, WorkerPool

__all__ = ["Sides", "Trial", "titled", "trials_of"]


def titled(runtime: Runtime) -> str:
    """The runtime's name with its version."""
    version = next(iter(host_versions(runtime.host).values()), None)
    return f"{runtime.name} {version}" if version else runtime.name


@dataclass(frozen=True)
class Trial:
    """The files of one input set: inputs, perturbed inputs (None where nothing can be perturbed), and outputs.

    `noisy` is what the source makes of the perturbed inputs; where there are none, of the inputs with perturbed weights.
    """

    recipe: str
    inputs: Path
    moved: Path | None
    expected: Path
    noisy: Path
    got: Path


def trials_of(sets: Sequence[InputSet], scratch: Path) -> list[Trial]:
    """Writes the inputs of every set into `scratch`."""
    trials = []
    for index, chosen in enumerate(sets):
        inputs = scratch / f"inputs-{index}.npz"
        save_arrays(inputs, chosen.arrays)
        moved: Path | None = None
        if (shifted := perturbed(chosen.arrays)) is not None:
            moved = scratch / f"moved-{index}.npz"
            save_arrays(moved, shifted)
        outputs = (scratch / f"{role}-{index}.npz" for role in ("expected", "noisy", "got"))
        trial = Trial(chosen.recipe, inputs, moved, *outputs)
        for path in (trial.expected, trial.noisy, trial.got):
            path.unlink(missing_ok=True)  # of an earlier route
        trials.append(trial)
    return trials


@dataclass(frozen=True)
class Sides:
    """The source and the target with their runtimes.

    Attributes:
        artifacts, runtimes: Of the source, of the target.
        pool: Whose workers run them.
        timeout: Seconds per side.
    """

    artifacts: tuple[Artifact, Artifact]
    runtimes: tuple[Runtime, Runtime]
    pool: WorkerPool
    timeout: float | None = None

    @property
    def titles(self) -> tuple[str, str]:
        return titled(self.runtimes[0]), titled(self.runtimes[1])

    def run(self, trials: Sequence[Trial]) -> list[Answer]:
        """The workers' answers (source, target); outputs are in the trials' files.

        Raises:
            SourceRunError: The source does not load.
            ConversionError: The target does not.
            WorkerCrashError: Its runtime killed the worker.
        """
        # The source runs on the perturbed inputs too, or with perturbed weights: how far it moves is its own noise.
        files = (
            [(t.inputs, t.expected) for t in trials] + [(t.moved, t.noisy) for t in trials if t.moved],
            [(t.inputs, t.got) for t in trials],
        )

        unmoved = [(t.inputs, t.noisy) for t in trials if not t.moved]

        def run_side(side: int) -> Answer:
            # The perturbed inputs come from where the others came.
            try:
                answer = self._run(side, files[side], restarts=(len(trials),))
            except (WorkerCrashError, WorkerTimeoutError):
                raise
            except ConversionError as error:
                raise error if side else _of_source(error) from error
            if side == 0 and unmoved and Variation.WEIGHTS in self.runtimes[0].variations:
                with suppress(ConvkitError):  # it tells nothing then, and the comparison stands without it
                    self._run(0, unmoved, variation=Variation.WEIGHTS)
            return answer

        workers = [self.pool.worker(r.host) for r in self.runtimes]
        if workers[0] is workers[1]:
            return [run_side(0), run_side(1)]
        return _both(run_side, workers)

    def run_source(self, files: Sequence[tuple[Path, Path]], variation: Variation, wanted: Sequence[int]) -> Answer:
        """Runs the source alone, in another way.

        Args:
            files: Inputs and outputs.
            variation: In which.
            wanted: The numbers of those to run.

        Raises:
            ConversionError: It cannot be run so.
        """
        return self._run(0, files, variation=variation, wanted=wanted)

    def source_runs(self, sets: Sequence[InputSet], scratch: Path) -> list[bool]:
        """On which sets the source runs; on none where its runtime fails as a whole."""
        files = [(scratch / f"tried-{index}.npz", scratch / f"tried-out-{index}.npz") for index in range(len(sets))]
        for (file, _), chosen in zip(files, sets, strict=True):
            save_arrays(file, chosen.arrays)
        try:
            answer = self._run(0, files)
        except ConvkitError:
            return [False] * len(sets)
        return [not result["error"] for result in answer.result]

    def _run(
        self,
        side: int,
        files: Sequence[tuple[Any, Path]],
        restarts: Sequence[int] = (),
        variation: Variation = Variation.REPEAT,
        wanted: Sequence[int] | None = None,
    ) -> Answer:
        runtime, artifact = self.runtimes[side], self.artifacts[side]
        settings = dict(runtime.settings) | ({} if variation is Variation.REPEAT else {"variation": variation.value})
        return self.pool.worker(runtime.host).call(
            "convkit.workers.running:run",
            {
                "module": runtime.module,
                "artifact": artifact.to_json(),
                "inputs": [str(i) for i, _ in files],
                "outputs": [str(o) for _, o in files],
                "settings": settings,
                "restarts": list(restarts),
                "wanted": None if wanted is None else list(wanted),
            },
            stage="validate",
            component=titled(runtime),
            timeout=self.timeout,
        )


def _of_source(error: ConversionError) -> SourceRunError:
    """A failure of the source's own runtime, which the conversion cannot help."""
    hint = "; ".join(filter(None, (error.hint, "or convert without proof: --no-validate")))
    return SourceRunError(error.message, stage=error.stage, component=error.component, hint=hint, log=error.log)


def _both(run_side: Callable[[int], Answer], workers: list[Worker]) -> list[Answer]:
    """Runs both sides at the same time; when one fails, the other is not waited for."""
    with ThreadPoolExecutor(2) as threads:
        futures = [threads.submit(run_side, side) for side in (0, 1)]
        _, unfinished = wait(futures, return_when=FIRST_EXCEPTION)
        for future in unfinished:
            workers[futures.index(future)].abandon()
        failed = [f for f in futures if f not in unfinished and f.exception() is not None]
        return [f.result() for f in (failed or futures)]
