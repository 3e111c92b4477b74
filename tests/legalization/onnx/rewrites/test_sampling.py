"""GridSample and DeformConv as gathers, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_nodes as nodes
import pytest
from legalization.onnx import plain_target as plain

RNG = np.random.default_rng(11)


def grid_sample(
    size: tuple[int, ...], count: tuple[int, ...], *, opset: int = 20, dynamic: bool = False, **attributes: Any
) -> None:
    feeds = {
        "x": RNG.normal(size=(2, 3, *size)).astype(np.float32),
        "grid": RNG.uniform(-1.7, 1.7, size=(2, *count, len(size))).astype(np.float32),
    }
    axes = {k: f"s{k}" for k in range(2 + len(size))}
    model = nodes.node_model(
        "GridSample", feeds, opset=opset, dynamic={"x": axes, "grid": {0: "s0"}} if dynamic else None, **attributes
    )
    model.graph.output[0].type.tensor_type.ClearField("shape")
    plain.assert_same(model, feeds, tolerance=3e-5)


@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_images(mode: str, padding_mode: str, align_corners: int) -> None:
    for size in ((4, 5), (2, 7), (1, 3)):
        grid_sample(size, (6, 5), mode=mode, padding_mode=padding_mode, align_corners=align_corners)


@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_volumes(mode: str, padding_mode: str) -> None:
    grid_sample((3, 4, 2), (2, 3, 4), mode=mode, padding_mode=padding_mode)


@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
def test_dynamic_sizes(padding_mode: str) -> None:
    grid_sample((3, 4), (5, 2), mode="linear", padding_mode=padding_mode, dynamic=True)


def test_the_names_of_opset_16() -> None:
    for mode in ("bilinear", "bicubic"):
        grid_sample((3, 4), (5, 2), opset=16, mode=mode)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("optional", [True, False])
def test_deform_conv(groups: int, parts: int, optional: bool) -> None:
    attributes: dict[str, Any] = {
        "pads": [1, 0, 2, 1],
        "strides": [2, 1],
        "dilations": [1, 2],
        "group": groups,
        "offset_group": parts,
    }
    rows, columns = (6 + 3 - 2) // 2 + 1, (7 + 1 - 5) // 1 + 1
    feeds = {
        "x": RNG.normal(size=(2, 4, 6, 7)).astype(np.float32),
        "w": RNG.normal(size=(6, 4 // groups, 2, 3)).astype(np.float32),
        "offset": RNG.normal(size=(2, parts * 2 * 6, rows, columns)).astype(np.float32),
    }
    if optional:
        feeds["b"] = RNG.normal(size=6).astype(np.float32)
        feeds["mask"] = RNG.uniform(size=(2, parts * 6, rows, columns)).astype(np.float32)
    dynamic = {name: {0: "n"} for name in ("x", "offset", "mask") if name in feeds}
    model = nodes.node_model("DeformConv", feeds, opset=19, dynamic=dynamic, **attributes)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    plain.assert_same(model, feeds, tolerance=3e-5)
