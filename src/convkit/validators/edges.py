"""What operators of the target really read: a tensor may be right where it is made and changed on the way to its reader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from convkit.traces import Trace, TracedOperator
from convkit.validators.alignment import Counterpart
from convkit.validators.layouts import difference, scale_of, solved
from convkit.validators.operator_kinds import ARRANGING, family_of, kind_of

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
        self._operators = {operator.name: operator for operator in target.operators}
        self._readers: dict[str, list[TracedOperator]] = {}
        for operator in target.operators:
            for name in operator.inputs:
                self._readers.setdefault(name, []).append(operator)

    def altered(
        self,
        operator: TracedOperator,
        observed: str,
        agreeing: Callable[[str], Iterable[tuple[TracedOperator, str]]],
    ) -> Iterator[AlteredEdge]:
        """The inputs that the target's counterpart of an operator does not get as the source's does.

        Args:
            operator: One whose inputs have equals in the target, and whose output has none.
            observed: The source's tensor in which the difference shows.
            agreeing: The operators that read a tensor of the source and agree, with what shows that.
        """
        other = self._counterpart_of(operator, observed)
        if other is None:
            return
        read = self._computed_inputs(other)
        for name in operator.inputs:
            tensor = self._source.tensors.get(name)
            expected = self._source.array(name)
            if tensor is None or tensor.constant or expected is None:
                continue
            compared = [(n, found) for n in read if (found := self._compared(expected, n)) is not None]
            if compared and all(found.error > self._tolerated for _, found in compared):
                # What operators that agree read in its place is the same in another form.
                forms = {n for reader, shown in agreeing(name) for n in self._read_by_counterpart(reader, shown)}
                free = [c for c in compared if c[0] not in forms and not self._is_another_input(operator, name, c[0])]
                if free:
                    yield AlteredEdge(name, min((found for _, found in free), key=lambda c: c.error))

    def _read_by_counterpart(self, operator: TracedOperator, observed: str) -> tuple[str, ...]:
        other = self._counterpart_of(operator, observed)
        return () if other is None else other.inputs

    def bypassed(self, reader: TracedOperator, observed: str, name: str, maker: TracedOperator) -> int | None:
        """Which input of the operator that makes a tensor the target's counterpart of its reader reads instead of it.

        Args:
            reader: An operator of the source that reads the tensor.
            observed: The reader's output, if that has a counterpart.
            name: The tensor.
            maker: The operator that makes it.
        """
        other = self._counterpart_of(reader, observed)
        wanted = self._source.array(name)
        if other is None or wanted is None or kind_of(maker.operator) in ARRANGING:
            return None
        read = self._computed_inputs(other)
        if any(self._equals(wanted, n) for n in read):
            return None
        for position, given in enumerate(maker.inputs):
            array = self._source.array(given)
            if array is not None and array.shape == wanted.shape and any(self._equals(array, n) for n in read):
                # The reader may read that input by right as well.
                return None if given in reader.inputs else position
        return None

    def takes_exchanged(self, operator: TracedOperator, observed: str, operands: Sequence[str]) -> bool:
        """Whether the target's counterpart of an operator reads the second of two operands first.

        Args:
            operator: Of the source.
            observed: Its output, or what of it has a counterpart.
            operands: The two tensors that it reads.
        """
        other = self._counterpart_of(operator, observed)
        read = [] if other is None else self._computed_inputs(other)
        first, second = (self._source.array(n) for n in operands)
        if len(read) != 2 or first is None or second is None:
            return False
        exchanged = self._equals(first, read[1]) and self._equals(second, read[0])
        return exchanged and not (self._equals(first, read[0]) and self._equals(second, read[1]))

    def joins(self, operator: TracedOperator, operands: Sequence[str]) -> bool:
        """Whether an operator of the target reads what stands for both of two operands of one of the source: any operator, or
        one of its kind that reads what is made of one of them in a few steps.
        """
        mine, others = (self._readers_of_all_forms(self._known[n].name) for n in operands)
        if mine & others:
            return True
        kind = family_of(operator)
        return any(
            family_of(self._operators[name]) == kind and self._stems_from(self._operators[name], self._known[other].name)
            for readers, other in ((mine, operands[1]), (others, operands[0]))
            for name in readers
        )

    def _stems_from(self, operator: TracedOperator, name: str) -> bool:
        """Whether an operator of the target computes with a tensor, or with what is made of it in a few steps."""
        edge = self._computed_inputs(operator)
        for _ in range(_HOPS):
            if name in edge:
                return True
            edge = [n for e in edge if e in self._makers for n in self._computed_inputs(self._makers[e])]
        return name in edge

    def goes_on(self, operand: str) -> bool:
        """Whether anything of the target reads what stands for a tensor of the source, if it is no output itself."""
        return bool(self._readers_of_all_forms(self._known[operand].name))

    def _readers_of_all_forms(self, name: str) -> set[str]:
        """The names of the operators that read a tensor of the target, or the same in another arrangement."""
        maker = self._makers.get(name)
        while maker is not None and kind_of(maker.operator) in ARRANGING and (before := self._computed_inputs(maker)):
            name = before[0]
            maker = self._makers.get(name)
        forms, found = [name], set()
        for form in forms:
            for reader in self._readers.get(form, ()):
                found.add(reader.name)
                if kind_of(reader.operator) in ARRANGING:
                    forms += [o for o in reader.outputs if o not in forms]
        return found

    def _computed_inputs(self, operator: TracedOperator) -> list[str]:
        """What an operator of the target reads beside constants."""
        return [n for n in operator.inputs if n in self._target.tensors and not self._target.tensors[n].constant]

    def _equals(self, expected: np.ndarray, theirs: str) -> bool:
        found = self._compared(expected, theirs)
        return found is not None and found.error <= self._tolerated

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
        error = difference(expected, found[0].read(got, expected.shape), scale_of(expected))
        return Counterpart(name, found[0], error, "position")

    def _is_another_input(self, operator: TracedOperator, name: str, theirs: str) -> bool:
        """Whether a tensor of the target equals another input of the operator than that of this name."""
        for other in operator.inputs:
            expected = self._source.array(other) if other != name else None
            if expected is not None and self._equals(expected, theirs):
                return True
        return False
