"""PyTorch operators that LiteRT, or litert-torch, has no kernel for, rewritten into ones that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convkit.legalization.replacements import Known, Needs, argument, is_dynamic, rewrites, shape_of

if TYPE_CHECKING:
    import torch

    from convkit.legalization.replacements import Compute

__all__ = ["reads_places"]


@rewrites("conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input",
           reason="computes the unpadded result and crops it: litert-torch takes one padding only")  # fmt: skip
def _conv_transpose(node: torch.fx.Node, needs: Needs) -> Compute | None:
    """litert-torch fails to legalise most paddings of a transposed convolution; it takes
    `2 * padding == kernel - stride`, and one group."""
    rank = len(shape_of(node.args[0])) - 2
    kernel = [int(k) for k in shape_of(node.args[1])[2:]]

    def spatial(position: int, name: str, default: int) -> list[int]:
        given = argument(node, position, name, default)
        given = [given] if isinstance(given, int) else list(given)
        return given * rank if len(given) == 1 else given

    stride, padding, extra = spatial(3, "stride", 1), spatial(4, "padding", 0), spatial(5, "output_padding", 0)
    dilation, groups = spatial(7, "dilation", 1), int(argument(node, 6, "groups", 1))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    if groups == 1 and not any(extra) and all(p == 0 or 2 * p == r - s for p, r, s in zip(padding, reach, stride, strict=True)):
        return None
    target: Any = node.target
    sizes = shape_of(node.args[0])[2:]
    whole = [(n - 1) * s + r for n, s, r in zip(sizes, stride, reach, strict=True)]
    needs.mention(*whole, *(w + max(0, e - p) for w, e, p in zip(whole, extra, padding, strict=True)))

    def conv_transpose(known: Known, x: torch.Tensor, weight: torch.Tensor, bias: Any = None, *_: Any, **__: Any) -> Any:
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


@rewrites("sort.default", "sort.stable", "argsort.default", "argsort.stable",
           reason="takes the top k of the whole axis: LiteRT has no kernel for a sort")  # fmt: skip
def _sort(node: torch.fx.Node, _: Needs) -> Compute | None:
    shape, overload = shape_of(node.args[0]), str(node.target)
    named = overload.endswith("stable")
    axis = int((node.kwargs.get("dim", -1) if named else argument(node, 1, "dim", -1)) or 0)
    descending = bool(node.kwargs.get("descending", False) if named else argument(node, 2, "descending", False))
    dtype = node.args[0].meta["val"].dtype
    if not shape or is_dynamic(shape[axis]) or not (dtype.is_floating_point or dtype.is_signed):
        return None
    count, only_index = int(shape[axis]), "argsort" in overload

    def sort(known: Known, x: torch.Tensor, *_: Any, **__: Any) -> Any:
        # Ties keep their order in LiteRT's kernel, so this is a stable sort; negation reverses the order.
        last = x.transpose(axis, -1)
        index = (last if descending else -last).topk(count, -1, True, True)[1]
        values = None if only_index else last.gather(-1, index).transpose(axis, -1)
        index = index.transpose(axis, -1)
        return index if only_index else (values, index)

    return sort


@rewrites("topk.default", reason="gathers the largest by their places: of values alone litert-torch makes a STABLEHLO_SORT")
def _topk(node: torch.fx.Node, _: Needs) -> Compute | None:
    if reads_places(node) or not shape_of(node.args[0]):
        return None
    axis = int(argument(node, 2, "dim", -1))

    def topk(known: Known, x: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        index = x.topk(*arguments, **named)[1]
        return x.gather(axis, index), index

    return topk


def reads_places(node: torch.fx.Node) -> bool:
    """Whether anything reads the second result of a node."""
    import operator

    return any(user.target is operator.getitem and user.args[1] == 1 and user.users for user in node.users)


@rewrites("max_pool1d_with_indices.default", "max_pool2d_with_indices.default", "max_pool3d_with_indices.default",
           reason="compares shifted slices: litert-torch writes indices that count within the window")  # fmt: skip
def _max_pool_with_places(node: torch.fx.Node, _: Needs) -> Compute | None:
    rank = int(str(node.target).removeprefix("aten.max_pool")[0])
    shape = shape_of(node.args[0])
    if not reads_places(node) or is_dynamic(*shape[len(shape) - rank :]):
        return None

    def max_pool_with_places(known: Known, x: torch.Tensor, *window: Any, **named: Any) -> Any:
        from convkit.legalization.torch import windows

        return windows.max_pool_with_places(x, *window, **named, rank=rank)

    return max_pool_with_places


@rewrites("detach_.default", reason="passes its input on")
def _detach(node: torch.fx.Node, _: Needs) -> Compute | None:
    """In-place on the fresh copy of a constant; a loaded program has it on a view, where torch refuses it."""
    return lambda known, x: x
