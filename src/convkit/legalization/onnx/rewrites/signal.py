"""DFT, STFT and MelWeightMatrix of known lengths, as products with constant matrices.

A complex number is a pair in the last axis. A transform of length n is [re, im] times [[cos, -sin], [sin, cos]].
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from convkit.legalization.onnx.rewrites.constants import attributes, known, sizes
from convkit.legalization.onnx.rewriting import Builder, Outputs, rewrite

_LONGEST = 4096
"""Points up to which the matrix of a transform is built: 2 * 4096^2 numbers are 128 MB."""


@rewrite("DFT", summary="a product with a constant matrix")
def dft(build: Builder, node: ir.Node) -> Outputs:
    x, length_, axis_ = [*node.inputs, None, None][:3]
    shape, said = sizes(x), attributes(node)
    if x is None or shape is None or x.dtype is None or (length_ is not None and known(length_) is None):
        return None
    if build.opset >= 20:
        given = known(axis_)
        if axis_ is not None and given is None:
            return None
        axis = -2 if given is None else int(given.reshape(()))
    else:
        axis = said.get("axis", 1)
    axis, inverse, onesided = axis % len(shape), bool(said.get("inverse", 0)), bool(said.get("onesided", 0))
    given = known(length_)
    size, parts = shape[axis], shape[-1]
    if size is None or parts is None or axis == len(shape) - 1:
        return None
    # A onesided inverse starts from the first half of the spectrum of real numbers.
    points = int(given.reshape(())) if given is not None else 2 * (size - 1) if inverse and onesided else size
    if points > _LONGEST or points < 1:
        return None
    if inverse and onesided:
        matrix = _inverse_of_half(points, min(size, points // 2 + 1), parts)
    else:
        matrix = _matrix(points, parts, inverse)[: min(size, points)]
        if onesided:
            matrix = matrix[:, :, : points // 2 + 1]
    taken = matrix.shape[0]
    if taken < size:
        x = build.slice(x, axis, 0, taken)
    return [_transformed(build, x, matrix, axis, len(shape), node)]


@rewrite("STFT", summary="frames times a constant matrix")
def stft(build: Builder, node: ir.Node) -> Outputs:
    signal, step_, window_, length_ = [*node.inputs, None][:4]
    shape, step, width = sizes(signal), known(step_), sizes(window_)
    if signal is None or shape is None or signal.dtype is None or step is None or (window_ is not None and width is None):
        return None
    given = known(length_)
    if length_ is not None and given is None:
        return None
    points = int(given.reshape(())) if given is not None else (width[0] or 0) if width else 0
    size, hop = shape[1], int(step.reshape(()))
    parts = shape[2] if len(shape) == 3 else 1
    if size is None or parts is None or not 0 < points <= _LONGEST or (width and width[0] != points):
        return None
    matrix = _matrix(points, parts, inverse=False)
    if bool(attributes(node).get("onesided", 1)):
        matrix = matrix[:, :, : points // 2 + 1]
    frames = (size - points) // hop + 1
    places = np.arange(frames)[:, None] * hop + np.arange(points)
    framed = build("Gather", signal if len(shape) == 3 else build.unsqueeze(signal, [2]), places, axis=1)
    if window_ is not None:
        window = known(window_)
        if window is not None:
            matrix = matrix * window.astype(np.float64)[:, None, None, None]
        else:
            framed = build("Mul", framed, build.reshape(window_, [points, 1]))
    return [_transformed(build, framed, matrix, 2, 4, node)]  # of [batch, frames, points, parts]


@rewrite("MelWeightMatrix", summary="a constant")
def mel_weight_matrix(build: Builder, node: ir.Node) -> Outputs:
    arrays = [known(value) for value in node.inputs]
    if any(array is None for array in arrays):
        return None
    bins, length, rate, low, high = (array.item() for array in arrays if array is not None)
    dtype = ir.DataType(attributes(node).get("output_datatype", ir.DataType.FLOAT))
    spectrum = length // 2 + 1
    mels = [2595 * np.log10(1 + hertz / 700) for hertz in (low, high)]
    step = (mels[1] - mels[0]) / (bins + 2)
    hertz = 700 * (np.power(10, (np.arange(bins + 2) * step + mels[0]) / 2595) - 1)
    edges = ((length + 1) * hertz // rate).astype(np.int64)
    weights = np.zeros((spectrum, bins))
    for k in range(bins):
        lower, centre, higher = edges[k : k + 3]
        if centre == lower:
            weights[centre, k] = 1
        else:
            rising = np.arange(lower, centre + 1)
            weights[rising, k] = (rising - lower) / (centre - lower)
        if higher > centre:
            falling = np.arange(centre, higher)
            weights[falling, k] = (higher - falling) / (higher - centre)
    return [build.constant(weights.astype(dtype.numpy()))]


def _matrix(points: int, parts: int, inverse: bool) -> np.ndarray:
    """[points, parts, points, 2]: what each part of each element contributes to each part of each result."""
    turns = np.outer(np.arange(points), np.arange(points)) % points
    angle = 2 * np.pi * turns / points * (1 if inverse else -1)
    real = np.stack([np.cos(angle), np.sin(angle)], -1)
    imaginary = np.stack([-np.sin(angle), np.cos(angle)], -1)
    matrix: np.ndarray = np.stack([real, imaginary][:parts], 1)
    return matrix / points if inverse else matrix


def _inverse_of_half(points: int, half: int, parts: int) -> np.ndarray:
    """[half, parts, points, 1]: the inverse transform of a spectrum whose other half is the conjugate of this one."""
    full = _matrix(points, 2, inverse=True)
    matrix = full[:half].copy()
    for k in range(1, half):
        mirrored = (points - k) % points
        if mirrored >= half or mirrored > k:
            matrix[k, 0] += full[mirrored, 0]
            matrix[k, 1] -= full[mirrored, 1]
    return np.ascontiguousarray(matrix[:, :parts, :, :1])


def _transformed(build: Builder, x: ir.Value, matrix: np.ndarray, axis: int, dimensions: int, node: ir.Node) -> ir.Value:
    """Contracts an axis and the parts of a value with a matrix; a transposition brings the axis before the parts."""
    taken, parts, made, results = matrix.shape
    dtype = node.outputs[0].dtype or (node.inputs[0].dtype if node.inputs[0] is not None else None)
    assert dtype is not None
    others = [k for k in range(dimensions - 1) if k != axis]
    value = build.transpose(x, [*others, axis, dimensions - 1])
    flat = build.reshape(value, [-1, taken * parts])
    product = build("MatMul", flat, matrix.reshape(taken * parts, made * results).astype(dtype.numpy()))
    leading: Any = build.slice(build("Shape", value), 0, 0, len(others)) if others else np.zeros(0, np.int64)
    shaped = build.reshape(product, build("Concat", leading, np.array([made, results]), axis=0))
    back = list(range(len(others)))
    back.insert(axis, len(others))
    return build.transpose(shaped, [*back, dimensions - 1])
