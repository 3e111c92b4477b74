"""Products of matrices of the PyTorch importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from interpreters.pytorch.operators.operator_checks import agrees, floats


@pytest.mark.parametrize(("a", "b"), [((3,), (3,)), ((2, 3), (3,)), ((3,), (4, 3, 2)), ((5, 1, 2, 3), (4, 3, 2))])
def test_matmul_broadcasts(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    agrees("MatMul", {"a": floats(*a), "b": floats(*b, seed=1)})


def test_matmul_of_a_dynamic_batch_and_sequence() -> None:
    dynamic = {"a": {0: "batch", 1: "length"}, "b": {0: "batch", 2: "length"}}
    agrees("MatMul", {"a": floats(2, 5, 3), "b": floats(2, 3, 5, seed=1)}, dynamic=dynamic)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32, np.uint64])
def test_matmul_of_integers(dtype: type) -> None:
    rng = np.random.default_rng(0)
    agrees("MatMul", {"a": rng.integers(0, 9, (2, 3)).astype(dtype), "b": rng.integers(0, 9, (3, 4)).astype(dtype)})


@pytest.mark.parametrize("c", [(4,), (1,), (3, 1), (3, 4), (1, 4), ()])
@pytest.mark.parametrize(("trans_a", "trans_b"), [(0, 1), (1, 0)])
@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_gemm(c: tuple[int, ...], trans_a: int, trans_b: int, factor: float) -> None:
    a, b = floats(3, 5), floats(5, 4, seed=1)
    feeds = {"a": a.T.copy() if trans_a else a, "b": b.T.copy() if trans_b else b, "c": floats(*c, seed=2)}
    for opset in (7, 13):
        agrees("Gemm", feeds, opset=opset, alpha=factor, beta=factor * 3, transA=trans_a, transB=trans_b)


def test_gemm_without_bias_and_with_a_dynamic_batch() -> None:
    agrees("Gemm", {"a": floats(3, 5)}, {"b": floats(4, 5)}, transB=1, dynamic={"a": {0: "batch"}})
    agrees("Gemm", {"a": floats(3, 5)}, {"b": floats(4, 5), "c": floats(4)}, transB=1, dynamic={"a": {0: "batch"}})


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bij, bjk -> bik", [(2, 3, 4), (2, 4, 5)]),
        ("...ij->...ji", [(2, 3, 4)]),
        ("ij", [(3, 4)]),
        ("ii->i", [(3, 3)]),
        ("bhqd,bhkd->bhqk", [(2, 2, 3, 4), (2, 2, 5, 4)]),
        ("i,j,k->ijk", [(2,), (3,), (4,)]),
    ],
)
def test_einsum(equation: str, shapes: list[tuple[int, ...]]) -> None:
    feeds = {f"x{k}": floats(*shape, seed=k) for k, shape in enumerate(shapes)}
    dynamic = {name: {0: "n"} for name in feeds} if equation.startswith("b") else None
    agrees("Einsum", feeds, equation=equation, dynamic=dynamic)


@pytest.mark.parametrize("zero", [np.uint8(3), np.array([1, 2], np.uint8)])
def test_matmul_of_quantised_integers(zero: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    feeds = {"a": rng.integers(0, 255, (2, 3)).astype(np.uint8), "b": rng.integers(0, 255, (3, 4)).astype(np.uint8)}
    if np.ndim(zero):  # per row: of ONNX Runtime only the columns' zero points may be several
        columns = np.array([1, 2, 3, 4], np.uint8)
        agrees("MatMulInteger", feeds, {"za": np.array(1, np.uint8), "zb": columns})
    else:
        agrees("MatMulInteger", feeds, {"za": np.asarray(zero)})
    agrees("MatMulInteger", feeds)
