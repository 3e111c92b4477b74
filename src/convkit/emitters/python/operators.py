"""How a call of an aten operator is written: with operators, methods, `torch` and `torch.nn.functional` where they have an exact
counterpart, as `torch.ops.aten.…` otherwise.

Names, order and defaults of arguments come from the operator's schema: torch generates its own Python functions from the same.
"""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import BuiltinFunctionType, MethodDescriptorType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from convkit.emitters.python.expressions import ATOM, Expression, Text, call, flat, operation, sequence, unary

__all__ = ["Arguments", "is_dead_weight", "spelled"]

Code = Callable[[Any], Expression]
_END = 2**63 - 1


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
        return self.code(value[0] if width and is_uniform(value) else value)

    def tensor(self, name: str = "self") -> str:
        """A tensor, ready for a method call behind it."""
        return attribute_of(self.code(self[name]))

    def rank_of(self, name: str = "self") -> int | None:
        value = self[name].meta.get("val") if isinstance(self[name], torch.fx.Node) else None
        return value.dim() if isinstance(value, torch.Tensor) else None


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
            for way in (_SPECIAL.get(_key(target)), _SPECIAL.get(_name(target)), _operator, _wrapper, _builtin, _method):
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
    **{"remainder.Tensor": "%", "remainder.Scalar": "%", "pow.Tensor_Scalar": "**", "pow.Tensor_Tensor": "**"},
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
            *("relu", "relu6", "silu", "mish", "hardswish", "hardsigmoid", "hardtanh", "leaky_relu", "elu", "selu", "celu", "glu"),
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


def functional(name: str, **values: Expression) -> Expression | None:
    """A call of a Python function of torch.nn.functional; its own defaults are left out. None where it lacks an argument."""
    # Pooling is behind a switch on `return_indices`, which hides its arguments.
    function = getattr(F, f"_{name}", None) if name.startswith("max_pool") else getattr(F, name)
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


# Operators with a form of their own, by name, or by name and overload.


def _method_call(name: str, *parameters: str) -> Callable[[Arguments], Expression]:
    """A method with these arguments by position; trailing ones that are left at their defaults are left out."""

    def write(arguments: Arguments) -> Expression:
        departing = {a.name for a in arguments.departing()}
        given = list(parameters)
        while given and given[-1] not in departing:
            given.pop()
        return call(f"{arguments.tensor()}.{name}", [arguments.code(arguments[p]) for p in given])

    return write


def _sizes_method(name: str, parameter: str) -> Callable[[Arguments], Expression | None]:
    """A method that takes its sizes one by one: `x.reshape(x.shape[0], -1)`."""

    def write(arguments: Arguments) -> Expression | None:
        sizes = arguments[parameter]
        if not isinstance(sizes, list | tuple) or not sizes or arguments.has("implicit"):
            return None
        return call(f"{arguments.tensor()}.{name}", map(arguments.code, sizes))

    return write


def _subscript(arguments: Arguments, dim: int, inside: str) -> Expression | None:
    if dim < 0:
        rank = arguments.rank_of()
        if rank is None:
            return None
        dim += rank
    return Text(f"{arguments.tensor()}[{':, ' * dim}{inside}]")


def _select(arguments: Arguments) -> Expression | None:
    return _subscript(arguments, arguments["dim"], flat(arguments.code(arguments["index"])))


def _slice(arguments: Arguments) -> Expression | None:
    start, end, step = (arguments[n] for n in ("start", "end", "step"))
    inside = "" if start in (None, 0) else attribute_of(arguments.code(start))
    inside += ":" + ("" if _is_end(end) else attribute_of(arguments.code(end)))
    if step != 1:
        inside += ":" + flat(arguments.code(step))
    return _subscript(arguments, arguments["dim"], inside)


def _is_end(end: Any) -> bool:
    return end is None or (isinstance(end, int) and end == _END)


