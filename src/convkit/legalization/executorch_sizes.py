"""Arithmetic on dynamic sizes in the operators that ExecuTorch's runtime has for it. Worker side.

The runtime computes sizes with a fixed set of scalar operators (`executorch_prim`, kernels/prim_ops/register_prim_ops.cpp). What
torch writes into a graph besides these is written out here.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from convkit.legalization.codes import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

__all__ = ["accepted_sums", "refusal", "write_out"]

_NO_LOOP = Reason("ExecuTorch has no loop whose end only the data tell", "CK105")
_UNKNOWN = "ExecuTorch's runtime does not compute {} of sizes"

_Calls = Callable[..., Any]
"""Adds a call of a function to the graph and returns its node; computes it at once where no argument is a node."""


def refusal(node: torch.fx.Node) -> str:
    """Why the runtime cannot compute a node that is no ATen operator; "" where it can, or need not."""
    import torch

    if isinstance(node.target, torch._ops.OpOverload):
        return ""
    if isinstance(node.target, torch._ops.HigherOrderOperator):
        return _NO_LOOP if node.target is torch.ops.higher_order.while_loop else ""
    if _is_known(node) or _written(node, _planned(node)) is not None or _is_only_asserted(node):
        return ""
    return Reason(_UNKNOWN.format(getattr(node.target, "__name__", node.target)), "CK107")


def write_out(graph_module: torch.fx.GraphModule) -> Any:
    """A pass of ExecuTorch's compiler: replaces what the runtime does not know, in the branches and bodies too."""
    import torch
    from torch.fx.passes.infra.pass_base import PassResult

    changed = False
    for module in graph_module.modules():
        if not isinstance(module, torch.fx.GraphModule):
            continue
        for node in list(module.graph.nodes):
            if node.op != "call_function" or _is_known(node):
                continue
            with module.graph.inserting_before(node):
                found = _written(node, _calls(module.graph))
            if found is not None:
                node.replace_all_uses_with(found)
                module.graph.erase_node(node)
                changed = True
        module.recompile()
    return PassResult(graph_module, changed)


@contextmanager
def accepted_sums() -> Iterator[None]:
    """Has the compiler's passes take torch's sum of several sizes for an operator on sizes, until it is written out.

    Neither torch's nor ExecuTorch's base of passes knows it (torch 2.13, executorch 1.4.1), though torch itself writes it.
    """
    import torch
    from executorch.exir import pass_base
    from torch._export import pass_base as torch_pass_base

    unaware = [known for known in (pass_base._TORCH_SYM_OPS, torch_pass_base._TORCH_SYM_OPS) if torch.sym_sum not in known]
    for known in unaware:
        known.add(torch.sym_sum)
    try:
        yield
    finally:
        for known in unaware:
            known.discard(torch.sym_sum)


def _is_known(node: torch.fx.Node) -> bool:
    """Whether the runtime has the operator, and for the node's numbers: its extremes are those of whole numbers."""
    import torch
    from executorch.exir.passes.executorch_prim_ops_registry import is_sym_op

    if node.target in (torch.sym_max, torch.sym_min):
        return isinstance(_value(node), (int, torch.SymInt))
    return node.target is operator.getitem or bool(is_sym_op(node.target))


def _is_only_asserted(node: torch.fx.Node) -> bool:
    """Whether only assertions come of a node, which the compiler takes away."""
    return all("assert" in str(user.target) or (user.op == "call_function" and _is_only_asserted(user)) for user in node.users)


def _value(argument: Any) -> Any:
    import torch

    return argument.meta["val"] if isinstance(argument, torch.fx.Node) else argument


def _calls(graph: torch.fx.Graph) -> _Calls:
    import torch

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        value = function(*map(_value, arguments))
        if not any(isinstance(a, torch.fx.Node) for a in arguments):
            return value
        node = graph.call_function(function, arguments)
        node.meta["val"] = value
        return node

    return call


def _planned(node: torch.fx.Node) -> _Calls:
    """Calls that leave the graph as it is, to ask whether an operator can be written out."""
    return lambda function, *arguments: node


def _written(node: torch.fx.Node, call: _Calls) -> Any:
    """The node of an equal value; None where there is none in the runtime's operators."""
    function = _written_out().get(node.target)
    return None if function is None else function(call, *node.args)


def _sum(call: _Calls, *terms: Any) -> Any:
    terms = tuple(terms[0]) if isinstance(terms[0], (list, tuple)) else terms
    return functools.reduce(lambda a, b: call(operator.add, a, b), terms)


def _power(call: _Calls, base: Any, exponent: Any) -> Any:
    if not isinstance(exponent, int) or not 1 <= exponent <= 8:
        return None
    return functools.reduce(lambda a, b: call(operator.mul, a, b), itertools.repeat(base, exponent))


def _floor(call: _Calls, x: Any) -> Any:
    return call(operator.neg, call(math.ceil, call(operator.neg, x)))


def _choice(comparison: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def choose(call: _Calls, a: Any, b: Any) -> Any:
        import torch

        # `sym_ite` chooses between values of one type: a number becomes a sum with nothing of the other.
        one, other = (v if _is_symbolic(v) else call(operator.add, call(operator.mul, w, 0.0), v) for v, w in ((a, b), (b, a)))
        return call(torch.sym_ite, call(comparison, a, b), one, other)

    return choose


def _is_symbolic(argument: Any) -> bool:
    import torch

    return isinstance(_value(argument), torch.SymFloat)


def _different(call: _Calls, a: Any, b: Any) -> Any:
    import torch

    return call(torch.sym_not, call(operator.eq, a, b))


def _conjunction(call: _Calls, a: Any, b: Any) -> Any:
    return call(operator.eq, call(operator.mul, _number(call, a), _number(call, b)), 1) if _are_truths((a, b)) else None


def _disjunction(call: _Calls, a: Any, b: Any) -> Any:
    return call(operator.ge, call(operator.add, _number(call, a), _number(call, b)), 1) if _are_truths((a, b)) else None


def _number(call: _Calls, truth: Any) -> Any:
    import torch

    return call(torch.sym_ite, truth, 1, 0)


def _are_truths(arguments: Iterable[Any]) -> bool:
    import torch

    return all(isinstance(_value(a), (bool, torch.SymBool)) for a in arguments)


@cache
def _written_out() -> Mapping[Any, Callable[..., Any]]:
    import torch

    return {
        torch.sym_sum: _sum,
        torch.sym_max: _choice(operator.ge),
        torch.sym_min: _choice(operator.le),
        math.floor: _floor,
        operator.and_: _conjunction,
        operator.ne: _different,
        operator.or_: _disjunction,
        operator.pow: _power,
    }
