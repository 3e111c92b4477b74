"""Two models that stay where they are for further comparisons, one input set at a time: stress, and shrinking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convkit.arrays import load_arrays
from convkit.errors import ConversionError, SourceRunError
from convkit.reports.schema import SetResult, ValidationReport
from convkit.validators.inputs import Arrays, InputSet
from convkit.validators.numerics import failed_output
from convkit.validators.trials import Sides, Trial, trials_of
from convkit.workers.pool import Answer

__all__ = ["Bench", "Outcome"]

Reporting = Callable[[list[Trial], list[Answer]], ValidationReport]
"""Makes the report of trials that have been run.

Raises:
    SourceRunError: The source does not run on them, or is too ill-conditioned for a comparison.
"""


@dataclass(frozen=True)
class Outcome:
    """What one input set came to.

    Attributes:
        result: How the outputs compare; None where nothing could be compared.
        reason: Why not.
        expected, got: The outputs of the source and of the target, as far as there are any.
    """

    result: SetResult | None
    reason: str
    expected: Arrays
    got: Arrays

    @property
    def drifts(self) -> bool:
        """Whether the target is at fault."""
        return self.result is not None and not self.result.passed


@dataclass(frozen=True)
class Bench:
    """A source and a target with their runtimes, and how their outputs are judged.

    Attributes:
        sides: Both of them.
        judge: Makes a report of trials.
        scratch: An existing directory of its own.
    """

    sides: Sides
    judge: Reporting
    scratch: Path

    def on(self, chosen: InputSet) -> Outcome:
        """Compares on one input set. A target that does not run, or whose runtime dies, is one that fails."""
        (trial,) = trials_of([chosen], self.scratch)
        try:
            answers = self.sides.run([trial])
        except ConversionError as error:
            return self._dead(chosen, trial, error)
        mine, theirs = (answer.result[0] for answer in answers)
        if mine["error"]:
            return Outcome(None, f"the source does not run on them: {mine['error']}", {}, {})
        expected = load_arrays(trial.expected)
        if theirs["error"]:
            return _failed(chosen, expected, f"the target does not run: {theirs['error']}")
        got = load_arrays(trial.got)
        try:
            report = self.judge([trial], answers)
        except SourceRunError as error:
            return Outcome(None, error.message, expected, got)
        return Outcome(report.sets[0], "", expected, got)

    def _dead(self, chosen: InputSet, trial: Trial, error: ConversionError) -> Outcome:
        """Whose fault it is that a side failed as a whole: it is the target's if the source runs alone."""
        if not self.source_runs([chosen])[0]:
            return Outcome(None, f"the source fails on them: {error.message}", {}, {})
        expected = load_arrays(trial.expected) if trial.expected.exists() else load_arrays(self.scratch / "tried-out-0.npz")
        return _failed(chosen, expected, f"the target does not run: {error.message}")

    def source_runs(self, sets: Sequence[InputSet]) -> list[bool]:
        """On which of the sets the source runs."""
        return self.sides.source_runs(sets, self.scratch)


def _failed(chosen: InputSet, expected: dict[str, np.ndarray], problem: str) -> Outcome:
    outputs = tuple(failed_output(name, array, problem) for name, array in expected.items())
    return Outcome(SetResult(chosen.recipe, outputs, 0.0, 0.0), "", expected, {})
