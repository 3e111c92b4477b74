"""Integer convolutions and matrix products, against ONNX Runtime's integer kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_nodes as nodes
import pytest
from legalization.onnx import plain_target as plain

TYPES = [(np.uint8, np.int8), (np.uint8, np.uint8), (np.int8, np.int8)]
TARGET = plain.PlainTarget(accepted=["QuantizeLinear"])


def integers(dtype: type, *shape: int, seed: int = 0, narrow: bool = False) -> np.ndarray:
    """Any integers of a dtype; 7-bit ones where ONNX Runtime's own kernels saturate (uint8 by int8 without VNNI)."""
    low, high = (-64, 64) if narrow else (np.iinfo(dtype).min, np.iinfo(dtype).max + 1)
    return np.random.default_rng(seed).integers(low, high, size=shape).astype(dtype)


def model_of(
    operator: str, arrays: Mapping[str, np.ndarray], fed: str = "x", **attributes: Any
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    feeds = {name: np.asarray(array) for name, array in arrays.items() if name in fed.split()}
    held = {name: array for name, array in arrays.items() if name not in feeds}
    model = nodes.node_model(operator, feeds, held, order=list(arrays), **attributes)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model, feeds


@pytest.mark.parametrize("fed", ["x", "x xs xz w ws wz ys yz b"])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize(
    "attributes", [{}, {"pads": [1, 2, 0, 1], "strides": [2, 1]}, {"dilations": [2, 1], "auto_pad": "SAME_UPPER"}]
)
def test_qlinear_conv(attributes: dict[str, Any], types: tuple[type, type], per_channel: bool, fed: str) -> None:
    if "dilations" in attributes:
        attributes = {"dilations": [2, 1], "pads": [1, 1, 1, 1]}
    kind, weight_kind = types
    channels = 4
    arrays = {
        "x": integers(kind, 2, 3, 7, 6),
        "xs": np.float32(0.03),
        "xz": np.asarray(3, kind),
        "w": integers(weight_kind, channels, 3, 3, 2, narrow=weight_kind is np.int8),
        "ws": np.linspace(0.01, 0.04, channels, dtype=np.float32) if per_channel else np.float32(0.02),
        "wz": np.zeros(channels, weight_kind) if per_channel else np.asarray(2 if weight_kind is np.uint8 else 0, weight_kind),
        "ys": np.float32(0.9),
        "yz": np.asarray(5, kind),
        "b": np.array([100, -2000, 30000, 7], np.int32),
    }
    plain.assert_same(*model_of("QLinearConv", arrays, fed, opset=13, **attributes), target=TARGET)


def test_grouped_qlinear_conv_without_bias() -> None:
    arrays = {
        "x": integers(np.uint8, 1, 4, 5, 5),
        "xs": np.float32(0.1),
        "xz": np.uint8(128),
        "w": integers(np.int8, 4, 1, 3, 3, narrow=True),
        "ws": np.array([0.1, 0.2, 0.3, 0.4], np.float32),
        "wz": np.zeros(4, np.int8),
        "ys": np.float32(2.5),
        "yz": np.uint8(100),
    }
    plain.assert_same(*model_of("QLinearConv", arrays, opset=10, group=4), target=TARGET)


@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize("fed", ["x", "x b", "x xs xz b bs bz ys yz"])
def test_qlinear_matmul(types: tuple[type, type], per_column: bool, fed: str) -> None:
    kind, weight_kind = types
    arrays = {
        "x": integers(kind, 2, 5, 40),
        "xs": np.float32(0.011),
        "xz": np.asarray(-3 if kind is np.int8 else 100, kind),
        "b": integers(weight_kind, 40, 6, seed=1, narrow=weight_kind is np.int8),
        "bs": np.linspace(0.01, 0.04, 6, dtype=np.float32) if per_column else np.float32(0.02),
        "bz": np.full(6, 1, weight_kind) if per_column else np.asarray(4, weight_kind),
        "ys": np.float32(0.6),
        "yz": np.asarray(7, kind),
    }
    plain.assert_same(*model_of("QLinearMatMul", arrays, fed, opset=13), target=TARGET)


@pytest.mark.parametrize("channels", [2, 100])
@pytest.mark.parametrize("zeros", ["", "xz", "xz wz"])
def test_conv_integer(channels: int, zeros: str) -> None:
    every = {
        "x": integers(np.uint8, 1, channels, 6, 5),
        "w": integers(np.uint8, 3, channels, 3, 3, seed=2),
        "xz": np.uint8(130),
        "wz": np.uint8(90),
    }
    arrays = {name: array for name, array in every.items() if name in ("x", "w", *zeros.split())}
    plain.assert_same(*model_of("ConvInteger", arrays, opset=10, pads=[1, 1, 1, 1]), target=TARGET)


@pytest.mark.parametrize("length", [4, 258, 259, 3072])
@pytest.mark.parametrize("fed", ["x", "x w", "x w xz wz"])
def test_matmul_integer_is_exact(length: int, fed: str) -> None:
    arrays = {
        "x": np.full((2, length), 255, np.uint8),
        "w": np.full((length, 3), 255, np.uint8),
        "xz": np.uint8(0),
        "wz": np.array([0, 1, 128], np.uint8),
    }
    arrays["x"][1] = integers(np.uint8, length)
    arrays["w"][:, 1] = integers(np.uint8, length, seed=5)
    plain.assert_same(*model_of("MatMulInteger", arrays, fed, opset=10), target=TARGET)


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_matmul_integer_of_either_sign(kind: type) -> None:
    arrays = {"x": integers(kind, 3, 700), "w": integers(np.int8, 700, 4, narrow=True), "xz": np.asarray(11, kind)}
    plain.assert_same(*model_of("MatMulInteger", arrays, opset=10), target=TARGET)


def test_matmul_integer_with_a_zero_point_per_row() -> None:
    x, w, zero = integers(np.uint8, 2, 3, 4), integers(np.uint8, 4, 5), np.array([1, 20, 250], np.uint8)
    model, feeds = model_of("MatMulInteger", {"x": x, "w": w, "xz": zero}, opset=10)
    wanted = (x.astype(np.int32) - zero[:, None].astype(np.int32)) @ w.astype(np.int32)
    plain.assert_same(model, feeds, target=TARGET, wanted=[wanted])


def test_sums_that_no_float_holds_are_added_in_parts() -> None:
    extreme = {"x": np.full((2, 9000), 255, np.uint8), "w": np.full((9000, 3), 255, np.uint8), "xz": np.uint8(0)}
    extreme["w"][:, 1] = integers(np.uint8, 9000)
    plain.assert_same(*model_of("MatMulInteger", extreme, opset=12), target=TARGET)
    deep = {"x": integers(np.uint8, 1, 1000, 4, 3), "w": integers(np.uint8, 2, 1000, 3, 3, seed=2), "xz": np.uint8(7)}
    plain.assert_same(*model_of("ConvInteger", deep, opset=10, pads=[1, 1, 1, 1], strides=[2, 1]), target=TARGET)


def test_a_product_with_a_tensor_of_unknown_rank() -> None:
    """Its zero point is one for all, so the rank does not matter."""
    text = """<ir_version: 8, opset_import: ["": 13]>
    g (uint8[n, 1, 4000] x, uint8[4000, 2] w, uint8 z) => (y) {
      s = Squeeze(x)
      y = MatMulInteger(s, w, z)
    }"""
    model = onnx.parser.parse_model(text)
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT32
    feeds = {"x": integers(np.uint8, 3, 1, 4000), "w": integers(np.uint8, 4000, 2), "z": np.asarray(9, np.uint8)}
    plain.assert_same(model, feeds, target=TARGET)


def test_sums_over_grouped_channels_too_long_to_be_exact_are_a_gap() -> None:
    arrays = {"x": integers(np.uint8, 1, 1000, 3, 3), "w": integers(np.uint8, 2, 500, 3, 3)}
    assert plain.gaps(plain.legalized(model_of("ConvInteger", arrays, opset=10, group=2)[0], TARGET)[1])


def test_dynamic_quantization_of_a_layer() -> None:
    """DynamicQuantizeLinear (by onnx's definition), MatMulInteger, and the scales: what dynamic quantization makes of a Gemm."""
    text = """<ir_version: 8, opset_import: ["": 13]>
    g (float[batch, 64] x, uint8[64, 8] w, float scale) => (float[batch, 8] y) {
      q, s, z = DynamicQuantizeLinear(x)
      total = MatMulInteger(q, w, z)
      f = Cast<to = 1>(total)
      both = Mul(s, scale)
      y = Mul(f, both)
    }"""
    feeds = {
        "x": np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32),
        "w": integers(np.uint8, 64, 8),
        "scale": np.asarray(0.01, np.float32),
    }
    plain.assert_same(onnx.parser.parse_model(text), feeds, target=TARGET)
