"""Slice and Pad of the TensorFlow importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx_nodes as nodes
import pytest

from interpreters.pytorch.operators.operator_checks import floats, ints
from interpreters.tensorflow.operators.operator_checks import agrees, agrees_in_litert, refusal

_LARGEST, _SMALLEST = 2**63 - 1, -(2**63)

SLICES = [
    (0, _LARGEST, 1),
    (1, -1, 1),
    (-3, _LARGEST, 1),
    (0, _LARGEST, 3),
    (-1, _SMALLEST, -1),
    (_LARGEST, _SMALLEST, -1),
    (-1, _SMALLEST, -2),
    (-2, 1, -1),
    (4, 1, -2),
    (-20, 3, 1),
    (20, 1, -1),
    (5, 2, 1),
    (-20, -30, -1),
    (3, 3, -1),
]


@pytest.mark.parametrize(("start", "end", "step"), SLICES)
def test_slice(start: int, end: int, step: int) -> None:
    numbers = {"starts": ints(start), "ends": ints(end), "axes": ints(-2), "steps": ints(step)}
    agrees("Slice", {"x": floats(7, 2)}, numbers)
    if start >= -7 or step > 0:
        data = {"x": floats(7, 2), "starts": numbers["starts"], "ends": numbers["ends"]}
        rest = {"axes": numbers["axes"], "steps": numbers["steps"]}
        agrees("Slice", data, rest, dynamic={"x": {0: "n"}})


@pytest.mark.parametrize("end", [10**9, 2**31 - 1, 5, 100])
@pytest.mark.parametrize("start", [0, 2])
def test_a_slice_beyond_a_dynamic_dimension_runs_in_litert(start: int, end: int) -> None:
    """TFLiteConverter drops the clamp."""
    agrees_in_litert("Slice", {"x": floats(4, 7)}, {"s": ints(0, start), "e": ints(10**9, end)}, dynamic={"x": {0: "n", 1: "m"}})


def test_slice_of_several_axes() -> None:
    agrees("Slice", {"x": floats(4, 5, 6)}, {"s": ints(1, -3), "e": ints(3, _LARGEST), "a": ints(-1, 0)})
    agrees("Slice", {"x": floats(4, 5, 6)}, {"s": ints(1, 2, 3), "e": ints(3, 5, 6)})
    agrees("Slice", {"x": floats(4, 5)}, opset=9, starts=[1], ends=[1000], axes=[1])


def test_slice_of_nothing() -> None:
    agrees("Slice", {"x": floats(0, 2)}, {"s": ints(-1), "e": ints(_SMALLEST), "a": ints(0), "t": ints(-1)})


def test_slice_of_more_axes_than_litert_slices() -> None:
    x = {"x": floats(2, 3, 2, 3, 2, 3, 2)}
    agrees("Slice", x, {"s": ints(1, 2), "e": ints(3, _SMALLEST), "a": ints(1, -2), "t": ints(1, -1)}, dynamic={"x": {}})
    agrees_in_litert("Slice", x, {"s": ints(1, 2), "e": ints(3, _SMALLEST), "a": ints(1, -2), "t": ints(1, -1)})


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_pad(mode: str) -> None:
    agrees("Pad", {"x": floats(2, 3, 4, 5)}, {"pads": ints(0, 1, 2, 3, 0, 0, 1, 2)}, mode=mode)
    agrees_in_litert("Pad", {"x": floats(2, 3, 4, 5)}, {"pads": ints(0, 1, 2, 3, 0, 0, 1, 2)}, mode=mode)


@pytest.mark.parametrize("mode", ["reflect", "wrap"])
def test_pads_longer_than_the_axis(mode: str) -> None:
    x = floats(3, 1)
    wanted = np.pad(x, ((7, 4), (2, 1)), mode)
    agrees("Pad", {"x": x}, {"pads": ints(7, 2, 4, 1)}, mode=mode, wanted=[wanted])


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float64, np.uint8, bool])
def test_pad_of_other_dtypes(dtype: type) -> None:
    agrees("Pad", {"x": (floats(3, 4) * 3).astype(dtype)}, {"pads": ints(1, 0, 0, 2), "value": np.array(1, dtype)})


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_negative_pads_take_elements_away(mode: str) -> None:
    agrees("Pad", {"x": floats(6, 6)}, {"pads": ints(-1, 2, 1, -2)}, mode=mode)
    agrees("Pad", {"x": floats(6, 6), "pads": ints(-1, 2, 1, -2)}, mode=mode, dynamic={"x": {0: "n", 1: "m"}})


def test_pad_of_some_axes_with_a_value() -> None:
    agrees("Pad", {"x": floats(3, 4, 5)}, {"pads": ints(1, 2, 0, 1), "value": np.array(-1, np.float32), "axes": ints(-1, 0)})
    agrees("Pad", {"x": floats(3, 4), "value": np.array(7, np.float32)}, {"pads": ints(1, 2, 0, 1)}, order=["x", "pads", "value"])
    agrees("Pad", {"x": floats(3, 4)}, opset=10, pads=[1, 0, 0, 2], value=1.5)


def test_unknown_mode_is_refused() -> None:
    assert refusal(nodes.node_model("Pad", {"x": floats(3, 4)}, {"pads": ints(1, 0, 0, 2)}, mode="mirror")) == "mode=mirror"
