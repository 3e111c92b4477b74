"""Kernels by name: an out-variant becomes the functional operator of the same schema, what only ExecuTorch has is written here.

The functions for ExecuTorch's own operators stand in `operators/`, one family a file, and register themselves in `kernel`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import torch

from convkit.interpreters.executorch.program import Indices, Method, TensorValue
from convkit.interpreters.executorch.tensors import DTYPES, dtype_of

__all__ = ["Kernel", "Own", "find", "kernel", "written"]

Function = Callable[..., Any]


class Kernel(Protocol):
    """How a kernel call is read."""

    def reads(self, arguments: Sequence[int]) -> list[int]:
        """The values that it needs."""

    def writes(self, arguments: Sequence[int]) -> list[int]:
        """The values that it computes; one that stands for a list of tensors is not resolved."""

    def compute(self, values: Sequence[Any], outs: Sequence[Any]) -> Any:
        """Its result, or a tuple of as many as it has outputs.

        Args:
            values: What was read.
            outs: What the file says of the values that are written.
        """


@dataclass(frozen=True)
class Own:
    """An operator of ExecuTorch's own.

    Attributes:
        function: Takes what is read.
        read: Positions of the arguments that it takes; None for all but the last one.
        write: Positions of the arguments that it writes; None for the last one.
        after: Position of an argument whose content it adds to; that comes first, None where nothing was written there yet.
    """

    function: Function
    read: tuple[int, ...] | None = None
    write: tuple[int, ...] | None = None
    after: int | None = None

    def reads(self, arguments: Sequence[int]) -> list[int]:
        return list(arguments[:-1]) if self.read is None else [arguments[i] for i in self.read]

    def writes(self, arguments: Sequence[int]) -> list[int]:
        return [arguments[-1]] if self.write is None else [arguments[i] for i in self.write]

    def compute(self, values: Sequence[Any], outs: Sequence[Any]) -> Any:
        return self.function(*values)


_own: dict[str, Own] = {}


def kernel(
    *names: str, read: tuple[int, ...] | None = None, write: tuple[int, ...] | None = None, after: int | None = None
) -> Callable[[Function], Function]:
    """Registers a function under the names of kernels; see `Own`."""

    def register(function: Function) -> Function:
        _own.update(dict.fromkeys(names, Own(function, read, write, after)))
        return function

    return register


@dataclass(frozen=True)
class OfSchema:
    """A kernel of torch's own schema and the functional operator that computes the same.

    Attributes:
        schema: Of the kernel: arguments in order, the written ones among them.
        functional: The operator that is called.
    """

    schema: Any
    functional: Any

    def reads(self, arguments: Sequence[int]) -> list[int]:
        return [index for a, index in zip(self.schema.arguments, arguments, strict=False) if not a.is_out]

    def writes(self, arguments: Sequence[int]) -> list[int]:
        found = [i for a, i in zip(self.schema.arguments, arguments, strict=False) if a.alias_info and a.alias_info.is_write]
        return found or list(arguments[len(self.schema.arguments) :])

    def compute(self, values: Sequence[Any], outs: Sequence[Any]) -> Any:
        named = dict(zip([a.name for a in self.schema.arguments if not a.is_out], values, strict=True))
        positional, keywords = [], {}
        for argument in self.functional._schema.arguments:
            value = _adapted(argument, named, outs)
            if argument.kwarg_only:
                if value is not None:
                    keywords[argument.name] = value
            else:
                positional.append(value)
        return self.functional(*positional, **keywords)


def _adapted(argument: Any, named: dict[str, Any], outs: Sequence[Any]) -> Any:
    """The value of an argument of a functional operator; dtypes are numbers in a program, and are those of the output where an
    out-variant has no such argument."""
    name = argument.name
    if name == "dtype":
        number = named.get(name)
        if number is not None:
            return DTYPES[number]
        out = next((o for o in outs if isinstance(o, TensorValue)), None)
        return dtype_of(out) if out is not None and name not in named else None
    if name in ("layout", "device", "pin_memory", "memory_format", "generator"):
        return None
    if name in named:
        return named[name]
    return argument.default_value


@cache
def find(name: str) -> Kernel | None:
    """The kernel of a name (`aten::add.out`), None where nothing tells what it computes."""
    _load_families()
    if name in _own:
        return _own[name]
    namespace, _, rest = name.partition("::")
    base, _, overload = rest.partition(".")
    packet = getattr(getattr(torch.ops, namespace), base, None)
    operator = getattr(packet, overload or "default", None)
    if operator is None:
        return None
    functional = _functional(namespace, base, operator)
    return None if functional is None else OfSchema(operator._schema, functional)


@cache
def _load_families() -> None:
    package = importlib.import_module("convkit.interpreters.executorch.operators")
    for info in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{info.name}")


def _functional(namespace: str, base: str, operator: Any) -> Any:
    """The operator that computes what an out-variant or an in-place operator does, without writing."""
    if not operator._schema.is_mutable:
        return _plain(namespace, base, operator)
    for name in _functional_names(base):
        packet = getattr(getattr(torch.ops, namespace), name, None)
        for overload in packet.overloads() if packet is not None else ():
            candidate = getattr(packet, overload)
            if not candidate._schema.is_mutable and _same_arguments(operator._schema, candidate._schema):
                return candidate
    return None


def _functional_names(base: str) -> Iterator[str]:
    """Copies are views that tracing makes functional anyway, and every exporter knows the views."""
    plain = base.removesuffix("_") if not base.startswith("__") else base
    if plain.endswith("_copy"):
        yield plain.removesuffix("_copy")
    yield plain


def _plain(namespace: str, base: str, operator: Any) -> Any:
    for name in _functional_names(base):
        packet = getattr(getattr(torch.ops, namespace), name, None)
        candidate = getattr(packet, operator._overloadname, None)
        if candidate is not None and _same_arguments(operator._schema, candidate._schema):
            return candidate
    return operator


_CREATION = {"dtype", "layout", "device", "pin_memory", "memory_format", "generator"}
"""Arguments of a functional operator that its out-variant may lack."""


def _same_arguments(schema: Any, candidate: Any) -> bool:
    mine = {a.name: str(a.type) for a in schema.arguments if not a.is_out}
    theirs = {a.name: str(a.type) for a in candidate.arguments}
    optional = {a.name for a in candidate.arguments if a.name in _CREATION}
    return all(theirs.get(n) == t for n, t in mine.items() if n not in _CREATION) and set(theirs) - set(mine) <= optional


def written(method: Method, found: Kernel, arguments: Sequence[int]) -> list[int]:
    """The values that a kernel call writes, lists of tensors taken apart."""
    indices: list[int] = []
    for index in found.writes(arguments):
        value = method.values[index]
        indices += value.items if isinstance(value, Indices) else [index]
    return indices
