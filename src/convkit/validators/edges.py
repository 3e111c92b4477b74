"""What operators of the target really read: a tensor may be right where it is made and changed on the way to its reader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from convkit.traces import Trace, TracedOperator
from convkit.validators.alignment import Counterpart
from convkit.validators.layouts import difference, solved
from convkit.validators.operator_kinds import family_of

__all__ = ["AlteredEdge", "Edges"]

_HOPS = 3


@dataclass(frozen=True)
class AlteredEdge:
    """A tensor of the source, and what the target's operator reads in its place."""

    tensor: str
    counterpart: Counterpart


class Edges:
    """Compares what operators read.

    Args:
        source, target: The traces.
        known: Counterparts by the source's tensor.
        tolerated: Up to which share of its scale a tensor may be off.
    """

    def __init__(self, source: Trace, target: Trace, known: Mapping[str, Counterpart], tolerated: float) -> None:
        self._source = source
        self._target = target
        self._known = known
        self._tolerated = tolerated
        self._makers = {name: operator for operator in target.operators for name in operator.outputs if name}

    def altered(self, operator: TracedOperator, observed: str) -> Iterator[AlteredEdge]:
        """The inputs that the target's counterpart of an operator does not get as the source's does.

        Args:
            operator: One whose inputs have equals in the target, and whose output has none.
            observed: The source's tensor in which the difference shows.
        """
        other = self._counterpart_of(operator, observed)
        if other is None:
            return
        read = [n for n in other.inputs if n in self._target.tensors and not self._target.tensors[n].constant]
        for name in operator.inputs:
            tensor = self._source.tensors.get(name)
            expected = self._source.array(name)
            if tensor is None or tensor.constant or expected is None:
                continue
            compared = [(n, found) for n in read if (found := self._compared(expected, n)) is not None]
            if compared and all(found.error > self._tolerated for _, found in compared):
                free = [c for c in compared if not self._is_another_input(operator, name, c[0])]
                if free:
                    yield AlteredEdge(name, min((found for _, found in free), key=lambda c: c.error))

    def _counterpart_of(self, operator: TracedOperator, observed: str) -> TracedOperator | None:
        """The target's operator of the same kind that the counterpart of a tensor comes from, a few steps before it."""
        if observed not in self._known:
            return None
        kind, edge = family_of(operator), [self._known[observed].name]
        read = {self._known[n].name for n in operator.inputs if n in self._known}
        for _ in range(_HOPS):
            makers = [self._makers[n] for n in edge if n in self._makers and n not in read]
            for maker in makers:
                if family_of(maker) == kind:
                    return maker
            edge = [n for maker in makers for n in maker.inputs]
        return None

    def _compared(self, expected: np.ndarray, name: str) -> Counterpart | None:
        got = self._target.array(name)
        found = None if got is None or got.size != expected.size else solved(expected, got)
        if got is None or found is None:
            return None
        scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
        return Counterpart(name, found[0], difference(expected, found[0].read(got, expected.shape), scale), "position")

    def _is_another_input(self, operator: TracedOperator, name: str, theirs: str) -> bool:
        """Whether a tensor of the target equals another input of the operator than that of this name."""
        for other in operator.inputs:
            expected = self._source.array(other) if other != name else None
            found = None if expected is None else self._compared(expected, theirs)
            if found is not None and found.error <= self._tolerated:
                return True
        return False
