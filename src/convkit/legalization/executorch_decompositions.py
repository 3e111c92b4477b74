"""Decompositions of torch operators that ExecuTorch's runtime has no kernel for, into operators that it has. Worker side.

Plain torch decomposition functions (https://docs.pytorch.org/docs/stable/torch.compiler_ir.html): called with fake tensors
while a program is decomposed. One that cannot help in a case returns NotImplemented, and the operator stays what it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["table"]

_UNROLLED = 64
"""How many steps are written out at most; a longer axis stays a gap."""

_RANKED = 256
"""How many elements are sorted by comparing each with each."""

_decompositions: dict[str, Callable[..., Any]] = {}


def _decomposes(*operators: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        _decompositions.update(dict.fromkeys(operators, function))
        return function

    return register


@cache
def table() -> Mapping[Any, Callable[..., Any]]:
    """The decompositions by operator overload, for `ExportedProgram.run_decompositions`."""
    import torch

    found = {}
    for name, function in _decompositions.items():
        packet, overload = name.split(".")
        found[getattr(getattr(torch.ops.aten, packet), overload)] = function
    return found


def _few(size: Any) -> bool:
    return isinstance(size, int) and size <= _UNROLLED


@_decomposes("cumprod.default")
def _cumprod(x: torch.Tensor, dim: int, *, dtype: Any = None) -> Any:
    """Products step by step: by logarithms it would lose signs and zeros."""
    import torch

    if x.dim() == 0 or not _few(x.shape[dim]):
        return NotImplemented
    if dtype is not None:
        x = x.to(dtype)
    elif not x.is_floating_point():
        x = x.to(torch.int64)
    steps: list[torch.Tensor] = []
    for row in x.split(1, dim):
        steps.append(row if not steps else steps[-1] * row)
    return torch.cat(steps, dim) if steps else x


@_decomposes("sort.default", "sort.stable")
def _sort(x: torch.Tensor, *arguments: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    """By the rank of each element, which keeps equal ones in order; beyond some hundreds by the runtime's own top-k."""
    import torch

    if arguments:  # aten.sort.default takes them by position, aten.sort.stable by name
        dim, descending = arguments[0], arguments[1] if len(arguments) > 1 else descending
    if x.dim() == 0 or not isinstance(x.shape[dim], int):
        return NotImplemented
    size = x.shape[dim]
    if size > _RANKED:
        return x.topk(size, dim, largest=descending, sorted=True)
    last = x.transpose(dim, -1)
    mine, others = last.unsqueeze(-1), last.unsqueeze(-2)
    positions = torch.arange(size, device=x.device)
    earlier = (others == mine) & (positions.unsqueeze(0) < positions.unsqueeze(1))
    before = (others > mine if descending else others < mine) | earlier
    rank = before.to(torch.int64).sum(-1)
    order = torch.zeros_like(rank).scatter(-1, rank, positions.expand(rank.shape))
    return last.gather(-1, order).transpose(dim, -1), order.transpose(dim, -1)


