"""Operators of com.microsoft by ONNX's own, against ONNX Runtime, which has kernels for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from legalization.onnx import plain_target as plain
from onnx import TensorProto, helper, numpy_helper

_rng = np.random.default_rng(0)
DOMAIN = "com.microsoft"


def normal(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return _rng.normal(size=shape).astype(dtype)


def build(
    operator: str,
    feeds: Mapping[str, np.ndarray],
    constants: Mapping[str, np.ndarray] | None = None,
    *,
    order: str = "",
    outputs: Any = (np.float32,),
    opset: int = 17,
    domain: str = DOMAIN,
    dynamic: bool = False,
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node; `outputs` are dtypes, None for those that are not asked for."""
    names = order.split() if order else [*feeds, *(constants or {})]
    results = ["" if dtype is None else f"y{k}" for k, dtype in enumerate(outputs)]
    node = helper.make_node(operator, ["" if n == "-" else n for n in names], results, name="it", domain=domain, **attributes)
    inputs = [
        helper.make_tensor_value_info(
            n, helper.np_dtype_to_tensor_dtype(a.dtype), ["batch", *a.shape[1:]] if dynamic and a.ndim else a.shape
        )
        for n, a in feeds.items()
    ]
    returned = [
        helper.make_tensor_value_info(f"y{k}", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), None)
        for k, dtype in enumerate(outputs)
        if dtype is not None
    ]
    weights = [numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()]
    graph = helper.make_graph([node], "g", inputs, returned, weights)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


@pytest.mark.parametrize("opset", [11, 20])
@pytest.mark.parametrize("operator", ["Gelu", "FastGelu", "QuickGelu"])
def test_gelus(operator: str, opset: int) -> None:
    feeds = {"x": normal(2, 3, 8)}
    plain.assert_same(build(operator, feeds, opset=opset, dynamic=True), feeds, target=plain.PlainTarget(accepted=["Gelu"]))


def test_gelus_with_a_bias() -> None:
    feeds, constants = {"x": normal(2, 3, 8)}, {"b": normal(8)}
    for operator in ("BiasGelu", "FastGelu"):
        plain.assert_same(build(operator, feeds, constants), feeds)


@pytest.mark.parametrize(
    ("name", "parameters"), [("Relu", []), ("LeakyRelu", [0.2]), ("HardSigmoid", [0.3, 0.4]), ("Clip", [-0.5, 0.6]), ("Tanh", [])]
)
def test_fused_convolution(name: str, parameters: list[float]) -> None:
    feeds = {"x": normal(1, 3, 6, 6)}
    constants = {"w": normal(4, 3, 3, 3), "b": normal(4), "z": normal(1, 4, 6, 6)}
    attributes = {"activation_params": parameters} if parameters else {}
    model = build("FusedConv", feeds, constants, activation=name, pads=[1, 1, 1, 1], **attributes)
    plain.assert_same(model, feeds, target=plain.PlainTarget(accepted=["LeakyRelu", "HardSigmoid"]))


@pytest.mark.parametrize("switches", [{}, {"transA": 1}, {"transB": 1}, {"transBatchA": 1}, {"transBatchB": 1, "transB": 1}])
def test_fused_matrix_product(switches: dict[str, int]) -> None:
    feeds = {"a": normal(4, 4, 4), "b": normal(4, 4, 4)}
    plain.assert_same(build("FusedMatMul", feeds, alpha=0.3, **switches), feeds)


def test_fused_general_matrix_product() -> None:
    feeds, constants = {"a": normal(4, 5)}, {"b": normal(6, 5), "c": normal(6)}
    model = build("FusedGemm", feeds, constants, activation="Relu", transB=1, alpha=0.5)
    plain.assert_same(model, feeds)


@pytest.mark.parametrize("opset", [13, 17])
def test_skip_layer_normalization(opset: int) -> None:
    feeds = {"x": normal(2, 3, 8), "s": normal(2, 3, 8)}
    constants = {"g": normal(8), "e": normal(8), "b": normal(8)}
    target = plain.PlainTarget(accepted=["LayerNormalization"])
    outputs = (np.float32, None, None, np.float32)
    plain.assert_same(build("SkipLayerNormalization", feeds, constants, outputs=outputs, opset=opset), feeds, target=target)
    plain.assert_same(build("SkipLayerNormalization", feeds, {"g": constants["g"]}, opset=opset), feeds, target=target)


def test_simplified_layer_normalization() -> None:
    feeds = {"x": normal(2, 3, 8)}
    plain.assert_same(build("SimplifiedLayerNormalization", feeds, {"g": normal(8)}, domain=""), feeds)
    feeds |= {"s": normal(2, 3, 8)}
    outputs = (np.float32, None, None, np.float32)
    plain.assert_same(build("SkipSimplifiedLayerNormalization", feeds, {"g": normal(8)}, outputs=outputs), feeds)


