"""Slice and Pad of the PyTorch importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from interpreters.pytorch.operators.operator_checks import agrees, floats, ints, refusal

_LARGEST, _SMALLEST = 2**63 - 1, -(2**63)


@pytest.mark.parametrize("dynamic", [None, {"x": {0: "n"}}])
@pytest.mark.parametrize(
    ("start", "end", "step"),
    [
        (0, _LARGEST, 1),
        (1, -1, 1),
        (-3, _LARGEST, 1),
        (0, _LARGEST, 3),
        (-1, _SMALLEST, -1),
        (_LARGEST, _SMALLEST, -1),
        (-1, _SMALLEST, -2),
        (-2, 1, -1),
        (4, 1, -2),
    ],
)
def test_slice(start: int, end: int, step: int, dynamic: dict[str, dict[int, str]] | None) -> None:
    constants = {"starts": ints(start), "ends": ints(end), "axes": ints(0), "steps": ints(step)}
    agrees("Slice", {"x": floats(7, 2)}, constants, dynamic=dynamic)


@pytest.mark.parametrize(("start", "end", "step"), [(-20, 3, 1), (20, 1, -1), (5, 2, 1), (-20, -30, -1), (3, 3, -1)])
def test_slice_out_of_range(start: int, end: int, step: int) -> None:
    constants = {"starts": ints(start), "ends": ints(end), "axes": ints(-2), "steps": ints(step)}
    agrees("Slice", {"x": floats(7, 2)}, constants)


def test_slice_of_several_axes() -> None:
    agrees("Slice", {"x": floats(4, 5, 6)}, {"s": ints(1, -3), "e": ints(3, _LARGEST), "a": ints(-1, 0)})
    agrees("Slice", {"x": floats(4, 5, 6)}, {"s": ints(1, 2, 3), "e": ints(3, 5, 6)})
    agrees("Slice", {"x": floats(4, 5)}, opset=9, starts=[1], ends=[1000], axes=[1])


def test_slice_from_data() -> None:
    agrees("Slice", {"x": floats(7, 2), "starts": ints(2), "ends": ints(5)})
    agrees("Slice", {"x": floats(7, 2), "starts": ints(-4), "ends": ints(-1)})


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize("dynamic", [None, {"x": {0: "n", 2: "h", 3: "w"}}])
def test_pad(mode: str, dynamic: dict[str, dict[int, str]] | None) -> None:
    agrees("Pad", {"x": floats(2, 3, 4, 5)}, {"pads": ints(0, 1, 2, 3, 0, 0, 1, 2)}, mode=mode, dynamic=dynamic)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float64, np.uint8, bool])
def test_pad_of_other_dtypes(dtype: type) -> None:
    x = (floats(3, 4) * 3).astype(dtype)
    agrees("Pad", {"x": x}, {"pads": ints(1, 0, 0, 2), "value": np.array(1, dtype)})


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_negative_pads_take_elements_away(mode: str) -> None:
    agrees("Pad", {"x": floats(6, 6)}, {"pads": ints(-1, 2, 1, -2)}, mode=mode)


def test_pad_of_some_axes() -> None:
    constants = {"pads": ints(1, 2, 0, 1), "value": np.array(-1, np.float32), "axes": ints(-1, 0)}
    agrees("Pad", {"x": floats(3, 4, 5)}, constants, dynamic={"x": {1: "n"}})


def test_pad_with_a_value_from_data() -> None:
    agrees("Pad", {"x": floats(3, 4), "value": np.array(7, np.float32)}, {"pads": ints(1, 2, 0, 1)}, order=["x", "pads", "value"])


def test_pad_before_opset_11() -> None:
    agrees("Pad", {"x": floats(3, 4)}, opset=10, pads=[1, 0, 0, 2], value=1.5)


def test_pad_by_amounts_from_data() -> None:
    agrees("Pad", {"x": floats(3, 4), "pads": ints(1, 0, 2, 1)})


def test_unknown_mode_is_refused() -> None:
    assert "mirror" in refusal("Pad", {"x": floats(3, 4)}, {"pads": ints(1, 0, 0, 2)}, mode="mirror")
