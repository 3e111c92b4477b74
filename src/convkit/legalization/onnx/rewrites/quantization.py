"""Integer convolutions and matrix products as float32 ones of integers, and a QuantizeLinear where the result is quantized.

Zero points are subtracted first, so that padding is zero. float32 holds integers up to 2^24, so a sum of up to 258 products of
9-bit numbers is exact; for ConvInteger and MatMulInteger, whose result must be, longer sums are split into such that are, and
these added as int32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import onnx_ir as ir

from convkit.legalization.onnx.rewrites.constants import attributes, folded, known, part, rank, sizes
from convkit.legalization.onnx.rewriting import Builder, Outputs, rewrite

_BYTES = (ir.DataType.INT8, ir.DataType.UINT8)
_LARGEST_PRODUCT = 255 * 255
_EXACT = 2**24
_NIBBLE = 16.0
_LONGEST = int(_EXACT / ((_NIBBLE + 1) * 255)) - 1
"""Products of a 9-bit number's multiple of 16 (or the rest) that a float32 sums exactly."""


@rewrite("QLinearConv", summary="a float convolution of integers, quantized")
def qlinear_conv(build: Builder, node: ir.Node) -> Outputs:
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, *rest = node.inputs
    dimensions = rank(w)
    if dimensions is None or not _are_bytes(x, w):
        return None
    bias = folded(build, rest[0], _to_float, lambda v: _float(build, v)) if rest and rest[0] is not None else None
    total = build("Conv", _centred(build, x, x_zero), _centred(build, w, w_zero, axis=0, of=dimensions), bias, **attributes(node))
    scale = _requantization(build, x_scale, w_scale, y_scale)
    if rank(w_scale) and sizes(w_scale) != [1]:
        scale = _along(build, scale, 1, dimensions)
    return [_quantized(build, total, scale, y_zero)]


@rewrite("QLinearMatMul", summary="a float matrix product of integers, quantized")
def qlinear_matmul(build: Builder, node: ir.Node) -> Outputs:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = node.inputs
    if not _are_bytes(a, b) or any(rank(v) is None for v in (a, a_scale, a_zero)):
        return None
    total = build("MatMul", _centred(build, a, _of_rows(build, a, a_zero)), _centred(build, b, b_zero))
    return [_quantized(build, total, _requantization(build, _of_rows(build, a, a_scale), b_scale, y_scale), y_zero)]


@rewrite("ConvInteger", summary="a float convolution of integers")
def conv_integer(build: Builder, node: ir.Node) -> Outputs:
    x, w, x_zero, w_zero = [*node.inputs, None, None][:4]
    shape = sizes(w)
    if shape is None or None in shape or not _are_bytes(x, w):
        return None
    weight = _centred(build, w, w_zero, axis=0, of=len(shape))
    said = attributes(node)

    def product(value: ir.Value, start: int, end: int) -> ir.Value:
        filters = weight if (start, end) == (0, shape[1]) else part(build, weight, 1, start, end)
        result: ir.Value = build("Conv", value, filters, **said)
        return result

    per_channel = math.prod(s or 0 for s in shape[2:])
    channels = shape[1] or 0
    if per_channel > _LONGEST or (said.get("group", 1) > 1 and channels * per_channel > _LONGEST):
        return None
    return _exact_sum(build, _centred(build, x, x_zero), 1, channels, per_channel, product)


@rewrite("MatMulInteger", summary="a float matrix product of integers")
def matmul_integer(build: Builder, node: ir.Node) -> Outputs:
    a, b, a_zero, b_zero = [*node.inputs, None, None][:4]
    left, right = sizes(a), sizes(b)
    length = (left[-1] if left else None) or (right[max(len(right) - 2, 0)] if right else None)
    if length is None or not _are_bytes(a, b) or (a_zero is not None and rank(a_zero) is None):
        return None
    if rank(a) is None and rank(a_zero):
        return None  # whether the zero points are of rows is not known
    weight = _centred(build, b, b_zero)
    rows = None if a_zero is None else _of_rows(build, a, a_zero)

    def product(value: ir.Value, start: int, end: int) -> ir.Value:
        matrix = weight if (start, end) == (0, length) else part(build, weight, max(len(right or ()) - 2, 0), start, end)
        result: ir.Value = build("MatMul", value, matrix)
        return result

    if length > _LONGEST and right is None:
        return None
    return _exact_sum(build, _centred(build, a, rows), -1, length, 1, product)


def _are_bytes(*values: ir.Value | None) -> bool:
    return all(value is not None and value.dtype in _BYTES for value in values)


