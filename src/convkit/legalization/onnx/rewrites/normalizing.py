"""LRN, LpNormalization, Hardmax and CumProd."""

from __future__ import annotations

from functools import reduce

import numpy as np
import onnx_ir as ir

from convkit.legalization.onnx.rewrites.constants import attributes, known, rank, sizes
from convkit.legalization.onnx.rewriting import Builder, Outputs, rewrite

_TO_THE_END = 2**31 - 1


@rewrite("LRN", summary="a sum of shifted squares over the channels")
def lrn(build: Builder, node: ir.Node) -> Outputs:
    (x,) = node.inputs
    dimensions = rank(x)
    if x is None or dimensions is None or x.dtype is None:
        return None
    said, dtype = attributes(node), x.dtype.numpy()
    size = said["size"]
    alpha, beta, bias = said.get("alpha", 1e-4), said.get("beta", 0.75), said.get("bias", 1.0)
    before, after = (size - 1) // 2, size // 2
    padded = build.pad(build("Mul", x, x), [0, before, *[0] * (dimensions - 2)], [0, after, *[0] * (dimensions - 2)])
    shifted = [build.slice(padded, 1, k, k + 1 - size or _TO_THE_END) for k in range(size)]
    total = reduce(lambda a, b: build("Add", a, b), shifted)
    base = build("Add", build("Mul", total, np.asarray(alpha / size, dtype)), np.asarray(bias, dtype))
    return [build("Div", x, build("Pow", base, np.asarray(beta, dtype)))]


@rewrite("LpNormalization", summary="divided by the norm")
def lp_normalization(build: Builder, node: ir.Node) -> Outputs:
    (x,) = node.inputs
    if x is None or x.dtype is None or build.opset < 9:
        return None
    axis, p = node.attributes.get_int("axis", -1), node.attributes.get_int("p", 2)
    if p not in (1, 2) or (axis < 0 and rank(x) is None and build.opset < 11):
        return None
    axis = axis % rank(x) if rank(x) else axis
    if p == 1:
        norm = build.reduce("ReduceSum", build("Abs", x), [axis])
    else:
        norm = build("Sqrt", build.reduce("ReduceSum", build("Mul", x, x), [axis]))
    one = np.ones((), x.dtype.numpy())
    # What is all zero stays zero.
    return [build("Div", x, build("Where", build("Equal", norm, one - one), one, norm))]


@rewrite("Hardmax", summary="one-hot of the first largest element")
def hardmax(build: Builder, node: ir.Node) -> Outputs:
    (x,) = node.inputs
    dimensions = rank(x)
    if x is None or dimensions is None or x.dtype is None:
        return None
    axis = node.attributes.get_int("axis", -1 if build.opset >= 13 else 1)
    if build.opset >= 13:
        return [_one_hot(build, x, axis % dimensions, (sizes(x) or [])[axis], dimensions, x.dtype)]
    # Until opset 12 over all axes from this one on together.
    flat = build("Flatten", x, axis=axis % dimensions)
    tail = (sizes(x) or [])[axis % dimensions :]
    size = None if None in tail else int(np.prod([t or 0 for t in tail]))
    return [build.reshape(_one_hot(build, flat, 1, size, 2, x.dtype), build("Shape", x))]


def _one_hot(build: Builder, x: ir.Value, axis: int, size: int | None, dimensions: int, dtype: ir.DataType) -> ir.Value:
    where = build("ArgMax", x, axis=axis, keepdims=1)
    shape = [-1 if k == axis else 1 for k in range(dimensions)]
    if size is not None:
        places = build.constant(np.arange(size).reshape(shape))
    else:
        count = build.squeeze(build("Gather", build("Shape", x), np.array([axis]), axis=0), [0])
        places = build.reshape(build("Range", np.int64(0), count, np.int64(1)), shape)
    hot: ir.Value = build("Cast", build("Equal", where, places), to=dtype)
    return hot


@rewrite("CumSum", "CumProd", summary="computed for every axis, as the axis is an input")
def cumulative(build: Builder, node: ir.Node) -> Outputs:
    x, axis = node.inputs
    dimensions = rank(x)
    if x is None or axis is None or not dimensions or known(axis) is not None:
        return None
    said = attributes(node)
    results = [build(node.op_type, x, build.constant(k), **said) for k in range(dimensions)]
    wanted = build.reshape(axis, [])
    result = results[0]
    for k in range(1, dimensions):
        same = build("Or", build("Equal", wanted, _as(axis, k)), build("Equal", wanted, _as(axis, k - dimensions)))
        result = build("Where", same, results[k], result)
    return [result]


def _as(axis: ir.Value, number: int) -> np.ndarray:
    return np.asarray(number, np.int32 if axis.dtype is ir.DataType.INT32 else np.int64)


@rewrite("CumProd", summary="products of doubled length")
def cumulative_product(build: Builder, node: ir.Node) -> Outputs:
    """Products over 1, 2, 4, … elements: each step multiplies by the value that many places before (Hillis and Steele)."""
    x, axis_ = node.inputs
    axes = known(axis_)
    shape = sizes(x)
    if x is None or shape is None or x.dtype is None or axes is None:
        return None
    axis = int(axes.reshape(())) % len(shape)
    size = shape[axis]
    if size is None:
        return None
    backwards = node.attributes.get_int("reverse", 0) == 1
    one = np.ones((), x.dtype.numpy())
    result = _shifted(build, x, axis, 1, backwards, one) if node.attributes.get_int("exclusive", 0) else x
    step = 1
    while step < size:
        result = build("Mul", result, _shifted(build, result, axis, step, backwards, one))
        step *= 2
    return [result]


def _shifted(build: Builder, x: ir.Value, axis: int, by: int, backwards: bool, fill: np.ndarray) -> ir.Value:
    """The elements `by` places before (after, backwards) along an axis, and ones at the start."""
    kept = build.slice(x, axis, by, _TO_THE_END) if backwards else build.slice(x, axis, 0, -by)
    edge = build.slice(x, axis, 0, by)
    ones = build("Expand", fill, build("Shape", edge))
    joined: ir.Value = build("Concat", *((kept, ones) if backwards else (ones, kept)), axis=axis)
    return joined
