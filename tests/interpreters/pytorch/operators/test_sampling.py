"""Sampling of images at given places, against ONNX Runtime."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir
import pytest

from convkit.interpreters.pytorch.table import operators
from interpreters.pytorch.operators.operator_checks import agrees, floats


def test_grids_of_every_kind() -> None:
    feeds = {"x": floats(2, 3, 5, 6), "grid": floats(2, 4, 3, 2, seed=1)}
    dynamic = {"x": {0: "batch"}, "grid": {0: "batch"}}
    kinds = itertools.product(("linear", "nearest", "cubic"), ("zeros", "border", "reflection"))
    for number, (mode, padding) in enumerate(kinds):
        agrees("GridSample", feeds, dynamic=dynamic, opset=20, mode=mode, padding_mode=padding, align_corners=number % 2)
    agrees("GridSample", feeds, opset=16, mode="bicubic")


def test_grids_over_volumes() -> None:
    agrees("GridSample", {"x": floats(1, 2, 3, 4, 5), "grid": floats(1, 2, 3, 4, 3)}, opset=20, mode="linear")
    x, grid = (ir.val(name, ir.DataType.FLOAT, [1, 1, 3, 3, 3]) for name in ("x", "grid"))
    assert "volume" in str(operators().refusal(ir.node("GridSample", [x, grid], {"mode": "cubic"}), 20))


@pytest.mark.parametrize("align_corners", (0, 1))
@pytest.mark.parametrize("size", ((2, 3, 4, 5), (2, 3, 4, 5, 6)))
def test_affine_grids(size: tuple[int, ...], align_corners: int) -> None:
    rank = len(size) - 2
    feeds = {"theta": floats(2, rank, rank + 1)}
    agrees("AffineGrid", feeds, {"size": np.array(size)}, opset=20, align_corners=align_corners)


@pytest.mark.parametrize("half_pixel", (False, True))
@pytest.mark.parametrize("mode", ("avg", "max"))
def test_regions(mode: str, half_pixel: bool) -> None:
    rois = np.array([[0, 0, 9, 9], [2, 3, 8, 7], [-2, 1, 4, 30]], np.float32)
    feeds = {"x": floats(2, 3, 10, 12), "rois": rois, "images": np.array([0, 1, 1])}
    attributes = {"coordinate_transformation_mode": "half_pixel" if half_pixel else "output_half_pixel"}
    shared = {"mode": mode, "output_height": 3, "output_width": 4, "sampling_ratio": 2, "spatial_scale": 0.5}
    dynamic = {"rois": {0: "regions"}, "images": {0: "regions"}}
    agrees("RoiAlign", feeds, dynamic=dynamic, opset=16, **shared, **attributes)
    if not half_pixel:
        agrees("RoiAlign", feeds, opset=10, **shared)


def test_as_many_samples_as_a_region_is_large_are_refused() -> None:
    values = [ir.val(name, ir.DataType.FLOAT, None) for name in ("x", "rois", "images")]
    assert "only the data tell" in str(operators().refusal(ir.node("RoiAlign", values), 16))
