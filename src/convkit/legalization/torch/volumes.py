"""Convolutions in three dimensions by those of two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convkit.legalization.torch.decompositions import decomposes

if TYPE_CHECKING:
    import torch


@decomposes("conv3d.default", reason="a sum of convolutions in two dimensions")
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

    if x.dim() == 4:
        return _conv3d(x.unsqueeze(0), weight, bias, stride, padding, dilation, groups).squeeze(0)
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


@decomposes("conv3d.padding", reason="a sum of convolutions in two dimensions")
def _conv3d_with_named_padding(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: str = "valid",
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """`same` puts what is left of an odd amount of padding behind."""
    from torch.nn import functional

    if padding == "same":
        for axis, (size, step) in enumerate(zip(weight.shape[2:], _three(dilation), strict=True)):
            total = step * (size - 1)
            x = functional.pad(x, [0] * (2 * (2 - axis)) + [total // 2, total - total // 2])
    return functional.conv3d(x, weight, bias, stride, 0, dilation, groups)


@decomposes("conv_transpose3d.input", reason="a sum of transposed convolutions in two dimensions")
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

    if x.dim() == 4:
        return _conv_transpose3d(x.unsqueeze(0), weight, bias, stride, padding, output_padding, groups, dilation).squeeze(0)
    if not isinstance(x.shape[2], int):
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
        part = part.reshape(batch, depth, *part.shape[1:]).transpose(1, 2)
        plane_size = part.shape[3:]
        if stride[0] > 1:  # of at most five axes, as LiteRT pads
            flat_planes = part.contiguous().reshape(*part.shape[:3], 1, -1)
            part = functional.pad(flat_planes, [0, 0, 0, stride[0] - 1])
        spread = part.reshape(*part.shape[:2], depth * stride[0], *plane_size)[:, :, : (depth - 1) * stride[0] + 1]
        front = plane * dilation[0]
        spread = functional.pad(spread, [0, 0, 0, 0, front, length - front - spread.shape[2]])
        total = spread if total is None else total + spread
    assert total is not None
    total = functional.pad(total, [0, 0, 0, 0, 0, extra[0]])
    total = total[:, :, padding[0] : length + extra[0] - padding[0]]
    return total if bias is None else total + bias.reshape(-1, 1, 1, 1)


def _three(value: Any) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * 3 if len(values) == 1 else values