def _index(arguments: Arguments) -> Expression | None:
    indices = arguments["indices"]
    values = [i.meta.get("val") for i in indices if i is not None]
    # A tensor without dimensions would be taken for a number, which is another operator.
    if not all(isinstance(v, torch.Tensor) and v.dim() > 0 for v in values):
        return None
    inside = ", ".join(":" if i is None else flat(arguments.code(i)) for i in indices)
    return Text(f"{arguments.tensor()}[{inside}]")


def _to(arguments: Arguments) -> Expression | None:
    if isinstance(arguments.given.get("other"), torch.fx.Node) or arguments.has("non_blocking"):
        return None
    dtype, format_ = arguments.given.get("dtype"), arguments.given.get("memory_format")
    named: dict[str, Expression] = {}
    if arguments.given.get("copy") or _name(arguments.node.target) == "_to_copy":
        named["copy"] = Text("True")
    if format_ is not None:
        named["memory_format"] = arguments.code(format_)
    if dtype is None and not named:  # only to where it is
        return arguments.code(arguments["self"])
    return call(f"{arguments.tensor()}.to", [] if dtype is None else [arguments.code(dtype)], **named)


def _rsub(arguments: Arguments) -> Expression | None:
    if arguments.has("alpha"):
        return None
    return operation("-", arguments.code(arguments["other"]), arguments.code(arguments["self"]))


def _convolution(arguments: Arguments) -> Expression | None:
    """The operator behind all convolutions, by the name that it has for its rank."""
    rank = arguments.rank_of("weight")
    if rank not in (3, 4, 5):
        return None
    values = {"input": arguments.code(arguments["input"]), "weight": arguments.code(arguments["weight"])}
    defaults = {"stride": 1, "padding": 0, "dilation": 1, "output_padding": 0}
    for name, default in defaults.items():
        value = arguments[name]
        if not (is_uniform(value) and value[0] == default):
            values[name] = arguments.code(value[0] if is_uniform(value) else value)
    if arguments["groups"] != 1:
        values["groups"] = arguments.code(arguments["groups"])
    transposed = arguments["transposed"]
    if not transposed and "output_padding" in values:
        return None
    first = [values.pop("input"), values.pop("weight")]
    if arguments["bias"] is not None:
        first.append(arguments.code(arguments["bias"]))
    return call(f"F.conv{'_transpose' * transposed}{rank - 2}d", first, **values)


def _embedding(arguments: Arguments) -> Expression | None:
    padding = arguments["padding_idx"]
    rest = {n: arguments.code(arguments[n]) for n in ("scale_grad_by_freq", "sparse") if arguments.has(n)}
    if padding != -1:
        rest["padding_idx"] = arguments.code(padding)
    return functional(
        "embedding", input=arguments.code(arguments["indices"]), weight=arguments.code(arguments["weight"]), **rest
    )


def _interpolate(mode: str) -> Callable[[Arguments], Expression | None]:
    def write(arguments: Arguments) -> Expression | None:
        named = {"mode": arguments.code(mode)}
        if "nearest" not in mode and arguments["align_corners"]:
            named["align_corners"] = arguments.code(True)
        size, scales = arguments["output_size"], arguments["scale_factors"]
        if (size is None) == (scales is None):
            return None
        sizes = {"size": size} if scales is None else {"scale_factor": scales}
        return call("F.interpolate", [arguments.code(arguments["input"])], **{n: arguments.code(v) for n, v in sizes.items()}, **named)

    return write


def _grid_sample(arguments: Arguments) -> Expression | None:
    mode = ("bilinear", "nearest", "bicubic")[arguments["interpolation_mode"]]
    padding = ("zeros", "border", "reflection")[arguments["padding_mode"]]
    named = {n: arguments.code(v) for n, v, usual in (("mode", mode, "bilinear"), ("padding_mode", padding, "zeros")) if v != usual}
    tensors = [arguments.code(arguments[n]) for n in ("input", "grid")]
    return call("F.grid_sample", tensors, **named, align_corners=arguments.code(bool(arguments["align_corners"])))


