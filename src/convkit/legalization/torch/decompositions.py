"""The registry of decompositions, and the table that a target needs of them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from convkit.legalization.torch.targets import TorchTarget

__all__ = ["UNROLLED", "Decomposition", "by_torch", "decomposes", "registered", "table"]

UNROLLED = 64
"""How many steps along an axis are written out at most; a longer axis stays what it is."""


@dataclass(frozen=True)
class Decomposition:
    """How one operator is written out.

    Attributes:
        function: Takes the operator's arguments; returns its results, or NotImplemented.
        reason: What it does, one clause.
    """

    function: Callable[..., Any]
    reason: str


_registered: dict[str, Decomposition] = {}


def decomposes(*operators: str, reason: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a function for ATen overloads, for example "lgamma.default"."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for operator in operators:
            _registered[f"aten.{operator}"] = Decomposition(function, reason)
        return function

    return register


@cache
def registered() -> Mapping[str, Decomposition]:
    """Every decomposition by the operator's name, for example "aten.lgamma.default"."""
    import convkit.legalization.torch as families

    for module in pkgutil.iter_modules(families.__path__):
        importlib.import_module(f"{families.__name__}.{module.name}")
    return dict(_registered)


def _overload(name: str) -> torch._ops.OpOverload | None:
    """The overload of a name, None where this torch version has no such one."""
    import torch

    _, packet, overload = name.split(".")
    return getattr(getattr(torch.ops.aten, packet, None), overload, None)


@cache
def table(target: TorchTarget) -> Mapping[torch._ops.OpOverload, Callable[..., Any]]:
    """The decompositions that a target needs, for `ExportedProgram.run_decompositions`."""
    found = {}
    for name in (*registered(), *(form for form in target.forms if form not in registered())):
        operator = _overload(name)
        if operator is not None and (name in target.forms or not target.accepts(operator)):
            found[operator] = _outside(operator, target)
    return found


def _outside(operator: torch._ops.OpOverload, target: TorchTarget) -> Callable[..., Any]:
    """The decomposition of an operator in the forms that the target does not take: convkit's, else torch's own."""
    takes, own = target.forms.get(str(operator)), registered().get(str(operator))

    def decomposition(*args: Any, **kwargs: Any) -> Any:
        if takes is not None and takes(*args, **kwargs):
            return NotImplemented
        found = NotImplemented if own is None else own.function(*args, **kwargs)
        return by_torch(operator, *args, **kwargs) if found is NotImplemented else found

    return decomposition


def by_torch(operator: torch._ops.OpOverload, *args: Any, **kwargs: Any) -> Any:
    """Torch's own decomposition of an operator, NotImplemented where it has none."""
    import torch

    if function := torch._decomp.decomposition_table.get(operator):
        return function(*args, **kwargs)
    composite = torch._C.DispatchKey.CompositeImplicitAutograd
    # Not `operator.decompose`: while a program is decomposed that asks the table, which is where this comes from.
    return operator._op_dk(composite, *args, **kwargs) if operator.has_kernel_for_dispatch_key(composite) else NotImplemented
