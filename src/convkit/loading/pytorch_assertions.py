"""What a captured program asserts of its sizes, where torch asserts more than the model needs. Worker side."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import fx

__all__ = ["allow_one", "drop_implied", "input_sizes", "serialisable", "unsolved"]

Feeds = Callable[[Mapping[str, int]], Sequence["torch.Tensor"]]
"""Makes a program's inputs, with other sizes for the dimensions of these names."""


@contextmanager
def unsolved() -> Iterator[None]:
    """Within it, torch leaves a condition on a size that sympy cannot solve to the program's assertions."""
    from torch.fx.experimental.symbolic_shapes import DimConstraints

    solve = DimConstraints.solve

    def attempt(constraints: DimConstraints) -> None:
        try:
            solve(constraints)
        except NotImplementedError:
            # "cannot be solved using solve_univariate_inequality": it wants to phrase a suggestion, which nobody needs.
            return

    DimConstraints.solve = attempt
    try:
        yield
    finally:
        DimConstraints.solve = solve


def serialisable(program: torch.export.ExportedProgram) -> None:
    """Writes sums of more than two sizes as additions; torch cannot save its own `sym_sum`."""
    import torch

    for graph_module in program.graph_module.modules():
        if not isinstance(graph_module, torch.fx.GraphModule):
            continue
        for node in graph_module.graph.find_nodes(op="call_function", target=torch.sym_sum):
            _added(node)
        graph_module.recompile()


def _added(node: fx.Node) -> None:
    first, *others = node.args[0]
    graph = node.graph
    with graph.inserting_before(node):
        total = first
        for other in others:
            values = [v.meta["val"] if hasattr(v, "meta") else v for v in (total, other)]
            total = graph.call_function(operator.add, (total, other))
            total.meta = {**node.meta, "val": values[0] + values[1]}
    total.meta["val"] = node.meta["val"]
    node.replace_all_uses_with(total)
    graph.erase_node(node)


def input_sizes(program: torch.export.ExportedProgram) -> list[tuple[Any, ...]]:
    """The shape of every input as the program has it, symbols included."""
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    found = []
    for name in program.graph_signature.user_inputs:
        node = nodes.get(str(name))
        found.append(tuple(getattr(node.meta.get("val"), "shape", ())) if node is not None else ())
    return found


def drop_implied(program: torch.export.ExportedProgram) -> None:
    """Takes away the assertions that follow from another one, which says that some size is a number.

    Some of these torch writes and cannot read.
    """
    import sympy  # type: ignore[import-untyped]

    conditions = [(node, condition) for node, condition in _assertions(program) if isinstance(condition, sympy.Eq)]
    numbers = {c.lhs: c.rhs for _, c in conditions if c.rhs.is_number and not c.lhs.is_number}
    for node, condition in conditions:
        if condition.lhs not in numbers and condition.subs(numbers) == sympy.true:
            _erase(node)
    program.graph_module.recompile()


def _assertions(program: torch.export.ExportedProgram) -> Iterator[tuple[fx.Node, Any]]:
    """The assertions on sizes, with the condition of each."""
    import torch

    for node in list(program.graph.find_nodes(op="call_function", target=torch.ops.aten._assert_scalar.default)):
        value = node.args[0].meta.get("val") if hasattr(node.args[0], "meta") else None
        condition = getattr(getattr(value, "node", None), "expr", None)
        if condition is not None:
            yield node, condition


def _excludes_one(condition: Any) -> bool:
    """Whether a condition says of some size that it is not 1, or not 0.

    torch asks that where it decides on strides and on broadcasting, which no kernel needs to know before it runs.
    """
    import sympy

    if isinstance(condition, sympy.Ne):
        return any(side in (0, 1) for side in condition.args)
    if isinstance(condition, sympy.Gt | sympy.Lt):
        return bool(condition.lts == 1)
    return isinstance(condition, sympy.Ge | sympy.Le) and bool(condition.lts == 2)


