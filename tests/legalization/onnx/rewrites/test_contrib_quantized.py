"""Quantized operators of com.microsoft by ONNX's own, against ONNX Runtime, which has kernels for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from legalization.onnx import plain_target as plain
from legalization.onnx.rewrites.test_contrib import build, normal
from onnx import helper

_rng = np.random.default_rng(0)
ACCEPTED = plain.PlainTarget(accepted=["DynamicQuantizeLinear", "MatMulInteger", "Softmax", "LSTM", "QLinearConv"])
SCALES = {"xs": np.float32(0.05), "xz": np.uint8(120), "ys": np.float32(0.02), "yz": np.uint8(3)}


def levels(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    bounds = np.iinfo(dtype)
    return _rng.integers(bounds.min, bounds.max, shape, endpoint=True).astype(dtype)


def assert_near(model: Any, feeds: dict[str, np.ndarray], most: int = 1) -> None:
    """ONNX Runtime looks some functions up in tables: one level off is as near as it promises."""
    rewritten, findings = plain.legalized(model, ACCEPTED)
    assert not plain.gaps(findings)
    for mine, theirs in zip(plain.run(rewritten, feeds), plain.run(model, feeds), strict=True):
        assert mine.dtype == theirs.dtype
        assert mine.shape == theirs.shape
        assert np.abs(mine.astype(int) - theirs.astype(int)).max() <= most


@pytest.mark.parametrize("operator", ["QLinearSigmoid", "QLinearLeakyRelu", "QLinearGlobalAveragePool"])
def test_unary(operator: str) -> None:
    feeds = {"x": levels(2, 3, 4, 4)}
    attributes = {"channels_last": 0} if operator == "QLinearGlobalAveragePool" else {}
    model = build(operator, feeds, SCALES, outputs=(np.uint8,), **attributes)
    target = plain.PlainTarget(accepted=["LeakyRelu", "GlobalAveragePool"])
    rewritten, findings = plain.legalized(model, target)
    assert not plain.gaps(findings)
    [mine], [theirs] = plain.run(rewritten, feeds), plain.run(model, feeds)
    assert np.abs(mine.astype(int) - theirs.astype(int)).max() <= 1


@pytest.mark.parametrize("axis", [1, 3])
@pytest.mark.parametrize("form", [11, 13])
def test_softmax(axis: int, form: int) -> None:
    """The attribute says which Softmax is meant, whatever the model's opset is."""
    feeds = {"x": levels(2, 3, 4, 5)}
    constants = SCALES | {"ys": np.float32(1 / 256), "yz": np.uint8(0)}
    model = build("QLinearSoftmax", feeds, constants, outputs=(np.uint8,), axis=axis, opset=13)
    model.graph.node[0].attribute.append(helper.make_attribute("opset", form))
    assert_near(model, feeds)


@pytest.mark.parametrize("operator", ["QLinearAdd", "QLinearMul"])
def test_binary(operator: str) -> None:
    feeds = {"a": levels(2, 3, 4), "b": levels(3, 1)}
    constants = SCALES | {"cs": np.float32(0.11), "cz": np.uint8(99)}
    assert_near(build(operator, feeds, constants, order="a xs xz b ys yz cs cz", outputs=(np.uint8,)), feeds)


def test_concat_and_where() -> None:
    feeds = {"a": levels(2, 3), "b": levels(2, 3)}
    constants = SCALES | {"cs": np.float32(0.11), "cz": np.uint8(99)}
    assert_near(build("QLinearConcat", feeds, constants, order="cs cz a xs xz b ys yz", outputs=(np.uint8,), axis=1), feeds)
    feeds["c"] = np.array([[True, False, True]])
    assert_near(build("QLinearWhere", feeds, constants, order="c a xs xz b ys yz cs cz", outputs=(np.uint8,)), feeds)


@pytest.mark.parametrize("per_column", [False, True])
def test_general_matrix_product(per_column: bool) -> None:
    feeds = {"a": levels(4, 5)}
    count = 6 if per_column else 1
    constants = {
        "as": np.float32(0.02),
        "az": np.uint8(100),
        "b": levels(6, 5, dtype=np.int8),
        "bs": np.linspace(0.01, 0.05, count).astype(np.float32) if per_column else np.float32(0.03),
        "bz": np.zeros(count, np.int8) if per_column else np.int8(0),
        "c": _rng.integers(-500, 500, 6).astype(np.int32),
        "ys": np.float32(0.2),
        "yz": np.uint8(128),
    }
    assert_near(build("QGemm", feeds, constants, order="a as az b bs bz c ys yz", outputs=(np.uint8,), transB=1), feeds)


def test_matrix_products_of_integers() -> None:
    feeds = {"a": levels(4, 5)}
    constants = {"b": levels(5, 6, dtype=np.int8), "as": np.float32(0.02), "bs": np.float32(0.03), "az": np.uint8(100)}
    constants |= {"bz": np.int8(3), "bias": normal(6)}
    plain.assert_same(build("MatMulIntegerToFloat", feeds, constants, order="a b as bs az bz bias"), feeds, target=ACCEPTED)
    feeds = {"a": normal(4, 5)}
    plain.assert_same(build("DynamicQuantizeMatMul", feeds, constants, order="a b bs bz bias"), feeds, target=ACCEPTED)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zeros", [False, True])
def test_matrix_product_with_weights_of_few_bits(bits: int, zeros: bool) -> None:
    rows, columns, block = 6, 40, 16
    blocks = -(-columns // block)
    constants = {
        "b": levels(rows, blocks, block * bits // 8),
        "s": _rng.random((rows, blocks)).astype(np.float32) * 0.1,
    }
    if zeros:
        constants["z"] = levels(rows, (blocks * bits + 7) // 8)
    feeds = {"a": normal(3, columns)}
    model = build("MatMulNBits", feeds, constants, N=rows, K=columns, bits=bits, block_size=block)
    plain.assert_same(model, feeds, tolerance=1e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_quantizing_in_older_opsets(dtype: Any) -> None:
    feeds = {"x": normal(2, 3, 4) * 100}
    constants = {"s": np.float32(0.5), "z": np.array(3, dtype)}
    plain.assert_same(build("QuantizeLinear", feeds, constants, outputs=(dtype,), opset=13), feeds)
    columns = {"s": _rng.random(3).astype(np.float32) + 0.5, "z": np.arange(3).astype(dtype)}
    plain.assert_same(build("QuantizeLinear", feeds, columns, outputs=(dtype,), opset=13, axis=1), feeds)
    feeds = {"x": levels(2, 3, 4, dtype=dtype)}
    plain.assert_same(build("DequantizeLinear", feeds, columns, opset=13, axis=1), feeds)


def test_lstm_with_quantized_weights() -> None:
    """Activations stay float, so it is nearer to the layer that was quantized than ONNX Runtime is."""
    feeds = {"x": normal(4, 2, 5)}
    constants = {
        "w": levels(1, 5, 12, dtype=np.int8),
        "r": levels(1, 3, 12, dtype=np.int8),
        "b": normal(1, 24),
        "ws": np.full(1, 0.01, np.float32),
        "wz": np.zeros(1, np.int8),
        "rs": np.full(1, 0.01, np.float32),
        "rz": np.zeros(1, np.int8),
    }
    order = "x w r b - - - - ws wz rs rz"
    model = build("DynamicQuantizeLSTM", feeds, constants, order=order, outputs=(np.float32,), hidden_size=3)
    plain.assert_same(model, feeds, tolerance=5e-2, target=ACCEPTED)
