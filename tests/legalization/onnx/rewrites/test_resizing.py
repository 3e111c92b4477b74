"""Resize and Upsample with constant weights, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_nodes as nodes
import pytest
from legalization.onnx import plain_target as plain

SHAPE = (2, 3, 5, 6)
SCALES = [(1.0, 1.0, 2.3, 0.7), (1.0, 1.0, 0.45, 1.5), (1.0, 1.0, 3.0, 1.0)]
COORDINATES = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric"]


def resize(
    *,
    scales: Any = None,
    sizes: Any = None,
    region: Any = None,
    shape: tuple[int, ...] = SHAPE,
    opset: int = 19,
    dtype: type = np.float32,
    dynamic: dict[int, str] | None = None,
    **attributes: Any,
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """A model of one Resize with constant sizes, and what to feed it."""
    feeds = {"x": np.random.default_rng(3).normal(0, 20, size=shape).astype(dtype)}
    held = {"roi": region, "scales": scales, "sizes": sizes}
    kinds = {"roi": np.float32, "scales": np.float32, "sizes": np.int64}
    constants = {name: np.array(value, kinds[name]) for name, value in held.items() if value is not None}
    order = ["x", *(name if name in constants else "" for name in held)]
    while not order[-1]:
        order.pop()
    model = nodes.node_model("Resize", feeds, constants, order=order, opset=opset, dynamic={"x": dynamic or {}}, **attributes)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model, feeds


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("coordinates", COORDINATES)
def test_nearest(coordinates: str, rounding: str) -> None:
    for scales in SCALES:
        model, feeds = resize(scales=scales, mode="nearest", coordinate_transformation_mode=coordinates, nearest_mode=rounding)
        plain.assert_same(model, feeds, tolerance=0)


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("antialias", [0, 1])
def test_linear(coordinates: str, antialias: int) -> None:
    for scales in SCALES:
        plain.assert_same(*resize(scales=scales, mode="linear", coordinate_transformation_mode=coordinates, antialias=antialias))


@pytest.mark.parametrize("exclude_outside", [0, 1])
@pytest.mark.parametrize("antialias", [0, 1])
@pytest.mark.parametrize("coordinates", COORDINATES)
def test_cubic(coordinates: str, antialias: int, exclude_outside: int) -> None:
    for scales in SCALES:
        model, feeds = resize(
            scales=scales,
            mode="cubic",
            coordinate_transformation_mode=coordinates,
            antialias=antialias,
            exclude_outside=exclude_outside,
            cubic_coeff_a=-0.5,
        )
        plain.assert_same(model, feeds, tolerance=2e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("region", [(0.1, 0.2, 0.7, 0.9), (-0.2, 0.3, 0.8, 1.3)])
def test_crop_and_resize(mode: str, region: tuple[float, ...]) -> None:
    for sizes in ([7, 4], [5, 9], [1, 3]):
        model, feeds = resize(
            sizes=sizes,
            region=region,
            axes=[2, 3],
            mode=mode,
            coordinate_transformation_mode="tf_crop_and_resize",
            extrapolation_value=-3.5,
        )
        plain.assert_same(model, feeds, tolerance=2e-5)


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_sizes_and_aspect_ratio(mode: str, policy: str) -> None:
    for sizes in ([7, 4], [3, 9], [5, 6], [11, 11]):
        plain.assert_same(*resize(sizes=sizes, axes=[2, 3], mode=mode, keep_aspect_ratio_policy=policy))


def test_coordinates_just_below_a_half() -> None:
    for rounding in ("round_prefer_ceil", "round_prefer_floor"):
        model, feeds = resize(
            sizes=[2, 4], axes=[2, 3], shape=(1, 1, 7, 7), coordinate_transformation_mode="asymmetric", nearest_mode=rounding
        )
        plain.assert_same(model, feeds, tolerance=0)


def test_axes_in_another_order() -> None:
    plain.assert_same(*resize(scales=[0.6, 1.7], axes=[3, -2], mode="linear"))


def test_volumes() -> None:
    for mode in ("nearest", "linear"):
        plain.assert_same(*resize(scales=[1, 1, 1.5, 0.5, 2], shape=(1, 2, 4, 5, 3), mode=mode))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_opset_10(mode: str) -> None:
    feeds = {"x": np.random.default_rng(3).normal(size=SHAPE).astype(np.float32)}
    for scales in SCALES:
        model = nodes.node_model("Resize", feeds, {"scales": np.array(scales, np.float32)}, opset=10, mode=mode)
        plain.assert_same(model, feeds)


@pytest.mark.parametrize("opset", [7, 9])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample(mode: str, opset: int) -> None:
    feeds = {"x": np.random.default_rng(3).normal(size=SHAPE).astype(np.float32)}
    scales = [1.0, 1.0, 2.0, 3.0]
    if opset == 7:
        model = nodes.node_model("Upsample", feeds, opset=opset, mode=mode, scales=scales)
    else:
        model = nodes.node_model("Upsample", feeds, {"scales": np.array(scales, np.float32)}, opset=opset, mode=mode)
    plain.assert_same(model, feeds)


def test_integers_by_nearest_only() -> None:
    plain.assert_same(*resize(scales=[1, 1, 2, 0.5], dtype=np.uint8, mode="nearest"), tolerance=0)
    assert plain.gaps(plain.legalized(resize(scales=[1, 1, 2, 0.5], dtype=np.int32, mode="linear")[0])[1])


def test_an_empty_result() -> None:
    plain.assert_same(*resize(scales=[1, 1, 0.1, 2], mode="linear"))


def test_the_batch_stays_dynamic() -> None:
    model, feeds = resize(scales=[1, 1, 2, 2], mode="linear", dynamic={0: "batch", 1: "channels"})
    rewritten = plain.assert_same(model, feeds)
    other = {"x": np.repeat(feeds["x"], 2, axis=0)}
    plain.compare(plain.run(rewritten, other)[0], plain.run(model, other)[0], 1e-5)


def test_what_is_known_only_at_run_time_is_a_gap() -> None:
    assert plain.gaps(plain.legalized(resize(scales=[1, 1, 2, 2], mode="linear", dynamic={2: "height"})[0])[1])
    feeds = {"x": np.ones(SHAPE, np.float32), "sizes": np.array([2, 3, 8, 8])}
    model = nodes.node_model("Resize", feeds, order=["x", "", "", "sizes"], mode="linear")
    assert plain.gaps(plain.legalized(model)[1])
