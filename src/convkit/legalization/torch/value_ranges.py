"""What the numbers can be that a program computes from its tensors and takes sizes from.

`x[: count.item()]` has a size that only the data tell, and torch knows no more of it than that it is not negative. Often the
graph tells more: a count of what a mask selects is at most the mask's size, and the end of a slice may be the same number
whatever the data are. Every integer is followed through the graph as an interval (interval arithmetic; R. E. Moore, 1966):
element by element where a tensor has few, as one interval over all where it has many. Worker side.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from convkit.legalization import exported_program as programs

__all__ = ["Interval", "intervals", "settled"]

_FEW = 256
"""Elements up to which every one has an interval of its own."""

_EXACT = float(1 << 53)
"""Beyond, float64 does not tell integers apart."""

_aten = torch.ops.aten


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
        return bool((self.low == self.high).all()) and bool((self.low.abs() < _EXACT).all())

    def summary(self) -> Interval:
        """One interval over all elements."""
        return Interval(self.low.min(), self.high.max()) if self.low.numel() else Interval.of(0, 0)


def settled(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program with the numbers that are read from its tensors as constants where they can be one only, and bounded where
    they can be few; the same program where it reads none.

    Args:
        program: It stays what it is, but for what its symbols' ranges are known to be.
    """
    if not any(_is_read(node) for node in programs.calls(program)):
        return program
    changed = programs.copied(program)
    constants = {
        node: int(interval.low)
        for node, interval in intervals(changed).items()
        if _is_read(node) and isinstance(interval, Interval) and interval.is_exact
    }
    if not constants:
        return changed
    for node, number in constants.items():
        node.replace_all_uses_with(number)
    changed.graph.eliminate_dead_code()
    return changed.run_decompositions({})  # which computes the sizes anew


def _is_read(node: torch.fx.Node) -> bool:
    return node.target in (_aten.item.default, _aten._local_scalar_dense.default)


def _bound_part(program: torch.export.ExportedProgram, node: torch.fx.Node) -> None:
    """A part along an axis is no longer than the axis."""
    whole, axis = node.args[0], node.args[1] if len(node.args) > 1 else 0
    if isinstance(whole, torch.fx.Node) and isinstance(axis, int):
        size = whole.meta["val"].shape[axis]
        most = size if isinstance(size, int) else _edges(size)[1]
        _bound(program, node.meta["val"].shape[axis], Interval.of(0, most))


def _bound(program: torch.export.ExportedProgram, symbol: Any, interval: Interval) -> None:
    """Tells the program's shape environment what a symbol can be that only the data tell."""
    from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
    from torch.utils._sympy.value_ranges import ValueRanges

    if not isinstance(symbol, torch.SymInt) or not symbol.node.expr.is_Symbol or not free_unbacked_symbols(symbol):
        return
    expression, environment = symbol.node.expr, symbol.node.shape_env
    allowed = environment.var_to_range[expression]
    low, high = (float(edge) for edge in (interval.low, interval.high))
    least = max(int(low), allowed.lower) if abs(low) < _EXACT else allowed.lower
    most = min(int(high), allowed.upper) if abs(high) < _EXACT else allowed.upper
    if least <= most:
        program._range_constraints[expression] = environment.var_to_range[expression] = ValueRanges(least, most)
        environment._update_version_counter()


def intervals(program: torch.export.ExportedProgram) -> dict[torch.fx.Node, Interval | list[Interval | None]]:
    """What is known of the values of a program's nodes; a list where a node has several."""
    known: dict[torch.fx.Node, Any] = {}
    constants = _constants(program)
    for node in program.graph.nodes:
        if node.op == "placeholder":
            found = _of_tensor(constants[node.name]) if node.name in constants else None
        elif node.op == "call_function":
            found = _of_call(node, known)
        else:
            continue
        found = _fitted(found, node.meta.get("val"))
        if found is not None:
            known[node] = found
            if _is_read(node):
                _bound(program, node.meta["val"], found)
        if node.target is _aten.slice.Tensor:
            _bound_part(program, node)
    return known


