"""EyeLike, TensorScatter, MaxUnpool, Col2Im, Det, and ArrayFeatureExtractor: values moved to places."""

from __future__ import annotations

import itertools
import math

import numpy as np
import onnx_ir as ir

from convkit.legalization.onnx.rewrites.constants import attributes, is_used, known, rank, sizes
from convkit.legalization.onnx.rewriting import Builder, Outputs, rewrite


@rewrite("EyeLike", summary="a comparison of row and column numbers")
def eye_like(build: Builder, node: ir.Node) -> Outputs:
    (x,) = node.inputs
    shape = sizes(x)
    dtype = node.attributes.get_int("dtype", 0) or (x.dtype if x is not None else None)
    if x is None or shape is None or dtype is None:
        return None
    k = node.attributes.get_int("k", 0)
    rows, columns = shape
    kind = ir.DataType(dtype)
    if rows is not None and columns is not None:
        return [build.constant(np.eye(rows, columns, k).astype(kind.numpy()))]
    if build.opset < 11:
        return None
    numbers = [build("Range", np.int64(0), build.squeeze(build.size(x, axis), [0]), np.int64(1)) for axis in (0, 1)]
    on = build("Equal", build.unsqueeze(build("Add", numbers[0], np.int64(k)), [1]), build.unsqueeze(numbers[1], [0]))
    return [build("Cast", on, to=kind)]


@rewrite("TensorScatter", summary="a ScatterElements at computed places")
def tensor_scatter(build: Builder, node: ir.Node) -> Outputs:
    """Writes `update` into a cache from a position on that differs by batch element (https://onnx.ai: TensorScatter)."""
    cache, update, positions = [*node.inputs, None][:3]
    dimensions, written = rank(cache), sizes(update)
    if cache is None or update is None or dimensions is None or written is None:
        return None
    axis = node.attributes.get_int("axis", -2) % dimensions
    length = written[axis]
    if length is None:
        return None
    index = build.constant(np.arange(length).reshape([-1 if k == axis else 1 for k in range(dimensions)]))
    if positions is not None:
        index = build("Add", index, build.reshape(positions, [-1, *[1] * (dimensions - 1)]))
    if node.attributes.get_string("mode", "linear") == "circular":
        index = build("Mod", index, build.size(cache, axis))
    return [build("ScatterElements", cache, build("Expand", index, build("Shape", update)), update, axis=axis)]


@rewrite("MaxUnpool", summary="a scatter into zeros")
def max_unpool(build: Builder, node: ir.Node) -> Outputs:
    x, indices, wanted = [*node.inputs, None][:3]
    shape = sizes(x)
    if x is None or indices is None or shape is None or x.dtype is None or build.opset < 11:
        return None
    said = attributes(node)
    if wanted is not None:
        size = wanted
    else:
        kernel = said["kernel_shape"]
        strides, pads = said.get("strides", [1] * len(kernel)), said.get("pads", [0] * 2 * len(kernel))
        spatial = []
        for k, before in enumerate(shape[2:]):
            if before is None:
                return None
            spatial.append((before - 1) * strides[k] + kernel[k] - pads[k] - pads[k + len(kernel)])
        size = build("Concat", build.size(x, 0), build.size(x, 1), np.array(spatial), axis=0)
    count = build.reduce("ReduceProd", size, None)
    zeros = build("Expand", np.zeros(1, x.dtype.numpy()), count)
    flat = build("ScatterElements", zeros, build.reshape(indices, [-1]), build.reshape(x, [-1]), axis=0)
    return [build.reshape(flat, size)]


@rewrite("Col2Im", summary="a transposed convolution with a kernel of ones")
def col2im(build: Builder, node: ir.Node) -> Outputs:
    """Each column element belongs to one place of the kernel: its own input channel of a transposed convolution."""
    columns, image_, block_ = node.inputs
    image, block = known(image_), known(block_)
    shape = sizes(columns)
    if columns is None or image is None or block is None or shape is None or len(block) > 3 or columns.dtype is None:
        return None
    said, spatial = attributes(node), len(block)
    dilations, strides = said.get("dilations", [1] * spatial), said.get("strides", [1] * spatial)
    pads = said.get("pads", [0] * 2 * spatial)
    taps = math.prod(int(b) for b in block)
    if shape[1] is None:
        return None
    counts, rests = [], []
    for k in range(spatial):
        reach = dilations[k] * (int(block[k]) - 1) + 1
        span = int(image[k]) + pads[k] + pads[k + spatial]
        counts.append((span - reach) // strides[k] + 1)
        rests.append((span - reach) % strides[k])
    kernel = np.eye(taps).reshape(taps, 1, *[int(b) for b in block]).astype(columns.dtype.numpy())
    patches = build.reshape(columns, [-1, taps, *counts])
    folded = build(
        "ConvTranspose", patches, kernel, dilations=list(dilations), strides=list(strides), pads=list(pads), output_padding=rests
    )
    return [build.reshape(folded, [-1, shape[1] // taps, *[int(i) for i in image]])]


@rewrite("Det", summary="written out by minors")
def determinant(build: Builder, node: ir.Node) -> Outputs:
    (x,) = node.inputs
    shape = sizes(x)
    if x is None or shape is None or shape[-1] is None or shape[-1] > 4:
        return None
    size, dimensions = shape[-1], len(shape)
    rows = [build("Gather", x, build.constant(r), axis=dimensions - 2) for r in range(size)]
    element = {(r, c): build("Gather", rows[r], build.constant(c), axis=dimensions - 2) for r in range(size) for c in range(size)}

    def minor(first: int, columns: tuple[int, ...]) -> ir.Value:
        if len(columns) == 1:
            return element[first, columns[0]]
        total: ir.Value | None = None
        for sign, c in zip(itertools.cycle("+-"), columns, strict=False):
            term = build("Mul", element[first, c], minor(first + 1, tuple(o for o in columns if o != c)))
            total = term if total is None else build("Add" if sign == "+" else "Sub", total, term)
        assert total is not None
        return total

    return [minor(0, tuple(range(size)))]


@rewrite("ArrayFeatureExtractor", domain="ai.onnx.ml", summary="a gather on the last axis")
def array_feature_extractor(build: Builder, node: ir.Node) -> Outputs:
    x, indices = node.inputs
    dimensions = rank(x)
    if dimensions is None or not is_used(node, 0):
        return None
    picked = build("Gather", x, build.reshape(indices, [-1]) if indices is not None else None, axis=dimensions - 1)
    return [picked if dimensions > 1 else build.unsqueeze(picked, [0])]
