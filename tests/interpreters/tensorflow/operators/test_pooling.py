"""Pooling of the TensorFlow importer, against ONNX Runtime."""

from __future__ import annotations

import litert_nodes
import numpy as np
import onnx_ir as ir
import onnx_nodes as nodes
import pytest

from convkit.interpreters.tensorflow.table import operators

_rng = np.random.default_rng(0)

WINDOWS = {
    "one axis": ((2, 3, 9), {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
    "same": ((2, 3, 9, 8), {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1]}),
    "asymmetric": ((2, 3, 9, 8), {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [0, 1, 2, 0]}),
    "rounded up": ((2, 3, 8, 7), {"kernel_shape": [3, 3], "strides": [2, 3], "pads": [1, 0, 1, 1], "ceil_mode": 1}),
    "dropped window": ((1, 1, 4, 4), {"kernel_shape": [1, 1], "strides": [2, 2], "ceil_mode": 1}),
    "dilated": ((2, 3, 9, 8), {"kernel_shape": [3, 2], "dilations": [2, 3], "pads": [1, 1, 1, 1]}),
    "dilated, rounded up": ((1, 2, 8, 8), {"kernel_shape": [2, 2], "dilations": [2, 2], "strides": [3, 3], "ceil_mode": 1}),
    "same upper": ((2, 3, 9, 8), {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "same lower": ((2, 3, 9, 8), {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    "volume": ((1, 2, 5, 6, 7), {"kernel_shape": [2, 3, 3], "strides": [1, 2, 1], "pads": [1, 1, 1, 0, 1, 1]}),
}


def build(operator, case, dynamic=(), dtype=np.float32, outputs=1, opset=22, **more):
    shape, attributes = case
    feeds = {"x": (_rng.normal(size=shape) * 50).astype(dtype)}
    symbols = {"x": {axis: f"d{axis}" for axis in dynamic}}
    return nodes.node_model(operator, feeds, dynamic=symbols, outputs=outputs, opset=opset, **attributes, **more), feeds


def agrees(model, feeds) -> None:
    nodes.assert_agree(nodes.tensorflow(model, feeds), nodes.onnx_runtime(model, feeds))


@pytest.mark.parametrize("case", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool"])
def test_windows(operator, case) -> None:
    for dynamic in ((), (0, 2)):
        agrees(*build(operator, case, dynamic))


@pytest.mark.parametrize("case", WINDOWS.values(), ids=WINDOWS)
def test_a_mean_that_counts_padding(case) -> None:
    for dynamic in ((), (0, 2)):
        agrees(*build("AveragePool", case, dynamic, count_include_pad=1))


@pytest.mark.parametrize("name", ["one axis", "asymmetric", "rounded up", "dilated", "volume"])
@pytest.mark.parametrize("storage_order", [0, 1])
def test_indices(name, storage_order) -> None:
    for dynamic in ((), (0, 2)):
        agrees(*build("MaxPool", WINDOWS[name], dynamic, outputs=2, storage_order=storage_order))


def test_indices_of_equal_elements_are_the_first() -> None:
    feeds = {"x": np.ones((1, 2, 4, 4), np.float32)}
    agrees(nodes.node_model("MaxPool", feeds, outputs=2, kernel_shape=[2, 2], pads=[1, 1, 1, 1]), feeds)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_bytes(dtype) -> None:
    feeds = {"x": _rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (1, 2, 5, 5)).astype(dtype)}
    model = nodes.node_model("MaxPool", feeds, kernel_shape=[2, 2], pads=[1, 1, 1, 1], opset=22)
    agrees(model, feeds)
    outputs, _ = litert_nodes.litert(model, feeds)
    nodes.assert_agree(outputs, nodes.onnx_runtime(model, feeds))


@pytest.mark.parametrize("operator", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 5, 4), (2, 3, 5, 4, 2)])
def test_a_whole_image(operator, shape) -> None:
    agrees(*build(operator, (shape, {}), (0,)))


@pytest.mark.parametrize("opset", [7, 8, 10, 11])
def test_older_forms(opset) -> None:
    agrees(*build("MaxPool", WINDOWS["asymmetric"], opset=opset))
    agrees(*build("AveragePool", WINDOWS["asymmetric"], opset=opset))


@pytest.mark.parametrize(
    ("operator", "name", "expected"),
    [
        ("MaxPool", "same", "MAX_POOL_2D"),
        ("MaxPool", "rounded up", "MAX_POOL_2D"),
        ("MaxPool", "dilated", "MAXIMUM"),
        ("MaxPool", "volume", "MAX_POOL_2D"),
        ("AveragePool", "asymmetric", "AVERAGE_POOL_2D"),
        ("AveragePool", "volume", "AVERAGE_POOL_2D"),
    ],
)
def test_becomes_builtin_operators_of_litert(operator, name, expected) -> None:
    model, feeds = build(operator, WINDOWS[name])
    outputs, used = litert_nodes.litert(model, feeds)
    nodes.assert_agree(outputs, nodes.onnx_runtime(model, feeds))
    assert expected in used


def test_a_window_over_four_axes_is_refused() -> None:
    """So that a rewrite takes over."""
    model, _ = build("MaxPool", ((1, 1, 2, 2, 2, 2), {"kernel_shape": [2, 2, 2, 2]}))
    node = next(iter(ir.from_proto(model).graph))
    assert "4 axes" in (operators().refusal(node, 22) or "")