def _constants(program: torch.export.ExportedProgram) -> dict[str, torch.Tensor]:
    """The tensors that the program holds and does not change, by the name of their node."""
    signature = program.graph_signature
    changed = set(signature.buffers_to_mutate.values())
    named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
    held = {**program.constants, **program.state_dict}
    return {n: held[t] for n, t in named.items() if t not in changed and isinstance(held.get(t), torch.Tensor)}


def _of_tensor(tensor: torch.Tensor) -> Interval | None:
    if tensor.is_complex() or not tensor.numel() or (tensor.is_floating_point() and tensor.numel() > _FEW):
        return None
    values = tensor.detach().to(torch.float64)
    interval = Interval(values, values)
    return interval if tensor.numel() <= _FEW else interval.summary()


def _of_call(node: torch.fx.Node, known: Mapping[torch.fx.Node, Any]) -> Any:
    value = node.meta.get("val")
    if isinstance(value, (torch.SymInt, torch.SymBool)) and not _is_read(node):
        return _of_symbol(value)
    name = node.target._opname if isinstance(node.target, torch._ops.OpOverload) else getattr(node.target, "__name__", "")
    if not _WITHOUT_MEANING.issuperset(node.kwargs):  # alpha, rounding_mode
        return None
    try:
        if name in _STRUCTURAL:
            return _moved(node, known)
        rule = _RULES.get(name)
        return None if rule is None else rule(*_arguments(node, known))
    except (_UnknownError, RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError):
        return None  # a form that the rules do not know; nothing is claimed


class _UnknownError(Exception):
    """Nothing is known of an argument."""


def _arguments(node: torch.fx.Node, known: Mapping[torch.fx.Node, Any]) -> list[Any]:
    """A node's positional arguments, nodes and numbers as intervals.

    Raises:
        _UnknownError: Nothing is known of one.
    """
    found = [_argument(a, known) for a in node.args]
    if isinstance(node.target, torch._ops.OpOverload) and node.target._opname in _READ_NODE:
        found.insert(0, node)
    return found


def _argument(value: Any, known: Mapping[torch.fx.Node, Any]) -> Any:
    if isinstance(value, torch.fx.Node):
        interval = known.get(value)
        if interval is None:
            raise _UnknownError
        return interval
    if isinstance(value, (bool, int, float)):
        return Interval.of(value, value)
    return value


def _of_symbol(value: Any) -> Interval:
    """A number that torch follows itself: a size, or what is computed of sizes; and whether a comparison of them holds."""
    if isinstance(value, torch.SymBool):
        return Interval.of(0, 1)
    expression = value.node.expr
    if expression.is_Piecewise:  # `sym_ite`, of which torch knows no bounds
        cases = [case.expr for case in expression.args]
        numbers = [int(case) for case in cases if case.is_Integer]
        return Interval.of(min(numbers), max(numbers)) if len(numbers) == len(cases) else Interval.of(-torch.inf, torch.inf)
    return Interval.of(*_edges(value))


def _edges(value: Any) -> tuple[float, float]:
    """The bounds of a symbolic int."""
    found = value.node.shape_env.bound_sympy(value.node.expr)
    return tuple(_number(edge) for edge in (found.lower, found.upper))  # type: ignore[return-value]


def _number(edge: Any) -> float:
    number = float(edge)
    return number if abs(number) < _EXACT else torch.inf if number > 0 else -torch.inf


def _fitted(found: Any, value: Any) -> Any:
    """An interval as its node needs it: element by element where there are few, else as one; None where nothing is known."""
    if isinstance(found, list):
        return [_fitted(f, v) for f, v in zip(found, value, strict=False)]
    if isinstance(value, torch.Tensor):
        found = _rounded(found, value.dtype)
    if found is None or not bool((found.low <= found.high).all()):  # NaN is no bound
        return None
    if not isinstance(value, torch.Tensor):
        return found.summary()
    if all(isinstance(size, int) for size in value.shape) and value.numel() <= _FEW:
        return Interval(found.low.expand(value.shape), found.high.expand(value.shape))
    return found.summary()


