"""Which operators of a source agree with the target, and what stands for what where they do not.

An operator agrees when its output has an equal in the other model, or when everything that reads it agrees: fused operators
leave no trace of what is between them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from convkit.traces import Trace, TracedOperator
from convkit.validators.alignment import Aligner, Counterpart
from convkit.validators.layouts import Layout
from convkit.validators.operator_kinds import ARRANGING, kind_of

__all__ = ["Agreement"]

_SMALL = 16
"""Elements of integers up to which they are sizes."""
_EVIDENCE = ("name", "structure", "position")
"""From the strongest to the weakest."""


class Agreement:
    """Two traces, laid side by side.

    Args:
        source, target: On the same inputs.
        tolerated: Up to which share of its scale a tensor may be off.

    Attributes:
        source, target, tolerated: As given.
        operators: The source's, each behind those that it reads.
        readers, makers: Of the source's tensors.
        known: Counterparts by the source's tensor.
        clean: The names of the operators that agree.
    """

    def __init__(self, source: Trace, target: Trace, tolerated: float) -> None:
        self.source = source
        self.target = target
        self.tolerated = tolerated
        self.operators = _ordered(source)
        self.makers = {o: operator for operator in self.operators for o in operator.outputs if o}
        self.readers: dict[str, list[TracedOperator]] = {}
        for operator in self.operators:
            for name in operator.inputs:
                self.readers.setdefault(name, []).append(operator)
        self.known: dict[str, Counterpart] = {}
        self.clean: set[str] = set()
        self._aligner = Aligner(source, target)
        self._outputs = {mine: target.outputs.get(name, "") for name, mine in source.outputs.items()}
        self._proofs: dict[str, bool] = {}
        self._pair_equals()
        self._spread_agreement()
        self._pair_drifted()

    def output(self, mine: str, theirs: str) -> Counterpart | None:
        """An output of the target as the counterpart of one of the source, whatever its values."""
        return self._aligner.output(mine, theirs)

    def observed(self, operator: TracedOperator) -> str:
        """The first output of an operator that has a counterpart, or ""."""
        return next((o for o in operator.outputs if o in self.known), "")

    def is_fine(self, name: str) -> bool:
        """Whether a tensor is right in the target: it agrees, or something is made of it that does."""
        if not name or self._agrees(name) or self.makers[name].name in self.clean:
            return True
        return any(self._proves(reader) for reader in self.readers.get(name, ()))

    def _proves(self, reader: TracedOperator) -> bool:
        """Whether an operator that agrees shows that its inputs are right: it has made values of them, not sizes."""
        if reader.name not in self.clean:
            return False
        if reader.name not in self._proofs:
            self._proofs[reader.name] = self._shows_values(reader)
        return self._proofs[reader.name]

    def _shows_values(self, reader: TracedOperator) -> bool:
        made = [self.source.tensors[o] for o in reader.outputs if o in self.known and o in self.source.tensors]
        if made:
            return any(t.sketch.size > _SMALL and t.dtype.startswith("float") for t in made)
        return any(self._proves(behind) for o in reader.outputs for behind in self.readers.get(o, ()))

    def agreeing_readers(self, name: str) -> Iterator[tuple[TracedOperator, str]]:
        """The operators that read a tensor and agree, each with the first tensor behind it that has a counterpart."""
        for reader in self.readers.get(name, ()):
            behind = [reader]
            for operator in behind if reader.name in self.clean else ():
                if observed := self.observed(operator):
                    yield reader, observed
                    break
                behind += [r for o in operator.outputs for r in self.readers.get(o, ()) if r not in behind]

    def computed_inputs(self, operator: TracedOperator) -> list[str]:
        """The tensors that an operator reads, without constants and what is no tensor."""
        given = dict.fromkeys(operator.inputs)
        return [n for n in given if n in self.source.tensors and not self.source.tensors[n].constant]

    def origin(self, name: str) -> TracedOperator | None:
        """What computes a tensor, behind operators that only arrange it anew: the target may do without them."""
        maker = self.makers.get(name)
        while maker is not None and kind_of(maker.operator) in ARRANGING and maker.inputs[0] in self.makers:
            maker = self.makers[maker.inputs[0]]
        return maker

    def _pair_equals(self) -> None:
        for name, mine in self.source.inputs.items():
            theirs = self.target.inputs.get(name)
            if theirs is not None and mine in self.source.tensors and (found := self._aligner.output(mine, theirs)):
                self.known[mine] = found
        for name in self.makers:
            if name in self.source.tensors and not self.source.tensors[name].constant:
                own = self._outputs.get(name)
                found = self._aligner.output(name, own) if own else self._aligner.equal(name)
                if found is not None:
                    self.known[name] = found

    def _agrees(self, name: str) -> bool:
        tensor = self.source.tensors.get(name)
        # What is no tensor (a size, a sequence) cannot be seen: what reads it is judged.
        if not name or tensor is None or tensor.constant or name not in self.makers:
            return True
        found = self.known.get(name)
        if found is None and tensor.sketch.size <= _SMALL and np.dtype(tensor.dtype).kind in "iub":
            return True  # sizes, which converters compute in other ways or know beforehand
        return found is not None and found.error <= self.tolerated

    def _spread_agreement(self) -> None:
        """What is read only by operators that agree, agrees."""
        for operator in reversed(self.operators):
            if all(self._agrees(o) or self._is_covered(o) for o in operator.outputs if o):
                self.clean.add(operator.name)

    def _is_covered(self, name: str) -> bool:
        known = self.known.get(name)
        if name in self._outputs or (known is not None and known.evidence == "value" and known.error > self.tolerated):
            return False
        return all(reader.name in self.clean for reader in self.readers.get(name, ()))

    def _pair_drifted(self) -> None:
        """Counterparts of what differs; where several tensors want the same one, the nearest has it."""
        taken = {c.name for c in self.known.values() if c.error <= self.tolerated}
        wanted: list[tuple[int, float, str, Counterpart]] = []
        known = {name: {counterpart.name} for name, counterpart in self.known.items()}
        for operator in self.operators:
            read = [known[n] for n in operator.inputs if known.get(n)]
            for name in operator.outputs:
                if name in known:
                    continue
                found = []
                if operator.name not in self.clean and name in self.source.tensors:
                    found = self._aligner.behind(operator, name, read, taken, self._layout_before(operator))
                # A mere resemblance counts for the most alike alone: what is fused must not get its neighbour's counterpart.
                likely = [c for c in found if c.evidence != "position"] or found[:1]
                wanted += [(_EVIDENCE.index(c.evidence), min(c.unlikeness, 1e30), name, c) for c in likely]
                # Where there is none, or not for certain, those before it stand in: the target may have fused the two.
                known[name] = {found[0].name} if found else set()
                if not found or found[0].evidence == "position":
                    known[name] = known[name].union(*read)
        given: set[str] = {c.name for c in self.known.values()}
        for *_, name, counterpart in sorted(wanted, key=lambda w: w[:2]):
            if name not in self.known and counterpart.name not in given:
                self.known[name] = counterpart
                given.add(counterpart.name)

    def _layout_before(self, operator: TracedOperator) -> Layout | None:
        """How the target holds what an operator reads, where that is known."""
        return next((self.known[n].layout for n in operator.inputs if n in self.known and self.known[n].layout.axes), None)


def _ordered(trace: Trace) -> list[TracedOperator]:
    """The operators so that each comes behind those that it reads; in their own order as far as that allows."""
    makers = {o: operator for operator in trace.operators for o in operator.outputs}
    done: dict[int, TracedOperator] = {}
    for root in trace.operators:
        stack = [root]
        while stack:
            operator = stack[-1]
            if id(operator) in done:
                stack.pop()
                continue
            needed = [makers[n] for n in operator.inputs if n in makers and id(makers[n]) not in done]
            needed = [o for o in needed if all(o is not s for s in stack)]  # a loop of a dataflow graph
            if needed:
                stack += needed[:1]
            else:
                done[id(operator)] = stack.pop()
    return list(done.values())
