"""Operators of the domain com.microsoft, by ONNX's own: fused activations, products and normalizations.

ONNX Runtime's optimizer leaves them in the files that it saves, and so do its tools for transformers. As rewrites they
serve every importer (PyTorch and TensorFlow alike): do not write handlers for them. Quantized ones are in
`contrib_quantized.py`, attention in `contrib_attention.py`. Their definitions: ONNX Runtime's docs/ContribOperators.md.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from convkit.legalization.onnx.rewriting import Builder, Outputs, rewrite

__all__ = ["DOMAIN", "dtype_of", "given", "known", "reduced", "scalar", "squeezed", "total", "wanted"]

DOMAIN = "com.microsoft"


def given(node: ir.Node, position: int) -> ir.Value | None:
    """An optional input, None where it is left out."""
    return node.inputs[position] if position < len(node.inputs) else None


def wanted(node: ir.Node, position: int) -> bool:
    """Whether an optional output is asked for."""
    return position < len(node.outputs) and bool(node.outputs[position].name)


def known(value: ir.Value | None) -> np.ndarray | None:
    """The array of a constant, None for computed values."""
    return None if value is None or value.const_value is None else np.asarray(value.const_value.numpy())


def dtype_of(value: ir.Value | None) -> np.dtype[Any]:
    """The dtype of a value; float32 where inference does not know it."""
    dtype = ir.DataType.FLOAT if value is None or value.dtype is None else value.dtype
    found: np.dtype[Any] = dtype.numpy()
    return found


def scalar(number: float, dtype: np.dtype[Any]) -> np.ndarray:
    return np.asarray(number, dtype)


def reduced(build: Builder, operator: str, x: ir.Value, axes: list[int]) -> ir.Value:
    """ReduceMean, ReduceSum, … with kept dimensions; the axes were an attribute in older opsets."""
    if build.opset >= (13 if operator == "ReduceSum" else 18):
        return build(operator, x, np.array(axes, np.int64), keepdims=1)
    return build(operator, x, axes=axes, keepdims=1)


def normalized(build: Builder, x: ir.Value, scale: ir.Value, bias: ir.Value | None, epsilon: float) -> list[ir.Value]:
    """Layer normalization over the last dimension: the result, the mean and the inverse deviation."""
    if build.opset >= 17:
        return list(build("LayerNormalization", x, scale, bias, outputs=3, axis=-1, epsilon=epsilon))
    mean = reduced(build, "ReduceMean", x, [-1])
    centred = build("Sub", x, mean)
    variance = reduced(build, "ReduceMean", build("Mul", centred, centred), [-1])
    inverse = build("Reciprocal", build("Sqrt", build("Add", variance, scalar(epsilon, dtype_of(scale)))))
    result = build("Mul", build("Mul", centred, inverse), scale)
    return [result if bias is None else build("Add", result, bias), mean, inverse]


def activated(build: Builder, x: ir.Value, dtype: np.dtype[Any], name: str, parameters: list[float]) -> ir.Value:
    """The activation of a fused operator, by name."""
    if not name:
        return x
    if name == "Clip" and build.opset >= 11:
        return build("Clip", x, *(scalar(bound, dtype) for bound in parameters))
    attributes: dict[str, Any] = dict(zip(_ACTIVATION_PARAMETERS.get(name, ()), parameters, strict=False))
    return build(name, x, **attributes)


_ACTIVATION_PARAMETERS = {
    "Clip": ("min", "max"),
    "Elu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "LeakyRelu": ("alpha",),
    "Selu": ("alpha", "gamma"),
    "ThresholdedRelu": ("alpha",),
}

_CONVOLUTION_ATTRIBUTES = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


def _same(node: ir.Node, *names: str) -> dict[str, Any]:
    return {name: node.attributes[name].value for name in names if name in node.attributes}


@rewrite("FusedConv", domain=DOMAIN, summary="convolution, addition and activation one by one")
def fused_conv(build: Builder, node: ir.Node) -> Outputs:
    x, weight, bias, addend = (given(node, k) for k in range(4))
    y = build("Conv", x, weight, bias, **_same(node, *_CONVOLUTION_ATTRIBUTES))
    if addend is not None:
        y = build("Add", y, addend)
    parameters = list(node.attributes.get_floats("activation_params", []))
    return [activated(build, y, dtype_of(x), node.attributes.get_string("activation", ""), parameters)]


@rewrite("FusedGemm", domain=DOMAIN, summary="general matrix product and activation one by one")
def fused_gemm(build: Builder, node: ir.Node) -> Outputs:
    y = build("Gemm", *node.inputs, **_same(node, "alpha", "beta", "transA", "transB"))
    names = ("activation_alpha", "activation_beta", "activation_gamma")
    parameters = [node.attributes.get_float(name) for name in names if name in node.attributes]
    name = node.attributes.get_string("activation", "")
    return [activated(build, y, dtype_of(node.inputs[0]), name, parameters)]


@rewrite("FusedMatMul", "TransposeMatMul", domain=DOMAIN, summary="transposes, matrix product and factor one by one")
def fused_mat_mul(build: Builder, node: ir.Node) -> Outputs:
    sides = []
    for value, letter in zip(node.inputs, "AB", strict=True):
        assert value is not None
        swap, batch = (bool(node.attributes.get_int(f"trans{kind}{letter}", 0)) for kind in ("", "Batch"))
        if swap or batch:
            if value.shape is None:
                return None
            value = build("Transpose", value, perm=_matrix_order(len(value.shape), swap, batch))
        sides.append(value)
    product = build("MatMul", *sides)
    alpha = node.attributes.get_float("alpha", 1.0)
    return [product if alpha == 1 else build("Mul", product, scalar(alpha, dtype_of(node.inputs[0])))]


def _matrix_order(rank: int, swap: bool, batch: bool) -> list[int]:
    """The dimensions of a FusedMatMul operand: `batch` says that the rows' dimension comes first, before the batch's."""
    order = list(range(rank))
    if batch and rank > 2:
        order = [*order[1:-1], 0, order[-1]]
    if swap and rank > 1:
        order[-2:] = order[:-3:-1]
    return order


@rewrite("FusedMatMulActivation", domain=DOMAIN, summary="matrix product and activation one by one")
def fused_mat_mul_activation(build: Builder, node: ir.Node) -> Outputs:
    y = build(
        "FusedMatMul", *node.inputs, domain=DOMAIN, **_same(node, "alpha", "transA", "transB", "transBatchA", "transBatchB")
    )
    names = ("activation_alpha", "activation_beta", "activation_gamma")
    parameters = [node.attributes.get_float(name) for name in names if name in node.attributes]
    name = node.attributes.get_string("activation", "")
    if name == "Softmax":
        return [build("Softmax", y, axis=node.attributes.get_int("activation_axis", -1))]
    return [activated(build, y, dtype_of(node.inputs[0]), name, parameters)]


def gelu(build: Builder, x: ir.Value, dtype: np.dtype[Any]) -> ir.Value:
    """x · Φ(x), exactly."""
    if build.opset >= 20:
        return build("Gelu", x)
    one = build("Add", build("Erf", build("Mul", x, scalar(math.sqrt(0.5), dtype))), scalar(1, dtype))
    return build("Mul", build("Mul", x, scalar(0.5, dtype)), one)


def fast_gelu(build: Builder, x: ir.Value, dtype: np.dtype[Any]) -> ir.Value:
    """x · Φ(x) by the tanh approximation."""
    if build.opset >= 20:
        return build("Gelu", x, approximate="tanh")
    cube = build("Mul", build("Mul", x, x), x)
    inner = build("Add", x, build("Mul", cube, scalar(0.044715, dtype)))
    one = build("Add", build("Tanh", build("Mul", inner, scalar(math.sqrt(2 / math.pi), dtype))), scalar(1, dtype))
    return build("Mul", build("Mul", x, scalar(0.5, dtype)), one)


def total(build: Builder, *values: ir.Value | None) -> ir.Value:
    """The sum of what is given."""
    first, *rest = (v for v in values if v is not None)
    for value in rest:
        first = build("Add", first, value)
    return first


@rewrite("Gelu", "BiasGelu", domain=DOMAIN, summary="by the error function")
def biased_gelu(build: Builder, node: ir.Node) -> Outputs:
    return [gelu(build, total(build, *node.inputs), dtype_of(node.inputs[0]))]


@rewrite("FastGelu", domain=DOMAIN, summary="by the hyperbolic tangent")
def biased_fast_gelu(build: Builder, node: ir.Node) -> Outputs:
    return [fast_gelu(build, total(build, *node.inputs), dtype_of(node.inputs[0]))]


@rewrite("GemmFastGelu", domain=DOMAIN, summary="matrix product, addition and Gelu one by one")
def gemm_fast_gelu(build: Builder, node: ir.Node) -> Outputs:
    y = total(build, build("MatMul", *node.inputs[:2]), given(node, 2))
    return [fast_gelu(build, y, dtype_of(node.inputs[0]))]


@rewrite("QuickGelu", domain=DOMAIN, summary="x · sigmoid(alpha · x)")
def quick_gelu(build: Builder, node: ir.Node) -> Outputs:
    x = node.inputs[0]
    scaled = build("Mul", x, scalar(node.attributes.get_float("alpha", 1.702), dtype_of(x)))
    return [build("Mul", x, build("Sigmoid", scaled))]


@rewrite("BiasSplitGelu", domain=DOMAIN, summary="the first half times Gelu of the second")
def bias_split_gelu(build: Builder, node: ir.Node) -> Outputs:
    count = 2 if build.opset >= 18 else None
    left, right = build("Split", total(build, *node.inputs), outputs=2, axis=-1, num_outputs=count)
    return [build("Mul", left, gelu(build, right, dtype_of(node.inputs[0])))]


@rewrite("BiasAdd", domain=DOMAIN, summary="two additions")
def bias_add(build: Builder, node: ir.Node) -> Outputs:
    return [total(build, *node.inputs)]


@rewrite("BiasSoftmax", domain=DOMAIN, summary="Softmax of a sum")
def bias_softmax(build: Builder, node: ir.Node) -> Outputs:
    """The bias has the dimensions of the data from `axis` on (inner broadcast), or has 1 for some (plain broadcast)."""
    data, bias = node.inputs
    axis = node.attributes.get_int("axis", 1)
    if data is None or bias is None or data.shape is None or bias.shape is None:
        return None
    rank = len(data.shape)
    if node.attributes.get_int("is_inner_broadcast", 1) == 0 and len(bias.shape) != rank:
        return None  # the bias repeats in whole blocks along the batch, which ONNX's broadcasting does not
    if axis % rank != rank - 1 or len(bias.shape) > rank:
        return None
    return [build("Softmax", build("Add", data, bias), axis=-1)]


@rewrite("SkipLayerNormalization", domain=DOMAIN, summary="addition and layer normalization one by one")
def skip_layer_normalization(build: Builder, node: ir.Node) -> Outputs:
    x, skip, gamma, beta, bias = (given(node, k) for k in range(5))
    assert gamma is not None
    summed = total(build, x, skip, bias)
    return _up_to(node, [*normalized(build, summed, gamma, beta, node.attributes.get_float("epsilon", 1e-12)), summed])


@rewrite("SkipSimplifiedLayerNormalization", domain=DOMAIN, summary="addition and root mean square normalization one by one")
def skip_simplified_layer_normalization(build: Builder, node: ir.Node) -> Outputs:
    x, skip, gamma, bias = (given(node, k) for k in range(4))
    assert gamma is not None
    summed = total(build, x, skip, bias)
    result, inverse = rms_normalized(build, summed, gamma, node.attributes.get_float("epsilon", 1e-12))
    return _up_to(node, [result, None, inverse, summed])


def _up_to(node: ir.Node, results: list[Any]) -> Outputs:
    """As many results as the node has outputs; None where one that is asked for is not computed."""
    count = len(node.outputs)
    if any(wanted(node, k) and results[k] is None for k in range(count)):
        return None
    first = results[0]
    return [first if r is None else r for r in results[:count]]


@rewrite("SimplifiedLayerNormalization", summary="root mean square normalization by its definition")
@rewrite("SimplifiedLayerNormalization", domain=DOMAIN, summary="root mean square normalization by its definition")
def simplified_layer_normalization(build: Builder, node: ir.Node) -> Outputs:
    x, scale = node.inputs
    assert x is not None and scale is not None
    if node.attributes.get_int("axis", -1) != -1 and (x.shape is None or node.attributes.get_int("axis") != len(x.shape) - 1):
        return None
    return _up_to(node, list(rms_normalized(build, x, scale, node.attributes.get_float("epsilon", 1e-5))))


def rms_normalized(build: Builder, x: ir.Value, scale: ir.Value, epsilon: float) -> tuple[ir.Value, ir.Value]:
    """x divided by the root of its mean square over the last dimension, times a scale; and that inverse root.

    Computed in float32, where the squares of half precision do not overflow.
    """
    half = ir.DataType.FLOAT if scale.dtype is None else scale.dtype
    is_half = half in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
    wide = build("Cast", x, to=ir.DataType.FLOAT.value) if is_half else x
    mean = reduced(build, "ReduceMean", build("Mul", wide, wide), [-1])
    inverse = build("Reciprocal", build("Sqrt", build("Add", mean, scalar(epsilon, np.dtype(np.float32)))))
    result = build("Mul", wide, inverse)
    return build("Mul", build("Cast", result, to=half.value) if is_half else result, scale), inverse


@rewrite("EmbedLayerNormalization", domain=DOMAIN, summary="look-ups, additions and layer normalization one by one")
def embed_layer_normalization(build: Builder, node: ir.Node) -> Outputs:
    ids, segments, words, positions, segment_table, gamma, beta, mask, position_ids = (given(node, k) for k in range(9))
    assert words is not None and gamma is not None
    if positions is None or beta is None:
        return None
    if position_ids is not None:
        rows = build("Gather", positions, position_ids)
    else:
        length = build("Slice", build("Shape", ids), np.array([1]), np.array([2]))
        rows = build("Slice", positions, np.array([0]), length, np.array([0]))
    kinds = None if segments is None or segment_table is None else build("Gather", segment_table, segments)
    summed = total(build, build("Gather", words, ids), rows, kinds)
    [result, *_] = normalized(build, summed, gamma, beta, node.attributes.get_float("epsilon", 1e-12))
    return _up_to(node, [result, _lengths(build, ids, mask) if wanted(node, 1) else None, summed])


def _lengths(build: Builder, ids: ir.Value | None, mask: ir.Value | None) -> ir.Value:
    """How many tokens of each row the mask keeps; zeros without a mask."""
    source = build("Mul", ids, np.array(0, np.int32)) if mask is None else mask
    return squeezed(build, reduced(build, "ReduceSum", source, [1]), 1)


def squeezed(build: Builder, x: ir.Value, axis: int) -> ir.Value:
    """x without a dimension of size 1; the axis was an attribute before opset 13."""
    if build.opset >= 13:
        return build("Squeeze", x, np.array([axis]))
    return build("Squeeze", x, axes=[axis])


@rewrite("GroupNorm", "SkipGroupNorm", domain=DOMAIN, summary="group normalization by instance normalization")
def group_norm(build: Builder, node: ir.Node) -> Outputs:
    x, gamma, beta = node.inputs[:3]
    assert x is not None and gamma is not None and beta is not None
    summed = total(build, x, given(node, 3), given(node, 4))
    groups = node.attributes.get_int("groups")
    last = node.attributes.get_int("channels_last", 1)
    planes = build("Transpose", total, perm=[0, 3, 1, 2]) if last else summed
    shape = build("Shape", planes)
    grouped = build("Reshape", planes, np.array([0, groups, -1]))
    ones, zeros = np.ones(groups, dtype_of(x)), np.zeros(groups, dtype_of(x))
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    even = build("Reshape", build("InstanceNormalization", grouped, ones, zeros, epsilon=epsilon), shape)
    y = build("Add", build("Mul", even, _column(build, gamma, x)), _column(build, beta, x))
    if node.attributes.get_int("activation", 0):
        y = build("Mul", y, build("Sigmoid", y))
    return _up_to(node, [build("Transpose", y, perm=[0, 2, 3, 1]) if last else y, summed])


def _column(build: Builder, values: ir.Value, x: ir.Value) -> ir.Value:
    column = build("Reshape", values, np.array([1, -1, 1, 1]))
    return column if values.dtype == x.dtype or x.dtype is None else build("Cast", column, to=x.dtype.value)


@rewrite("Trilu", "GatherND", "Range", "Pad", domain=DOMAIN, summary="ONNX's operator of that name")
def same_operator(build: Builder, node: ir.Node) -> Outputs:
    first = {"Trilu": 14, "GatherND": 11, "Range": 11, "Pad": 11}[node.op_type]
    if build.opset < first:
        return None
    inputs = list(node.inputs)
    if node.op_type == "Range" and len(inputs) == 2:
        inputs.append(build.constant(scalar(1, dtype_of(inputs[0]))))
    return [build(node.op_type, *inputs, **_same(node, *node.attributes))]


@rewrite("GridSample", domain=DOMAIN, summary="ONNX's operator of that name")
def grid_sample(build: Builder, node: ir.Node) -> Outputs:
    if build.opset < 16:
        return None
    mode = node.attributes.get_string("mode", "bilinear")
    if build.opset >= 20:
        mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    return [build("GridSample", *node.inputs, mode=mode, **_same(node, "align_corners", "padding_mode"))]


@rewrite("ExpandDims", domain=DOMAIN, summary="Unsqueeze")
def expand_dims(build: Builder, node: ir.Node) -> Outputs:
    axis = known(given(node, 1))
    if axis is None:
        return None
    if build.opset >= 13:
        return [build("Unsqueeze", node.inputs[0], axis.reshape(1).astype(np.int64))]
    return [build("Unsqueeze", node.inputs[0], axes=[int(axis)])]
