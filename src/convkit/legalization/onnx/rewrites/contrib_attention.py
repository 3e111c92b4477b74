"""Attention of the domain com.microsoft, by matrix products and Softmax.

Heads stay where ONNX Runtime has them: (batch, heads, sequence, size of a head).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from convkit.legalization.onnx.rewrites.contrib import DOMAIN, dtype_of, given, scalar, squeezed, total, wanted
from convkit.legalization.onnx.rewriting import Builder, Outputs, rewrite

__all__: list[str] = []


@rewrite("Attention", domain=DOMAIN, summary="projection, matrix products and Softmax one by one")
def attention(build: Builder, node: ir.Node) -> Outputs:
    x, weight, bias, mask, past, addend, past_length = (given(node, k) for k in range(7))
    shared = node.attributes.get_int("past_present_share_buffer", 0) or node.attributes.get_int("do_rotary", 0)
    if shared or past_length is not None or weight is None or weight.shape is None:
        return None
    heads = node.attributes.get_int("num_heads")
    sizes = node.attributes.get_ints("qkv_hidden_sizes", None) or [int(weight.shape[1]) // 3] * 3
    projected = total(build, build("MatMul", x, weight), bias)
    parts = _split(build, projected, list(sizes), -1)
    query, key, value = (_heads(build, part, heads) for part in parts)
    present = None
    if past is not None:
        before = [squeezed(build, part, 0) for part in _split(build, past, [1, 1], 0)]
        key, value = build("Concat", before[0], key, axis=2), build("Concat", before[1], value, axis=2)
    if wanted(node, 1):
        present = build("Concat", _unsqueezed(build, key, 0), _unsqueezed(build, value, 0), axis=0)
    added = _mask(build, node, mask, x, key)
    if mask is not None and added is None:
        return None
    y = _attended(build, node, (query, key, value), [added, addend], math.sqrt(sizes[0] // heads), dtype_of(x))
    return [y, present][: len(node.outputs)] if present is not None else [y]


@rewrite("MultiHeadAttention", domain=DOMAIN, summary="matrix products and Softmax one by one")
def multi_head_attention(build: Builder, node: ir.Node) -> Outputs:
    query, key, value, bias, mask, addend, past_key, past_value = (given(node, k) for k in range(8))
    if query is None or key is None or value is None or len(node.inputs) > 8:
        return None
    if query.shape is None or len(query.shape) != 3 or key.shape is None or not isinstance(query.shape[2], int):
        return None
    heads, size = node.attributes.get_int("num_heads"), query.shape[2]
    is_ready = len(key.shape) == 4  # (batch, heads, sequence, size): cross attention on a cached memory
    if len(key.shape) not in (3, 4):
        return None
    if bias is not None:
        if is_ready or value.shape is None or not isinstance(value.shape[2], int):
            return None
        biases = _split(build, bias, [size, size, value.shape[2]], 0)
        query, key, value = (build("Add", x, b) for x, b in zip((query, key, value), biases, strict=True))
    query = _heads(build, query, heads)
    if not is_ready:
        key, value = _heads(build, key, heads), _heads(build, value, heads)
    if past_key is not None:
        key, value = build("Concat", past_key, key, axis=2), build("Concat", past_value, value, axis=2)
    added = _mask(build, node, mask, node.inputs[0], key)
    if mask is not None and added is None:
        return None
    y = _attended(build, node, (query, key, value), [added, addend], math.sqrt(size // heads), dtype_of(node.inputs[0]))
    return [y, key, value][: len(node.outputs)]


def _attended(
    build: Builder, node: ir.Node, parts: tuple[Any, Any, Any], added: list[Any], root: float, dtype: np.dtype[Any]
) -> ir.Value:
    """softmax(query · keyᵀ · scale + what is added) · value, with the heads side by side again."""
    query, key, value = parts
    scale = node.attributes.get_float("scale", 0.0) or 1 / root
    scores = build("MatMul", build("Mul", query, scalar(scale, dtype)), build("Transpose", key, perm=[0, 1, 3, 2]))
    if node.attributes.get_int("unidirectional", 0):
        added = [*added, _causal(build, query, key, dtype)]
    weights = build("Softmax", total(build, scores, *added), axis=3 if build.opset < 13 else -1)
    merged = build("Transpose", build("MatMul", weights, value), perm=[0, 2, 1, 3])
    return build("Reshape", merged, np.array([0, 0, -1]))


def _heads(build: Builder, x: Any, heads: int) -> Any:
    return build("Transpose", build("Reshape", x, np.array([0, 0, heads, -1])), perm=[0, 2, 1, 3])


def _length(build: Builder, x: Any) -> Any:
    """The sequence's length of (batch, heads, sequence, size), as a vector of one."""
    return build("Slice", build("Shape", x), np.array([2]), np.array([3]))


