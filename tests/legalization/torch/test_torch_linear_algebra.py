"""Factorisations and solutions written out row by row are those of LAPACK."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch_operators import assert_decomposition, volume

MATRIX = volume(2, 5, 5)
POSITIVE = MATRIX @ MATRIX.mT + torch.eye(5)
LOWER = torch.linalg.cholesky(POSITIVE)
FACTORS, PIVOTS = torch.linalg.lu_factor(MATRIX)
REFLECTIONS, TAU = torch.geqrf(volume(2, 5, 3))
RIGHT = volume(2, 5, 3, seed=1)

CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("cholesky.default", [POSITIVE], {}),
    ("cholesky.default", [POSITIVE, True], {}),
    ("linalg_cholesky_ex.default", [POSITIVE], {"upper": True}),
    ("cholesky_solve.default", [RIGHT, LOWER], {}),
    ("cholesky_solve.default", [RIGHT, LOWER.mT.contiguous(), True], {}),
    ("cholesky_inverse.default", [LOWER], {}),
    ("linalg_solve_triangular.default", [LOWER, RIGHT], {"upper": False}),
    ("linalg_solve_triangular.default", [LOWER.mT, RIGHT.mT], {"upper": True, "left": False}),
    ("linalg_solve_triangular.default", [FACTORS, RIGHT], {"upper": False, "unitriangular": True}),
    ("triangular_solve.default", [RIGHT, LOWER, False], {}),
    ("triangular_solve.default", [RIGHT, LOWER, False, True], {}),
    ("lu_solve.default", [RIGHT, FACTORS, PIVOTS], {}),
    ("linalg_lu_solve.default", [FACTORS, PIVOTS, RIGHT], {}),
    ("linalg_qr.default", [volume(2, 5, 3)], {}),
    ("linalg_qr.default", [volume(3, 5)], {}),
    ("linalg_qr.default", [volume(5, 3), "complete"], {}),
    ("linalg_qr.default", [volume(5, 3), "r"], {}),
    ("linalg_householder_product.default", [REFLECTIONS, TAU], {}),
    *(
        ("ormqr.default", [REFLECTIONS, TAU, volume(2, 5, 5), left, transpose], {})
        for left in (True, False)
        for transpose in (True, False)
    ),
    ("addmv.default", [volume(4), volume(4, 3), volume(3)], {"beta": 0.5, "alpha": 2}),
    ("addmv.default", [torch.full((4,), float("nan")), volume(4, 3), volume(3)], {"beta": 0}),
    ("addbmm.default", [volume(4, 5), volume(2, 4, 3), volume(2, 3, 5)], {}),
    ("matrix_exp.default", [volume(2, 4, 4)], {}),
    ("matrix_exp.default", [volume(3, 3) * 0.01], {}),
    ("matrix_exp.default", [torch.diag(torch.tensor([-30.0, 0.0, 5.0]))], {}),
]


@pytest.mark.parametrize(("name", "arguments", "named"), CASES)
def test_equal_to_torch(name: str, arguments: list[Any], named: dict[str, Any]) -> None:
    assert_decomposition(name, arguments, rtol=2e-3, atol=2e-4, **named)


def test_what_is_not_positive_definite_has_no_factor() -> None:
    from convkit.legalization.torch.decompositions import registered

    assert registered()["aten.cholesky.default"].function(-POSITIVE).isnan().any()


@pytest.mark.parametrize("name", ["cholesky", "linalg_qr", "cholesky_inverse"])
def test_large_matrices_are_left_alone(name: str) -> None:
    from convkit.legalization.torch.decompositions import registered

    assert registered()[f"aten.{name}.default"].function(torch.eye(40)) is NotImplemented


def test_the_logarithm_of_a_determinant() -> None:
    from convkit.legalization.torch.decompositions import registered

    singular = torch.tensor([[1.0, 2.0], [2.0, 4.0]])
    for x in (MATRIX, singular, volume(1, 1)):
        sign, logarithm, *_ = registered()["aten._linalg_slogdet.default"].function(x)
        wanted = torch.linalg.slogdet(x)
        torch.testing.assert_close(sign, wanted.sign)
        torch.testing.assert_close(logarithm, wanted.logabsdet, rtol=1e-4, atol=1e-4)
