"""What a model gives to its operators: inputs for a probe whose made-up ones may be none that the operator is ever given.

Of made-up values a reciprocal root sees zeros and negative numbers, which a model adds an epsilon to keep away: how infinity and
NaN come out there is no drift of the model. So a probe that drifts is tried again on what the model computes, on the inputs that
a conversion would be compared on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from convkit.arrays import save_arrays
from convkit.artifact import Artifact
from convkit.errors import ConvkitError
from convkit.registry import tracers
from convkit.sources import Source
from convkit.traces import Trace
from convkit.validators.comparison import Comparison
from convkit.workers.pool import WorkerPool

__all__ = ["RealValues"]


@dataclass(frozen=True)
class RealValues:
    """The values between a model's operators, which is run when they are asked for.

    Attributes:
        source: The user's model.
        hub: The same as the model that is taken apart.
        pool, scratch, timeout: What runs it, where its values go, and how many seconds a run may take.
    """

    source: Source
    hub: Artifact
    pool: WorkerPool
    scratch: Path
    timeout: float | None

    def samples(self, inputs: Mapping[str, str]) -> Path | None:
        """A folder with an `.npz` per run; None where the model does not run, or does not tell these values.

        Args:
            inputs: The names of arrays in the folder's files → those of the model's values.
        """
        folder = Path(tempfile.mkdtemp(prefix="values-", dir=self.scratch))
        for number, trace in enumerate(self._traces):
            arrays = {name: trace.array(value) for name, value in inputs.items()}
            known = {name: array for name, array in arrays.items() if array is not None}
            if len(known) < len(arrays):
                return None
            save_arrays(folder / f"{number}.npz", known)
        return folder if self._traces else None

    @cached_property
    def _traces(self) -> list[Trace]:
        try:
            comparison = Comparison(self.source.artifact, self.source.info, self.source.given, self.source.examples)
            return [self._trace(chosen.arrays) for chosen in comparison.input_sets(self.hub)]
        except ConvkitError:  # it runs only as a whole, or not at all
            return []

    def _trace(self, arrays: Mapping[str, np.ndarray]) -> Trace:
        directory = Path(tempfile.mkdtemp(prefix="trace-", dir=self.scratch))
        tracer, file = next(t for t in tracers() if self.hub.variant in t.variants), directory / "inputs.npz"
        save_arrays(file, arrays)
        self.pool.worker(tracer.host).call(
            "convkit.workers.tracing:trace",
            {"module": tracer.module, "artifact": self.hub.to_json(), "inputs": str(file), "directory": str(directory)},
            stage="trace",
            component=tracer.name,
            timeout=self.timeout,
        )
        return Trace.open(directory)
