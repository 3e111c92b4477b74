"""Quantized operators of the domain com.microsoft, by dequantizing, ONNX's own operators and quantizing.

That is how ONNX Runtime defines them; its integer kernels round once, at the end, and so does this: QuantizeLinear is the
only place that rounds. Weights of few bits are unpacked at once, so they take a float's space in what is converted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from convkit.legalization.onnx.rewrites.contrib import DOMAIN, dtype_of, given, known, scalar, total, wanted
from convkit.legalization.onnx.rewriting import Builder, Outputs, rewrite

__all__: list[str] = []

_POOLING_ATTRIBUTES = ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides")
_CONVOLUTION_ATTRIBUTES = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


def _same(node: ir.Node, *names: str) -> dict[str, Any]:
    return {name: node.attributes[name].value for name in names if name in node.attributes}


def dequantized(build: Builder, x: Any, scale: Any, zero_point: Any, axis: int | None = None) -> ir.Value:
    """(x - zero point) · scale, per tensor or along an axis."""
    per_axis = axis is not None and scale.shape is not None and len(scale.shape) == 1 and scale.shape[0] != 1
    if scale.shape is not None and len(scale.shape) == 1 and not per_axis:
        scale = build("Reshape", scale, np.array([], np.int64))
        zero_point = None if zero_point is None else build("Reshape", zero_point, np.array([], np.int64))
    return build("DequantizeLinear", x, scale, zero_point, axis=axis if per_axis else None)


def quantized(build: Builder, x: ir.Value, scale: Any, zero_point: Any) -> ir.Value:
    return build("QuantizeLinear", x, scale, zero_point)


@rewrite("DequantizeLinear", "QuantizeLinear", domain=DOMAIN, summary="ONNX's operator of that name")
def same_operator(build: Builder, node: ir.Node) -> Outputs:
    """ONNX has types of 16 and 4 bits since opset 21 only; before, the arithmetic is spelled out."""
    x, scale, zero_point = (given(node, k) for k in range(3))
    assert x is not None and scale is not None
    axis = node.attributes.get_int("axis", 1) if scale.shape is None or len(scale.shape) == 1 else None
    if build.opset >= 21:
        return [build(node.op_type, x, scale, zero_point, axis=axis)]
    if axis is not None and (x.shape is None or scale.shape is None):
        return None
    if axis is not None and scale.shape is not None and x.shape is not None:
        column = np.array([-1] + [1] * (len(x.shape) - 1 - axis % len(x.shape)))
        scale = build("Reshape", scale, column)
        zero_point = None if zero_point is None else _reshaped(build, zero_point, column)
    if node.op_type == "DequantizeLinear":
        return [_spelled_dequantize(build, x, scale, zero_point, dtype_of(node.inputs[1]))]
    return [_spelled_quantize(build, x, scale, zero_point, node, dtype_of(node.inputs[2] if given(node, 2) else None))]


def _reshaped(build: Builder, zero_point: ir.Value, shape: np.ndarray) -> ir.Value:
    """16-bit types cannot be reshaped by every runtime; int32 can."""
    return build("Reshape", build("Cast", zero_point, to=ir.DataType.INT32.value), shape)


def _spelled_dequantize(build: Builder, x: Any, scale: Any, zero_point: Any, dtype: np.dtype[Any]) -> ir.Value:
    wide = build("Cast", x, to=ir.DataType.INT32.value)
    if zero_point is not None:
        wide = build("Sub", wide, build("Cast", zero_point, to=ir.DataType.INT32.value))
    return build("Mul", build("Cast", wide, to=ir.DataType.from_numpy(dtype).value), scale)


def _spelled_quantize(build: Builder, x: Any, scale: Any, zero_point: Any, node: ir.Node, dtype: np.dtype[Any]) -> ir.Value:
    kind = np.dtype(np.uint8) if given(node, 2) is None else dtype
    levels = build("Round", build("Div", x, scale))
    if zero_point is not None:
        levels = build("Add", levels, build("Cast", zero_point, to=ir.DataType.FLOAT.value))
    low, high = (scalar(bound, np.dtype(np.float32)) for bound in (np.iinfo(kind).min, np.iinfo(kind).max))
    bounded = build("Min", build("Max", levels, low), high)
    return build("Cast", bounded, to=ir.DataType.from_numpy(kind).value)


def _quantized_unary(name: str, compute: Callable[[Builder, ir.Node, ir.Value], ir.Value]) -> None:
    """Registers an operator with the inputs (X, X_scale, X_zero_point, Y_scale, Y_zero_point)."""

    @rewrite(name, domain=DOMAIN, summary="computed on dequantized values")
    def unary(build: Builder, node: ir.Node) -> Outputs:
        x, x_scale, x_zero, y_scale, y_zero = (given(node, k) for k in range(5))
        y = compute(build, node, dequantized(build, x, x_scale, x_zero))
        if y_zero is None and x is not None:
            y_zero = build.constant(scalar(0, dtype_of(x)))
        return [quantized(build, y, y_scale, y_zero)]


def _channels_first(build: Builder, node: ir.Node, x: ir.Value, compute: Callable[[ir.Value], ir.Value]) -> ir.Value:
    """Computes on NCHW where the operator is told that its input is NHWC."""
    if not node.attributes.get_int("channels_last", 0):
        return compute(x)
    rank = len(node.inputs[0].shape)
    inner = compute(build("Transpose", x, perm=[0, rank - 1, *range(1, rank - 1)]))
    return build("Transpose", inner, perm=[0, *range(2, rank), 1])


def _softmax(build: Builder, node: ir.Node, x: ir.Value) -> ir.Value:
    """The opset attribute tells whether the operator flattens the dimensions from the axis on, as Softmax did before 13."""
    axis = node.attributes.get_int("axis", -1)
    shape = node.inputs[0].shape
    flattens = node.attributes.get_int("opset", 13) < 13
    is_last = axis == -1 or (shape is not None and axis == len(shape) - 1)
    if is_last or flattens == (build.opset < 13):
        return build("Softmax", x, axis=axis)
    if not flattens:
        last = len(shape) - 1
        order = [k for k in range(last + 1) if k != axis % (last + 1)] + [axis % (last + 1)]
        swapped = build("Softmax", build("Transpose", x, perm=order), axis=last)
        return build("Transpose", swapped, perm=list(np.argsort(order)))
    rows = build("Softmax", build("Flatten", x, axis=axis), axis=-1)
    return build("Reshape", rows, build("Shape", x))


_quantized_unary("QLinearSigmoid", lambda build, node, x: build("Sigmoid", x))
_quantized_unary("QLinearLeakyRelu", lambda build, node, x: build("LeakyRelu", x, alpha=node.attributes.get_float("alpha", 0.01)))
_quantized_unary("QLinearSoftmax", _softmax)
_quantized_unary(
    "QLinearGlobalAveragePool",
    lambda build, node, x: _channels_first(build, node, x, lambda planes: build("GlobalAveragePool", planes)),
)
_quantized_unary(
    "QLinearAveragePool",
    lambda build, node, x: _channels_first(
        build, node, x, lambda planes: build("AveragePool", planes, **_same(node, *_POOLING_ATTRIBUTES))
    ),
)


@rewrite("QLinearAdd", "QLinearMul", domain=DOMAIN, summary="computed on dequantized values")
def quantized_binary(build: Builder, node: ir.Node) -> Outputs:
    a, a_scale, a_zero, b, b_scale, b_zero, c_scale, c_zero = (given(node, k) for k in range(8))
    sides = dequantized(build, a, a_scale, a_zero), dequantized(build, b, b_scale, b_zero)
    y = build(node.op_type.removeprefix("QLinear"), *sides)
    return [quantized(build, y, c_scale, c_zero if c_zero is not None else scalar(0, dtype_of(a)))]


@rewrite("QLinearConcat", domain=DOMAIN, summary="computed on dequantized values")
def quantized_concat(build: Builder, node: ir.Node) -> Outputs:
    y_scale, y_zero, *rest = node.inputs
    parts = [dequantized(build, *rest[k : k + 3]) for k in range(0, len(rest), 3)]
    return [quantized(build, build("Concat", *parts, axis=node.attributes.get_int("axis")), y_scale, y_zero)]


@rewrite("QLinearWhere", domain=DOMAIN, summary="computed on dequantized values")
def quantized_where(build: Builder, node: ir.Node) -> Outputs:
    condition, x, x_scale, x_zero, y, y_scale, y_zero, z_scale, z_zero = node.inputs
    sides = dequantized(build, x, x_scale, x_zero), dequantized(build, y, y_scale, y_zero)
    return [quantized(build, build("Where", condition, *sides), z_scale, z_zero)]


@rewrite("QLinearConv", domain=DOMAIN, summary="ONNX's QLinearConv between transposes")
def quantized_convolution(build: Builder, node: ir.Node) -> Outputs:
    x, *rest = node.inputs
    if x is None or x.shape is None:
        return None

    def convolution(planes: ir.Value) -> ir.Value:
        return build("QLinearConv", planes, *rest, **_same(node, *_CONVOLUTION_ATTRIBUTES))

    return [_channels_first(build, node, x, convolution)]


@rewrite("QGemm", domain=DOMAIN, summary="computed on dequantized values")
def quantized_gemm(build: Builder, node: ir.Node) -> Outputs:
    """C is int32, in units of alpha · a_scale · b_scale."""
    a, a_scale, a_zero, b, b_scale, b_zero, c, y_scale, y_zero = (given(node, k) for k in range(9))
    transposed = bool(node.attributes.get_int("transB", 0))
    left = dequantized(build, a, a_scale, a_zero)
    right = dequantized(build, b, b_scale, b_zero, axis=0 if transposed else 1)
    alpha = node.attributes.get_float("alpha", 1.0)
    bias = None
    if c is not None:
        unit = build("Mul", build("Mul", a_scale, b_scale), scalar(alpha, np.dtype(np.float32)))
        bias = build("Mul", build("Cast", c, to=ir.DataType.FLOAT.value), unit)
    y = build("Gemm", left, right, bias, alpha=alpha, **_same(node, "transA", "transB"))
    if y_scale is None:
        return [y]
    return [quantized(build, y, y_scale, y_zero if y_zero is not None else scalar(0, dtype_of(a)))]


@rewrite("MatMulIntegerToFloat", domain=DOMAIN, summary="matrix product of dequantized values")
def mat_mul_integer_to_float(build: Builder, node: ir.Node) -> Outputs:
    """Integer products are exact, and so the scales are applied afterwards: MatMulInteger, as ONNX Runtime does."""
    a, b, a_scale, b_scale, a_zero, b_zero, bias = (given(node, k) for k in range(7))
    product = build("Cast", build("MatMulInteger", a, b, a_zero, b_zero), to=ir.DataType.FLOAT.value)
    return [total(build, build("Mul", product, build("Mul", a_scale, b_scale)), bias)]


@rewrite("DynamicQuantizeMatMul", domain=DOMAIN, summary="DynamicQuantizeLinear and MatMulInteger")
def dynamic_quantize_mat_mul(build: Builder, node: ir.Node) -> Outputs:
    a, b, b_scale, b_zero, bias = (given(node, k) for k in range(5))
    levels, scale, zero = build("DynamicQuantizeLinear", a, outputs=3)
    product = build("Cast", build("MatMulInteger", levels, b, zero, b_zero), to=ir.DataType.FLOAT.value)
    return [total(build, build("Mul", product, build("Mul", scale, b_scale)), bias)]


@rewrite("DynamicQuantizeLSTM", domain=DOMAIN, summary="LSTM with dequantized weights, activations stay float")
def dynamic_quantize_lstm(build: Builder, node: ir.Node) -> Outputs:
    x, _, _, bias, lengths, hidden, cell, peepholes = (given(node, k) for k in range(8))
    scales = [(node.inputs[1], node.inputs[8], node.inputs[9]), (node.inputs[2], node.inputs[10], node.inputs[11])]
    weights = [_lstm_weight(*(known(v) for v in triple)) for triple in scales]
    if any(w is None for w in weights):
        return None
    names = set(node.attributes)
    results = build("LSTM", x, *weights, bias, lengths, hidden, cell, peepholes, outputs=3, **_same(node, *names))
    return list(results[: len(node.outputs)])


def _lstm_weight(levels: np.ndarray | None, scale: np.ndarray | None, zero: np.ndarray | None) -> np.ndarray | None:
    """(directions, columns, gates) of integers as (directions, gates, columns) of floats; scales per direction or gate."""
    if levels is None or scale is None or zero is None:
        return None
    scale, zero = (v.reshape(len(v), 1, -1) for v in (scale, zero))
    floats = (levels.astype(np.float32) - zero.astype(np.float32)) * scale
    return np.ascontiguousarray(floats.transpose(0, 2, 1), np.float32)


@rewrite("MatMulNBits", domain=DOMAIN, summary="matrix product with unpacked weights")
def mat_mul_n_bits(build: Builder, node: ir.Node) -> Outputs:
    a, packed, scales, zeros, groups, bias = (given(node, k) for k in range(6))
    weight = unpacked(node, known(packed), known(scales), None if zeros is None else known(zeros))
    if groups is not None or weight is None or (zeros is not None and known(zeros) is None):
        return None
    return [total(build, build("MatMul", a, np.ascontiguousarray(weight.T)), bias)]


def unpacked(node: ir.Node, packed: Any, scales: Any, zeros: Any) -> np.ndarray | None:
    """The (N, K) weight of MatMulNBits: blocks along K, the lower bits first; the middle level is zero by default."""
    if packed is None or scales is None:
        return None
    rows, columns, block = (node.attributes.get_int(name) for name in ("N", "K", "block_size"))
    bits = node.attributes.get_int("bits", 4)
    blocks = -(-columns // block)
    levels = _bits(packed.reshape(rows, -1), bits)[:, : blocks * block].reshape(rows, blocks, block)
    if zeros is None:
        zero = np.full((rows, blocks), 1 << (bits - 1), np.float32)
    elif zeros.dtype == np.uint8:
        zero = _bits(zeros.reshape(rows, -1), bits)[:, :blocks].astype(np.float32)
    else:
        zero = zeros.reshape(rows, blocks).astype(np.float32)
    floats = (levels.astype(np.float32) - zero[..., None]) * scales.reshape(rows, blocks, 1).astype(np.float32)
    return np.asarray(floats.reshape(rows, -1)[:, :columns], scales.dtype)


def _bits(rows: np.ndarray, bits: int) -> np.ndarray:
    """Bytes as a stream of small integers."""
    stream = np.unpackbits(rows, axis=1, bitorder="little").reshape(len(rows), -1, bits)
    return np.asarray((stream << np.arange(bits, dtype=np.uint8)).sum(-1))


@rewrite("GatherBlockQuantized", domain=DOMAIN, summary="look-up in an unpacked table")
def gather_block_quantized(build: Builder, node: ir.Node) -> Outputs:
    data, indices, scales, zeros = (given(node, k) for k in range(4))
    table, factors = known(data), known(scales)
    if table is None or factors is None or (zeros is not None and known(zeros) is None):
        return None
    axis = node.attributes.get_int("quantize_axis", 1)
    block = node.attributes.get_int("block_size", 128)
    axis %= table.ndim
    if table.dtype == np.uint8:
        return None  # packed by hand; the layout depends on the version of the exporter
    floats = table.astype(np.float32)
    if zeros is not None:
        floats = floats - _repeated(np.asarray(known(zeros)).astype(np.float32), block, axis, table.shape[axis])
    floats = floats * _repeated(factors.astype(np.float32), block, axis, table.shape[axis])
    return [build("Gather", floats.astype(factors.dtype), indices, axis=node.attributes.get_int("gather_axis", 0))]


def _repeated(values: np.ndarray, block: int, axis: int, size: int) -> np.ndarray:
    return np.take(np.repeat(values, block, axis), range(size), axis)


@rewrite("QAttention", domain=DOMAIN, summary="attention with a matrix product of dequantized values")
def quantized_attention(build: Builder, node: ir.Node) -> Outputs:
    x, weight, bias, x_scale, w_scale, mask, x_zero, w_zero, past = (given(node, k) for k in range(9))
    if wanted(node, 1) and past is None:
        return None
    inputs = dequantized(build, x, x_scale, x_zero), dequantized(build, weight, w_scale, w_zero, axis=1)
    attributes = _same(node, "num_heads", "unidirectional", "scale", "mask_filter_value")
    results = build("Attention", *inputs, bias, mask, past, domain=DOMAIN, outputs=len(node.outputs), **attributes)
    return list(results) if len(node.outputs) > 1 else [results]
