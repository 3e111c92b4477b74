"""What part of a model a delegate has taken."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Operation", "Operations", "Shares", "product_flops", "together"]


@dataclass(frozen=True)
class Operation:
    """One operator of a model: its name, its floating-point operations, and whether the delegate has it."""

    name: str
    flops: int
    is_delegated: bool


@dataclass(frozen=True)
class Shares:
    """How much of a model runs delegated.

    Attributes:
        delegate: Its name.
        operators, delegated: How many operators there are, and how many of them it has.
        flops, delegated_flops: The same in floating-point operations, at the sizes that the file plans for: two per product and
            sum of convolutions and matrix products, one per element of other results, none for what only moves data.
        partitions: How many pieces it has; between them data cross over.
        fallbacks: The operators that it has not: how many, and their floating-point operations.
    """

    delegate: str
    operators: int
    delegated: int
    flops: int
    delegated_flops: int
    partitions: int
    fallbacks: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def __str__(self) -> str:
        """`12 of 13 operators, 99.8 % of FLOPs on XNNPACK in 2 parts; else: SHAPE, PACK ×2`."""
        share = f", {100 * self.delegated_flops / self.flops:.3g} % of FLOPs" if self.flops else ""
        parts = f" in {self.partitions} parts" if self.partitions > 1 else ""
        text = f"{self.delegated} of {self.operators} operators{share} on {self.delegate}{parts}"
        if not self.fallbacks:
            return text
        heaviest = sorted(self.fallbacks, key=lambda name: (-self.fallbacks[name][1], -self.fallbacks[name][0], name))
        names = [f"{name} ×{self.fallbacks[name][0]}" if self.fallbacks[name][0] > 1 else name for name in heaviest]
        return f"{text}; else: {', '.join(names[:6])}{', …' if len(names) > 6 else ''}"

    def to_json(self) -> dict[str, Any]:
        told = {name: {"count": count, "flops": flops} for name, (count, flops) in self.fallbacks.items()}
        return {**vars(self), "fallbacks": told}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Shares:
        """Raises LookupError or TypeError where it is none."""
        return cls(**{**data, "fallbacks": {name: (f["count"], f["flops"]) for name, f in data["fallbacks"].items()}})


class Operations:
    """The operators of a file, and which of them hang together: a file of several models is measured model by model.

    Args:
        delegate: The name of the delegate that has some of them.

    Attributes:
        partitions: How many pieces the delegate has.
    """

    def __init__(self, delegate: str) -> None:
        self.partitions = 0
        self._delegate = delegate
        self._found: list[tuple[Operation, Hashable]] = []
        self._parents: dict[Hashable, Hashable] = {}

    def add(self, operation: Operation, tensors: Iterable[Hashable]) -> None:
        """An operator, and the tensors that it reads and writes but for constants, which models may share."""
        joined = self.join(tensors)
        self._found.append((operation, joined))

    def join(self, tensors: Iterable[Hashable]) -> Hashable:
        """Tensors of one model; one of them."""
        roots = [self._root(t) for t in tensors]
        for root in roots:
            self._parents[root] = roots[0]
        return roots[0] if roots else None

    def shares(self) -> Shares:
        """All of them."""
        return _summed(self._delegate, [o for o, _ in self._found], self.partitions)

    def shares_of(self, results: Collection[Hashable]) -> Shares:
        """Those of the model with these results. In how many pieces is not told: pieces may reach over into other models."""
        roots = {self._root(r) for r in results}
        return _summed(self._delegate, [o for o, tensor in self._found if self._root(tensor) in roots], 0)

    def _root(self, tensor: Hashable) -> Hashable:
        while (parent := self._parents.setdefault(tensor, tensor)) != tensor:
            self._parents[tensor] = self._parents[parent]  # half the way for the next who asks
            tensor = parent
        return tensor


def _summed(delegate: str, every: Sequence[Operation], partitions: int) -> Shares:
    taken = [o for o in every if o.is_delegated]
    counts = Counter(o.name for o in every if not o.is_delegated)
    flops = {name: sum(o.flops for o in every if o.name == name and not o.is_delegated) for name in counts}
    return Shares(
        delegate,
        len(every),
        len(taken),
        sum(o.flops for o in every),
        sum(o.flops for o in taken),
        partitions,
        {name: (count, flops[name]) for name, count in counts.items()},
    )


def together(parts: Iterable[tuple[Shares, int]]) -> Shares | None:
    """The shares of several models as one, each as often as given; None where there is none. Of partitions nothing is said."""
    every = list(parts)
    if not every:
        return None
    fallbacks: dict[str, tuple[int, int]] = {}
    for part, times in every:
        for name, (count, flops) in part.fallbacks.items():
            known = fallbacks.get(name, (0, 0))
            fallbacks[name] = known[0] + times * count, known[1] + times * flops

    def total(name: str) -> int:
        return sum(times * int(getattr(part, name)) for part, times in every)

    return Shares(
        every[0][0].delegate, total("operators"), total("delegated"), total("flops"), total("delegated_flops"), 0, fallbacks
    )


def product_flops(result: Sequence[int], terms: int) -> int:
    """Of a convolution or a matrix product: a product and a sum for each of the `terms` of each element of the result."""
    return 2 * math.prod(result) * terms
