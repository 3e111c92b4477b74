"""Element-by-element operators of the TensorFlow importer, against ONNX Runtime."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_nodes as nodes
import pytest

from interpreters.pytorch.operators.operator_checks import floats, ints
from interpreters.tensorflow.operators.operator_checks import agrees, agrees_in_litert

_UNSIGNED = [np.uint8, np.uint16, np.uint32, np.uint64]
_WHOLE = [*_UNSIGNED, np.int8, np.int16, np.int32, np.int64]


@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Div", "Max", "Min", "Equal", "Less", "GreaterOrEqual"])
def test_broadcasting(operator: str) -> None:
    agrees(operator, {"a": floats(2, 1, 3), "b": floats(4, 1, seed=1)})


@pytest.mark.parametrize("dtype", _WHOLE)
def test_integers_of_every_width(dtype: type) -> None:
    feeds = {"a": np.array([7, 100, 3], dtype), "b": np.array([2, 9, 100], dtype)}
    for operator, function in {"Add": np.add, "Div": np.floor_divide, "Max": np.maximum, "Less": np.less, "Mod": np.mod}.items():
        agrees(operator, feeds, wanted=[function(feeds["a"], feeds["b"])])


def test_integer_division_truncates_towards_zero() -> None:
    agrees("Div", {"a": ints(7, -7, 7, -7, dtype=np.int32), "b": ints(2, 2, -2, -2, dtype=np.int32)})


@pytest.mark.parametrize("fmod", [0, 1])
def test_sign_of_the_remainder(fmod: int) -> None:
    agrees("Mod", {"a": ints(7, -7, 7, -7, 0), "b": ints(3, 3, -3, -3, 3)}, fmod=fmod)


def test_remainder_of_floats() -> None:
    feeds = {"a": floats(20) * 5, "b": floats(20, seed=1)}
    agrees("Mod", feeds, fmod=1, tolerance=1e-4)
    assert "FLOOR_MOD" in agrees_in_litert("Mod", feeds, fmod=1, tolerance=1e-4)


@pytest.mark.parametrize("exponent", [np.float32(2), np.float32(0.5), np.array([-1.0], np.float32), ints(3), np.float32(1.7)])
def test_power_of_a_constant(exponent: np.ndarray) -> None:
    agrees("Pow", {"x": np.abs(floats(3, 4)) + 0.5}, {"y": np.asarray(exponent)})


def test_power_keeps_the_base_dtype_and_takes_the_exponents_rank() -> None:
    agrees("Pow", {"x": np.array(3, np.int32)}, {"y": np.array([2.0], np.float32)})
    agrees("Pow", {"x": ints(2, 3), "y": floats(2)})


def test_clip() -> None:
    agrees("Clip", {"x": floats(3, 4)}, opset=10, min=-0.5, max=0.25)
    agrees("Clip", {"x": floats(3, 4), "low": np.array(-0.5, np.float32)}, {"high": np.array(0.5, np.float32)})
    agrees("Clip", {"x": floats(3, 4), "high": np.array(-0.5, np.float32)}, order=["x", "", "high"])
    agrees("Clip", {"x": floats(9)}, {"low": np.array(1, np.float32), "high": np.array(-1, np.float32)})


def test_round_half_to_even() -> None:
    agrees("Round", {"x": np.array([0.5, -0.5, 1.5, 2.5, -2.5, 2.4], np.float32)})


def test_nan_is_passed_on() -> None:
    feeds = {"a": np.array([np.nan, 1, 2], np.float32), "b": np.array([0, np.nan, 3], np.float32)}
    for operator in ("Max", "Min"):
        agrees(operator, feeds)
    agrees("IsNaN", {"a": feeds["a"]})


@pytest.mark.parametrize(
    "attributes", [{}, {"detect_negative": 0}, {"detect_positive": 0}, {"detect_negative": 0, "detect_positive": 0}]
)
def test_infinities(attributes: dict[str, int]) -> None:
    x = {"x": np.array([np.inf, -np.inf, np.nan, 1, np.finfo(np.float32).max], np.float32)}
    agrees("IsInf", x, **attributes)
    agrees_in_litert("IsInf", x, **attributes)


def test_variadic_operators_broadcast() -> None:
    for operator in ("Sum", "Mean", "Max", "Min"):
        agrees(operator, {"a": floats(2, 1, 3), "b": floats(4, 1), "c": floats(1)})
        agrees(operator, {"a": floats(2, 3)})


@pytest.mark.parametrize("operator", ["And", "Or", "Xor"])
def test_logic(operator: str) -> None:
    a, b = np.array([[True], [False]]), np.array([True, False])
    agrees(operator, {"a": a, "b": b})
    agrees_in_litert(operator, {"a": a, "b": b})


@pytest.mark.parametrize("dtype", _WHOLE)
def test_bits(dtype: type) -> None:
    limits = np.iinfo(dtype)
    values = np.array([0, 1, 5, limits.max, limits.max - 1, limits.min, limits.max // 3], dtype)
    a, b = np.meshgrid(values, values)
    for operator, function in {"BitwiseAnd": np.bitwise_and, "BitwiseOr": np.bitwise_or, "BitwiseXor": np.bitwise_xor}.items():
        agrees(operator, {"a": a, "b": b}, wanted=[function(a, b)])
    agrees("BitwiseNot", {"a": a}, wanted=[np.invert(a)])


def test_bits_in_litert() -> None:
    a, b = np.meshgrid(ints(0, 1, -7, 12345, dtype=np.int32), ints(3, -1, 2**31 - 1, dtype=np.int32))
    for operator in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
        agrees_in_litert(operator, {"a": a, "b": b})


@pytest.mark.parametrize("dtype", _UNSIGNED)
@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_shift_by_the_whole_width_leaves_nothing(direction: str, dtype: type) -> None:
    top, width = np.iinfo(dtype).max, np.iinfo(dtype).bits
    feeds = {"x": np.array([1, top, top, top], dtype), "n": np.array([1, 3, width, width + 1], dtype)}
    [got] = nodes.tensorflow(nodes.node_model("BitShift", feeds, direction=direction), feeds)
    shifted = [2, top - 7, 0, 0] if direction == "LEFT" else [0, top >> 3, 0, 0]
    assert got.tolist() == shifted


def test_shift_of_signed_integers_keeps_the_sign() -> None:
    feeds = {"x": ints(-8, -8, 8, 8, dtype=np.int8), "n": ints(1, 9, 9, -1, dtype=np.int8)}
    [got] = nodes.tensorflow(nodes.node_model("BitShift", feeds, direction="RIGHT", opset=28), feeds)
    assert got.tolist() == [-4, -1, 0, 0]


def test_where() -> None:
    agrees("Where", {"c": floats(3, 1) > 0, "a": floats(3, 2), "b": floats(2, seed=1)})
    truths = {"c": floats(3) > 0, "a": floats(3) > 0.5, "b": floats(3) < 1}
    agrees("Where", truths, wanted=[np.where(*truths.values())])


@pytest.mark.parametrize("operator", ["Abs", "Neg", "Sign", "Reciprocal", "Sqrt", "Floor", "Ceil", "Erf"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_of_every_width(operator: str, dtype: type) -> None:
    x = np.array([0.25, 1.5, 3, 100.5], dtype)
    single = {"x": x.astype(np.float32)}
    [wanted] = nodes.onnx_runtime(nodes.node_model(operator, single), single)
    agrees(operator, {"x": x}, wanted=[wanted.astype(dtype)], tolerance=1e-3 if dtype is np.float16 else 1e-6)


def test_brain_floats() -> None:
    a = {"a": np.array([1, 2.5], ml_dtypes.bfloat16), "b": np.array([3, -1], ml_dtypes.bfloat16)}
    [got] = nodes.tensorflow(nodes.node_model("Mul", a), a)
    assert got.astype(np.float32).tolist() == [3, -2.5]


def test_a_row_added_to_a_product() -> None:
    """TensorFlow's optimiser fuses the two where the first factor is transposed, to a kernel that fails on a bias of one row."""
    import onnx
    from onnx import helper

    build = [
        helper.make_node("Transpose", ["a"], ["t"]),
        helper.make_node("MatMul", ["t", "b"], ["p"]),
        helper.make_node("Add", ["p", "c"], ["y"]),
    ]
    feeds = {"a": floats(6, 3), "b": floats(6, 4), "c": floats(1, 4)}
    infos = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, v.shape) for n, v in feeds.items()]
    graph = helper.make_graph(build, "g", infos, [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [3, 4])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    nodes.assert_agree(nodes.tensorflow(model, feeds), nodes.onnx_runtime(model, feeds))