def allow_one(program: torch.export.ExportedProgram, root: torch.nn.Module, feeds: Feeds, dims: Mapping[Any, str]) -> None:
    """Takes away the assertions that a size is not 1, where the program computes at 1 what the module does.

    Args:
        program: A captured program.
        root: The module that it was captured from.
        feeds: See `Feeds`.
        dims: The dimension's name of every symbol.
    """
    import sympy

    asserted = [(node, c) for node, c in _assertions(program) if _excludes_one(c) and c.free_symbols <= set(dims)]
    bounded = [s for s, allowed in program.range_constraints.items() if s in dims and allowed.lower == 2]
    symbols = sorted({s for _, c in asserted for s in c.free_symbols} | set(bounded), key=str)
    usual = _sizes_of(program, feeds({}))
    points = [dict.fromkeys(symbols, 1), *({s: 1} for s in symbols if len(symbols) > 1)] if symbols else []
    agrees = [_agrees(program, root, feeds({dims[s]: 1 for s in point})) for point in points]
    for node, condition in asserted:
        verdicts = [a for a, point in zip(agrees, points, strict=True) if condition.subs({**usual, **point}) != sympy.true]
        if True in verdicts and False not in verdicts:
            _erase(node)
    for symbol in bounded:
        verdicts = [a for a, point in zip(agrees, points, strict=True) if symbol in point]
        if True in verdicts and False not in verdicts:
            _lower_to_one(program, symbol)
    program.graph_module.recompile()


def _agrees(program: torch.export.ExportedProgram, root: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> bool | None:
    """Whether the program's operators, its assertions aside, give what the module gives; None where it takes no such sizes."""
    import torch

    with torch.no_grad():
        try:
            wanted = root(*inputs)
        except Exception:
            return None
        try:
            got = _Unchecked(program).run(*inputs)
        except Exception:
            return False
    return len(wanted) == len(got) and all(
        a.shape == b.shape and a.dtype == b.dtype and np.allclose(_numpy(a), _numpy(b), 1e-3, 1e-4, equal_nan=True)
        for a, b in zip(wanted, got, strict=True)
    )


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return np.asarray((tensor.float() if tensor.is_floating_point() else tensor).numpy())


class _Unchecked:
    """Runs a program without its assertions."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        self._program = program

    def run(self, *inputs: torch.Tensor) -> Sequence[torch.Tensor]:
        import torch

        class Interpreter(torch.fx.Interpreter):  # type: ignore[misc]
            def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
                if target is torch.ops.aten._assert_scalar.default:
                    return None
                return super().call_function(target, args, kwargs)

        program = self._program
        signature = program.graph_signature
        values = {**program.state_dict, **program.constants}
        owned = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        owned.update(signature.inputs_to_lifted_tensor_constants)
        given = dict(zip(signature.user_inputs, inputs, strict=True))
        names = [node.name for node in program.graph.nodes if node.op == "placeholder"]
        arguments = [given[name] if name in given else values[owned[name]] for name in names]
        results: Sequence[torch.Tensor] = Interpreter(program.graph_module).run(*arguments)
        return results


def _sizes_of(program: torch.export.ExportedProgram, inputs: Sequence[torch.Tensor]) -> dict[Any, int]:
    """The number that every symbol of a program's inputs is with these."""
    found = {}
    for tensor, sizes in zip(inputs, input_sizes(program), strict=True):
        found.update({s.node.expr: n for s, n in zip(sizes, tensor.shape, strict=True) if not isinstance(s, int)})
    return found


def _lower_to_one(program: torch.export.ExportedProgram, symbol: Any) -> None:
    from torch.utils._sympy.value_ranges import ValueRanges

    program.range_constraints[symbol] = ValueRanges(1, program.range_constraints[symbol].upper)


def _erase(assertion: fx.Node) -> None:
    condition = assertion.args[0]
    assertion.graph.erase_node(assertion)
    _erase_unused(condition)


def _erase_unused(node: Any) -> None:
    """Erases arithmetic on sizes that has no use any more."""
    if hasattr(node, "users") and node.op == "call_function" and not node.users:
        inputs = node.all_input_nodes
        node.graph.erase_node(node)
        for given in inputs:
            _erase_unused(given)
