"""Operators that are written in a form of their own, by name, or by name and overload.

A form returns None where it is not exact, and the operator is written in another way.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch

from convkit.emitters.python.arguments import Arguments, functional, is_uniform
from convkit.emitters.python.expressions import Expression, Text, call, flat, operation, sequence

__all__ = ["FORMS"]

Form = Callable[[Arguments], Expression | None]
_END = 2**63 - 1


def _method_call(name: str, *parameters: str) -> Form:
    """A method with these arguments by position; trailing ones that are left at their defaults are left out."""

    def write(arguments: Arguments) -> Expression:
        departing = {a.name for a in arguments.departing()}
        given = list(parameters)
        while given and given[-1] not in departing:
            given.pop()
        return call(f"{arguments.tensor()}.{name}", [arguments.code(arguments[p]) for p in given])

    return write


def _sizes_method(name: str, parameter: str) -> Form:
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
    if start in (None, 0) and _is_end(end) and step == 1:
        return arguments.code(arguments["self"])
    bounds = ["" if start in (None, 0) else flat(arguments.code(start)), "" if _is_end(end) else flat(arguments.code(end))]
    if step != 1:
        bounds.append(flat(arguments.code(step)))
    # Formatters treat the colon as an operator, unless it stands between names and numbers.
    plain = all(re.fullmatch(r"-?\w*", bound) for bound in bounds)
    return _subscript(arguments, arguments["dim"], ":".join(bounds) if plain else " : ".join(bounds).strip())


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
    if arguments.given.get("copy") or str(arguments.node.target).startswith("aten._to_copy."):
        named["copy"] = Text("True")
    if format_ is not None:
        named["memory_format"] = arguments.code(format_)
    if not named and dtype in (None, arguments.dtype_of()):  # as it is, and where it is
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
    return functional("embedding", input=arguments.code(arguments["indices"]), weight=arguments.code(arguments["weight"]), **rest)


def _interpolate(mode: str) -> Form:
    def write(arguments: Arguments) -> Expression | None:
        named = {"mode": arguments.code(mode)}
        if "nearest" not in mode and arguments["align_corners"]:
            named["align_corners"] = arguments.code(True)
        size, scales = arguments["output_size"], arguments["scale_factors"]
        if (size is None) == (scales is None):
            return None
        sizes = {"size": size} if scales is None else {"scale_factor": scales}
        return call(
            "F.interpolate", [arguments.code(arguments["input"])], **{n: arguments.code(v) for n, v in sizes.items()}, **named
        )

    return write


def _grid_sample(arguments: Arguments) -> Expression | None:
    mode = ("bilinear", "nearest", "bicubic")[arguments["interpolation_mode"]]
    padding = ("zeros", "border", "reflection")[arguments["padding_mode"]]
    named = {
        n: arguments.code(v) for n, v, usual in (("mode", mode, "bilinear"), ("padding_mode", padding, "zeros")) if v != usual
    }
    tensors = [arguments.code(arguments[n]) for n in ("input", "grid")]
    return call("F.grid_sample", tensors, **named, align_corners=arguments.code(bool(arguments["align_corners"])))


def _pad(arguments: Arguments) -> Expression | None:
    named = {"mode": arguments.code(arguments["mode"])} if arguments.given.get("mode", "constant") != "constant" else {}
    if arguments["value"] not in (None, 0):
        named["value"] = arguments.code(arguments["value"])
    return call("F.pad", [arguments.code(arguments["self"]), arguments.code(arguments["pad"])], **named)


def _where(arguments: Arguments) -> Expression | None:
    return call("torch.where", [arguments.code(arguments[n]) for n in ("condition", "self", "other")])


def _broadcast(arguments: Arguments) -> Expression | None:
    return call("torch.broadcast_tensors", map(arguments.code, arguments["tensors"]))


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


FORMS: dict[str, Form] = {
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
    "pad.default": _pad,
    "broadcast_tensors.default": _broadcast,
    **dict.fromkeys(("where.self", "where.ScalarSelf", "where.ScalarOther", "where.Scalar"), _where),
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
