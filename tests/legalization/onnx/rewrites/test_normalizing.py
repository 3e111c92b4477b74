"""LRN, LpNormalization, Hardmax, CumSum and CumProd, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx_nodes as nodes
import pytest
from legalization.onnx import plain_target as plain

X = np.random.default_rng(4).normal(size=(2, 5, 4)).astype(np.float32)


@pytest.mark.parametrize("size", [1, 3, 5, 7])
def test_lrn(size: int) -> None:
    x = X[..., None]
    for dynamic in ({}, {0: "n", 1: "c"}):
        plain.assert_same(
            nodes.node_model("LRN", {"x": x}, dynamic={"x": dynamic}, size=size, alpha=0.3, beta=0.6, bias=1.5), {"x": x}
        )


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("opset", [11, 18, 22])
def test_lp_normalization(p: int, axis: int, opset: int) -> None:
    x = X.copy()
    x[0, :, 1] = 0
    x[:, 2, :] = 0
    plain.assert_same(nodes.node_model("LpNormalization", {"x": x}, opset=opset, p=p, axis=axis), {"x": x})


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("opset", [9, 11, 13, 21])
def test_hardmax(axis: int, opset: int) -> None:
    x = np.random.default_rng(1).integers(0, 3, size=(2, 3, 4)).astype(np.float32)  # with ties
    plain.assert_same(nodes.node_model("Hardmax", {"x": x}, opset=opset, axis=axis), {"x": x})
    if opset >= 11:
        dynamic = {"x": {axis: "n"}}
        plain.assert_same(nodes.node_model("Hardmax", {"x": x}, opset=opset, axis=axis, dynamic=dynamic), {"x": x})


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_cumulative_product(axis: int, reverse: int, exclusive: int) -> None:
    """ONNX Runtime's release has the operator in opset 26, numpy has it without the attributes."""
    wanted = np.flip(X, axis) if reverse else X
    wanted = np.cumprod(wanted, axis)
    if exclusive:
        wanted = np.concatenate([np.ones_like(wanted.take([0], axis)), wanted.take(range(wanted.shape[axis] - 1), axis)], axis)
    wanted = np.flip(wanted, axis) if reverse else wanted
    for fed in (False, True):
        held = {"axis": np.array(axis)}
        feeds = {"x": X, **(held if fed else {})}
        model = nodes.node_model("CumProd", feeds, {} if fed else held, opset=26, reverse=reverse, exclusive=exclusive)
        plain.assert_same(model, feeds, wanted=[wanted])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_cumulative_sum_along_an_axis_that_is_fed(axis: int) -> None:
    feeds = {"x": X, "axis": np.array(axis, np.int32)}
    plain.assert_same(nodes.node_model("CumSum", feeds, opset=14), feeds, target=FedAxis())


class FedAxis(plain.PlainTarget):
    """CumSum only with a constant axis, as the importers take it."""

    def refusal(self, node, opset):  # type: ignore[no-untyped-def]
        if node.op_type == "CumSum" and node.inputs[1].const_value is None:
            return "the axis is computed"
        return super().refusal(node, opset)