def _rounded(found: Interval | None, dtype: torch.dtype) -> Interval | None:
    """What a dtype makes of an interval: floats are rounded, integers wrap around, and then nothing is known."""
    if dtype is torch.bool:
        return found or Interval.of(0, 1)
    if found is None or dtype.is_complex:
        return None
    if dtype.is_floating_point:
        step = torch.finfo(dtype).eps
        exact = (found.low == found.high) & (found.low == found.low.to(dtype).to(torch.float64))
        return Interval(
            torch.where(exact, found.low, found.low - step * found.low.abs()),
            torch.where(exact, found.high, found.high + step * found.high.abs()),
        )
    limits = torch.iinfo(dtype)
    wraps = (found.low < limits.min) | (found.high > limits.max)
    return Interval(torch.where(wraps, float(limits.min), found.low), torch.where(wraps, float(limits.max), found.high))


def _moved(node: torch.fx.Node, known: Mapping[torch.fx.Node, Any]) -> Any:
    """What an operator makes that only moves elements: it is applied to the bounds, or may have taken any of them."""
    moved = [n for n in node.all_input_nodes if isinstance(n.meta.get("val"), torch.Tensor)]
    given = {n: interval for n in moved if isinstance(interval := known.get(n), Interval)}
    if not given or len(given) < len(moved):
        raise _UnknownError
    values = node.meta["val"]
    if all(g.low.shape == n.meta["val"].shape for n, g in given.items()):
        with contextlib.suppress(_UnknownError):
            low, high = (_applied(node, known, edge) for edge in ("low", "high"))
            if isinstance(low, torch.Tensor):
                return Interval(low, high)
            return [Interval(*edges) for edges in zip(low, high, strict=True)]
    edges = [g.summary() for g in given.values()]
    union = Interval(torch.stack([e.low for e in edges]).min(), torch.stack([e.high for e in edges]).max())
    return [union] * len(values) if isinstance(values, (list, tuple)) else union


def _applied(node: torch.fx.Node, known: Mapping[torch.fx.Node, Any], edge: str) -> Any:
    def value(argument: torch.fx.Node) -> Any:
        interval = known.get(argument)
        if interval is None:
            raise _UnknownError
        if isinstance(argument.meta.get("val"), torch.Tensor):
            return getattr(interval, edge)
        if not interval.is_exact:
            raise _UnknownError
        return int(interval.low)

    arguments = torch.fx.node.map_arg(node.args, value)
    assert callable(node.target)
    return node.target(*arguments)


_STRUCTURAL = frozenset(
    (
        "alias", "cat", "clone", "contiguous", "detach", "expand", "flatten", "flip", "lift_fresh_copy", "permute", "reshape",
        "select", "slice", "split", "split_with_sizes", "squeeze", "stack", "t", "transpose", "unbind", "unsqueeze", "view",
        "_unsafe_view",
    )
)  # fmt: skip


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
        raise _UnknownError
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
    """Over any axes: as many elements as there can be, of which each is between the bounds."""
    (whole,) = (a for a in node.args[:1] if isinstance(a, torch.fx.Node))
    count = 1.0
    for size in whole.meta["val"].shape:
        count *= float(size) if isinstance(size, int) else max(0.0, _edges(size)[1])
    edges = x.summary()
    return Interval(torch.clamp(edges.low, max=0.0) * count, torch.clamp(edges.high, min=0.0) * count)


def _filled(*arguments: Any) -> Interval:
    return next(a for a in reversed(arguments) if isinstance(a, Interval))


def _counted(start: Interval, end: Interval | None = None, step: Interval | None = None) -> Interval:
    """arange: from the first number to one before the last, by steps of one or more."""
    first, last = (Interval.of(0, 0), start) if end is None else (start, end)
    if step is not None and not bool((step.low >= 1).all()):
        raise _UnknownError
    return Interval(first.low, torch.maximum(first.low, last.high - 1))


def _item(x: Interval) -> Interval:
    return x.summary()


def _part(values: list[Interval | None], index: Interval) -> Interval | None:
    return values[int(index.low)]


_WITHOUT_MEANING = frozenset(("device", "dtype", "layout", "memory_format", "non_blocking", "pin_memory"))
"""Keywords that change no value, or whose effect `_fitted` sees."""

_READ_NODE = frozenset(("_to_copy", "sum", "to"))
"""Whose rules look at the node too."""

_RULES: Mapping[str, Callable[..., Any]] = {
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
