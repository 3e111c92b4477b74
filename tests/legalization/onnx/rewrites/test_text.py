"""TfIdfVectorizer of numbers, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx_nodes as nodes
import pytest
from legalization.onnx import plain_target as plain

POOL = {"ngram_counts": [0, 4], "ngram_indexes": [0, 2, 1, 3, 6, 5, 4], "pool_int64s": [2, 3, 5, 4, 5, 6, 7, 8, 6, 7]}


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize("lengths", [(1, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("skip", [0, 1, 5])
@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_counts(mode: str, lengths: tuple[int, int], skip: int, kind: type) -> None:
    for x in (np.array([[1, 1, 3, 3, 3, 7], [8, 6, 7, 5, 6, 8]], kind), np.array([5, 6, 6, 7, 8, 2, 3], kind)):
        model = nodes.node_model(
            "TfIdfVectorizer",
            {"x": x},
            opset=9,
            mode=mode,
            min_gram_length=lengths[0],
            max_gram_length=lengths[1],
            max_skip_count=skip,
            weights=[0.5, 1.0, 2.0, 3.0, 0.1, 0.2, 0.3],
            **POOL,
        )
        model.graph.output[0].type.tensor_type.ClearField("shape")
        plain.assert_same(model, {"x": x})


def test_strings_are_a_gap() -> None:
    x = np.array([[1, 2]])
    model = nodes.node_model(
        "TfIdfVectorizer",
        {"x": x},
        mode="TF",
        min_gram_length=1,
        max_gram_length=1,
        max_skip_count=0,
        ngram_counts=[0],
        ngram_indexes=[0],
        pool_strings=["a"],
    )
    assert plain.gaps(plain.legalized(model)[1])