def _exact_sum(
    build: Builder, value: ir.Value, axis: int, length: int, each: int, product: Callable[[ir.Value, int, int], ir.Value]
) -> Outputs:
    """A sum of products as an int32, exactly.

    Args:
        build: Builds nodes.
        value: The first factor.
        axis: Of the first factor, that is summed over.
        length: Its size.
        each: How many products an element of it takes part in.
        product: From a part of the first factor, and where along the axis it is, to the sum of its products.
    """
    if length * each * _LARGEST_PRODUCT < _EXACT:
        return [build("Cast", product(value, 0, length), to=ir.DataType.INT32)]
    step = _LONGEST // each
    ends = [*range(step, length, step), length]
    spans = list(zip([0, *ends[:-1]], ends, strict=True))
    pieces = [value] if len(spans) == 1 else [build.slice(value, axis, start, end) for start, end in spans]
    total: ir.Value | None = None
    for piece, (start, end) in zip(pieces, spans, strict=True):
        summed = _nibbles_sum(build, piece, partial(_at, product, start, end))
        total = summed if total is None else build("Add", total, summed)
    assert total is not None
    return [total]


def _at(product: Callable[[ir.Value, int, int], ir.Value], start: int, end: int, value: ir.Value) -> ir.Value:
    return product(value, start, end)


def _nibbles_sum(build: Builder, value: ir.Value, product: Callable[[ir.Value], ir.Value]) -> ir.Value:
    """The sum with the first factor parted into a multiple of 16 and a rest below 16: each part's is exact for longer."""
    high = build("Floor", build("Mul", value, np.float32(1 / _NIBBLE)))
    low = build("Sub", value, build("Mul", high, np.float32(_NIBBLE)))
    parts = [build("Cast", product(each), to=ir.DataType.INT32) for each in (high, low)]
    result: ir.Value = build("Add", build("Mul", parts[0], np.int32(_NIBBLE)), parts[1])
    return result


def _to_float(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32)


def _float(build: Builder, value: ir.Value) -> ir.Value:
    cast: ir.Value = build("Cast", value, to=ir.DataType.FLOAT)
    return cast


def _centred(build: Builder, value: ir.Value | None, zero: ir.Value | None, axis: int | None = None, of: int = 0) -> ir.Value:
    """value - zero as float32; a zero point per element of one axis where `axis` says so."""
    assert value is not None
    data, offset = known(value), known(zero)
    if zero is None or (offset is not None and not offset.any()):
        return folded(build, value, _to_float, lambda v: _float(build, v))
    if axis is not None and rank(zero) and sizes(zero) != [1]:
        zero = _along(build, zero, axis, of)
        offset = known(zero)
    if data is not None and offset is not None:
        return build.constant(_to_float(data) - _to_float(offset))
    shift = folded(build, zero, _to_float, lambda v: _float(build, v))
    difference: ir.Value = build("Sub", _float(build, value), shift)
    return difference


def _along(build: Builder, vector: ir.Value, axis: int, dimensions: int) -> ir.Value:
    """A vector as a tensor that broadcasts along one axis."""
    shape = [-1 if k == axis else 1 for k in range(dimensions)]
    return folded(build, vector, lambda v: v.reshape(shape), lambda v: build.reshape(v, shape))


def _of_rows(build: Builder, matrix: ir.Value | None, parameter: ir.Value | None) -> ir.Value:
    """A scale or zero point per row, given as a vector, so that it broadcasts over the columns."""
    assert parameter is not None
    if rank(parameter) != 1 or sizes(parameter) == [1] or rank(matrix) == 1:
        return parameter
    return folded(build, parameter, lambda v: v[:, None], lambda v: build.unsqueeze(v, [1]))


def _requantization(build: Builder, first: ir.Value | None, second: ir.Value | None, result: ir.Value | None) -> ir.Value:
    """first * second / result in float32, in ONNX Runtime's order."""
    assert first is not None and second is not None and result is not None
    arrays = [known(value) for value in (first, second, result)]
    if all(array is not None for array in arrays):
        a, b, c = (_to_float(array) for array in arrays if array is not None)
        return build.constant(a * b / c)
    a_, b_, c_ = (v if v.dtype is ir.DataType.FLOAT else _float(build, v) for v in (first, second, result))
    scale: ir.Value = build("Div", build("Mul", a_, b_), c_)
    return scale


def _quantized(build: Builder, total: ir.Value, scale: ir.Value, zero: ir.Value | None) -> ir.Value:
    """round(total * scale) + zero, saturated: QuantizeLinear by one."""
    result: ir.Value = build("QuantizeLinear", build("Mul", total, scale), np.float32(1), _scalar(build, zero))
    return result


def _scalar(build: Builder, zero: ir.Value | None) -> ir.Value | None:
    if zero is None or rank(zero) == 0:
        return zero
    return folded(build, zero, lambda z: z.reshape(()), lambda z: build.reshape(z, []))
