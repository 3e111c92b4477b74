"""QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear in plain arithmetic.

Rounds half to even and saturates, as https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html says; in float32 whatever the
dtype of the data, as ONNX Runtime does.
"""

from __future__ import annotations

import onnx_ir as ir
import torch

from convkit.interpreters.pytorch.backend import torch_dtype
from convkit.interpreters.pytorch.table import operator

_RANGES = {
    ir.DataType.INT8: (-128, 127),
    ir.DataType.UINT8: (0, 255),
    ir.DataType.INT16: (-32768, 32767),
    ir.DataType.UINT16: (0, 65535),
}


def _quantized_type(node):
    """The dtype of QuantizeLinear's result: of its zero point, or what `output_dtype` says."""
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    if zero_point is not None and zero_point.dtype is not None:
        return zero_point.dtype
    return ir.DataType(node.attributes.get_int("output_dtype", 0) or ir.DataType.UINT8)


def _quantizes(node):
    dtype = _quantized_type(node)
    return None if dtype in _RANGES else f"PyTorch does not compute with {dtype.name}"


@operator("QuantizeLinear", since=10, accepts=_quantizes)
@operator("QuantizeLinear", domain="com.microsoft", accepts=_quantizes)
def quantize(x, scale, zero_point=None, *, axis=1, block_size=0, output_dtype=0, precision=0, saturate=1, node):
    dtype = _quantized_type(node)
    scale = _along(scale, x, axis, block_size).to(torch.float32)
    levels = torch.round(x.to(torch.float32) / scale)
    if zero_point is not None:
        levels = levels + _along(zero_point, x, axis, block_size)
    return torch.clamp(levels, *_RANGES[dtype]).to(_computed(dtype))


def _computed(dtype):
    """The dtype that an integer is computed in; the graph's declared one narrows 16 unsigned bits."""
    return torch.int32 if dtype is ir.DataType.UINT16 else torch_dtype(dtype)


def _along(parameter, x, axis, block_size):
    """A scale or a zero point in a shape that broadcasts over the data: one number, one per slice, or one per block."""
    axis = axis % max(x.dim(), 1)
    if block_size:
        blocks = parameter.unsqueeze(axis + 1)
        repeated = blocks.expand(*blocks.shape[: axis + 1], block_size, *blocks.shape[axis + 2 :]).flatten(axis, axis + 1)
        return torch.ops.aten.slice.Tensor(repeated, axis, 0, x.shape[axis])
    if parameter.dim() == 1 and x.dim() > 1:
        return parameter.reshape(-1, *[1] * (x.dim() - axis - 1)) if parameter.shape[0] != 1 else parameter.reshape(())
    return parameter


@operator("DequantizeLinear", since=10)
@operator("DequantizeLinear", domain="com.microsoft")
def dequantize(x, scale, zero_point=None, *, axis=1, block_size=0, output_dtype=0):
    dtype = torch_dtype(output_dtype) if output_dtype else scale.dtype
    integers = x.to(torch.int32)
    if zero_point is not None:
        integers = integers - _along(zero_point, x, axis, block_size).to(torch.int32)
    return (integers.to(torch.float32) * _along(scale, x, axis, block_size).to(torch.float32)).to(dtype)


@operator("DynamicQuantizeLinear", since=11)
def dynamic_quantize(x):
    # The range holds zero, so that zero has a level of its own; of an empty range ONNX Runtime takes the scale 1.
    low, high = torch.clamp(x.amin(), max=0.0), torch.clamp(x.amax(), min=0.0)
    scale = torch.where(high == low, torch.ones_like(high), (high - low) / 255.0)
    zero_point = torch.clamp(torch.round(-low / scale), 0, 255)
    levels = torch.clamp(torch.round(x / scale) + zero_point, 0, 255)
    return levels.to(torch.uint8), scale, zero_point.to(torch.uint8)
