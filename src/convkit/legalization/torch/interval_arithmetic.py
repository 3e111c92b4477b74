"""Interval arithmetic: what torch's operators make of the smallest and the largest that their operands can be.

R. E. Moore, Interval Analysis, 1966. A rule takes an operator's positional arguments, numbers and tensors alike as intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["EXACT", "READ_NODE", "RULES", "Interval", "UnknownError", "edges"]

EXACT = float(1 << 53)
"""Beyond, float64 does not tell integers apart."""


@dataclass(frozen=True)
class Interval:
    """The smallest and the largest that a tensor's elements can be.

    Attributes:
        low: float64, of the tensor's shape, or a scalar that stands for all elements.
        high: The same.
    """

    low: torch.Tensor
    high: torch.Tensor

    @classmethod
    def of(cls, low: Any, high: Any) -> Interval:
        return cls(torch.as_tensor(low, dtype=torch.float64), torch.as_tensor(high, dtype=torch.float64))

    @property
    def is_exact(self) -> bool:
        """Whether it is one finite number that float64 holds."""
        return bool((self.low == self.high).all()) and bool((self.low.abs() < EXACT).all())

    def summary(self) -> Interval:
        """One interval over all elements."""
        return Interval(self.low.min(), self.high.max()) if self.low.numel() else Interval.of(0, 0)


class UnknownError(Exception):
    """Nothing is known of an argument."""


def edges(value: Any) -> tuple[float, float]:
    """The bounds of a symbolic int."""
    found = value.node.shape_env.bound_sympy(value.node.expr)
    return tuple(_number(edge) for edge in (found.lower, found.upper))  # type: ignore[return-value]


def _number(edge: Any) -> float:
    number = float(edge)
    return number if abs(number) < EXACT else torch.inf if number > 0 else -torch.inf


def _add(a: Interval, b: Interval, *_: Any) -> Interval:
    return Interval(a.low + b.low, a.high + b.high)


def _subtract(a: Interval, b: Interval, *_: Any) -> Interval:
    return Interval(a.low - b.high, a.high - b.low)


def _extremes(operation: Callable[[Any, Any], Any], a: Interval, b: Interval) -> Interval:
    """Of an operation that is monotone in each operand: its extremes are at the corners."""
    corners = torch.stack(torch.broadcast_tensors(*(operation(x, y) for x in (a.low, a.high) for y in (b.low, b.high))))
    return Interval(corners.amin(0), corners.amax(0))


def _multiply(a: Interval, b: Interval) -> Interval:
    def product(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.where((x == 0) | (y == 0), 0.0, x * y)  # 0 · ∞ is a bound that is not reached

    return _extremes(product, a, b)


def _divide(a: Interval, b: Interval) -> Interval:
    if not bool((b.low > 0).all()):
        raise UnknownError
    return _extremes(torch.div, a, b)


def _monotone(function: Callable[..., torch.Tensor]) -> Callable[..., Interval]:
    def apply(*arguments: Interval) -> Interval:
        return Interval(function(*(a.low for a in arguments)), function(*(a.high for a in arguments)))

    return apply


def _clamp(x: Interval, low: Interval | None = None, high: Interval | None = None) -> Interval:
    found = x if low is None else _monotone(torch.maximum)(x, low)
    return found if high is None else _monotone(torch.minimum)(found, high)


def _select(condition: Interval, a: Interval, b: Interval) -> Interval:
    always, never = condition.low > 0, condition.high == 0
    low = torch.where(always, a.low, torch.where(never, b.low, torch.minimum(a.low, b.low)))
    return Interval(low, torch.where(always, a.high, torch.where(never, b.high, torch.maximum(a.high, b.high))))


def _holds(surely: torch.Tensor, possibly: torch.Tensor) -> Interval:
    return Interval(surely.to(torch.float64), possibly.to(torch.float64))


def _greater(a: Interval, b: Interval) -> Interval:
    return _holds(a.low > b.high, a.high > b.low)


def _at_least(a: Interval, b: Interval) -> Interval:
    return _holds(a.low >= b.high, a.high >= b.low)


def _equal(a: Interval, b: Interval) -> Interval:
    return _holds((a.low == b.high) & (a.high == b.low), (a.low <= b.high) & (b.low <= a.high))


def _not(a: Interval) -> Interval:
    truth = _truth(a)
    return Interval(1 - truth.high, 1 - truth.low)


def _truth(a: Interval) -> Interval:
    return _holds((a.low > 0) | (a.high < 0), (a.low != 0) | (a.high != 0))


def _cast(node: torch.fx.Node, x: Interval, *_: Any) -> Interval:
    """To the node's dtype."""
    dtype = node.meta["val"].dtype
    if dtype is torch.bool:
        return _truth(x)
    return x if dtype.is_floating_point else _monotone(torch.trunc)(x)


def _sum(node: torch.fx.Node, x: Interval, *_: Any) -> Interval:
    """Of integers, over any axes: as many elements as there can be, of which each is between the bounds."""
    if node.meta["val"].dtype.is_floating_point:  # every addition rounds
        raise UnknownError
    (whole,) = (a for a in node.args[:1] if isinstance(a, torch.fx.Node))
    count = 1.0
    for size in whole.meta["val"].shape:
        count *= float(size) if isinstance(size, int) else max(0.0, edges(size)[1])
    each = x.summary()
    return Interval(torch.clamp(each.low, max=0.0) * count, torch.clamp(each.high, min=0.0) * count)


def _filled(*arguments: Any) -> Interval:
    return next(a for a in reversed(arguments) if isinstance(a, Interval))


def _counted(start: Interval, end: Interval | None = None, step: Interval | None = None) -> Interval:
    """arange: from the first number to one before the last, by steps of one or more."""
    first, last = (Interval.of(0, 0), start) if end is None else (start, end)
    if step is not None and not bool((step.low >= 1).all()):
        raise UnknownError
    return Interval(first.low, torch.maximum(first.low, last.high - 1))


def _item(x: Interval) -> Interval:
    return x.summary()


def _part(values: list[Interval | None], index: Interval) -> Interval | None:
    return values[int(index.low)]


READ_NODE = frozenset(("_to_copy", "sum", "to"))
"""Whose rules look at the node too."""

RULES: Mapping[str, Callable[..., Any]] = {
    "_local_scalar_dense": _item,
    "_to_copy": _cast,
    "add": _add,
    "arange": _counted,
    "ceil": _monotone(torch.ceil),
    "clamp": _clamp,
    "clamp_min": _clamp,
    "div": _divide,
    "eq": _equal,
    "floor": _monotone(torch.floor),
    "full": _filled,
    "ge": _at_least,
    "getitem": _part,
    "gt": _greater,
    "item": _item,
    "le": lambda a, b: _at_least(b, a),
    "logical_and": lambda a, b: _monotone(torch.minimum)(_truth(a), _truth(b)),
    "logical_not": _not,
    "logical_or": lambda a, b: _monotone(torch.maximum)(_truth(a), _truth(b)),
    "lt": lambda a, b: _greater(b, a),
    "maximum": _monotone(torch.maximum),
    "minimum": _monotone(torch.minimum),
    "mul": _multiply,
    "ne": lambda a, b: _not(_equal(a, b)),
    "neg": lambda a: Interval(-a.high, -a.low),
    "round": _monotone(torch.round),
    "scalar_tensor": _filled,
    "sub": _subtract,
    "sum": _sum,
    "to": _cast,
    "where": _select,
}
