"""Where two models begin to differ: the first operators whose inputs agree and whose outputs do not.

An operator *agrees* when its output has an equal in the other model, or when everything that reads it agrees: fused
operators leave no trace of what is between them. What remains is the part of the graph through which the difference
spreads; where it begins are the suspects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from convkit.reports.drift import DriftReport, OperatorDrift, Suspect
from convkit.traces import Trace, TracedOperator
from convkit.validators.alignment import Aligner, Counterpart, alike
from convkit.validators.causes import Case, Cause, explained
from convkit.validators.edges import AlteredEdge, Edges
from convkit.validators.layouts import Layout, solved
from convkit.validators.operator_kinds import ARRANGING, kind_of

__all__ = ["Located", "locate"]

# Which of several operators that cannot be told apart is likely to be at fault: those with parameters of their own.
_PARAMETERS = (
    "conv", "matmul", "gemm", "linear", "fully", "norm", "resize", "upsample", "interpolate", "pad", "pool", "softmax", "gelu",
    "lstm", "gru", "rnn", "quant", "cast", "einsum", "addmm", "bmm",
)  # fmt: skip
_ALTERED = "altered-edge"
_SMALL = 16
"""Elements of integers up to which they are sizes."""


@dataclass
class Located:
    """What a search found, for reports and for experiments.

    Attributes:
        report: For people.
        operators: The source's, in the order in which they ran.
        counterparts: By the source's tensor.
        suspects: The traced operators behind `report.suspects`, in the same order.
    """

    report: DriftReport
    operators: Sequence[TracedOperator]
    counterparts: Mapping[str, Counterpart]
    suspects: list[TracedOperator] = field(default_factory=list)

    def add(self, operator: TracedOperator, suspect: Suspect) -> None:
        """Adds a suspect behind those that are more likely; an operator that is one already stays where it is."""
        if all(o is not operator for o in self.suspects):
            self.suspects.append(operator)
            self.report.suspects.append(suspect)

    def convict(self, operator: TracedOperator, suspect: Suspect) -> None:
        """Puts a suspect before all that are no more than likely."""
        others = [(o, s) for o, s in zip(self.suspects, self.report.suspects, strict=True) if o is not operator]
        place = sum(s.code == suspect.code for _, s in others)
        others.insert(place, (operator, suspect))
        self.suspects = [o for o, _ in others]
        self.report.suspects = [s for _, s in others]


def locate(source: Trace, target: Trace, report: DriftReport) -> Located:
    """Fills a report with the operators of the source, their counterparts, and the suspects.

    Args:
        source, target: Traces on the same inputs.
        report: With the tolerance; is filled.
    """
    return _Search(source, target, report).run()


class _Search:
    def __init__(self, source: Trace, target: Trace, report: DriftReport) -> None:
        self._source = source
        self._target = target
        self._report = report
        self._aligner = Aligner(source, target)
        self._operators = _ordered(source)
        self._readers: dict[str, list[TracedOperator]] = {}
        self._makers = {o: operator for operator in self._operators for o in operator.outputs if o}
        for operator in self._operators:
            for name in operator.inputs:
                self._readers.setdefault(name, []).append(operator)
        self._outputs = {mine: target.outputs.get(name, "") for name, mine in source.outputs.items()}
        self._known: dict[str, Counterpart] = {}
        self._clean: set[str] = set()

    def run(self) -> Located:
        self._pair_equals()
        self._spread_agreement()
        self._pair_drifted()
        self._report.operators = [self._drift_of(o) for o in self._operators]
        self._report.compared = sum(o.agrees or o.error is not None for o in self._report.operators)
        located = Located(self._report, self._operators, self._known)
        self._edges = Edges(self._source, self._target, self._known, self._report.tolerated)
        for operator, region in self._suspected():
            suspect = self._suspect(operator, region)
            for altered in self._edges.altered(operator, suspect.observed, self._agreeing_readers):
                if (maker := self._origin(altered.tensor)) is not None:
                    located.add(maker, self._altered(maker, operator, altered))
            if self._only_arranges(operator, suspect) and (maker := self._origin(operator.inputs[0])) is not None:
                altered = AlteredEdge(operator.inputs[0], self._known[suspect.observed])
                located.add(maker, self._altered(maker, operator, altered))
            located.add(operator, suspect)
        self._add_causes(located)
        self._note_outputs(located)
        return located

    def _pair_equals(self) -> None:
        for name, mine in self._source.inputs.items():
            theirs = self._target.inputs.get(name)
            if theirs is not None and mine in self._source.tensors and (found := self._aligner.output(mine, theirs)):
                self._known[mine] = found
        for name in self._makers:
            if name in self._source.tensors and not self._source.tensors[name].constant:
                own = self._outputs.get(name)
                found = self._aligner.output(name, own) if own else self._aligner.equal(name)
                if found is not None:
                    self._known[name] = found

    def _agrees(self, name: str) -> bool:
        tensor = self._source.tensors.get(name)
        # What is no tensor (a size, a sequence) cannot be seen: what reads it is judged.
        if not name or tensor is None or tensor.constant or name not in self._makers:
            return True
        found = self._known.get(name)
        if found is None and tensor.sketch.size <= _SMALL and np.dtype(tensor.dtype).kind in "iub":
            return True  # sizes, which converters compute in other ways or know beforehand
        return found is not None and found.error <= self._report.tolerated

    def _spread_agreement(self) -> None:
        """What is read only by operators that agree, agrees."""
        for operator in reversed(self._operators):
            if all(self._agrees(o) or self._is_covered(o) for o in operator.outputs if o):
                self._clean.add(operator.name)

    def _is_covered(self, name: str) -> bool:
        known = self._known.get(name)
        if name in self._outputs or (known is not None and known.evidence == "value" and known.error > self._report.tolerated):
            return False
        return all(reader.name in self._clean for reader in self._readers.get(name, ()))

    def _pair_drifted(self) -> None:
        """Counterparts of what differs; where several tensors want the same one, the nearest has it."""
        taken = {c.name for c in self._known.values() if c.error <= self._report.tolerated}
        wanted: list[tuple[bool, float, str, Counterpart]] = []
        known = {name: {counterpart.name} for name, counterpart in self._known.items()}
        for operator in self._operators:
            read = [known[n] for n in operator.inputs if known.get(n)]
            for name in operator.outputs:
                if name in known:
                    continue
                found = []
                if operator.name not in self._clean and name in self._source.tensors:
                    found = self._aligner.behind(operator, name, read, taken, self._layout_before(operator))
                # A mere resemblance counts for the most alike alone: what is fused must not get its neighbour's counterpart.
                likely = [c for c in found if c.evidence != "position"] or found[:1]
                wanted += [(c.evidence == "position", min(c.unlikeness, 1e30), name, c) for c in likely]
                # Where there is none, or not for certain, those before it stand in: the target may have fused the two.
                known[name] = {found[0].name} if found else set()
                if not found or found[0].evidence == "position":
                    known[name] = known[name].union(*read)
        given: set[str] = {c.name for c in self._known.values()}
        for *_, name, counterpart in sorted(wanted, key=lambda w: w[:2]):
            if name not in self._known and counterpart.name not in given:
                self._known[name] = counterpart
                given.add(counterpart.name)

    def _layout_before(self, operator: TracedOperator) -> Layout | None:
        """How the target holds what an operator reads, where that is known."""
        return next((self._known[n].layout for n in operator.inputs if n in self._known and self._known[n].layout.axes), None)

    def _drift_of(self, operator: TracedOperator) -> OperatorDrift:
        found = [self._known[o] for o in operator.outputs if o in self._known]
        worst = max(found, key=lambda c: c.error, default=None)
        inputs = [self._known[n].error for n in operator.inputs if n in self._known]
        return OperatorDrift(
            operator.name,
            operator.operator,
            operator.place,
            None if worst is None else worst.error,
            max(inputs, default=None),
            "" if worst is None else worst.name,
            "" if worst is None or not worst.layout.axes else str(worst.layout),
            operator.name in self._clean,
        )

    def _suspected(self) -> list[tuple[TracedOperator, list[TracedOperator]]]:
        """The operators at which the difference starts, each with those that it cannot be told apart from."""
        begins = [
            operator
            for operator in self._operators
            if operator.name not in self._clean
            and all(self._is_fine(n) for n in operator.inputs)
            and not all(self._is_fine(n) for n in operator.outputs)
        ]
        groups: list[tuple[list[TracedOperator], set[str]]] = []
        for operator in begins:
            region = self._hidden_behind(operator)
            names = {o.name for o in region}
            for members, known in groups:
                if names & known:
                    members += [o for o in region if o.name not in known]
                    known |= names
                    break
            else:
                groups.append((region, names))
        order = {o.name: i for i, o in enumerate(self._operators)}
        found = []
        for members, _ in groups:
            ranked = sorted(members, key=lambda o: (-self._likelihood(o), order[o.name]))
            found += [(operator, members) for operator in ranked]
        return found

    def _is_fine(self, name: str) -> bool:
        """Whether a tensor is right in the target: it agrees, or something is made of it that does."""
        if not name or self._agrees(name) or self._makers[name].name in self._clean:
            return True
        return any(self._proves(reader) for reader in self._readers.get(name, ()))

    def _proves(self, reader: TracedOperator) -> bool:
        """Whether an operator that agrees shows that its inputs are right: it has made values of them, not sizes."""
        if reader.name not in self._clean:
            return False
        made = [self._source.tensors[o] for o in reader.outputs if o in self._known and o in self._source.tensors]
        if made:
            return any(t.sketch.size > _SMALL and t.dtype.startswith("float") for t in made)
        return any(self._proves(behind) for o in reader.outputs for behind in self._readers.get(o, ()))

    def _hidden_behind(self, operator: TracedOperator) -> list[TracedOperator]:
        """An operator and what follows it, up to where the target can be looked into again."""
        region = [operator]
        for member in region:
            for name in member.outputs:
                if name and name not in self._known:
                    region += [r for r in self._readers.get(name, ()) if r not in region and r.name not in self._clean]
        return region

    def _likelihood(self, operator: TracedOperator) -> int:
        kind = operator.operator.lower()
        constants = any(n in self._source.tensors and self._source.tensors[n].constant for n in operator.inputs)
        return 2 * any(p in kind for p in _PARAMETERS) + constants

    def _suspect(self, operator: TracedOperator, region: list[TracedOperator]) -> Suspect:
        observed = next((n for o in (operator, *region) for n in o.outputs if n in self._known), "")
        counterpart = self._known.get(observed)
        errors = [self._known[n].error for n in operator.inputs if n in self._known and self._is_fine(n)]
        return Suspect(
            operator.name,
            operator.operator,
            operator.place,
            max(errors, default=0.0),
            None if counterpart is None else counterpart.error,
            observed,
            "" if counterpart is None else counterpart.name,
            tuple(o.name for o in region),
        )

    def _add_causes(self, located: Located) -> None:
        """Says what experiments say of the suspects; one that they convict comes first."""
        judged = [(o, *self._with_cause(o, s)) for o, s in zip(located.suspects, self._report.suspects, strict=True)]
        judged.sort(key=lambda j: not j[2])
        located.suspects = [operator for operator, _, _ in judged]
        self._report.suspects = [suspect for _, suspect, _ in judged]

    def _with_cause(self, operator: TracedOperator, suspect: Suspect) -> tuple[Suspect, bool]:
        """The suspect with what experiments say of it, and whether they say it of it alone."""
        expected = self._source.array(suspect.observed) if suspect.counterpart else None
        got = self._target.array(suspect.counterpart) if suspect.counterpart else None
        if expected is None or got is None or expected.size != got.size:
            return suspect, False
        known = self._known.get(suspect.observed)
        layout = known.layout if known is not None and known.name == suspect.counterpart else None
        if layout is None:
            found_layout = solved(expected, got)
            if found_layout is None:
                return suspect, False
            layout = found_layout[0]
        case = Case(
            operator.operator,
            [self._source.array(n) for n in operator.inputs],
            operator.attributes,
            expected,
            layout.read(got, expected.shape),
            whole=suspect.observed in operator.outputs and suspect.code != _ALTERED,
        )
        found = self._bypassed(operator) or explained(case)
        if found is None:
            return suspect, False
        text = f"{suspect.cause}: {found.text}" if suspect.cause else found.text
        return replace(suspect, cause=text, code=found.code, evidence=found.evidence), found.specific and case.whole

    def _bypassed(self, operator: TracedOperator) -> Cause | None:
        """Whether what reads an operator's result reads one of its inputs instead."""
        for name in operator.outputs:
            for reader in self._readers.get(name, ()):
                observed = next((o for o in reader.outputs if o in self._known), "")
                position = self._edges.bypassed(reader, observed, name, operator)
                if position is not None:
                    lost = "the residual is lost" if kind_of(operator.operator) == "add" else "it is left out"
                    return Cause("dropped", f"{lost}: {reader.name} reads its input {position} instead", "", specific=True)
        return None

    def _only_arranges(self, operator: TracedOperator, suspect: Suspect) -> bool:
        """Whether an operator that changes no value stands before a tensor with other values."""
        if kind_of(operator.operator) not in ARRANGING or not suspect.counterpart:
            return False
        return not alike(self._source.tensors[suspect.observed].sketch, self._target.tensors[suspect.counterpart].sketch)

    def _agreeing_readers(self, name: str) -> Iterator[tuple[TracedOperator, str]]:
        """The operators that read a tensor and agree, each with the first tensor behind it that has a counterpart."""
        for reader in self._readers.get(name, ()):
            behind = [reader]
            for operator in behind if reader.name in self._clean else ():
                if observed := next((o for o in operator.outputs if o in self._known), ""):
                    yield reader, observed
                    break
                behind += [r for o in operator.outputs for r in self._readers.get(o, ()) if r not in behind]

    def _origin(self, name: str) -> TracedOperator | None:
        """What computes a tensor, behind operators that only arrange it anew: the target may do without them."""
        maker = self._makers.get(name)
        while maker is not None and kind_of(maker.operator) in ARRANGING and maker.inputs[0] in self._makers:
            maker = self._makers[maker.inputs[0]]
        return maker

    def _altered(self, maker: TracedOperator, reader: TracedOperator, altered: AlteredEdge) -> Suspect:
        """The suspect that makes what its reader gets changed."""
        errors = [self._known[n].error for n in maker.inputs if n in self._known and self._is_fine(n)]
        return Suspect(
            maker.name,
            maker.operator,
            maker.place,
            max(errors, default=0.0),
            altered.counterpart.error,
            altered.tensor,
            altered.counterpart.name,
            (maker.name,),
            f"its result is changed on the way to {reader.name}",
            _ALTERED,
        )

    def _note_outputs(self, located: Located) -> None:
        """Outputs that stand in each other's place, or in another layout."""
        tolerated = self._report.tolerated
        for name, mine in self._source.outputs.items():
            found = self._known.get(mine)
            if found is None:
                continue
            if found.error <= tolerated:
                if found.layout.axes:
                    self._report.notes.append(f"output {name} agrees but for its layout: {found.layout}")
                continue
            for other, theirs in self._target.outputs.items():
                swapped = self._aligner.output(mine, theirs) if other != name else None
                if swapped is None or swapped.error > tolerated:
                    continue
                cause = f"output {name} of the source is output {other} of the target"
                self._report.notes.append(cause)
                if (maker := self._origin(mine)) is not None:
                    suspect = Suspect(
                        maker.name, maker.operator, maker.place, 0.0, found.error, mine, found.name, (maker.name,), cause,
                        "swapped-outputs", f"they agree to {swapped.error:.1e} of scale",
                    )  # fmt: skip
                    located.convict(maker, suspect)


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
