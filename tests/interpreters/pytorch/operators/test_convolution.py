"""Convolutions of the PyTorch importer, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import onnx_nodes as nodes
import pytest

from convkit.interpreters.pytorch.table import operators

_RNG = np.random.default_rng(0)


def _floats(*shape: int) -> np.ndarray:
    return _RNG.normal(size=shape).astype(np.float32)


def _check(operator: str, x: np.ndarray, constants: dict[str, np.ndarray], dynamic: dict[int, str], **attributes: Any) -> None:
    feeds = {"x": x}
    model = nodes.node_model(
        operator, feeds, constants, dynamic={"x": {a: d for a, d in dynamic.items() if a < x.ndim}}, **attributes
    )
    run = nodes.pytorch_function(model, feeds, smallest=4)
    larger = {"x": _floats(*(size + (3 if axis in dynamic else 0) for axis, size in enumerate(x.shape)))}
    for given in (feeds, larger):
        nodes.assert_agree(run(given), nodes.onnx_runtime(model, given))


@pytest.mark.parametrize(
    "attributes",
    (
        {},
        {"pads": [1, 0, 2, 1], "strides": [2, 1]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 3]},
        {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
        {"auto_pad": "SAME_UPPER"},
        {"auto_pad": "VALID", "dilations": [1, 2]},
        {"group": 2, "pads": [1, 1, 1, 1]},
    ),
)
def test_convolution_of_dynamic_images(attributes: dict[str, Any]) -> None:
    weight = _floats(4, 4 // attributes.get("group", 1), 3, 2)
    symbols = {0: "batch", 2: "height", 3: "width"}
    _check("Conv", _floats(2, 4, 9, 8), {"w": weight, "b": _floats(4)}, symbols, **attributes)


@pytest.mark.parametrize("rank", (1, 3))
def test_convolution_of_lines_and_volumes(rank: int) -> None:
    size = (7, 6, 5)[:rank]
    _check("Conv", _floats(2, 3, *size), {"w": _floats(4, 3, *[3] * rank)}, {0: "batch"}, pads=[1, *[0] * (2 * rank - 1)])
    _check("ConvTranspose", _floats(2, 3, *size), {"w": _floats(3, 2, *[3] * rank)}, {0: "batch"}, strides=[2] * rank)


@pytest.mark.parametrize(
    "attributes",
    (
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
        {"strides": [2, 3], "pads": [0, 1, 2, 0], "output_padding": [1, 0]},
        {"strides": [3, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [3, 2], "auto_pad": "SAME_LOWER", "output_padding": [1, 1]},
        {"strides": [1, 1], "dilations": [2, 2], "group": 2},
        {"strides": [2, 2], "pads": [2, 2, 0, 0], "output_padding": [1, 1]},
        {"strides": [3, 3], "pads": [2, 2, 0, 0], "output_padding": [2, 2]},
    ),
)
def test_transposed_convolution_of_dynamic_images(attributes: dict[str, Any]) -> None:
    weight = _floats(4, 3, 3, 3)
    bias = _floats(3 * attributes.get("group", 1))
    symbols = {0: "batch", 2: "height", 3: "width"}
    _check("ConvTranspose", _floats(2, 4, 5, 4), {"w": weight, "b": bias}, symbols, **attributes)


@pytest.mark.parametrize("auto_pad", ("NOTSET", "SAME_UPPER"))
def test_transposed_convolution_to_a_given_shape(auto_pad: str) -> None:
    for shape in ([9, 9], [10, 8]):
        extra = [1, 1] if max(shape) == 10 else [0, 0]
        constants = {"w": _floats(2, 3, 3, 3), "b": _floats(3)}
        _check(
            "ConvTranspose",
            _floats(1, 2, 4, 4),
            constants,
            {0: "batch"},
            strides=[2, 2],
            output_shape=shape,
            auto_pad=auto_pad,
            output_padding=extra,
        )


def test_an_output_shape_of_a_dynamic_image_is_refused() -> None:
    feeds = {"x": _floats(1, 2, 4, 4)}
    model = nodes.node_model(
        "ConvTranspose", feeds, {"w": _floats(2, 3, 3, 3)}, dynamic={"x": {2: "height"}}, output_shape=[9, 9]
    )
    with pytest.raises(Exception, match="output_shape of a dynamic dimension"):
        nodes.pytorch(model, feeds)


def test_four_axes_are_refused_before_conversion() -> None:
    x, w = (ir.val(name, ir.DataType.FLOAT, [1, 1, 3, 3, 3, 3]) for name in "xw")
    assert "over 4 axes" in str(operators().refusal(ir.node("Conv", [x, w]), 22))
