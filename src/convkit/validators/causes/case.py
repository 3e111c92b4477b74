"""What an experiment is given, and how it says what it found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from convkit.validators.layouts import difference, scale_of
from convkit.validators.operator_kinds import kind_of

__all__ = ["Case", "Cause", "cause", "explained"]

_CERTAIN = 0.02
"""What share of the difference may be left when a cause is assumed."""
_EXACT = 1e-6
OF_VALUES = 30
"""The rank from which on experiments look at values only, whatever the operator computes."""


@dataclass(frozen=True)
class Cause:
    """What explains a difference.

    Attributes:
        code: Of its kind, for machines: "epsilon".
        text: What is wrong in the target, one clause.
        evidence: The experiment, with its figures.
        specific: Whether the operator was computed anew for it, so that it is this operator and no neighbour.
    """

    code: str
    text: str
    evidence: str
    specific: bool = False


@dataclass(frozen=True)
class Case:
    """An operator whose inputs agree and whose output does not.

    Attributes:
        operator: Its kind in the source's spelling.
        inputs: Its inputs in the source, weights included, in order; None where values are not recorded.
        attributes: Of the source's operator.
        expected: What the source computes.
        got: What the target has in its place, in the source's layout.
        whole: Whether `expected` is the operator's own output; else it is that of an operator behind it, or what a
            reader gets.
        then: What is done to the operator's output before the target can be looked into: `got` is what comes of that.
    """

    operator: str
    inputs: Sequence[np.ndarray | None]
    attributes: Mapping[str, Any]
    expected: np.ndarray
    got: np.ndarray
    whole: bool = True
    then: Callable[[np.ndarray], np.ndarray] | None = None
    kind: str = field(init=False)
    scale: float = field(init=False)
    error: float = field(init=False)

    def __post_init__(self) -> None:
        shown = self.shown(self.expected)
        object.__setattr__(self, "kind", kind_of(self.operator))
        object.__setattr__(self, "scale", scale_of(shown))
        object.__setattr__(self, "error", difference(shown, self.got, self.scale))

    def shown(self, output: np.ndarray) -> np.ndarray:
        """What can be seen of an output of the operator."""
        return output if self.then is None else self.then(output)

    def left(self, supposed: np.ndarray) -> float:
        """The difference that remains between what the target has and what was supposed, as a share of the scale."""
        seen = self.shown(np.asarray(supposed))
        return float("inf") if seen.shape != self.got.shape else difference(seen, self.got, self.scale)

    def explains(self, supposed: np.ndarray) -> bool:
        """Whether a supposition makes the difference go away."""
        left = self.left(supposed)
        return left <= _EXACT or (left <= _CERTAIN * self.error and left <= 0.5)

    def reproduces(self, computed: np.ndarray) -> bool:
        """Whether a computation of ours is what the source computes; an experiment with it means nothing otherwise."""
        if computed.shape != self.expected.shape:
            return False
        return difference(computed, self.expected, scale_of(self.expected)) <= max(1e-5, _CERTAIN * min(self.error, 0.1))

    def evidence(self, supposed: np.ndarray) -> str:
        """The figures of an experiment."""
        return f"supposing so leaves {self.left(supposed):.1e} of scale of the {self.error:.1e}"


Experiment = Callable[[Case], Cause | None]
_experiments: list[tuple[int, Experiment]] = []


def cause(rank: int) -> Callable[[Experiment], Experiment]:
    """Registers an experiment; lower ranks are tried first, those below `OF_VALUES` compute the operator anew."""

    def register(experiment: Experiment) -> Experiment:
        _experiments.append((rank, experiment))
        return experiment

    return register


def explained(case: Case) -> Cause | None:
    """The first cause whose experiment succeeds; None where none does."""
    if not case.error > 0:
        return None
    # What looks at values only takes them as they can be seen.
    seen = case if case.then is None else replace(case, expected=case.shown(case.expected), then=None, whole=False)
    with np.errstate(all="ignore"):
        for rank, experiment in sorted(_experiments, key=lambda e: e[0]):
            try:
                found = experiment(case if rank < OF_VALUES else seen)
            except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError):
                continue  # it cannot be made with these operands: attributes and shapes come from the model
            if found is not None:
                return replace(found, specific=rank < OF_VALUES)
    return None
