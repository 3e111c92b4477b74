"""The registry of PyTorch operators that are rewritten before litert-torch sees them, and what the rewrites share.

A planner is registered with `@rewrites` for the operators of a family. It looks at the symbolic shapes of one node and
returns None where the node is fine as it is, else a function that computes the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convkit.errors import ConversionError
from convkit.legalization.exported_program import place_of

if TYPE_CHECKING:
    import sympy  # type: ignore[import-untyped]
    import torch

    Compute = Callable[..., Any]

__all__ = [
    "DerivedInput",
    "Known",
    "Needs",
    "Replacement",
    "argument",
    "expression",
    "expression_of",
    "is_dynamic",
    "is_symbolic",
    "plan_replacement",
    "refuse",
    "rewrites",
    "shape_of",
]


@dataclass(frozen=True)
class DerivedInput:
    """An extra int32 input of the pinned program: the vector [size], or, as a range, [0, 1, …, size - 1]."""

    size: sympy.Expr
    is_range: bool


Known = Mapping[DerivedInput, Any]
"""The tensors that hold the derived inputs."""


class Needs:
    """Collects the derived inputs that the replacements of a graph read."""

    def __init__(self) -> None:
        self.found: dict[DerivedInput, None] = {}
        self.mentioned: dict[Any, None] = {}

    def mention(self, *sizes: Any) -> None:
        """Dimensions that a replacement makes up, so that they are recognised in the converted file."""
        self.mentioned.update(dict.fromkeys(s for s in sizes if s.free_symbols))

    def size(self, size: Any) -> DerivedInput:
        return self._need(DerivedInput(size, is_range=False))

    def range(self, size: Any) -> DerivedInput:
        return self._need(DerivedInput(size, is_range=True))

    def _need(self, derived: DerivedInput) -> DerivedInput:
        self.found[derived] = None
        return derived


_planners: dict[str, tuple[Callable[[torch.fx.Node, Needs], Compute | None], str]] = {}


@dataclass(frozen=True)
class Replacement:
    """What computes a node.

    Attributes:
        compute: Called with the mapping of derived inputs to tensors, then with the node's own arguments.
        reason: What it does instead, one clause.
    """

    compute: Compute
    reason: str


def rewrites(*operators: str, reason: str = "reads the dynamic size at run time") -> Callable[[Any], Any]:
    def register(planner: Any) -> Any:
        for operator in operators:
            _planners[f"aten.{operator}"] = (planner, reason)
        return planner

    return register


def plan_replacement(node: torch.fx.Node, needs: Needs) -> Replacement | None:
    """What computes this node at any size, None where the node itself does.

    Raises:
        ConversionError: The node depends on a dynamic size in a way that is not expressible.
    """
    from convkit.legalization import kernel_operators, size_operators  # noqa: F401 (they register themselves)

    planner, reason = _planners.get(str(node.target), (None, ""))
    compute = None if planner is None else planner(node, needs)
    return None if compute is None else Replacement(compute, reason)


def refuse(node: torch.fx.Node, why: str) -> ConversionError:
    return ConversionError(
        f"{node.target} ({place_of(node)}) {why}",
        component="litert-torch",
        hint="make that dimension static, or see `convkit plan` for another route",
    )


def argument(node: torch.fx.Node, position: int, name: str, default: Any = None) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def expression_of(value: Any) -> sympy.Expr:
    """The expression of an argument: an int, or a node that computes a size."""
    return expression(value.meta["val"] if hasattr(value, "meta") else value)


def shape_of(node: Any) -> list[sympy.Expr]:
    return [expression(d) for d in node.meta["val"].shape]


def is_dynamic(*sizes: Any) -> bool:
    return any(s.free_symbols for s in sizes)


def is_symbolic(value: Any) -> bool:
    import torch

    return hasattr(value, "meta") and isinstance(value.meta.get("val"), torch.SymInt | torch.SymFloat)


def expression(size: Any) -> sympy.Expr:
    """The sympy expression of an int or SymInt, with symbols that compare by name only."""
    import sympy

    if isinstance(size, int):
        return sympy.Integer(size)
    found = size.node.expr
    return found.xreplace({s: sympy.Symbol(s.name, integer=True, positive=True) for s in found.free_symbols})
