"""Resize and Upsample of the TensorFlow importer, against ONNX Runtime."""

from __future__ import annotations

import itertools

import litert_nodes
import numpy as np
import onnx_nodes as nodes
import pytest

_rng = np.random.default_rng(0)

TRANSFORMATIONS = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"]
ROUNDINGS = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


def build(shape, *, scales=None, sizes=None, dynamic=(), dtype=np.float32, opset=19, roi=None, **attributes):
    feeds = {"x": (_rng.normal(size=shape) * 20).astype(dtype)}
    constants, order = {}, ["x", "", "", ""]
    if roi is not None:
        constants["roi"], order[1] = np.array(roi, np.float32), "roi"
    if scales is not None:
        constants["scales"], order[2] = np.array(scales, np.float32), "scales"
    else:
        constants["sizes"], order[3] = np.array(sizes, np.int64), "sizes"
    symbols = {"x": {axis: f"d{axis}" for axis in dynamic}}
    model = nodes.node_model("Resize", feeds, constants, order=order, dynamic=symbols, opset=opset, **attributes)
    return model, feeds


def agrees(model, feeds, tolerance=1e-5) -> None:
    nodes.assert_agree(nodes.tensorflow(model, feeds), nodes.onnx_runtime(model, feeds), tolerance)


@pytest.mark.parametrize(("transformation", "rounding"), itertools.product(TRANSFORMATIONS, ROUNDINGS))
def test_nearest(transformation, rounding) -> None:
    attributes = {"mode": "nearest", "coordinate_transformation_mode": transformation, "nearest_mode": rounding}
    for dynamic in ((), (0, 2, 3)):
        agrees(*build((2, 3, 5, 4), scales=[1, 1, 2, 3], dynamic=dynamic, **attributes))
        if transformation != "half_pixel_symmetric":  # whose middle element is wherever the last bit of a float has it
            agrees(*build((1, 2, 5, 7), scales=[1, 1, 0.7, 1.6], dynamic=dynamic, **attributes))
    agrees(*build((1, 2, 5, 7), sizes=[1, 2, 8, 3], **attributes))


@pytest.mark.parametrize(("before", "after"), [(7, 14), (7, 16), (10, 52), (14, 19), (20, 6), (20, 58)])
@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil"])
@pytest.mark.parametrize("transformation", ["asymmetric", "half_pixel"])
def test_what_is_nearly_in_the_middle_is_in_the_middle(transformation, rounding, before, after) -> None:
    attributes = {"mode": "nearest", "coordinate_transformation_mode": transformation, "nearest_mode": rounding}
    for dynamic in ((), (2,)):
        agrees(*build((1, 1, before), sizes=[1, 1, after], dynamic=dynamic, **attributes))


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
def test_interpolation(mode, transformation) -> None:
    attributes = {"mode": mode, "coordinate_transformation_mode": transformation}
    agrees(*build((2, 3, 5, 4), scales=[1, 1, 2, 3], dynamic=(0, 2, 3), **attributes))
    for dynamic in ((), (0, 2, 3)):
        agrees(*build((1, 2, 5, 7), scales=[1, 1, 0.7, 1.6], dynamic=dynamic, **attributes))
    agrees(*build((1, 2, 5, 7), sizes=[1, 2, 8, 3], **attributes))
    agrees(*build((1, 2, 5, 7), sizes=[1, 2, 1, 1], **attributes))


@pytest.mark.parametrize("shape", [(2, 3, 5), (1, 2, 3, 4, 5)])
def test_linear_over_one_and_three_axes(shape) -> None:
    scales = [1, 1, *[2] * (len(shape) - 2)]
    agrees(*build(shape, scales=scales, mode="linear", dynamic=(0, 2)))


