"""Reductions against LiteRT's interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from litert_models import floats

from .operator_checks import agrees

X = floats(2, 3, 4)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize(
    ("operator", "name"),
    [("SUM", "sum"), ("MEAN", "mean"), ("REDUCE_MAX", "max"), ("REDUCE_MIN", "min"), ("REDUCE_PROD", "prod")],
)
def test_of_numbers(operator: str, name: str, keep: bool) -> None:
    import tensorflow as tf

    agrees(operator, lambda x: getattr(tf, f"reduce_{name}")(x, [0, -1], keepdims=keep), X, dynamic=[[1]])


@pytest.mark.parametrize(("operator", "name"), [("REDUCE_ANY", "any"), ("REDUCE_ALL", "all")])
def test_of_truths(operator: str, name: str) -> None:
    import tensorflow as tf

    x = np.array([[1, 2, 3], [-1, 2, -3]], np.float32)
    agrees(operator, lambda x: getattr(tf, f"reduce_{name}")(x > 0, 1), x)
