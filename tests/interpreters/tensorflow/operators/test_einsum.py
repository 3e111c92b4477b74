"""Einsum of the TensorFlow importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from interpreters.pytorch.operators.operator_checks import floats
from interpreters.tensorflow.operators.operator_checks import agrees, agrees_in_litert

_SIZES = {label: 2 + number % 3 for number, label in enumerate("abcdefghijk")}

EQUATIONS = [
    "ab,bc->ac",
    "ab,cb->ca",
    "abc,abd->acd",
    "bij,bjk",
    "ab->ba",
    "ab->",
    "abc->b",
    "aa->a",
    "aa->",
    "aba->b",
    "a,b->ab",
    "ab,ab->ab",
    "ab,ab->",
    "ab,bc,cd->ad",
    "abcd,acde->abce",
    "bhid,bhjd->bhij",
    "abc,cd->abd",
    "ab , bc -> a c",
]


@pytest.mark.parametrize("equation", EQUATIONS)
def test_equation(equation: str) -> None:
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    feeds = {f"x{k}": floats(*(_SIZES[label] for label in term), seed=k) for k, term in enumerate(terms)}
    agrees("Einsum", feeds, equation=equation)
    agrees_in_litert("Einsum", feeds, equation=equation)


@pytest.mark.parametrize("equation", ["...ij,...jk->...ik", "...ij,...jk", "i...,i...->...", "...ii->...i"])
def test_ellipsis(equation: str) -> None:
    feeds = {"x0": floats(2, 3, 4), "x1": floats(2, 4, 3, seed=1)}
    if equation.startswith("i..."):
        feeds["x1"] = floats(2, 3, 4, seed=1)
    if "," not in equation:
        feeds = {"x0": floats(2, 3, 3)}
    agrees("Einsum", feeds, equation=equation)


def test_broadcast_ellipsis() -> None:
    feeds = {"x0": floats(2, 1, 3, 4), "x1": floats(5, 4, 3, seed=1)}
    agrees("Einsum", feeds, equation="...ij,...jk->...ik", wanted=[feeds["x0"] @ feeds["x1"]], dynamic={"x0": {2: "n"}})


def test_of_integers() -> None:
    feeds = {"x0": np.arange(6, dtype=np.int32).reshape(2, 3), "x1": np.arange(12, dtype=np.int32).reshape(3, 4)}
    agrees("Einsum", feeds, equation="ab,bc->ac")
