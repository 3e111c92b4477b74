"""TfIdfVectorizer of numbers: windows of the input compared with every n-gram."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from convkit.legalization.onnx.rewrites.constants import attributes, sizes
from convkit.legalization.onnx.rewriting import Builder, Outputs, rewrite


@rewrite("TfIdfVectorizer", summary="windows compared with every n-gram")
def tfidf_vectorizer(build: Builder, node: ir.Node) -> Outputs:
    (x,) = node.inputs
    shape, said = sizes(x), attributes(node)
    pool = said.get("pool_int64s")
    if x is None or shape is None or x.dtype is None or not pool or shape[-1] is None:
        return None  # the pool is of strings, or the length is dynamic
    length, dtype = shape[-1], x.dtype.numpy()
    outputs = max(said["ngram_indexes"]) + 1
    grams = _grams(list(pool), list(said["ngram_counts"]))
    counts: list[ir.Value] = []
    columns: list[np.ndarray] = []
    first = 0
    for size, table in enumerate(grams, 1):
        places = list(range(first, first + len(table)))
        first += len(table)
        if not len(table) or not said["min_gram_length"] <= size <= said["max_gram_length"]:
            continue
        skips = [0] if size == 1 else range(said["max_skip_count"] + 1)
        windows = [
            [start + k * (skip + 1) for k in range(size)] for skip in skips for start in range(length - (size - 1) * (skip + 1))
        ]
        if not windows:
            continue
        # [..., windows, 1, size] against [n-grams, size]
        seen = build.unsqueeze(build("Gather", x, np.array(windows), axis=len(shape) - 1), [len(shape)])
        same = build("Cast", build("Equal", seen, np.asarray(table, dtype)), to=ir.DataType.FLOAT)
        whole = build.reduce("ReduceMin", same, [len(shape) + 1], keepdims=False)
        counts.append(build.reduce("ReduceSum", whole, [len(shape) - 1], keepdims=False))
        column = np.zeros((len(table), outputs), np.float32)
        column[np.arange(len(table)), [said["ngram_indexes"][p] for p in places]] = 1
        columns.append(column)
    weights = np.ones(outputs, np.float32)
    if said.get("weights") is not None:
        for place, weight in zip(said["ngram_indexes"], said["weights"], strict=True):
            weights[place] = weight
    if not counts:
        return None
    joined = counts[0] if len(counts) == 1 else build("Concat", *counts, axis=len(shape) - 1)
    placing = np.concatenate(columns)
    result = build("MatMul", joined if len(shape) > 1 else build.unsqueeze(joined, [0]), placing)
    mode = said["mode"]
    if mode in ("IDF", "TFIDF"):
        base = result if mode == "TFIDF" else build("Cast", build("Greater", result, np.float32(0)), to=ir.DataType.FLOAT)
        result = build("Mul", base, weights)
    return [result if len(shape) > 1 else build.squeeze(result, [0])]


def _grams(pool: list[int], starts: list[int]) -> list[list[list[int]]]:
    """The n-grams of every size, from 1 on."""
    ends = [*starts[1:], len(pool)]
    return [
        [pool[k : k + size] for k in range(start, end, size)]
        for size, (start, end) in enumerate(zip(starts, ends, strict=True), 1)
    ]