def _positions(build: Builder, length: Any) -> Any:
    return build("Range", np.array(0), squeezed(build, length, 0), np.array(1))


def _causal(build: Builder, query: Any, key: Any, dtype: np.dtype[Any]) -> Any:
    """What hides later positions: the queries are the last ones of the keys."""
    width = _length(build, key)
    columns = _positions(build, width)
    rows = build("Add", _positions(build, _length(build, query)), build("Sub", width, _length(build, query)))
    hidden = build("Less", _unsqueezed(build, rows, 1), _unsqueezed(build, columns, 0))
    return build("Where", hidden, scalar(_lowest(dtype), dtype), scalar(0, dtype))


def _lowest(dtype: np.dtype[Any]) -> float:
    return -65504.0 if dtype == np.float16 else float(np.finfo(np.float32).min)


def _mask(build: Builder, node: ir.Node, mask: Any, x: Any, key: Any) -> Any:
    """What is added to the scores for a mask of ones and zeros, or of the kept lengths; None where it is of another form."""
    if mask is None or mask.shape is None:
        return None
    rank = len(mask.shape)
    if rank == 1:
        if x.shape is None or mask.shape[0] != x.shape[0]:
            return None  # starts and ends, or cumulated lengths
        lengths = _unsqueezed(build, build("Cast", mask, to=ir.DataType.INT64.value), 1)
        kept = build("Less", _unsqueezed(build, _positions(build, _length(build, key)), 0), lengths)
        rank = 2
    else:
        kept = build("Cast", mask, to=ir.DataType.BOOL.value)
    if rank == 4 or rank < 2:
        return None  # the (batch, 1, M, M) form is cut to the last rows, by the length of the past
    while rank < 4:
        kept, rank = _unsqueezed(build, kept, 1), rank + 1
    dtype = dtype_of(x)
    value = node.attributes.get_float("mask_filter_value", -10000.0)
    return build("Where", kept, scalar(0, dtype), scalar(max(value, _lowest(dtype)), dtype))


def _split(build: Builder, x: Any, sizes: list[int], axis: int) -> list[Any]:
    if build.opset >= 13:
        return list(build("Split", x, np.array(sizes), outputs=len(sizes), axis=axis))
    return list(build("Split", x, outputs=len(sizes), axis=axis, split=sizes))


def _unsqueezed(build: Builder, x: Any, axis: int) -> Any:
    return build("Unsqueeze", x, np.array([axis])) if build.opset >= 13 else build("Unsqueeze", x, axes=[axis])


@rewrite("RotaryEmbedding", domain=DOMAIN, summary="ONNX's operator of that name, or its definition")
def rotary_embedding(build: Builder, node: ir.Node) -> Outputs:
    """Positions come for every token, or (vector of one) as the first one's offset, which is not covered."""
    x, positions, cosines, sines = node.inputs
    if x is None or x.shape is None or positions is None or positions.shape is None or len(positions.shape) != 2:
        return None
    if node.attributes.get_int("is_packed_batching", 0) or node.attributes.get_float("scale", 1.0) != 1:
        return None
    if node.attributes.get_int("rotary_embedding_dim", 0) or node.attributes.get_int("interleaved", 0) or cosines is None:
        return None
    if cosines.shape is None or not isinstance(cosines.shape[1], int):
        return None
    half = cosines.shape[1]
    is_flat = len(x.shape) == 3
    # (batch, sequence, heads, size), which both forms reach without knowing the number of heads
    split = build("Reshape", x, np.array([0, 0, -1, 2 * half])) if is_flat else build("Transpose", x, perm=[0, 2, 1, 3])
    cosine, sine = (_unsqueezed(build, build("Gather", table, positions), 2) for table in (cosines, sines))
    left, right = _split(build, split, [half, half], -1)
    turned = build(
        "Concat",
        build("Sub", build("Mul", left, cosine), build("Mul", right, sine)),
        build("Add", build("Mul", left, sine), build("Mul", right, cosine)),
        axis=-1,
    )
    return [build("Reshape", turned, build("Shape", x)) if is_flat else build("Transpose", turned, perm=[0, 2, 1, 3])]
