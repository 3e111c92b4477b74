"""What a captured program asserts of its sizes, where torch asserts more than the model needs. Worker side."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import fx

__all__ = ["above_one", "allow_one", "input_sizes", "serialisable", "unsolved"]

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

    with mock.patch.object(DimConstraints, "solve", attempt):
        yield


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
    first, *others = node.args[0]  # type: ignore[misc]
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


def above_one(program: torch.export.ExportedProgram) -> dict[Any, list[fx.Node]]:
    """The symbols of which a program asserts that they are not 1, with the assertions.

    torch asks that where it decides on strides and on broadcasting, which no kernel needs to know before it runs.
    """
    import torch

    found: dict[Any, list[fx.Node]] = {}
    for node in program.graph.find_nodes(op="call_function", target=torch.ops.aten._assert_scalar.default):
        value = node.args[0].meta.get("val") if hasattr(node.args[0], "meta") else None
        symbol = _not_one(getattr(getattr(value, "node", None), "expr", None))
        if symbol is not None:
            found.setdefault(symbol, []).append(node)
    for symbol, allowed in program.range_constraints.items():
        if symbol.is_symbol and allowed.lower == 2:
            found.setdefault(symbol, [])
    return found


def _not_one(condition: Any) -> Any:
    """The symbol that a condition only keeps from 1 (or 0), else None."""
    import sympy

    if not isinstance(condition, (sympy.Ne, sympy.Gt, sympy.Lt, sympy.Ge, sympy.Le)) or len(condition.free_symbols) != 1:
        return None
    (symbol,) = condition.free_symbols
    if symbol not in condition.args:
        return None
    return symbol if all(condition.subs(symbol, size) == sympy.true for size in (2, 3, 1 << 40)) else None


def allow_one(program: torch.export.ExportedProgram, root: torch.nn.Module, feeds: Feeds, dims: Mapping[Any, str]) -> None:
    """Takes away the assertions that a size is not 1, where the program computes at 1 what the module does.

    Args:
        program: A captured program.
        root: The module that it was captured from.
        feeds: See `Feeds`.
        dims: The dimension's name of every symbol.
    """
    asserted = {symbol: nodes for symbol, nodes in above_one(program).items() if symbol in dims}
    groups = [list(asserted), *([s] for s in asserted)] if len(asserted) > 1 else [list(asserted)]
    for symbols in groups:
        if symbols and all(s in asserted for s in symbols) and _agrees(program, root, feeds({dims[s]: 1 for s in symbols})):
            for symbol in symbols:
                _let_be_one(program, symbol, asserted.pop(symbol))


def _agrees(program: torch.export.ExportedProgram, root: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> bool:
    """Whether the program's operators, its assertions aside, give what the module gives."""
    import torch

    with torch.no_grad():
        try:
            wanted = root(*inputs)
            got = _Unchecked(program).run(*inputs)
        except Exception:
            return False  # the model has no such size
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


def _let_be_one(program: torch.export.ExportedProgram, symbol: Any, assertions: Sequence[fx.Node]) -> None:
    from torch.utils._sympy.value_ranges import ValueRanges

    for node in assertions:
        condition = node.args[0]
        node.graph.erase_node(node)
        _erase_unused(condition)
    program.graph_module.recompile()
    allowed = program.range_constraints.get(symbol)
    if allowed is not None and allowed.lower == 2:
        program.range_constraints[symbol] = ValueRanges(1, allowed.upper)


def _erase_unused(node: Any) -> None:
    """Erases arithmetic on sizes that has no use any more."""
    if hasattr(node, "users") and node.op == "call_function" and not node.users:
        inputs = node.all_input_nodes
        node.graph.erase_node(node)
        for given in inputs:
            _erase_unused(given)
