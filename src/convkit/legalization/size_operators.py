"""PyTorch operators that compute with a dynamic size as a value, rewritten to read that size from a tensor.

Semantics: https://docs.pytorch.org/docs/stable/torch.compiler_ir.html and torch/_decomp.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from convkit.legalization.replacements import (
    DerivedInput,
    Known,
    Needs,
    argument,
    expression_of,
    is_dynamic,
    is_symbolic,
    refuse,
    rewrites,
    shape_of,
)

if TYPE_CHECKING:
    import sympy  # type: ignore[import-untyped]
    import torch

    from convkit.legalization.replacements import Compute

__all__: list[str] = []


def _axes(dims: Any, rank: int) -> list[int]:
    if dims is None or dims == []:
        return list(range(rank))
    return [d % rank for d in ([dims] if isinstance(dims, int) else dims)]


def _divide(total: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """`total / count` for a count vector of one element, whatever the rank of `total`."""
    if total.dim() == 0:
        return (total.reshape(1) / count.to(total.dtype)).reshape(())
    return total / count.to(total.dtype)


@rewrites("mean.dim", "mean.default")
def _mean(node: torch.fx.Node, needs: Needs) -> Compute | None:
    shape = shape_of(node.args[0])
    dims = argument(node, 1, "dim") if str(node.target) == "aten.mean.dim" else None
    axes = _axes(dims, len(shape))
    if not is_dynamic(*(shape[a] for a in axes)):
        return None
    count = needs.size(math.prod(shape[a] for a in axes))
    keep = bool(argument(node, 2, "keepdim", False)) if dims is not None else False

    def mean(known: Known, x: torch.Tensor, *_: Any, dtype: torch.dtype | None = None, **__: Any) -> torch.Tensor:
        return _divide((x if dtype is None else x.to(dtype)).sum(axes, keepdim=keep), known[count])

    return mean


@rewrites("adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default", "adaptive_avg_pool3d.default",
           "_adaptive_avg_pool2d.default", "_adaptive_avg_pool3d.default")  # fmt: skip
def _adaptive_avg_pool(node: torch.fx.Node, needs: Needs) -> Compute | None:
    shape, wanted = shape_of(node.args[0]), argument(node, 1, "output_size")
    axes = list(range(len(shape) - len(wanted), len(shape)))
    if not is_dynamic(*(shape[a] for a in axes)):
        return None
    if any(w != 1 for w in wanted):
        raise refuse(node, "pools a dynamic dimension into more than one cell")
    count = needs.size(math.prod(shape[a] for a in axes))
    return lambda known, x, *_: _divide(x.sum(axes, keepdim=True), known[count])


@rewrites("var.correction", "var.dim", "var.default", "std.correction", "std.dim", "std.default")
def _variance(node: torch.fx.Node, needs: Needs) -> Compute | None:
    shape, (kind, overload) = shape_of(node.args[0]), str(node.target).removeprefix("aten.").split(".")
    axes = _axes(None if overload == "default" else argument(node, 1, "dim"), len(shape))
    if not is_dynamic(*(shape[a] for a in axes)):
        return None
    correction, keep = 1, False
    if overload == "correction":
        given = node.kwargs.get("correction")
        correction, keep = 1 if given is None else int(given), bool(node.kwargs.get("keepdim", False))
    elif overload == "dim":
        correction, keep = int(argument(node, 2, "unbiased", True)), bool(argument(node, 3, "keepdim", False))
    else:
        correction = int(argument(node, 1, "unbiased", True))
    total = math.prod(shape[a] for a in axes)
    count, divisor = needs.size(total), needs.size(total - correction)

    def variance(known: Known, x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        centred = x - _divide(x.sum(axes, keepdim=True), known[count])
        found = _divide((centred * centred).sum(axes, keepdim=keep), known[divisor])
        return found.sqrt() if kind == "std" else found

    return variance


def _standardised(x: torch.Tensor, axes: Sequence[int], count: torch.Tensor, eps: float) -> torch.Tensor:
    centred = x - _divide(x.sum(axes, keepdim=True), count)
    return centred * (_divide((centred * centred).sum(axes, keepdim=True), count) + eps).rsqrt()


def _per_channel(x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None) -> torch.Tensor:
    cells = [1, -1] + [1] * (x.dim() - 2)
    x = x if weight is None else x * weight.reshape(cells)
    return x if bias is None else x + bias.reshape(cells)


@rewrites("instance_norm.default")
def _instance_norm(node: torch.fx.Node, needs: Needs) -> Compute | None:
    shape = shape_of(node.args[0])
    if not argument(node, 5, "use_input_stats") or not is_dynamic(*shape[2:]):
        return None
    count, eps = needs.size(math.prod(shape[2:])), float(argument(node, 7, "eps"))
    axes = list(range(2, len(shape)))
    return lambda known, x, weight, bias, *_: _per_channel(_standardised(x, axes, known[count], eps), weight, bias)


@rewrites("group_norm.default")
def _group_norm(node: torch.fx.Node, needs: Needs) -> Compute | None:
    shape, groups = shape_of(node.args[0]), int(argument(node, 1, "num_groups"))
    if not is_dynamic(*shape[2:]):
        return None
    count, eps = needs.size(math.prod(shape[1:]) / groups), float(argument(node, 4, "eps", 1e-5))

    def group_norm(known: Known, x: torch.Tensor, _: int, weight: Any = None, bias: Any = None, *__: Any) -> Any:
        grouped = x.reshape(x.shape[0], groups, -1)
        return _per_channel(_standardised(grouped, [2], known[count], eps).reshape(x.shape), weight, bias)

    return group_norm


@rewrites("arange.default", "arange.start", "arange.start_step")
def _arange(node: torch.fx.Node, needs: Needs) -> Compute | None:
    bounds = (0, node.args[0]) if str(node.target) == "aten.arange.default" else node.args[:2]
    step = node.args[2] if len(node.args) > 2 else 1
    if not any(is_symbolic(b) for b in bounds):
        return None
    if step != 1:
        raise refuse(node, f"counts in steps of {step} up to a dynamic size")
    start, end = (expression_of(b) for b in bounds)
    steps, dtype = needs.range(end - start), node.meta["val"].dtype
    offset = needs.size(start) if start.free_symbols else None
    return lambda known, *_, **__: (known[steps] + (known[offset] if offset else int(start))).to(dtype)


@rewrites("slice.Tensor")
def _slice(node: torch.fx.Node, needs: Needs) -> Compute | None:
    """Slices whose bounds count from the end of a dynamic axis, or that cut a dynamic length out of a static tensor."""
    shape = shape_of(node.args[0])
    axis = int(argument(node, 1, "dim", 0)) % len(shape)
    start, end = argument(node, 2, "start") or 0, argument(node, 3, "end")
    step = argument(node, 4, "step", 1)
    dynamic = is_dynamic(shape[axis])
    from_end = isinstance(start, int) and start < 0
    if not (dynamic and from_end) and not is_symbolic(start) and not (not dynamic and is_symbolic(end)):
        return None
    if step != 1:
        raise refuse(node, f"slices a dynamic length in steps of {step}")
    first = expression_of(start) + (shape[axis] if from_end else 0)
    length = shape_of(node)[axis]
    steps = needs.range(length) if length.free_symbols else None
    offset = needs.size(first) if first.free_symbols else None

    def select(known: Known, x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        import torch

        index = known[steps] if steps else torch.arange(int(length), dtype=torch.int32)
        return x.index_select(axis, index + (known[offset] if offset else int(first)))

    return select


@rewrites("select.int")
def _select(node: torch.fx.Node, needs: Needs) -> Compute | None:
    shape = shape_of(node.args[0])
    axis, index = int(node.args[1]) % len(shape), node.args[2]
    from_end = isinstance(index, int) and index < 0 and is_dynamic(shape[axis])
    if not from_end and not is_symbolic(index):
        return None
    where = needs.size(expression_of(index) + (shape[axis] if from_end else 0))
    return lambda known, x, *_: x.index_select(axis, known[where]).squeeze(axis)


@rewrites("roll.default")
def _roll(node: torch.fx.Node, needs: Needs) -> Compute | None:
    shape, shifts, dims = shape_of(node.args[0]), argument(node, 1, "shifts"), argument(node, 2, "dims", [])
    if not dims or not is_dynamic(*(shape[d] for d in dims)):
        return None
    if any(is_symbolic(s) for s in shifts):
        raise refuse(node, "rolls by a dynamic number of places")
    moves = [(d % len(shape), s, needs.range(shape[d]), needs.size(shape[d])) for d, s in zip(dims, shifts, strict=True)]

    def roll(known: Known, x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        for axis, shift, steps, count in moves:
            x = x.index_select(axis, (known[steps] - shift) % known[count])
        return x

    return roll


def _triangle(known: Known, rows: DerivedInput | int, columns: DerivedInput | int) -> tuple[Any, Any]:
    import torch

    def count(size: Any) -> torch.Tensor:
        return torch.arange(size, dtype=torch.int32) if isinstance(size, int) else known[size]

    return count(rows).unsqueeze(1), count(columns).unsqueeze(0)


def _steps(size: sympy.Expr, needs: Needs) -> DerivedInput | int:
    return needs.range(size) if size.free_symbols else int(size)


@rewrites("tril.default", "triu.default")
def _tril(node: torch.fx.Node, needs: Needs) -> Compute | None:
    shape, diagonal = shape_of(node.args[0]), argument(node, 1, "diagonal", 0)
    if not is_dynamic(*shape[-2:]):
        return None
    if is_symbolic(diagonal):
        raise refuse(node, "starts at a dynamic diagonal")
    lower, size = str(node.target) == "aten.tril.default", [_steps(s, needs) for s in shape[-2:]]

    def triangle(known: Known, x: torch.Tensor, *_: Any) -> torch.Tensor:
        import torch

        row, column = _triangle(known, size[0], size[1])
        keep = column <= row + diagonal if lower else column >= row + diagonal
        return torch.where(keep, x, torch.zeros((), dtype=x.dtype))

    return triangle


@rewrites("scaled_dot_product_attention.default")
def _attention(node: torch.fx.Node, needs: Needs) -> Compute | None:
    size = [shape_of(node.args[0])[-2], shape_of(node.args[1])[-2]]
    if not argument(node, 5, "is_causal", False) or not is_dynamic(*size):
        return None
    rows, columns = (_steps(s, needs) for s in size)

    def attention(known: Known, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *_: Any, **options: Any) -> Any:
        import torch

        row, column = _triangle(known, rows, columns)
        kept = {name: options[name] for name in ("scale", "enable_gqa") if name in options}
        return torch.ops.aten.scaled_dot_product_attention.default(q, k, v, column <= row, **kept)

    return attention


@rewrites(*(f"{name}.{overload}" for name in ("add", "sub", "mul", "div", "rsub", "pow", "eq", "ne", "lt", "le", "gt", "ge",
                                               "remainder", "floor_divide") for overload in ("Tensor", "Scalar", "Tensor_Scalar")))  # fmt: skip # noqa: E501
def _arithmetic(node: torch.fx.Node, needs: Needs) -> Compute | None:
    """`x * n` and the like, where n is a dynamic size."""
    if not is_symbolic(node.args[1]):
        return None
    size = expression_of(node.args[1])
    if not size.is_integer:
        raise refuse(node, f"computes with {size}, which is no whole number")
    value, result, target = needs.size(size), node.meta["val"], node.target
    overload = str(target).rpartition(".")[2]

    def compute(known: Known, x: torch.Tensor, _: Any, **options: Any) -> torch.Tensor:
        import torch

        operator = target if overload == "Tensor" else getattr(target.overloadpacket, _TENSOR.get(overload, "Tensor"))
        other = known[value].to(result.dtype if result.dtype is not torch.bool else x.dtype)
        return operator(x, other, **options).reshape(x.shape)

    return compute


_TENSOR = {"Tensor_Scalar": "Tensor_Tensor"}


@rewrites("scalar_tensor.default", "full.default", "full_like.default")
def _constant(node: torch.fx.Node, needs: Needs) -> Compute | None:
    value = node.args[0] if str(node.target) == "aten.scalar_tensor.default" else node.args[1]
    if not is_symbolic(value):
        return None
    size = expression_of(value)
    if not size.is_integer:
        raise refuse(node, f"computes with {size}, which is no whole number")
    wanted, result = needs.size(size), node.meta["val"]
    if result.dim() == 0:
        return lambda known, *_, **__: known[wanted].to(result.dtype).reshape(())
    return lambda known, *a, **__: known[wanted].to(result.dtype).expand(a[0].shape if hasattr(a[0], "shape") else tuple(a[0]))


@rewrites("lstm.input", "gru.input", "rnn_tanh.input", "rnn_relu.input")
def _recurrent(node: torch.fx.Node, _: Needs) -> Compute | None:
    shape, batch_first = shape_of(node.args[0]), bool(node.args[-1])
    if is_dynamic(shape[1 if batch_first and len(shape) == 3 else 0]):
        raise refuse(node, "runs over a dynamic number of steps, which would have to be unrolled")
    return None


@rewrites("constant_pad_nd.default", "pad.default")
def _pad(node: torch.fx.Node, _: Needs) -> Compute | None:
    pads = argument(node, 1, "pad")
    if any(is_symbolic(p) for p in pads):
        raise refuse(node, "pads by a dynamic number of elements")
    return None
