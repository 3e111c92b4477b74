"""PyTorch operators that litert-torch cannot take as they are, rewritten.

Most compute with a dynamic size as a value, and are made to read that size from a tensor; the last two are operators that
LiteRT or its converter has no kernel for. One function an operator family, registered with `@_rewrites`. It looks at the symbolic shapes of a node and returns None
where the node is fine as it is, else a function that does the same with the derived inputs of
`prime_sizes`. Semantics: https://docs.pytorch.org/docs/stable/torch.compiler_ir.html and torch/_decomp.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convkit.errors import ConversionError

if TYPE_CHECKING:
    import sympy
    import torch

    from convkit.legalization.prime_sizes import DerivedInput, _Needs

    Known = Mapping[DerivedInput, torch.Tensor]
    Compute = Callable[..., Any]

__all__ = ["Replacement", "plan_replacement"]

_planners: dict[str, tuple[Callable[[torch.fx.Node, _Needs], Compute | None], str]] = {}


@dataclass(frozen=True)
class Replacement:
    """What computes a node.

    Attributes:
        compute: Called with the mapping of derived inputs to tensors, then with the node's own arguments.
        reason: What it does instead, one clause.
    """

    compute: Compute
    reason: str


def _rewrites(*operators: str, reason: str = "reads the dynamic size at run time") -> Callable[[Any], Any]:
    def register(planner: Any) -> Any:
        for operator in operators:
            _planners[f"aten.{operator}"] = (planner, reason)
        return planner

    return register


def plan_replacement(node: torch.fx.Node, needs: _Needs) -> Replacement | None:
    """What computes this node at any size, None where the node itself does.

    Raises:
        ConversionError: The node depends on a dynamic size in a way that is not expressible.
    """
    planner, reason = _planners.get(str(node.target), (None, ""))
    compute = None if planner is None else planner(node, needs)
    return None if compute is None else Replacement(compute, reason)


def _refuse(node: torch.fx.Node, why: str) -> ConversionError:
    from convkit.legalization.prime_sizes import place

    return ConversionError(
        f"{node.target} at {place(node)} {why}",
        component="litert-torch",
        hint="make that dimension static, or see `convkit plan` for another route",
    )


def _argument(node: torch.fx.Node, position: int, name: str, default: Any = None) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def _size(value: Any) -> sympy.Expr:
    """The expression of an argument: an int, or a node that computes a size."""
    from convkit.legalization.prime_sizes import _expression

    return _expression(value.meta["val"] if hasattr(value, "meta") else value)


def _shape(node: Any) -> list[sympy.Expr]:
    from convkit.legalization.prime_sizes import _expression

    return [_expression(d) for d in node.meta["val"].shape]


def _is_dynamic(*sizes: Any) -> bool:
    return any(s.free_symbols for s in sizes)


def _is_symbolic(value: Any) -> bool:
    import torch

    return hasattr(value, "meta") and isinstance(value.meta.get("val"), torch.SymInt | torch.SymFloat)


def _axes(dims: Any, rank: int) -> list[int]:
    if dims is None or dims == []:
        return list(range(rank))
    return [d % rank for d in ([dims] if isinstance(dims, int) else dims)]


def _divide(total: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """`total / count` for a count vector of one element, whatever the rank of `total`."""
    if total.dim() == 0:
        return (total.reshape(1) / count.to(total.dtype)).reshape(())
    return total / count.to(total.dtype)


@_rewrites("mean.dim", "mean.default")
def _mean(node: torch.fx.Node, needs: _Needs) -> Compute | None:
    shape = _shape(node.args[0])
    dims = _argument(node, 1, "dim") if str(node.target) == "aten.mean.dim" else None
    axes = _axes(dims, len(shape))
    if not _is_dynamic(*(shape[a] for a in axes)):
        return None
    count = needs.size(math.prod(shape[a] for a in axes))
    keep = bool(_argument(node, 2, "keepdim", False)) if dims is not None else False

    def mean(known: Known, x: torch.Tensor, *_: Any, dtype: torch.dtype | None = None, **__: Any) -> torch.Tensor:
        return _divide((x if dtype is None else x.to(dtype)).sum(axes, keepdim=keep), known[count])

    return mean


@_rewrites("adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default", "adaptive_avg_pool3d.default",
           "_adaptive_avg_pool2d.default", "_adaptive_avg_pool3d.default")  # fmt: skip
def _adaptive_avg_pool(node: torch.fx.Node, needs: _Needs) -> Compute | None:
    shape, wanted = _shape(node.args[0]), _argument(node, 1, "output_size")
    axes = list(range(len(shape) - len(wanted), len(shape)))
    if not _is_dynamic(*(shape[a] for a in axes)):
        return None
    if any(w != 1 for w in wanted):
        raise _refuse(node, "pools a dynamic dimension into more than one cell")
    count = needs.size(math.prod(shape[a] for a in axes))
    return lambda known, x, *_: _divide(x.sum(axes, keepdim=True), known[count])


@_rewrites("var.correction", "var.dim", "var.default", "std.correction", "std.dim", "std.default")
def _variance(node: torch.fx.Node, needs: _Needs) -> Compute | None:
    shape, (kind, overload) = _shape(node.args[0]), str(node.target).removeprefix("aten.").split(".")
    axes = _axes(None if overload == "default" else _argument(node, 1, "dim"), len(shape))
    if not _is_dynamic(*(shape[a] for a in axes)):
        return None
    correction, keep = 1, False
    if overload == "correction":
        given = node.kwargs.get("correction")
        correction, keep = 1 if given is None else int(given), bool(node.kwargs.get("keepdim", False))
    elif overload == "dim":
        correction, keep = int(_argument(node, 2, "unbiased", True)), bool(_argument(node, 3, "keepdim", False))
    else:
        correction = int(_argument(node, 1, "unbiased", True))
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


@_rewrites("instance_norm.default")
def _instance_norm(node: torch.fx.Node, needs: _Needs) -> Compute | None:
    shape = _shape(node.args[0])
    if not _argument(node, 5, "use_input_stats") or not _is_dynamic(*shape[2:]):
        return None
    count, eps = needs.size(math.prod(shape[2:])), float(_argument(node, 7, "eps"))
    axes = list(range(2, len(shape)))
    return lambda known, x, weight, bias, *_: _per_channel(_standardised(x, axes, known[count], eps), weight, bias)


@_rewrites("group_norm.default")
def _group_norm(node: torch.fx.Node, needs: _Needs) -> Compute | None:
    shape, groups = _shape(node.args[0]), int(_argument(node, 1, "num_groups"))
    if not _is_dynamic(*shape[2:]):
        return None
    count, eps = needs.size(math.prod(shape[1:]) / groups), float(_argument(node, 4, "eps", 1e-5))

    def group_norm(known: Known, x: torch.Tensor, _: int, weight: Any = None, bias: Any = None, *__: Any) -> Any:
        grouped = x.reshape(x.shape[0], groups, -1)
        return _per_channel(_standardised(grouped, [2], known[count], eps).reshape(x.shape), weight, bias)

    return group_norm


@_rewrites("arange.default", "arange.start", "arange.start_step")
def _arange(node: torch.fx.Node, needs: _Needs) -> Compute | None:
    bounds = (0, node.args[0]) if str(node.target) == "aten.arange.default" else node.args[:2]
    step = node.args[2] if len(node.args) > 2 else 1
    if not any(_is_symbolic(b) for b in bounds):
        return None
    if step != 1:
        raise _refuse(node, f"counts in steps of {step} up to a dynamic size")
    start, end = (_size(b) for b in bounds)
    steps, dtype = needs.range(end - start), node.meta["val"].dtype
    offset = needs.size(start) if start.free_symbols else None
    return lambda known, *_, **__: (known[steps] + (known[offset] if offset else int(start))).to(dtype)


@_rewrites("slice.Tensor")
def _slice(node: torch.fx.Node, needs: _Needs) -> Compute | None:
    """Slices whose bounds count from the end of a dynamic axis, or that cut a dynamic length out of a static tensor."""
    shape = _shape(node.args[0])
    axis = int(_argument(node, 1, "dim", 0)) % len(shape)
    start, end = _argument(node, 2, "start") or 0, _argument(node, 3, "end")
    step = _argument(node, 4, "step", 1)
    dynamic = _is_dynamic(shape[axis])
    from_end = isinstance(start, int) and start < 0
    if not (dynamic and from_end) and not _is_symbolic(start) and not (not dynamic and _is_symbolic(end)):
        return None
    if step != 1:
        raise _refuse(node, f"slices a dynamic length in steps of {step}")
    first = _size(start) + (shape[axis] if from_end else 0)
    length = _shape(node)[axis]
    steps = needs.range(length) if length.free_symbols else None
    offset = needs.size(first) if first.free_symbols else None

    def select(known: Known, x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        import torch

        index = known[steps] if steps else torch.arange(int(length), dtype=torch.int32)
        return x.index_select(axis, index + (known[offset] if offset else int(first)))

    return select


@_rewrites("select.int")
def _select(node: torch.fx.Node, needs: _Needs) -> Compute | None:
    shape = _shape(node.args[0])
    axis, index = int(node.args[1]) % len(shape), node.args[2]  # type: ignore[arg-type]
    from_end = isinstance(index, int) and index < 0 and _is_dynamic(shape[axis])
    if not from_end and not _is_symbolic(index):
        return None
    where = needs.size(_size(index) + (shape[axis] if from_end else 0))
    return lambda known, x, *_: x.index_select(axis, known[where]).squeeze(axis)


@_rewrites("roll.default")
def _roll(node: torch.fx.Node, needs: _Needs) -> Compute | None:
    shape, shifts, dims = _shape(node.args[0]), _argument(node, 1, "shifts"), _argument(node, 2, "dims", [])
    if not dims or not _is_dynamic(*(shape[d] for d in dims)):
        return None
    if any(_is_symbolic(s) for s in shifts):
        raise _refuse(node, "rolls by a dynamic number of places")
    moves = [
        (d % len(shape), s, needs.range(shape[d]), needs.size(shape[d])) for d, s in zip(dims, shifts, strict=True)
    ]

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


def _steps(size: sympy.Expr, needs: _Needs) -> DerivedInput | int:
    return needs.range(size) if size.free_symbols else int(size)


@_rewrites("tril.default", "triu.default")
def _tril(node: torch.fx.Node, needs: _Needs) -> Compute | None:
    shape, diagonal = _shape(node.args[0]), _argument(node, 1, "diagonal", 0)
    if not _is_dynamic(*shape[-2:]):
        return None
    if _is_symbolic(diagonal):
        raise _refuse(node, "starts at a dynamic diagonal")
    lower, size = str(node.target) == "aten.tril.default", [_steps(s, needs) for s in shape[-2:]]

    def triangle(known: Known, x: torch.Tensor, *_: Any) -> torch.Tensor:
        import torch

        row, column = _triangle(known, size[0], size[1])
        keep = column <= row + diagonal if lower else column >= row + diagonal
        return torch.where(keep, x, torch.zeros((), dtype=x.dtype))

    return triangle


@_rewrites("scaled_dot_product_attention.default")
def _attention(node: torch.fx.Node, needs: _Needs) -> Compute | None:
    size = [_shape(node.args[0])[-2], _shape(node.args[1])[-2]]
    if not _argument(node, 5, "is_causal", False) or not _is_dynamic(*size):
        return None
    rows, columns = (_steps(s, needs) for s in size)

    def attention(known: Known, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *_: Any, **options: Any) -> Any:
        import torch

        row, column = _triangle(known, rows, columns)
        kept = {name: options[name] for name in ("scale", "enable_gqa") if name in options}
        return torch.ops.aten.scaled_dot_product_attention.default(q, k, v, column <= row, **kept)

    return attention


@_rewrites(*(f"{name}.{overload}" for name in ("add", "sub", "mul", "div", "rsub", "pow", "eq", "ne", "lt", "le", "gt", "ge",
                                               "remainder", "floor_divide") for overload in ("Tensor", "Scalar", "Tensor_Scalar")))  # fmt: skip # noqa: E501
def _arithmetic(node: torch.fx.Node, needs: _Needs) -> Compute | None:
    """`x * n` and the like, where n is a dynamic size."""
    if not _is_symbolic(node.args[1]):
        return None
    size = _size(node.args[1])
    if not size.is_integer:
        raise _refuse(node, f"computes with {size}, which is no whole number")
    value, result, target = needs.size(size), node.meta["val"], node.target
    overload = str(target).rpartition(".")[2]

    def compute(known: Known, x: torch.Tensor, _: Any, **options: Any) -> torch.Tensor:
        import torch

        operator = target if overload == "Tensor" else getattr(target.overloadpacket, _TENSOR.get(overload, "Tensor"))  # type: ignore[union-attr]  # noqa: E501
        other = known[value].to(result.dtype if result.dtype is not torch.bool else x.dtype)
        return operator(x, other, **options).reshape(x.shape)  # type: ignore[no-any-return]

    return compute


_TENSOR = {"Tensor_Scalar": "Tensor_Tensor"}


@_rewrites("scalar_tensor.default", "full.default", "full_like.default")
def _constant(node: torch.fx.Node, needs: _Needs) -> Compute | None:
    value = node.args[0] if str(node.target) == "aten.scalar_tensor.default" else node.args[1]
    if not _is_symbolic(value):
        return None
    size = _size(value)
    if not size.is_integer:
        raise _refuse(node, f"computes with {size}, which is no whole number")
    wanted, result = needs.size(size), node.meta["val"]
    if result.dim() == 0:
        return lambda known, *_, **__: known[wanted].to(result.dtype).reshape(())
    return lambda known, *a, **__: (
        known[wanted].to(result.dtype).expand(a[0].shape if hasattr(a[0], "shape") else tuple(a[0]))
    )


@_rewrites("lstm.input", "gru.input", "rnn_tanh.input", "rnn_relu.input")
def _recurrent(node: torch.fx.Node, _: _Needs) -> Compute | None:
    shape, batch_first = _shape(node.args[0]), bool(node.args[-1])
    if _is_dynamic(shape[1 if batch_first and len(shape) == 3 else 0]):
        raise _refuse(node, "runs over a dynamic number of steps, which would have to be unrolled")
    return None


@_rewrites("constant_pad_nd.default", "pad.default")
def _pad(node: torch.fx.Node, _: _Needs) -> Compute | None:
    pads = _argument(node, 1, "pad")
    if any(_is_symbolic(p) for p in pads):
        raise _refuse(node, "pads by a dynamic number of elements")
    return None


@_rewrites("conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input",
           reason="computes the unpadded result and crops it: litert-torch takes one padding only")  # fmt: skip
def _conv_transpose(node: torch.fx.Node, needs: _Needs) -> Compute | None:
    """litert-torch fails to legalise most paddings of a transposed convolution; it takes
    `2 * padding == kernel - stride`, and one group."""
    rank = len(_shape(node.args[0])) - 2
    kernel = [int(k) for k in _shape(node.args[1])[2:]]

    def spatial(position: int, name: str, default: int) -> list[int]:
        given = _argument(node, position, name, default)
        given = [given] if isinstance(given, int) else list(given)
        return given * rank if len(given) == 1 else given

    stride, padding, extra = spatial(3, "stride", 1), spatial(4, "padding", 0), spatial(5, "output_padding", 0)
    dilation, groups = spatial(7, "dilation", 1), int(_argument(node, 6, "groups", 1))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    if (
        groups == 1
        and not any(extra)
        and all(p == 0 or 2 * p == r - s for p, r, s in zip(padding, reach, stride, strict=True))
    ):
        return None
    target: Any = node.target
    sizes = _shape(node.args[0])[2:]
    whole = [(n - 1) * s + r for n, s, r in zip(sizes, stride, reach, strict=True)]
    needs.mention(*whole, *(w + max(0, e - p) for w, e, p in zip(whole, extra, padding, strict=True)))

    def conv_transpose(
        known: Known, x: torch.Tensor, weight: torch.Tensor, bias: Any = None, *_: Any, **__: Any
    ) -> Any:
        import torch

        zeros = [0] * rank
        pairs = [(x, weight)] if groups == 1 else zip(x.chunk(groups, 1), weight.chunk(groups, 0), strict=True)
        parts = [target(a, w, None, stride, zeros, zeros, 1, dilation) for a, w in pairs]
        full = parts[0] if groups == 1 else torch.cat(parts, 1)
        # Output padding beyond the padding adds cells that no input reaches: they hold the bias alone.
        beyond = [max(0, e - p) for e, p in zip(extra, padding, strict=True)]
        if any(beyond):
            full = torch.nn.functional.pad(full, [n for b in reversed(beyond) for n in (0, b)])
        for axis, (p, e) in enumerate(zip(padding, extra, strict=True), start=2):
            length = full.shape[axis] - beyond[axis - 2] - 2 * p + e
            full = full.narrow(axis, p, length)
        return full if bias is None else full + bias.reshape([-1] + [1] * rank)

    return conv_transpose


@_rewrites("sort.default", "sort.stable", "argsort.default", "argsort.stable",
           reason="takes the top k of the whole axis: LiteRT has no kernel for a sort")  # fmt: skip
def _sort(node: torch.fx.Node, _: _Needs) -> Compute | None:
    shape, overload = _shape(node.args[0]), str(node.target)
    named = overload.endswith("stable")
    axis = int((node.kwargs.get("dim", -1) if named else _argument(node, 1, "dim", -1)) or 0)
    descending = bool(node.kwargs.get("descending", False) if named else _argument(node, 2, "descending", False))
    dtype = node.args[0].meta["val"].dtype  # type: ignore[union-attr]
    if not shape or _is_dynamic(shape[axis]) or not (dtype.is_floating_point or dtype.is_signed):
        return None
    count, only_index = int(shape[axis]), "argsort" in overload

    def sort(known: Known, x: torch.Tensor, *_: Any, **__: Any) -> Any:
        # Ties keep their order in LiteRT's kernel, so this is a stable sort; negation reverses the order.
        values, index = (x if descending else -x).topk(count, axis, True, True)
        return index if only_index else (values if descending else -values, index)

    return sort


@_rewrites("detach_.default", reason="passes its input on")
def _detach(node: torch.fx.Node, _: _Needs) -> Compute | None:
    """In-place on the fresh copy of a constant; a loaded program has it on a view, where torch refuses it."""
    return lambda known, x: x
