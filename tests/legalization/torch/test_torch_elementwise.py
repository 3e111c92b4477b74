"""Decompositions of elementwise operators compute what torch's kernels do, at the edges of floating point too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch_operators import LINE, assert_decomposition, operator, volume

from convkit.legalization.torch.decompositions import registered

UNARY = [
    "lgamma.default", "digamma.default", "erfinv.default", "erfc.default", "exp2.default", "signbit.default", "isneginf.default",
    "isposinf.default", "angle.default",
]  # fmt: skip
BESSEL = ["i0.default", "special_i0e.default", "special_i1.default", "special_i1e.default"]
BINARY = [
    "fmax.default", "fmin.default", "copysign.Tensor", "nextafter.default", "logaddexp.default", "logaddexp2.default",
    "logical_xor.default", "ldexp.Tensor", "floor_divide.default",
]  # fmt: skip
EVERY_PAIR = (LINE.unsqueeze(1), LINE.unsqueeze(0))


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("x", [LINE, volume(64) * 3], ids=["edges", "random"])
def test_unary(name: str, x: torch.Tensor) -> None:
    assert_decomposition(name, [x], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", BESSEL)
def test_bessel_functions(name: str) -> None:
    assert_decomposition(name, [torch.linspace(-30, 30, 241)], rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 7])
def test_polygamma(n: int) -> None:
    x = torch.cat([LINE[1:-2], volume(64) * 3])
    x = x[(x != -3) & (x != -1)] if n == 1 else x  # torch's kernel misses these poles by π's rounding
    wanted = torch.polygamma(n, x.double())
    found = registered()["aten.polygamma.default"].function(n, x)
    # Near a pole the result is as wrong as its argument is rounded.
    torch.testing.assert_close(found.double(), wanted, rtol=2e-4, atol=1e-3, equal_nan=True)


@pytest.mark.parametrize("p", [1, 3, 5])
def test_mvlgamma(p: int) -> None:
    assert_decomposition("mvlgamma.default", [volume(32).abs() + p, p], rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", BINARY)
def test_binary(name: str) -> None:
    assert_decomposition(name, EVERY_PAIR)


def test_hypot() -> None:
    finite = LINE[1:-2]
    assert_decomposition("hypot.default", [finite.unsqueeze(1), finite.unsqueeze(0)])
    assert_decomposition("hypot.default", [torch.tensor([1e30, 0.0, 3.0]), torch.tensor([1e30, 0.0, 4.0])])


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_integers(dtype: torch.dtype) -> None:
    x, other = torch.tensor([-7, -1, 0, 3, 9]).to(dtype), torch.tensor([2, 2, -3, 4, -9]).to(dtype)
    for name in ("fmax.default", "fmin.default", "copysign.Tensor", "logical_xor.default"):
        assert_decomposition(name, [x, other])


@pytest.mark.parametrize("x", [1e-44, 1e-39, 1.1754943508222875e-38, 2.4e-38, 1.0, 0.99999994, 16777216.0, 3.4028235e38])
@pytest.mark.parametrize("towards", [-1e39, 1e39])
def test_nextafter_is_exact_at_powers_of_two_and_near_zero(x: float, towards: float) -> None:
    pair = torch.tensor([x, -x]), torch.tensor([towards, towards])
    found = registered()["aten.nextafter.default"].function(*pair)
    assert found.tolist() == torch.nextafter(*pair).tolist()


@pytest.mark.parametrize("mode", ["floor", "trunc", None])
def test_division_that_rounds(mode: str | None) -> None:
    x, other = volume(40, seed=1) * 10, volume(40, seed=2)
    found = registered()["aten.div.Tensor_mode"].function(x, other, rounding_mode=mode)
    if mode != "floor":
        assert found is NotImplemented  # torch's own decomposition serves
    else:
        torch.testing.assert_close(found, torch.div(x, other, rounding_mode=mode), rtol=0, atol=0)


def test_frexp() -> None:
    x = torch.tensor([0.0, -0.0, 1.0, 0.5, -0.75, 3.0, 1e-30, -8e30, 0.99999994, float("inf")])
    mantissa, exponent = registered()["aten.frexp.Tensor"].function(x)
    wanted = torch.frexp(x)
    torch.testing.assert_close(mantissa, wanted.mantissa, rtol=0, atol=0)
    torch.testing.assert_close(exponent, wanted.exponent)


@pytest.mark.parametrize("sign", [-2.0, -0.0, 0.0])
def test_copysign_of_a_number(sign: float) -> None:
    assert_decomposition("copysign.Scalar", [LINE, sign])


CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("isin.Tensor_Tensor", [torch.tensor([[1, 2], [3, 4]]), torch.tensor([2, 4, 9])], {}),
    ("isin.Tensor_Tensor", [torch.tensor([1.0, 2.5]), torch.tensor([2, 4])], {"invert": True}),
    ("logcumsumexp.default", [volume(2, 5) * 20, 1], {}),
    ("round.decimals", [torch.tensor([0.125, -2.5, 1e9, 0.0, float("inf"), float("nan")])], {"decimals": 2}),
    ("round.decimals", [volume(3, 4) * 1000], {"decimals": -2}),
    ("logcumsumexp.default", [torch.tensor([-float("inf"), 0.0, 1.0]), 0], {}),
    ("dist.default", [volume(3, 4), volume(4, seed=1), 3.0], {}),
    ("_trilinear.default", [volume(2, 3), volume(4, 3, 5), volume(2, 5), [1, 3], [0], [1, 2], [2, 3]], {}),
]


@pytest.mark.parametrize(("name", "arguments", "named"), CASES)
def test_others(name: str, arguments: list[Any], named: dict[str, Any]) -> None:
    assert_decomposition(name, arguments, **named)


def test_every_decomposition_is_of_an_operator_that_torch_has() -> None:
    for name in registered():
        assert isinstance(operator(name.removeprefix("aten.")), torch._ops.OpOverload)


@pytest.mark.parametrize("divisor", [5, -5])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int8])
def test_the_remainder_of_whole_numbers_has_the_divisor_s_sign(divisor: int, dtype: torch.dtype) -> None:
    x = torch.arange(-11, 12).to(dtype)
    assert_decomposition("remainder.Scalar", [x, divisor], rtol=0, atol=0)
    assert_decomposition("remainder.Tensor", [x, torch.full_like(x, divisor)], rtol=0, atol=0)
