"""Pooling of the PyTorch importer, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import onnx_nodes as nodes
import pytest

from convkit.interpreters.pytorch.table import operators

_RNG = np.random.default_rng(0)
_IMAGE = {0: "batch", 2: "height", 3: "width"}


def _check(operator: str, x: np.ndarray, *, dynamic: dict[int, str], **attributes: Any) -> None:
    model = nodes.node_model(operator, {"x": x}, dynamic={"x": dynamic}, **attributes)
    run = nodes.pytorch_function(model, {"x": x}, smallest=6)
    more = [(0, 3 if axis in dynamic else 0) for axis in range(x.ndim)]
    for given in (x, np.pad(x, more, "reflect")):
        nodes.assert_agree(run({"x": given}), nodes.onnx_runtime(model, {"x": given}))


def _floats(*shape: int) -> np.ndarray:
    return _RNG.normal(size=shape).astype(np.float32)


_WINDOWS = (
    {},
    {"strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"strides": [2, 3], "pads": [0, 1, 1, 0], "ceil_mode": 1},
    {"strides": [3, 3], "pads": [1, 1, 2, 2], "ceil_mode": 1},
    {"strides": [2, 2], "ceil_mode": 1},
    {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
    {"strides": [2, 2], "auto_pad": "VALID"},
    {"dilations": [2, 1], "pads": [1, 1, 2, 0], "strides": [2, 2], "ceil_mode": 1},
)


@pytest.mark.parametrize("is_dynamic", (False, True))
@pytest.mark.parametrize("window", _WINDOWS)
def test_largest_of_a_window(window: dict[str, Any], is_dynamic: bool) -> None:
    _check("MaxPool", _floats(2, 3, 10, 11), dynamic=_IMAGE if is_dynamic else {}, kernel_shape=[3, 3], **window)


@pytest.mark.parametrize("include_pad", (0, 1))
@pytest.mark.parametrize("is_dynamic", (False, True))
@pytest.mark.parametrize("window", _WINDOWS)
def test_mean_of_a_window(window: dict[str, Any], is_dynamic: bool, include_pad: int) -> None:
    dynamic = _IMAGE if is_dynamic else {}
    _check("AveragePool", _floats(2, 3, 10, 11), dynamic=dynamic, kernel_shape=[3, 3], count_include_pad=include_pad, **window)


@pytest.mark.parametrize("opset", (7, 10, 11, 19))
def test_every_version_of_the_mean(opset: int) -> None:
    rounding = {"ceil_mode": 1} if opset >= 10 else {}
    _check("AveragePool", _floats(1, 2, 11), dynamic={}, opset=opset, kernel_shape=[4], strides=[3], pads=[1, 1], **rounding)


@pytest.mark.parametrize("dtype", (np.uint8, np.int8))
def test_largest_of_integers(dtype: type) -> None:
    x = _RNG.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (1, 2, 7, 7)).astype(dtype)
    _check("MaxPool", x, dynamic={0: "batch"}, kernel_shape=[3, 3], pads=[1, 0, 2, 1])


@pytest.mark.parametrize("storage_order", (0, 1))
@pytest.mark.parametrize("pads", ([0, 0, 0, 0], [1, 1, 1, 1], [1, 0, 2, 1]))
def test_indices_are_over_the_whole_tensor(pads: list[int], storage_order: int) -> None:
    _check(
        "MaxPool",
        _floats(2, 3, 7, 6),
        dynamic={0: "batch", 2: "height"},
        outputs=2,
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=pads,
        storage_order=storage_order,
    )


def test_indices_of_a_volume() -> None:
    _check("MaxPool", _floats(2, 2, 4, 5, 6), dynamic={}, outputs=2, kernel_shape=[2, 2, 2], strides=[1, 2, 1])


@pytest.mark.parametrize("operator", ("GlobalAveragePool", "GlobalMaxPool"))
@pytest.mark.parametrize("rank", (1, 2, 3))
def test_whole_images(operator: str, rank: int) -> None:
    _check(operator, _floats(2, 3, *(4, 5, 6)[:rank]), dynamic={0: "batch", 2: "length"})


def test_four_axes_are_refused_before_conversion() -> None:
    x = ir.val("x", ir.DataType.FLOAT, [1, 1, 3, 3, 3, 3])
    node = ir.node("MaxPool", [x], {"kernel_shape": [2, 2, 2, 2]})
    assert "over 4 axes" in str(operators().refusal(node, 22))