def test_cubic_without_the_outside() -> None:
    agrees(*build((1, 2, 5, 7), scales=[1, 1, 0.8, 1.7], mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5))


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_crop(mode) -> None:
    roi = [0, 0, 0.4, 0.6, 1, 1, 1.2, 1.7]
    attributes = {"mode": mode, "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 10.0}
    agrees(*build((1, 2, 6, 7), sizes=[1, 2, 3, 4], roi=roi, **attributes))


def test_axes_and_policies() -> None:
    for policy in ("not_larger", "not_smaller"):
        agrees(*build((1, 2, 6, 9), sizes=[8, 7], axes=[2, 3], keep_aspect_ratio_policy=policy, mode="nearest"))
    agrees(*build((1, 2, 6, 9), scales=[1.5, 2], axes=[3, 2], mode="nearest"))


@pytest.mark.parametrize("attributes", [{"mode": "nearest", "nearest_mode": "floor"}, {"mode": "linear"}])
def test_to_the_size_of_another_input(attributes) -> None:
    """As feature pyramids do: the sizes are those of a larger map, which are dynamic."""
    from onnx import TensorProto, helper

    nodes_ = [
        helper.make_node("Shape", ["b"], ["whole"]),
        helper.make_node("Slice", ["whole", "two", "four"], ["planes"]),
        helper.make_node("Shape", ["a"], ["mine"]),
        helper.make_node("Slice", ["mine", "zero", "two"], ["head"]),
        helper.make_node("Concat", ["head", "planes"], ["sizes"], axis=0),
        helper.make_node("Resize", ["a", "", "", "sizes"], ["y"], **attributes),
    ]
    edges = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 3, f"{n}h", f"{n}w"]) for n in "ab"]
    constants = [
        helper.make_tensor(name, TensorProto.INT64, [1], [value]) for name, value in (("zero", 0), ("two", 2), ("four", 4))
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes_, "pyramid", edges, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    feeds = {"a": _rng.normal(size=(2, 3, 4, 5)).astype(np.float32), "b": np.zeros((2, 3, 7, 11), np.float32)}
    agrees(model, feeds)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_older_forms(mode) -> None:
    feeds = {"x": _rng.normal(size=(1, 2, 4, 5)).astype(np.float32)}
    scales = {"scales": np.array([1, 1, 2, 2], np.float32)}
    agrees(nodes.node_model("Upsample", feeds, opset=7, mode=mode, scales=[1.0, 1.0, 2.0, 2.0]), feeds)
    agrees(nodes.node_model("Upsample", feeds, scales, opset=9, mode=mode), feeds)
    agrees(nodes.node_model("Resize", feeds, scales, opset=10, mode=mode), feeds)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32])
def test_integers(dtype) -> None:
    feeds = {"x": _rng.integers(0, 100, (1, 2, 4, 5)).astype(dtype)}
    scales = {"scales": np.array([1, 1, 2, 1.5], np.float32)}
    model = nodes.node_model("Resize", feeds, scales, order=["x", "", "scales"], mode="nearest", opset=19)
    agrees(model, feeds)


@pytest.mark.parametrize(
    ("mode", "transformation", "expected"),
    [
        ("nearest", "half_pixel", "RESIZE_NEAREST_NEIGHBOR"),
        ("nearest", "asymmetric", "RESIZE_NEAREST_NEIGHBOR"),
        ("linear", "half_pixel", "RESIZE_BILINEAR"),
        ("linear", "align_corners", "RESIZE_BILINEAR"),
        ("cubic", "half_pixel", "GATHER"),
    ],
)
def test_becomes_builtin_operators_of_litert(mode, transformation, expected) -> None:
    attributes = {"mode": mode, "coordinate_transformation_mode": transformation}
    if transformation == "asymmetric":
        attributes["nearest_mode"] = "floor"
    model, feeds = build((1, 3, 5, 4), scales=[1, 1, 2, 2], **attributes)
    outputs, used = litert_nodes.litert(model, feeds)
    nodes.assert_agree(outputs, nodes.onnx_runtime(model, feeds))
    assert expected in used
