"""How a call of an aten operator is written: with operators, methods, `torch` and `torch.nn.functional` where they have an exact
counterpart, as `torch.ops.aten.…` otherwise.

Names, order and defaults of arguments come from the operator's schema: torch generates its own Python functions from the same.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterator
from types import BuiltinFunctionType, MethodDescriptorType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from convkit.emitters.python.arguments import Arguments, Code, functional
from convkit.emitters.python.expressions import Expression, Text, call, operation, unary
from convkit.emitters.python.forms import FORMS

__all__ = ["is_dead_weight", "spelled"]


def spelled(node: torch.fx.Node, code: Code, device: str = "", *, literally: bool = False) -> Expression:
    """The expression for a call of an operator.

    Args:
        node: The call, whose target is an `OpOverload`.
        code: Writes a value.
        device: An expression for the device of new tensors.
        literally: As `torch.ops.…`, whatever the operator.
    """
    target = node.target
    if target.namespace == "aten" and not literally:
        arguments = Arguments(node, _bound(node), code, device)
        if not _elsewhere(arguments):
            for way in (FORMS.get(_key(target)), FORMS.get(_name(target)), _operator, _wrapper, _builtin, _method):
                expression = None if way is None else way(arguments)
                if expression is not None:
                    return expression
    return call(f"torch.ops.{target}", map(code, node.args), **{k: code(v) for k, v in node.kwargs.items()})


def is_dead_weight(target: Any) -> bool:
    """Whether an operator only repeats, for the exporter, what is known of its arguments."""
    return isinstance(target, torch._ops.OpOverload) and str(target) in _SAID_ALREADY


_SAID_ALREADY = frozenset(
    ("aten._assert_tensor_metadata.default", "aten.sym_constrain_range.default", "aten.sym_constrain_range_for_size.default")
)


def _key(target: Any) -> str:
    return str(target).removeprefix("aten.")


def _name(target: Any) -> str:
    return _key(target).partition(".")[0]


def _bound(node: torch.fx.Node) -> dict[str, Any]:
    names = [a.name for a in node.target._schema.arguments]
    given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    return {n: given[n] for n in names if n in given}


def _elsewhere(arguments: Arguments) -> bool:
    """Whether the call is about another device than the CPU, which only the operator itself says in full."""
    device = arguments.given.get("device")
    return device is not None and torch.device(device).type != "cpu"


# What follows are the ways to write a call, tried in turn: each returns None where it has no exact form.

_OPERATORS = {
    **{f"{n}.{o}": s for n, s in (("add", "+"), ("sub", "-"), ("mul", "*"), ("div", "/")) for o in ("Tensor", "Scalar")},
    **dict.fromkeys(("remainder.Tensor", "remainder.Scalar"), "%"),
    **dict.fromkeys(("pow.Tensor_Scalar", "pow.Tensor_Tensor"), "**"),
    **{
        f"{n}.{o}": s
        for n, s in (("eq", "=="), ("ne", "!="), ("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="))
        for o in ("Tensor", "Scalar")
    },
    **{f"__{n}__.{o}": s for n, s in (("and", "&"), ("or", "|"), ("xor", "^")) for o in ("Tensor", "Scalar")},
    "matmul.default": "@",
}
_UNARY = {"neg.default": "-", "bitwise_not.default": "~"}


def _operator(arguments: Arguments) -> Expression | None:
    key = _key(arguments.node.target)
    if arguments.has("alpha", "rounding_mode"):
        return None
    if key in _UNARY:
        return unary(_UNARY[key], arguments.code(arguments["self"]))
    if key not in _OPERATORS:
        return None
    other = next(n for n in ("other", "exponent") if n in arguments.given)
    return operation(_OPERATORS[key], arguments.code(arguments["self"]), arguments.code(arguments[other]))


_WRAPPERS: dict[str, str] = {
    **{
        f"{name}.default": name
        for name in (
            *(
                "relu",
                "relu6",
                "silu",
                "mish",
                "hardswish",
                "hardsigmoid",
                "hardtanh",
                "leaky_relu",
                "elu",
                "selu",
                "celu",
                "glu",
            ),
            *("layer_norm", "group_norm", "rms_norm", "instance_norm", "batch_norm", "dropout", "threshold"),
            *("max_pool1d", "max_pool2d", "max_pool3d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"),
        )
    },
    "softmax.int": "softmax",
    "log_softmax.int": "log_softmax",
}
_RENAMED = {"self": "input", "train": "training"}


def _wrapper(arguments: Arguments) -> Expression | None:
    """A function that torch.nn.functional has in Python, around the operator."""
    name = _WRAPPERS.get(_key(arguments.node.target))
    if name is None:
        return None
    departing = {a.name for a in arguments.departing()}
    values = {_RENAMED.get(n, n): arguments.written(n) for n in arguments.given if n in departing}
    return functional(name, **values)


def _builtin(arguments: Arguments) -> Expression | None:
    """A function that torch generates from the operator's own schema."""
    name = _name(arguments.node.target)
    if name.startswith("_") or name.endswith("_"):
        return None
    found = next((place for place, function in _places(name) if isinstance(function, BuiltinFunctionType)), None)
    return None if found is None else _by_schema(found, arguments, arguments.schema.arguments)


def _places(name: str) -> Iterator[tuple[str, Any]]:
    """Where a function of that name may be public, most telling first."""
    yield f"F.{name}", getattr(F, name, None)
    yield f"torch.{name}", getattr(torch, name, None)
    for prefix, home in (("linalg_", torch.linalg), ("special_", torch.special), ("fft_", torch.fft)):
        if name.startswith(prefix):
            short = name.removeprefix(prefix)
            yield f"{home.__name__}.{short}", getattr(home, short, None)


def _method(arguments: Arguments) -> Expression | None:
    """A method that torch generates from the operator's own schema."""
    name = _name(arguments.node.target)
    own, *others = arguments.schema.arguments or [None]
    known = isinstance(getattr(torch.Tensor, name, None), MethodDescriptorType)
    if name.startswith("_") or not known or own is None or own.name != "self":
        return None
    return _by_schema(f"{arguments.tensor()}.{name}", arguments, others)


def _by_schema(function: str, arguments: Arguments, order: list[torch._C.Argument]) -> Expression | None:
    """A call with leading tensors (and what new tensors are made of) by position, everything else by name."""
    departing = {a.name for a in arguments.departing()} - {"device"}
    makes = _makes_tensors(arguments.schema)
    in_order: list[Expression] = []
    by_name: dict[str, Expression] = {}
    for index, argument in enumerate(order):
        if argument.name not in departing:
            continue
        leading = len(in_order) == index and not argument.kwarg_only
        if leading and (index == 0 or makes or "Tensor" in str(argument.type)):
            in_order.append(arguments.written(argument.name) if index else arguments.code(arguments[argument.name]))
        elif keyword.iskeyword(argument.name) or argument.name == "self":
            return None
        else:
            by_name[argument.name] = arguments.written(argument.name)
    if makes and arguments.device:
        by_name["device"] = Text(arguments.device)
    return call(function, in_order, **by_name)


def _makes_tensors(schema: torch._C.FunctionSchema) -> bool:
    """Whether an operator makes a tensor out of none: it has to be told where."""
    names = {a.name for a in schema.arguments}
    return "device" in names and not any("Tensor" in str(a.type) for a in schema.arguments)
