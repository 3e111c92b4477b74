"""Convolutions of the TensorFlow importer, against ONNX Runtime."""

from __future__ import annotations

import litert_nodes
import numpy as np
import onnx_ir as ir
import onnx_nodes as nodes
import pytest

from convkit.interpreters.tensorflow.table import operators
from convkit.legalization.onnx import preparation
from convkit.legalization.onnx.rewriting import legalize

_rng = np.random.default_rng(0)


def normal(*shape: int, dtype=np.float32) -> np.ndarray:
    return _rng.normal(size=shape).astype(dtype)


CONVOLUTIONS = {
    "one axis": ((2, 4, 9), (6, 4, 3), {"pads": [1, 2], "strides": [2]}),
    "same": ((2, 4, 9, 8), (6, 4, 3, 3), {"pads": [1, 1, 1, 1]}),
    "stride that is not SAME": ((1, 3, 8, 8), (4, 3, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "asymmetric pads": ((2, 4, 9, 8), (6, 4, 3, 2), {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
    "dilated": ((2, 4, 9, 8), (6, 4, 3, 3), {"dilations": [2, 1], "pads": [2, 1, 2, 1]}),
    "grouped": ((2, 4, 9, 8), (6, 2, 3, 3), {"group": 2}),
    "depthwise": ((2, 4, 9, 8), (4, 1, 3, 3), {"group": 4, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "depthwise, multiplied": ((2, 4, 9, 8), (8, 1, 3, 3), {"group": 4}),
    "depthwise, dilated": ((2, 4, 9, 8), (4, 1, 3, 3), {"group": 4, "dilations": [2, 2], "pads": [2, 2, 2, 2]}),
    "depthwise, one axis": ((2, 4, 9), (4, 1, 3), {"group": 4, "strides": [2]}),
    "depthwise, unequal strides": ((2, 4, 9, 8), (4, 1, 3, 3), {"group": 4, "strides": [2, 1]}),
    "depthwise, unequal strides, same": ((2, 4, 9, 8), (8, 1, 5, 5), {"group": 4, "strides": [6, 4], "pads": [2, 2, 2, 2]}),
    "depthwise, dilated, strided": ((2, 4, 9, 8), (4, 1, 3, 3), {"group": 4, "dilations": [2, 1], "strides": [1, 2]}),
    "same upper": ((2, 4, 9, 8), (6, 4, 3, 2), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same lower": ((2, 4, 9, 8), (6, 4, 3, 2), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "valid": ((2, 4, 9, 8), (6, 4, 3, 2), {"auto_pad": "VALID", "strides": [2, 2]}),
    "volume": ((1, 2, 5, 6, 7), (4, 2, 2, 3, 3), {"pads": [0, 1, 1, 1, 1, 1], "strides": [1, 2, 1]}),
    "grouped volume": ((1, 4, 5, 6, 7), (4, 2, 2, 3, 3), {"group": 2, "dilations": [2, 1, 1]}),
}

TRANSPOSED = {
    "one axis": ((2, 4, 5), (4, 3, 3), {"strides": [2], "pads": [1, 1], "output_padding": [1]}),
    "same": ((2, 4, 5, 6), (4, 3, 4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "cut": ((2, 4, 5, 6), (4, 3, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
    "longer": ((2, 4, 5, 6), (4, 3, 3, 3), {"strides": [3, 2], "output_padding": [2, 1]}),
    "kernel smaller than the stride": ((1, 2, 3, 3), (2, 2, 1, 1), {"strides": [2, 2]}),
    "dilated": ((2, 4, 5, 6), (4, 3, 3, 2), {"dilations": [2, 3], "strides": [1, 2]}),
    "grouped": ((2, 4, 5, 6), (4, 3, 3, 3), {"group": 2, "strides": [2, 2]}),
    "depthwise": ((2, 4, 5, 6), (4, 1, 4, 4), {"group": 4, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "depthwise, longer": ((2, 4, 5, 6), (4, 1, 4, 3), {"group": 4, "strides": [2, 3], "output_padding": [1, 0]}),
    "depthwise, multiplied": ((2, 4, 5, 6), (4, 3, 3, 2), {"group": 4, "strides": [1, 2], "dilations": [1, 2]}),
    "depthwise, cut": ((2, 4, 5, 6), (4, 1, 1, 2), {"group": 4, "strides": [2, 3]}),
    "depthwise, one axis": ((2, 4, 5), (4, 1, 4), {"group": 4, "strides": [2], "pads": [1, 1]}),
    "output shape": ((1, 2, 3, 3), (2, 2, 3, 3), {"output_shape": [10, 8], "strides": [3, 2]}),
    "same upper": ((1, 2, 3, 3), (2, 2, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same lower": ((1, 2, 3, 3), (2, 2, 4, 3), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "volume": ((1, 2, 3, 3, 4), (2, 2, 2, 3, 3), {"strides": [2, 1, 1], "pads": [0, 1, 1, 1, 1, 1]}),
}


def build(operator, case, dynamic=()):
    shape, weight, attributes = case
    outputs = weight[0] if operator == "Conv" else weight[1] * attributes.get("group", 1)
    feeds = {"x": normal(*shape)}
    constants = {"w": normal(*weight), "b": normal(outputs)}
    symbols = {"x": {axis: f"d{axis}" for axis in dynamic}}
    return nodes.node_model(operator, feeds, constants, dynamic=symbols, **attributes), feeds


@pytest.mark.parametrize("case", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolution(case) -> None:
    for dynamic in ((), (0, 2)):
        model, feeds = build("Conv", case, dynamic)
        nodes.assert_agree(nodes.tensorflow(model, feeds), nodes.onnx_runtime(model, feeds))


@pytest.mark.parametrize("case", TRANSPOSED.values(), ids=TRANSPOSED)
def test_transposed_convolution(case) -> None:
    for dynamic in ((),) if "output_shape" in case[2] else ((), (0, 2)):
        model, feeds = build("ConvTranspose", case, dynamic)
        nodes.assert_agree(nodes.tensorflow(model, feeds), nodes.onnx_runtime(model, feeds))


@pytest.mark.parametrize(
    ("operator", "case", "expected"),
    [
        ("Conv", CONVOLUTIONS["same"], "CONV_2D"),
        ("Conv", CONVOLUTIONS["grouped"], "CONV_2D"),
        ("Conv", CONVOLUTIONS["depthwise, dilated"], "DEPTHWISE_CONV_2D"),
        ("Conv", CONVOLUTIONS["volume"], "CONV_3D"),
        ("ConvTranspose", TRANSPOSED["same"], "TRANSPOSE_CONV"),
        ("ConvTranspose", TRANSPOSED["dilated"], "TRANSPOSE_CONV"),
        ("ConvTranspose", TRANSPOSED["volume"], "CONV_3D_TRANSPOSE"),
    ],
)
def test_becomes_a_builtin_operator_of_litert(operator, case, expected) -> None:
    model, feeds = build(operator, case)
    outputs, used = litert_nodes.litert(model, feeds)
    nodes.assert_agree(outputs, nodes.onnx_runtime(model, feeds))
    assert expected in used


def test_padding_that_is_tensorflows_own_needs_no_operator() -> None:
    _, used = litert_nodes.litert(*build("Conv", CONVOLUTIONS["same"]))
    assert "PAD" not in used


def test_weights_that_are_computed() -> None:
    feeds = {"x": normal(1, 4, 6, 6), "w": normal(4, 1, 3, 3)}
    model = nodes.node_model("Conv", feeds, group=4)
    nodes.assert_agree(nodes.tensorflow(model, feeds), nodes.onnx_runtime(model, feeds))
    feeds = {"x": normal(1, 4, 6, 6), "w": normal(4, 2, 3, 3)}
    model = nodes.node_model("ConvTranspose", feeds, dilations=[2, 1])
    nodes.assert_agree(nodes.tensorflow(model, feeds), nodes.onnx_runtime(model, feeds))


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_precisions(dtype) -> None:
    feeds = {"x": normal(1, 4, 6, 6, dtype=dtype)}
    constants = {"w": normal(2, 4, 3, 3, dtype=dtype)}
    [got] = nodes.tensorflow(nodes.node_model("Conv", feeds, constants), feeds)
    single = {"x": feeds["x"].astype(np.float32)}
    [wanted] = nodes.onnx_runtime(nodes.node_model("Conv", single, {"w": constants["w"].astype(np.float32)}), single)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, wanted, atol=2e-2 if dtype == np.float16 else 1e-5)


def test_a_convolution_over_four_axes_is_refused() -> None:
    model = nodes.node_model("Conv", {"x": normal(1, 1, 3, 3, 3, 3)}, {"w": normal(1, 1, 2, 2, 2, 2)})
    [finding] = legalize(preparation.prepared(ir.from_proto(model)), operators())
    assert finding.verdict == "gap"
    assert "4 axes" in finding.reason