@_decomposes("nonzero.default")
def _nonzero(x: torch.Tensor) -> Any:
    """Every element's place among those found, by counting; what is not found goes to a row that is cut off.

    The kernel's own result is promised with its axes swapped in memory, and comes without (executorch 1.4.1): whatever reads it
    then refuses it for its dimension order.
    """
    import torch

    sizes = list(x.shape)
    if not sizes or not all(isinstance(size, int) for size in sizes):
        return NotImplemented
    count = math.prod(sizes)
    is_found = x.reshape(-1) != 0
    place = is_found.to(torch.int64).cumsum(0)
    total = place[-1:].sum().item()
    torch._check(total >= 0)
    torch._check(total <= count)
    flat = torch.zeros(count + 1, dtype=torch.int64).scatter(0, torch.where(is_found, place - 1, count), torch.arange(count))
    strides = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    # Cut off last: of empty tensors the runtime's `cat` forgets the other axes.
    return torch.stack([flat // step % size for step, size in zip(strides, sizes, strict=True)], 1).narrow(0, 0, total)


@_decomposes("scatter_reduce.two")
def _scatter_reduce(
    x: torch.Tensor, dim: int, index: torch.Tensor, src: torch.Tensor, reduce: str, *, include_self: bool = True
) -> Any:
    """Row by row of the index: within one row nothing is written twice once its positions along `dim` are apart."""
    import torch

    combine = {"amax": torch.maximum, "amin": torch.minimum, "prod": torch.mul, "sum": torch.add}.get(reduce)
    if combine is None or not include_self or x.dim() == 0 or not _few(index.shape[dim]):
        return NotImplemented
    for step in range(index.shape[dim]):
        where = index.narrow(dim, step, 1)
        new = combine(x.gather(dim, where), src.narrow(dim, step, 1)[tuple(slice(0, n) for n in where.shape)])
        x = x.scatter(dim, where, new)
    return x


@_decomposes("conv3d.default")
def _conv3d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """A convolution in three dimensions as a sum of convolutions in two, one per plane of the kernel."""
    from torch.nn import functional

    if x.dim() != 5:
        return NotImplemented
    stride, padding, dilation = _three(stride), _three(padding), _three(dilation)
    batch, channels, depth, height, width = x.shape
    planes = weight.shape[2]
    x = functional.pad(x, [0, 0, 0, 0, padding[0], padding[0]])
    rows = (depth + 2 * padding[0] - dilation[0] * (planes - 1) - 1) // stride[0] + 1
    total = None
    for plane in range(planes):
        start = plane * dilation[0]
        part = x[:, :, start : start + (rows - 1) * stride[0] + 1 : stride[0]]
        flat = part.transpose(1, 2).reshape(batch * rows, channels, height, width)
        result = functional.conv2d(flat, weight[:, :, plane], None, stride[1:], padding[1:], dilation[1:], groups)
        total = result if total is None else total + result
    assert total is not None
    folded = total.reshape(batch, rows, *total.shape[1:]).transpose(1, 2)
    return folded if bias is None else folded + bias.reshape(-1, 1, 1, 1)


@_decomposes("conv_transpose3d.input")
def _conv_transpose3d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """A transposed convolution in three dimensions as a sum of ones in two, each spread and shifted along the depth."""
    from torch.nn import functional

    if x.dim() != 5 or not isinstance(x.shape[2], int):
        return NotImplemented
    stride, padding, extra, dilation = (_three(v) for v in (stride, padding, output_padding, dilation))
    batch, channels, depth, height, width = x.shape
    planes = weight.shape[2]
    flat = x.transpose(1, 2).reshape(batch * depth, channels, height, width)
    length = (depth - 1) * stride[0] + dilation[0] * (planes - 1) + 1
    total = None
    for plane in range(planes):
        rest = (stride[1:], padding[1:], extra[1:], groups, dilation[1:])
        part = functional.conv_transpose2d(flat, weight[:, :, plane], None, *rest)
        part = part.reshape(batch, depth, *part.shape[1:]).transpose(1, 2).unsqueeze(3)
        if stride[0] > 1:
            part = functional.pad(part, [0, 0, 0, 0, 0, stride[0] - 1])
        spread = part.reshape(*part.shape[:2], depth * stride[0], *part.shape[4:])[:, :, : (depth - 1) * stride[0] + 1]
        front = plane * dilation[0]
        spread = functional.pad(spread, [0, 0, 0, 0, front, length - front - spread.shape[2]])
        total = spread if total is None else total + spread
    assert total is not None
    total = functional.pad(total, [0, 0, 0, 0, 0, extra[0]])
    total = total[:, :, padding[0] : length + extra[0] - padding[0]]
    return total if bias is None else total + bias.reshape(-1, 1, 1, 1)


def _windows(x: torch.Tensor, axis: int, kernel: int, stride: int, dilation: int, count: int) -> list[torch.Tensor]:
    """The elements that each position of a window sees along one axis."""
    import torch

    return [
        torch.ops.aten.slice.Tensor(x, axis, k * dilation, k * dilation + (count - 1) * stride + 1, stride) for k in range(kernel)
    ]


def _pooled_size(size: int, kernel: int, stride: int, dilation: int, ceil_mode: bool, padding: int) -> int:
    reach = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (-(-reach // stride) if ceil_mode else reach // stride) + 1
    # torch drops a last window that would start in the padding behind.
    return count - 1 if ceil_mode and (count - 1) * stride >= size + padding else count


@_decomposes("max_pool3d.default")
def _max_pool3d(
    x: torch.Tensor, kernel: list[int], stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """The largest of shifted slices, axis by axis."""
    import torch

    kernel, stride, padding, dilation = (_three(v) for v in (kernel, stride or kernel, padding, dilation))
    if not all(isinstance(s, int) for s in x.shape[-3:]) or not x.is_floating_point():
        return NotImplemented
    result = x
    for offset in range(3):
        axis = x.dim() - 3 + offset
        step = (kernel[offset], stride[offset], dilation[offset])
        count = _pooled_size(x.shape[axis], *step, ceil_mode, padding[offset])
        reach = (count - 1) * stride[offset] + dilation[offset] * (kernel[offset] - 1) + 1
        behind = max(0, reach - x.shape[axis] - padding[offset])
        pads = [0] * (2 * (x.dim() - axis - 1)) + [padding[offset], behind]
        padded = torch.nn.functional.pad(result, pads, value=-math.inf)
        parts = _windows(padded, axis, *step, count)
        result = parts[0]
        for part in parts[1:]:
            result = torch.maximum(result, part)
    return result


@_decomposes("avg_pool3d.default")
def _avg_pool3d(
    x: torch.Tensor,
    kernel: list[int],
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The sum of shifted slices, axis by axis, for windows that lie wholly inside."""
    kernel, stride, padding = (_three(v) for v in (kernel, stride or kernel, padding))
    if any(padding) or ceil_mode or not all(isinstance(s, int) for s in x.shape[-3:]):
        return NotImplemented
    for offset in range(3):
        axis = x.dim() - 3 + offset
        count = _pooled_size(x.shape[axis], kernel[offset], stride[offset], 1, False, 0)
        parts = _windows(x, axis, kernel[offset], stride[offset], 1, count)
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        x = total
    return x / (divisor_override or math.prod(kernel))


def _three(value: Any) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * 3 if len(values) == 1 else values
