"""Element-by-element operators of the PyTorch importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx_nodes as nodes
import pytest

from interpreters.pytorch.operators.operator_checks import agrees, floats, ints

_LARGE = np.array([0, 1, 7, 2**63 - 1, 2**63, 2**63 + 5, 2**64 - 1], np.uint64)


def test_dynamic_batch_stays_dynamic() -> None:
    feeds = {"a": floats(3, 4), "b": np.ones((3, 1), np.float32)}
    agrees("Add", feeds, dynamic={"a": {0: "batch"}, "b": {0: "batch"}})


@pytest.mark.parametrize("operator", ["Less", "GreaterOrEqual", "Max", "Min", "Div", "Mod", "Add", "Sub", "Mul"])
def test_uint64_beyond_int64(operator: str) -> None:
    a, b = np.meshgrid(_LARGE, _LARGE[1:])
    agrees(operator, {"a": a, "b": b})


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul"])
def test_unsigned_integers_wrap_around(operator: str, dtype: type) -> None:
    top = np.iinfo(dtype).max
    feeds = {"a": np.array([0, 1, top, top], dtype), "b": np.array([1, top, 1, top], dtype)}
    model = nodes.node_model(operator, feeds)
    [got] = nodes.pytorch(model, feeds)
    wanted = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}[operator](feeds["a"], feeds["b"])
    np.testing.assert_array_equal(got, wanted)


def test_integer_division_truncates_towards_zero() -> None:
    agrees("Div", {"a": ints(7, -7, 7, -7, dtype=np.int32), "b": ints(2, 2, -2, -2, dtype=np.int32)})


@pytest.mark.parametrize("fmod", [0, 1])
def test_sign_of_the_remainder(fmod: int) -> None:
    agrees("Mod", {"a": ints(7, -7, 7, -7), "b": ints(3, 3, -3, -3)}, fmod=fmod)


def test_remainder_of_floats() -> None:
    agrees("Mod", {"a": floats(20) * 5, "b": floats(20, seed=1)}, fmod=1, tolerance=1e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.uint64])
@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_bit_shift(direction: str, dtype: type) -> None:
    x = np.array([1, 4, np.iinfo(dtype).max, np.iinfo(dtype).max // 2 + 1], dtype)
    agrees("BitShift", {"x": x, "n": np.array([1, 2, 3, 7], dtype)}, direction=direction)


def test_shift_by_the_whole_width_leaves_nothing() -> None:
    feeds = {"x": np.array([255, 255], np.uint8), "n": np.array([8, 200], np.uint8)}
    [got] = nodes.pytorch(nodes.node_model("BitShift", feeds, direction="RIGHT"), feeds)
    assert got.tolist() == [0, 0]


@pytest.mark.parametrize("exponent", [np.float32(2), np.float32(0.5), np.array([-1.0], np.float32), ints(3)])
def test_power_of_a_constant(exponent: np.ndarray) -> None:
    agrees("Pow", {"x": np.abs(floats(3, 4)) + 0.5}, {"y": np.asarray(exponent)})


def test_power_keeps_the_base_dtype_and_takes_the_exponents_rank() -> None:
    agrees("Pow", {"x": np.array(3, np.int32)}, {"y": np.array([2.0], np.float32)})


@pytest.mark.parametrize("value", [0.5, -0.5, 1.5, 2.5, -2.5])
def test_round_half_to_even(value: float) -> None:
    agrees("Round", {"x": np.array([value], np.float32)})


def test_clip_before_opset_11() -> None:
    agrees("Clip", {"x": floats(3, 4)}, opset=10, min=-0.5, max=0.25)
    agrees("Clip", {"x": floats(3, 4)}, opset=10, max=0.25)


def test_clip_to_computed_bounds() -> None:
    agrees("Clip", {"x": floats(3, 4), "low": np.array(-0.5, np.float32)}, {"high": np.array(0.5, np.float32)})
    agrees("Clip", {"x": floats(3, 4), "high": np.array(-0.5, np.float32)}, order=["x", "", "high"])


def test_clip_uint64_and_crossed_bounds() -> None:
    agrees("Clip", {"x": _LARGE}, {"low": np.array(5, np.uint64), "high": np.array(2**63 + 1, np.uint64)})
    agrees("Clip", {"x": floats(9)}, {"low": np.array(1, np.float32), "high": np.array(-1, np.float32)})


@pytest.mark.parametrize("operator", ["Max", "Min"])
def test_nan_is_passed_on(operator: str) -> None:
    agrees(operator, {"a": np.array([np.nan, 1, 2], np.float32), "b": np.array([0, np.nan, 3], np.float32)})


def test_variadic_operators_broadcast() -> None:
    feeds = {"a": floats(2, 1, 3), "b": floats(4, 1), "c": floats(1)}
    for operator in ("Sum", "Mean", "Max", "Min"):
        agrees(operator, feeds)


@pytest.mark.parametrize(
    "attributes", [{}, {"detect_negative": 0}, {"detect_positive": 0}, {"detect_negative": 0, "detect_positive": 0}]
)
def test_infinities(attributes: dict[str, int]) -> None:
    agrees("IsInf", {"x": np.array([np.inf, -np.inf, np.nan, 1], np.float32)}, **attributes)


def test_sign_and_absolute_value_of_uint64() -> None:
    for operator in ("Sign", "Abs"):
        agrees(operator, {"x": _LARGE})


def test_equal_and_where_with_dynamic_sizes() -> None:
    dynamic = {"c": {0: "n"}, "a": {0: "n"}, "b": {0: "n"}}
    agrees("Where", {"c": floats(3, 2) > 0, "a": floats(3, 2), "b": floats(3, 2, seed=1)}, dynamic=dynamic)
    agrees("Equal", {"a": ints(1, 2, 3), "b": ints(1, 5, 3)}, dynamic={"a": {0: "n"}, "b": {0: "n"}})
