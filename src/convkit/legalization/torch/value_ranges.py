"""What the numbers can be that a program computes from its tensors and takes sizes from.

`x[: count.item()]` has a size that only the data tell, and torch knows no more of it than that it is not negative. Often the
graph tells more: a count of what a mask selects is at most the mask's size, and the end of a slice may be the same number
whatever the data are. Every integer is followed through the graph as an interval (`interval_arithmetic`):
element by element where a tensor has few, as one interval over all where it has many. Worker side.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import torch

from convkit.legalization import exported_program as programs
from convkit.legalization.torch.interval_arithmetic import EXACT, READ_NODE, RULES, Interval, UnknownError, edges

__all__ = ["intervals", "settled"]

_FEW = 256
"""Elements up to which every one has an interval of its own."""

_aten = torch.ops.aten


def settled(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program with the numbers that are read from its tensors as constants where they can be one only, and bounded where
    they can be few; the same program where it reads none.

    Args:
        program: It stays what it is, but for what its symbols' ranges are known to be.
    """
    if not any(_is_read(node) for node in programs.calls(program)):
        return program
    # What is changed in place is not what its node was: every value needs a node of its own.
    changed = (
        program.run_decompositions({}) if any(map(programs.is_in_place, programs.calls(program))) else programs.copied(program)
    )
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
        most = size if isinstance(size, int) else edges(size)[1]
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
    least = max(int(low), allowed.lower) if abs(low) < EXACT else allowed.lower
    most = min(int(high), allowed.upper) if abs(high) < EXACT else allowed.upper
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
        if name in _STRUCTURAL and node.target is not _aten.view.dtype:  # which reads the same bits in another way
            return _moved(node, known)
        rule = RULES.get(name)
        return None if rule is None else rule(*_arguments(node, known))
    except (UnknownError, RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError):
        return None  # a form that the rules do not know; nothing is claimed


def _arguments(node: torch.fx.Node, known: Mapping[torch.fx.Node, Any]) -> list[Any]:
    """A node's positional arguments, nodes and numbers as intervals.

    Raises:
        UnknownError: Nothing is known of one.
    """
    found = [_argument(a, known) for a in node.args]
    if isinstance(node.target, torch._ops.OpOverload) and node.target._opname in READ_NODE:
        found.insert(0, node)
    return found


def _argument(value: Any, known: Mapping[torch.fx.Node, Any]) -> Any:
    if isinstance(value, torch.fx.Node):
        interval = known.get(value)
        if interval is None:
            raise UnknownError
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
    return Interval.of(*edges(value))


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
        raise UnknownError
    values = node.meta["val"]
    if all(g.low.shape == n.meta["val"].shape for n, g in given.items()):
        with contextlib.suppress(UnknownError):
            low, high = (_applied(node, known, edge) for edge in ("low", "high"))
            if isinstance(low, torch.Tensor):
                return Interval(low, high)
            return [Interval(*ends) for ends in zip(low, high, strict=True)]
    wholes = [g.summary() for g in given.values()]
    union = Interval(torch.stack([w.low for w in wholes]).min(), torch.stack([w.high for w in wholes]).max())
    return [union] * len(values) if isinstance(values, (list, tuple)) else union


def _applied(node: torch.fx.Node, known: Mapping[torch.fx.Node, Any], edge: str) -> Any:
    def value(argument: torch.fx.Node) -> Any:
        interval = known.get(argument)
        if interval is None:
            raise UnknownError
        if isinstance(argument.meta.get("val"), torch.Tensor):
            return getattr(interval, edge)
        if not interval.is_exact:
            raise UnknownError
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

_WITHOUT_MEANING = frozenset(("device", "dtype", "layout", "memory_format", "non_blocking", "pin_memory"))
"""Keywords that change no value, or whose effect `_fitted` sees."""
