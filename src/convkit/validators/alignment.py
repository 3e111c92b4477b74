"""Which tensor inside one model is which inside another: by value, by name, and by what it is computed from.

Values say most. Sketches, which no layout changes, pick the candidates among all tensors of the other side; a comparison
in the layout that fits best decides. A tensor that differs has no equal, so its counterpart is looked for behind the
counterparts of what it is computed from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from convkit.traces import Sketch, Trace, TracedOperator, TracedTensor
from convkit.validators.layouts import Layout, difference, solved
from convkit.validators.operator_kinds import family_of

__all__ = ["Aligner", "Counterpart", "alike"]

_ALIKE = 1e-2
"""How far apart equal tensors and their sketches may be, as a share of their scale."""
_EXACT = 1e-6
"""No nearer candidate is looked for from here on."""
_CANDIDATES = 6
_HOPS = 8


@dataclass(frozen=True)
class Counterpart:
    """A tensor of the target that stands for one of the source.

    Attributes:
        name: Of the target's tensor.
        layout: How to read it.
        error: max |Δ| as a share of the source tensor's scale.
        evidence: "value", "output", "name", "structure" or "position".
        unlikeness: The mean |Δ| on a sample, as a share of the mean magnitude.
    """

    name: str
    layout: Layout
    error: float
    evidence: str
    unlikeness: float = 0.0


class Aligner:
    """Finds counterparts of one trace's tensors in another.

    Args:
        source, target: Traces of two models on the same inputs.
    """

    def __init__(self, source: Trace, target: Trace) -> None:
        self._source = source
        self._target = target
        usable = [t for t in target.tensors.values() if t.offset >= 0 and not t.constant]
        self._by_size: dict[int, list[TracedTensor]] = {}
        for tensor in usable:
            self._by_size.setdefault(tensor.sketch.size, []).append(tensor)
        self._moments = {size: np.array([_moments(t.sketch) for t in found]) for size, found in self._by_size.items()}
        self._readers: dict[str, list[TracedOperator]] = {}
        for operator in target.operators:
            for name in operator.inputs:
                self._readers.setdefault(name, []).append(operator)
        self._makers = {name: operator for operator in target.operators for name in operator.outputs if name}
        order = {label: i for i, operator in enumerate(source.operators) for label in _labels(operator)}
        self._labelled: dict[str, list[str]] = {}
        for name, maker in self._makers.items():
            labels = {*_PARTS.split(name), *_labels(maker)}
            if ";" in name:  # LiteRT joins the names of what it fuses: the result is that of the last
                labels = set(sorted(labels & set(order), key=lambda label: order[label])[-1:])
            for label in labels:
                self._labelled.setdefault(label, []).append(name)

    def equal(self, name: str) -> Counterpart | None:
        """The target's tensor with the same values, to about a hundredth of their scale; None where there is none."""
        tensor = self._source.tensors[name]
        found = self._ranked(tensor, self._alike(tensor), "value")
        return found[0] if found and found[0].error <= _ALIKE else None

    def output(self, name: str, theirs: str) -> Counterpart | None:
        """The target's own output as the counterpart of the source's, whatever its values."""
        found = self._target.tensors.get(theirs)
        if found is None or found.offset < 0:
            return None
        return next(iter(self._ranked(self._source.tensors[name], [found], "output")), None)

    def behind(
        self, operator: TracedOperator, name: str, read: Sequence[set[str]], taken: set[str], layout: Layout | None = None
    ) -> list[Counterpart]:
        """What may stand for a tensor that has no equal, the best first: what is called the same, what an operator of the same
        kind makes of the counterparts of its operator's inputs, what else is computed from them.

        Args:
            operator: What computes it in the source.
            name: The tensor.
            read: Per input of it that is known in the target, the tensors there that stand for it.
            taken: The target's tensors that are equal to another tensor of the source.
            layout: How the target holds what the operator reads: most likely its result as well.
        """
        tensor = self._source.tensors[name]
        free = {t.name: t for t in self._by_size.get(tensor.sketch.size, ()) if t.name not in taken}
        labelled = list(dict.fromkeys(n for label in _labels(operator) for n in self._labelled.get(label, ()) if n in free))
        # Of several tensors in one scope the operator's result is what leaves it.
        if labelled := [n for n in labelled if self._leaves(n, labelled)]:
            return self._ranked(tensor, [free[n] for n in labelled], "name", layout)
        kind = family_of(operator)
        near = [n for n in self._downstream(set().union(*read)) if n in free]
        same = [n for n in near if family_of(self._makers[n]) == kind and all(r & set(self._makers[n].inputs) for r in read)]
        built_alike = self._ranked(tensor, [free[n] for n in same], "structure", layout)
        return built_alike + self._ranked(tensor, [free[n] for n in near if n not in same], "position", layout)

    def _leaves(self, name: str, scope: Sequence[str]) -> bool:
        """Whether something outside of a scope reads a tensor in it, or nothing does."""
        readers = self._readers.get(name, ())
        return not readers or any(o not in scope for reader in readers for o in reader.outputs)

    def _alike(self, tensor: TracedTensor) -> list[TracedTensor]:
        """The target's tensors whose sketches are near, the nearest first, one that is called the same before all."""
        size = tensor.sketch.size
        if size not in self._moments:
            return []
        scale = max(abs(tensor.sketch.low), abs(tensor.sketch.high), 1e-30)
        apart = np.abs(self._moments[size] - _moments(tensor.sketch)).max(axis=1) / scale
        order = np.argsort(apart, kind="stable")[:_CANDIDATES]
        found = [self._by_size[size][i] for i in order if apart[i] <= _ALIKE]
        return sorted(found, key=lambda t: t.name != tensor.name)

    def _downstream(self, start: set[str]) -> Iterator[str]:
        """What the target computes from some of its tensors, in a few steps, and they themselves."""
        edge = sorted(start)
        seen = set(edge)
        yield from edge
        for _ in range(_HOPS):
            edge = [o for name in edge for reader in self._readers.get(name, ()) for o in reader.outputs if o not in seen]
            edge = list(dict.fromkeys(edge))
            seen |= set(edge)
            yield from edge

    def _ranked(
        self, tensor: TracedTensor, candidates: Iterable[TracedTensor], evidence: str, likely: Layout | None = None
    ) -> list[Counterpart]:
        """The candidates that can be read in its shape, the most alike first, with their errors."""
        expected = self._source.array(tensor.name)
        if expected is None:
            return []
        ranked: list[tuple[float, int, TracedTensor, Layout]] = []
        for place, candidate in enumerate(candidates):
            got = self._target.array(candidate.name)
            found = None if got is None else solved(expected, got, likely)
            if found is None:
                continue
            ranked.append((found[1], place, candidate, found[0]))
            if found[1] <= _EXACT:
                break
        ranked.sort(key=lambda r: r[:2])
        return [
            self._counterpart(tensor, expected, c.name, layout, evidence, unlike) for unlike, _, c, layout in ranked[:_CANDIDATES]
        ]

    def _counterpart(
        self, tensor: TracedTensor, expected: np.ndarray, name: str, layout: Layout, evidence: str, unlike: float
    ) -> Counterpart:
        theirs = self._target.array(name)
        assert theirs is not None
        scale = max(abs(tensor.sketch.low), abs(tensor.sketch.high))
        error = difference(expected, layout.read(theirs, expected.shape), scale)
        return Counterpart(name, layout, error, evidence, unlike)


_PARTS = re.compile("[/;:]")


def _labels(operator: TracedOperator) -> set[str]:
    """What converters name after an operator: scopes of names, and the places that an imported program keeps."""
    return {operator.name, *filter(None, operator.outputs), *filter(None, [operator.place.split(" (")[0]])}


def alike(first: Sketch, second: Sketch) -> bool:
    """Whether two tensors may hold the same values, in whatever order."""
    scale = max(abs(first.low), abs(first.high), 1e-30)
    apart = np.abs(np.subtract(_moments(first), _moments(second))).max() / scale
    return first.size == second.size and bool(apart <= _ALIKE)


def _moments(sketch: Sketch) -> tuple[float, ...]:
    # Infinities and NaN are counted: a tensor that overflows is not like one that does not.
    return (sketch.low, sketch.high, sketch.mean, sketch.magnitude, sketch.rms, 1e30 * (sketch.size - sketch.finite))