@pytest.mark.parametrize("positions", [False, True])
def test_embedding_layer_normalization(positions: bool) -> None:
    feeds = {"i": _rng.integers(0, 9, (2, 5)).astype(np.int32), "t": _rng.integers(0, 2, (2, 5)).astype(np.int32)}
    feeds["m"] = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]], np.int32)
    constants = {"w": normal(9, 8), "p": normal(12, 8), "k": normal(2, 8), "g": normal(8), "e": normal(8)}
    order = "i t w p k g e m"
    if positions:
        feeds["q"] = np.array([[4, 3, 2, 1, 0], [0, 1, 2, 3, 4]], np.int32)
        order += " q"
    model = build("EmbedLayerNormalization", feeds, constants, order=order, outputs=(np.float32, np.int32), dynamic=True)
    plain.assert_same(model, feeds, target=plain.PlainTarget(accepted=["LayerNormalization"]))


def test_softmax_of_a_sum() -> None:
    feeds = {"x": normal(2, 3, 4, 8), "b": normal(2, 1, 1, 8)}
    model = build("BiasSoftmax", feeds, axis=3, is_inner_broadcast=0)
    powers = np.exp(feeds["x"] + feeds["b"])
    wanted = [powers / powers.sum(-1, keepdims=True)]  # ONNX Runtime has it for GPUs only
    plain.assert_same(model, feeds, target=plain.PlainTarget(accepted=["Softmax"]), wanted=wanted)


@pytest.mark.parametrize("unidirectional", [0, 1])
@pytest.mark.parametrize("mask", ["none", "lengths", "rows", "matrices"])
def test_attention(mask: str, unidirectional: int) -> None:
    feeds = {"x": normal(2, 5, 8)}
    masks = {
        "lengths": np.array([3, 5], np.int32),
        "rows": np.array([[1, 1, 0, 1, 0], [1, 1, 1, 1, 1]], np.int32),
        "matrices": np.tril(np.ones((2, 5, 5), np.int32)),
    }
    if mask in masks:
        feeds["m"] = masks[mask]
    model = build(
        "Attention",
        feeds,
        {"w": normal(8, 24), "b": normal(24)},
        order="x w b m" if mask in masks else "x w b",
        num_heads=2,
        unidirectional=unidirectional,
        dynamic=True,
    )
    plain.assert_same(model, feeds, target=plain.PlainTarget(accepted=["Softmax"]))


def test_attention_with_a_past() -> None:
    feeds = {"x": normal(2, 3, 8), "p": normal(2, 2, 2, 4, 4)}
    outputs = (np.float32, np.float32)
    model = build("Attention", feeds, {"w": normal(8, 24), "b": normal(24)}, order="x w b - p", num_heads=2, outputs=outputs)
    plain.assert_same(model, feeds, target=plain.PlainTarget(accepted=["Softmax"]))


def test_multi_head_attention() -> None:
    feeds = {"q": normal(2, 5, 8), "k": normal(2, 7, 8), "v": normal(2, 7, 8), "m": np.ones((2, 7), np.int32)}
    feeds["m"][0, 4:] = 0
    feeds["a"] = normal(2, 2, 5, 7)
    model = build("MultiHeadAttention", feeds, {"b": normal(24)}, order="q k v b m a", num_heads=2)
    plain.assert_same(model, feeds, target=plain.PlainTarget(accepted=["Softmax"]))
    feeds = {"q": normal(2, 5, 8), "k": normal(2, 5, 8), "v": normal(2, 5, 8), "p": normal(2, 2, 3, 4), "r": normal(2, 2, 3, 4)}
    model = build("MultiHeadAttention", feeds, order="q k v - - - p r", num_heads=2, outputs=(np.float32,) * 3)
    plain.assert_same(model, feeds, target=plain.PlainTarget(accepted=["Softmax"]))


@pytest.mark.parametrize("shape", [(2, 5, 16), (2, 2, 5, 8)])
def test_rotary_embedding(shape: tuple[int, ...]) -> None:
    feeds = {"x": normal(*shape), "p": np.array([[0, 1, 2, 3, 4], [3, 4, 5, 6, 7]])}
    model = build("RotaryEmbedding", feeds, {"c": normal(9, 4), "s": normal(9, 4)})
    plain.assert_same(model, feeds)


def test_a_form_that_is_not_covered_is_a_gap() -> None:
    feeds = {"x": normal(2, 5, 16), "p": np.array([3])}
    model = build("RotaryEmbedding", feeds, {"c": normal(9, 4), "s": normal(9, 4)})
    _, findings = plain.legalized(model)
    assert plain.gaps(findings)


def test_types_are_known_behind_an_operator_of_another_domain() -> None:
    """onnx's own inference stops there, and the next rewrite needs the shape of its input."""
    chain = [
        helper.make_node("BiasGelu", ["x", "b"], ["g"], domain=DOMAIN),
        helper.make_node("MatMul", ["g", "w"], ["q"]),
        helper.make_node("MultiHeadAttention", ["q", "q", "q"], ["y"], domain=DOMAIN, num_heads=2),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 5, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    weights = [numpy_helper.from_array(a, n) for n, a in (("b", normal(8)), ("w", normal(8, 8)))]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(helper.make_graph(chain, "g", [x], [y], weights), opset_imports=imports, ir_version=8)
    plain.assert_same(model, {"x": normal(2, 5, 8)}, target=plain.PlainTarget(accepted=["Softmax"]))
