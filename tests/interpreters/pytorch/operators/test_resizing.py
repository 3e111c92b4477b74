"""Resize and Upsample of the PyTorch importer, against ONNX Runtime."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx_nodes as nodes
import pytest

from interpreters.pytorch.operators.operator_checks import agrees, floats, refusal

_X = floats(2, 3, 6, 7)
_NO_ROI = {"roi": np.zeros(0, np.float32)}
_TRANSFORMATIONS = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")


def _scales(*values: float) -> dict[str, np.ndarray]:
    return {**_NO_ROI, "scales": np.array(values, np.float32)}


@pytest.mark.parametrize("is_dynamic", (False, True))
@pytest.mark.parametrize("mode", ("nearest", "linear", "cubic"))
@pytest.mark.parametrize("transformation", _TRANSFORMATIONS)
def test_scales(mode: str, transformation: str, is_dynamic: bool) -> None:
    dynamic = {"x": {0: "batch", 2: "height", 3: "width"}} if is_dynamic else {}
    for factors in ((1.0, 1.0, 2.0, 3.0), (1.0, 1.0, 0.5, 1.5)):
        if is_dynamic and transformation == "half_pixel_symmetric":
            continue
        model = nodes.node_model(
            "Resize", {"x": _X}, _scales(*factors), dynamic=dynamic, mode=mode, coordinate_transformation_mode=transformation
        )
        run = nodes.pytorch_function(model, {"x": _X}, smallest=4)
        for x in (_X, floats(3, 3, 9, 8)) if is_dynamic else (_X,):
            nodes.assert_agree(run({"x": x}), nodes.onnx_runtime(model, {"x": x}))


@pytest.mark.parametrize("mode", ("nearest", "linear", "cubic"))
def test_sizes(mode: str) -> None:
    for size in ((9, 14), (3, 20), (1, 1)):
        constants = {**_NO_ROI, "scales": np.zeros(0, np.float32), "sizes": np.array([2, 3, *size])}
        agrees("Resize", {"x": _X}, constants, mode=mode, coordinate_transformation_mode="pytorch_half_pixel")


def test_every_rounding_of_the_nearest() -> None:
    roundings = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    for rounding, transformation in itertools.product(roundings, ("half_pixel", "asymmetric")):
        attributes = {"nearest_mode": rounding, "coordinate_transformation_mode": transformation}
        agrees("Resize", {"x": _X}, _scales(1, 1, 2, 0.4), mode="nearest", **attributes)


def test_a_whole_factor_is_torchs_own_interpolation() -> None:
    import onnx_ir as ir
    import torch

    from convkit.interpreters.pytorch.importer import OnnxModule
    from convkit.legalization.onnx import preparation

    model = nodes.node_model("Resize", {"x": _X}, _scales(1, 1, 2, 2))
    module = OnnxModule(preparation.prepared(ir.from_proto(model)))
    program = torch.export.export(module, (torch.from_numpy(_X),), strict=False)
    assert "upsample_nearest2d" in program.graph_module.code


@pytest.mark.parametrize("opset", (7, 9, 10))
@pytest.mark.parametrize("mode", ("nearest", "linear"))
def test_old_versions(opset: int, mode: str) -> None:
    factors = (1.0, 1.0, 2.0, 1.5)
    if opset == 7:
        agrees("Upsample", {"x": _X}, opset=7, mode=mode, scales=list(factors))
    else:
        name = "Upsample" if opset == 9 else "Resize"
        agrees(name, {"x": _X}, {"scales": np.array(factors, np.float32)}, opset=opset, mode=mode)
    if opset == 10:
        agrees("Resize", {"x": _X}, {"scales": np.array([1, 1, 0.5, 0.6], np.float32)}, opset=10, mode=mode)


@pytest.mark.parametrize(("shape", "factors"), (((4, 6), (1.5, 2.0)), ((2, 3, 5), (1, 1, 2)), ((1, 2, 3, 4, 5), (1, 1, 2, 2, 2))))
def test_other_ranks(shape: tuple[int, ...], factors: tuple[float, ...]) -> None:
    agrees("Resize", {"x": floats(*shape)}, _scales(*factors), mode="linear")


def test_axes_policies_and_crops() -> None:
    for policy in ("stretch", "not_larger", "not_smaller"):
        constants = {**_NO_ROI, "scales": np.zeros(0, np.float32), "sizes": np.array([8, 9])}
        agrees("Resize", {"x": _X}, constants, mode="linear", axes=[2, 3], keep_aspect_ratio_policy=policy)
    roi = np.array([0, 0, 0.2, -0.4, 1, 1, 0.8, 1.2], np.float32)
    constants = {"roi": roi, "scales": np.zeros(0, np.float32), "sizes": np.array([2, 3, 5, 9])}
    for mode in ("nearest", "linear", "cubic"):
        attributes: dict[str, Any] = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 7.0}
        agrees("Resize", {"x": _X}, constants, mode=mode, **attributes)


def test_cubic_options() -> None:
    agrees("Resize", {"x": _X}, _scales(1, 1, 1.7, 0.8), mode="cubic", cubic_coeff_a=-0.5, exclude_outside=1)


def test_integers_of_the_nearest() -> None:
    agrees("Resize", {"x": np.arange(24, dtype=np.uint8).reshape(1, 1, 4, 6)}, _scales(1, 1, 2, 2), mode="nearest")


def test_what_cannot_be_known_is_refused() -> None:
    model = nodes.node_model("Resize", {"x": _X, "s": np.array([1, 1, 2, 2], np.float32)}, _NO_ROI, order=["x", "roi", "s"])
    with pytest.raises(Exception, match="must be known before the model runs"):
        nodes.pytorch(model, {"x": _X, "s": np.array([1, 1, 2, 2], np.float32)})
    dynamic = {"x": {2: "height", 3: "width"}}
    assert "antialias" in refusal("Resize", {"x": _X}, _scales(1, 1, 0.5, 0.5), dynamic=dynamic, mode="linear", antialias=1)
