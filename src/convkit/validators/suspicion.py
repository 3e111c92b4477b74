"""The operators at which a difference starts: their inputs agree, their outputs do not; and what experiments say of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from convkit.reports.drift import Suspect
from convkit.traces import TracedOperator
from convkit.validators.agreement import Agreement
from convkit.validators.alignment import alike
from convkit.validators.causes import Case, Cause, explained
from convkit.validators.causes.operands import FUNCTIONS
from convkit.validators.edges import AlteredEdge, Edges
from convkit.validators.exchanges import exchanged_operands, exchanged_outputs, exchanged_parts
from convkit.validators.layouts import layouts, solved
from convkit.validators.omissions import omitted
from convkit.validators.operator_kinds import ARRANGING, kind_of
from convkit.validators.pictures import picture_of

__all__ = ["suspects"]

# Which of several operators that cannot be told apart is likely to be at fault: those with parameters of their own.
_PARAMETERS = (
    "conv", "matmul", "gemm", "linear", "fully", "norm", "resize", "upsample", "interpolate", "pad", "pool", "softmax", "gelu",
    "lstm", "gru", "rnn", "quant", "cast", "einsum", "addmm", "bmm",
)  # fmt: skip
_ALTERED = "altered-edge"
_TOLD = {"swapped-parts", "swapped-operands"}
"""Codes of suspects that need no experiment."""
_LAYOUTS = 6
"""Up to how many layouts are tried."""


def suspects(agreement: Agreement) -> list[Suspect]:
    """The operators to look at, the most likely first: what experiments convict, then what the graph says."""
    return _Suspicion(agreement).ranked()


@dataclass(frozen=True)
class _Suspected:
    operator: TracedOperator
    suspect: Suspect
    convicted: bool = False


class _Suspicion:
    def __init__(self, agreement: Agreement) -> None:
        self._graph = agreement
        self._edges = Edges(agreement.source, agreement.target, agreement.known, agreement.tolerated)

    def ranked(self) -> list[Suspect]:
        certain = [*exchanged_outputs(self._graph), *exchanged_parts(self._graph)]
        found = {operator.name: _Suspected(operator, suspect, convicted=True) for operator, suspect in certain}
        for operator, suspect in self._by_the_graph():
            if operator.name not in found:
                found[operator.name] = self._tried(operator, suspect)
        return [s.suspect for s in sorted(found.values(), key=lambda s: not s.convicted)]

    def _by_the_graph(self) -> Iterator[tuple[TracedOperator, Suspect]]:
        for operator, region in self._suspected():
            suspect = self._suspect(operator, region)
            yield from exchanged_operands(self._graph, self._edges, operator)
            for altered in self._edges.altered(operator, suspect.observed, self._graph.agreeing_readers):
                if (maker := self._graph.origin(altered.tensor)) is not None:
                    yield maker, self._altered(maker, operator, altered)
            if self._only_arranges(operator, suspect) and (maker := self._graph.origin(operator.inputs[0])) is not None:
                arranged = AlteredEdge(operator.inputs[0], self._graph.known[suspect.observed])
                yield maker, self._altered(maker, operator, arranged)
            yield operator, suspect
            yield from self._omitted_behind(operator)

    def _omitted_behind(self, operator: TracedOperator) -> Iterator[tuple[TracedOperator, Suspect]]:
        """What reads a result that the target has nothing for, or only something that stands at its place, and is left out
        itself: then the target needs no such result.
        """
        for name in operator.outputs:
            if name in self._graph.known and self._graph.known[name].evidence != "position":
                continue
            for reader in self._graph.readers.get(name, ()):
                if reader.name not in self._graph.clean and omitted(self._graph, self._edges, reader) is not None:
                    yield reader, self._suspect(reader, [reader])

    def _suspected(self) -> list[tuple[TracedOperator, list[TracedOperator]]]:
        """The operators at which the difference starts, each with those that it cannot be told apart from."""
        begins = [
            operator
            for operator in self._graph.operators
            if operator.name not in self._graph.clean
            and all(self._graph.is_fine(n) for n in operator.inputs)
            and not all(self._graph.is_fine(n) for n in operator.outputs)
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
        order = {o.name: i for i, o in enumerate(self._graph.operators)}
        found = []
        for members, _ in groups:
            ranked = sorted(members, key=lambda o: (-self._likelihood(o), order[o.name]))
            found += [(operator, members) for operator in ranked]
        return found

    def _hidden_behind(self, operator: TracedOperator) -> list[TracedOperator]:
        """An operator and what follows it, up to where the target can be looked into again."""
        region = [operator]
        for member in region:
            for name in member.outputs:
                if name and name not in self._graph.known:
                    region += [
                        r for r in self._graph.readers.get(name, ()) if r not in region and r.name not in self._graph.clean
                    ]
        return region

    def _likelihood(self, operator: TracedOperator) -> int:
        kind = operator.operator.lower()
        constants = any(n in self._graph.source.tensors and self._graph.source.tensors[n].constant for n in operator.inputs)
        return 2 * any(p in kind for p in _PARAMETERS) + constants

    def _suspect(self, operator: TracedOperator, region: list[TracedOperator]) -> Suspect:
        observed = next((n for o in (operator, *region) for n in o.outputs if n in self._graph.known), "")
        counterpart = self._graph.known.get(observed)
        return Suspect(
            operator.name,
            operator.operator,
            operator.place,
            self._error_in(operator),
            None if counterpart is None else counterpart.error,
            observed,
            "" if counterpart is None else counterpart.name,
            tuple(o.name for o in region),
        )

    def _error_in(self, operator: TracedOperator) -> float:
        """The largest error of what an operator reads, of what is right there."""
        errors = [self._graph.known[n].error for n in operator.inputs if n in self._graph.known and self._graph.is_fine(n)]
        return max(errors, default=0.0)

    def _altered(self, maker: TracedOperator, reader: TracedOperator, altered: AlteredEdge) -> Suspect:
        """The suspect that makes what its reader gets changed."""
        return Suspect(
            maker.name,
            maker.operator,
            maker.place,
            self._error_in(maker),
            altered.counterpart.error,
            altered.tensor,
            altered.counterpart.name,
            (maker.name,),
            f"its result is changed on the way to {reader.name}",
            _ALTERED,
        )

    def _tried(self, operator: TracedOperator, suspect: Suspect) -> _Suspected:
        """The suspect with what experiments say of it, and what its output looks like."""
        missing = None if suspect.code in _TOLD else omitted(self._graph, self._edges, operator)
        if missing is not None:
            return _Suspected(operator, _with_cause(suspect, missing), convicted=True)
        pair = self._pair(suspect)
        if pair is None or suspect.code in _TOLD:
            return _Suspected(operator, suspect, convicted=suspect.code in _TOLD)
        suspect = replace(suspect, picture=picture_of(*pair))
        inputs = [self._graph.source.array(n) for n in operator.inputs]
        case = Case(operator.operator, inputs, operator.attributes, *pair, whole=False)
        if suspect.code != _ALTERED:
            own, then = self._up_to(operator, suspect.observed)
            if own is not None:
                case = replace(case, expected=own, then=then, whole=True)
        found = explained(case) or self._in_another_layout(case, suspect)
        if found is None:
            return _Suspected(operator, suspect)
        return _Suspected(operator, _with_cause(suspect, found), found.specific and case.whole)

    def _in_another_layout(self, case: Case, suspect: Suspect) -> Cause | None:
        """What experiments say of the target's tensor in other layouts: where axes are of one size, a wrong tensor does not
        tell in which it is.
        """
        got = self._graph.target.array(suspect.counterpart)
        if got is None or not case.whole:
            return None
        for layout in islice(layouts(case.got.shape, got.shape), _LAYOUTS):
            found = explained(replace(case, got=layout.read(got, case.got.shape)))
            if found is not None and found.specific:
                return found
        return None

    def _up_to(
        self, operator: TracedOperator, observed: str
    ) -> tuple[np.ndarray | None, Callable[[np.ndarray], np.ndarray] | None]:
        """An operator's own output, and the activation between it and what can be seen; no output where more lies between."""
        if observed in operator.outputs:
            return self._graph.source.array(observed), None
        readers = self._graph.readers.get(operator.outputs[0], ()) if operator.outputs else ()
        if len(readers) != 1 or observed not in readers[0].outputs or len(readers[0].inputs) != 1:
            return None, None
        function = FUNCTIONS.get(kind_of(readers[0].operator))
        return (None, None) if function is None else (self._graph.source.array(operator.outputs[0]), function)

    def _pair(self, suspect: Suspect) -> tuple[np.ndarray, np.ndarray] | None:
        """What the source computes, and what the target has in its place, in the source's layout."""
        expected = self._graph.source.array(suspect.observed) if suspect.counterpart else None
        got = self._graph.target.array(suspect.counterpart) if suspect.counterpart else None
        if expected is None or got is None or expected.size != got.size:
            return None
        known = self._graph.known.get(suspect.observed)
        if known is not None and known.name == suspect.counterpart:
            return expected, known.layout.read(got, expected.shape)
        found = solved(expected, got)
        return None if found is None else (expected, found[0].read(got, expected.shape))

    def _only_arranges(self, operator: TracedOperator, suspect: Suspect) -> bool:
        """Whether an operator that changes no value stands before a tensor with other values."""
        if kind_of(operator.operator) not in ARRANGING or not suspect.counterpart:
            return False
        return not alike(
            self._graph.source.tensors[suspect.observed].sketch, self._graph.target.tensors[suspect.counterpart].sketch
        )


def _with_cause(suspect: Suspect, found: Cause) -> Suspect:
    text = f"{suspect.cause}: {found.text}" if suspect.cause else found.text
    return replace(suspect, cause=text, code=found.code, evidence=found.evidence)