def _pad(arguments: Arguments) -> Expression | None:
    named = {} if arguments["value"] in (None, 0) else {"value": arguments.code(arguments["value"])}
    return call("F.pad", [arguments.code(arguments["self"]), arguments.code(arguments["pad"])], **named)


def _einsum(arguments: Arguments) -> Expression | None:
    tensors = arguments["tensors"]
    # With more, torch.einsum chooses an order of its own.
    if len(tensors) > 2 or arguments.has("path"):
        return None
    return call("torch.einsum", [arguments.code(arguments["equation"]), *map(arguments.code, tensors)])


def _split(arguments: Arguments) -> Expression | None:
    sizes = arguments["split_size" if "split_size" in arguments.given else "split_sizes"]
    named = {"dim": arguments.code(arguments["dim"])} if arguments.has("dim") else {}
    return call("torch.split", [arguments.code(arguments["self"]), arguments.code(sizes)], **named)


def _index_put(arguments: Arguments) -> Expression | None:
    if any(i is None for i in arguments["indices"]):
        return None
    named = {"accumulate": Text("True")} if arguments["accumulate"] else {}
    indices = sequence(tuple(map(arguments.code, arguments["indices"])), "()")
    return call("torch.index_put", [arguments.code(arguments["self"]), indices, arguments.code(arguments["values"])], **named)


def _assert_scalar(arguments: Arguments) -> Expression | None:
    condition = arguments.code(arguments["self"])
    return call("torch._check", [condition])


_SPECIAL: dict[str, Callable[[Arguments], Expression | None]] = {
    "view.default": _sizes_method("view", "size"),
    "reshape.default": _sizes_method("reshape", "shape"),
    "permute.default": _sizes_method("permute", "dims"),
    "expand.default": _sizes_method("expand", "size"),
    "repeat.default": _sizes_method("repeat", "repeats"),
    "tile.default": _sizes_method("tile", "dims"),
    "transpose.int": _method_call("transpose", "dim0", "dim1"),
    "unsqueeze.default": _method_call("unsqueeze", "dim"),
    "squeeze.default": _method_call("squeeze"),
    "squeeze.dim": _method_call("squeeze", "dim"),
    "flatten.using_ints": _method_call("flatten", "start_dim", "end_dim"),
    "unfold.default": _method_call("unfold", "dimension", "size", "step"),
    "masked_fill.Scalar": _method_call("masked_fill", "mask", "value"),
    "masked_fill.Tensor": _method_call("masked_fill", "mask", "value"),
    "view.dtype": _method_call("view", "dtype"),
    "item.default": _method_call("item"),
    "detach.default": _method_call("detach"),
    "lift_fresh_copy.default": _method_call("clone"),
    "alias.default": lambda arguments: arguments.code(arguments["self"]),
    "select.int": _select,
    "slice.Tensor": _slice,
    "index.Tensor": _index,
    "index_put.default": _index_put,
    "to": _to,
    "_to_copy": _to,
    "rsub": _rsub,
    "convolution.default": _convolution,
    "embedding.default": _embedding,
    "grid_sampler.default": _grid_sample,
    "constant_pad_nd.default": _pad,
    "einsum.default": _einsum,
    "split.Tensor": _split,
    "split_with_sizes.default": _split,
    "_assert_scalar.default": _assert_scalar,
    **{f"upsample_nearest{n}d.vec": _interpolate("nearest") for n in (1, 2, 3)},
    **{f"_upsample_nearest_exact{n}d.vec": _interpolate("nearest-exact") for n in (1, 2, 3)},
    **{
        f"upsample_{mode}{n}d.vec": _interpolate(mode)
        for mode, n in (("linear", 1), ("bilinear", 2), ("trilinear", 3), ("bicubic", 2))
    },
}
