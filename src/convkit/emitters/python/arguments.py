"""The arguments of a call of an operator, by the names that its schema has for them, and how they are written."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from convkit.emitters.python.expressions import ATOM, Expression, Text, call, flat

__all__ = ["Arguments", "Code", "attribute_of", "functional", "is_uniform"]

Code = Callable[[Any], Expression]


@dataclass(frozen=True)
class Arguments:
    """The arguments of one call by their names in the schema, and how a value is written.

    Attributes:
        node: The call.
        given: What the call gives, by name, in the schema's order.
        code: Writes a value.
        device: An expression for the device that new tensors belong on, "" where nothing tells.
    """

    node: torch.fx.Node
    given: Mapping[str, Any]
    code: Code
    device: str

    @property
    def schema(self) -> torch._C.FunctionSchema:
        return self.node.target._schema

    def __getitem__(self, name: str) -> Any:
        """A value, the schema's default where it is not given."""
        if name in self.given:
            return self.given[name]
        return next(a.default_value for a in self.schema.arguments if a.name == name)

    def has(self, *names: str) -> bool:
        """Whether one of these is given, other than as its default."""
        return any(a.name in names for a in self.departing())

    def departing(self) -> Iterator[torch._C.Argument]:
        """The arguments that are not left at their defaults."""
        for argument in self.schema.arguments:
            if argument.name in self.given and not self._is_default(argument):
                yield argument

    def _is_default(self, argument: torch._C.Argument) -> bool:
        value = self.given[argument.name]
        if argument.name in _USUAL:
            return value in _USUAL[argument.name]
        if not argument.has_default_value() or isinstance(value, torch.fx.Node):
            return False
        default = argument.default_value
        if isinstance(value, list | tuple):
            if any(isinstance(v, torch.fx.Node) for v in value):
                return False
            value = list(value) * (argument.N or 1) if len(value) == 1 else list(value)
        return type(value) is type(default) and bool(value == default)

    def written(self, name: str) -> Expression:
        """A value; `1` for `[1, 1]` where the schema fixes how many there are."""
        value = self[name]
        width = next(a.N for a in self.schema.arguments if a.name == name)
        return self.code(value[0] if is_uniform(value) and len(value) == width else value)

    def tensor(self, name: str = "self") -> str:
        """A tensor, ready for a method call behind it."""
        return attribute_of(self.code(self[name]))

    def rank_of(self, name: str = "self") -> int | None:
        """How many dimensions a tensor has, None where that is not recorded."""
        value = self._traced(name)
        return None if value is None else value.dim()

    def dtype_of(self, name: str = "self") -> torch.dtype | None:
        value = self._traced(name)
        return None if value is None else value.dtype

    def _traced(self, name: str) -> torch.Tensor | None:
        value = self[name].meta.get("val") if isinstance(self[name], torch.fx.Node) else None
        return value if isinstance(value, torch.Tensor) else None


_USUAL = {
    "layout": (None, torch.strided),
    "pin_memory": (None, False),
    # Which library computes is no matter of the CPU.
    "cudnn_enable": (False, True),
    "cudnn_enabled": (False, True),
}


def is_uniform(value: Any) -> bool:
    """Whether a list repeats one constant."""
    return isinstance(value, list | tuple) and len(value) > 0 and all(type(v) is int and v == value[0] for v in value)


def attribute_of(expression: Expression) -> str:
    text = flat(expression)
    return f"({text})" if isinstance(expression, Text) and expression.rank < ATOM else text


def functional(name: str, **values: Expression) -> Expression | None:
    """A call of a Python function of torch.nn.functional; its own defaults are left out. None where it lacks an argument."""
    # Pooling is behind a switch on `return_indices`, which hides its arguments.
    function: Callable[..., Any] = getattr(F, f"_{name}" if name.startswith("max_pool") else name)
    parameters = inspect.signature(function).parameters
    if not values.keys() <= parameters.keys():
        return None
    in_order: list[Expression] = []
    by_name: dict[str, Expression] = {}
    for parameter in parameters.values():
        value = values.get(parameter.name)
        if value is None or flat(value) == repr(parameter.default):
            if parameter.default is parameter.empty:
                return None
            continue
        at_its_place = len(in_order) == list(parameters).index(parameter.name)
        if at_its_place and (parameter.default is parameter.empty or _may_be_tensor(parameter)):
            in_order.append(value)
        else:
            by_name[parameter.name] = value
    return call(f"F.{name}", in_order, **by_name)


def _may_be_tensor(parameter: inspect.Parameter) -> bool:
    return "Tensor" in str(parameter.annotation)
