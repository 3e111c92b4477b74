"""Tree ensembles as gathers, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from legalization.onnx import plain_target as plain
from onnx import helper

MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
TARGET = plain.PlainTarget(accepted=["Softmax"])


def forest(prefix: str, targets: list[int], *, modes: list[str], low: float = -1.0, missing: bool = False) -> dict[str, Any]:
    """Random trees of depth up to 4 over 5 features, as the attributes of the older operators."""
    rng = np.random.default_rng(3)
    said: dict[str, list[Any]] = {
        f"nodes_{k}": [] for k in ("treeids", "nodeids", "modes", "values", "featureids", "truenodeids", "falsenodeids")
    }
    leaves: dict[str, list[Any]] = {f"{prefix}_{k}": [] for k in ("treeids", "nodeids", "ids", "weights")}
    tracks = []

    def grow(tree: int, number: list[int], depth: int) -> int:
        own = number[0]
        number[0] += 1
        at = len(said["nodes_treeids"])
        inner = depth < 4 and (depth == 0 or rng.random() < 0.7)
        row = (
            tree,
            own,
            str(rng.choice(modes)) if inner else "LEAF",
            float(rng.integers(-2, 3)) if inner else 0.0,
            int(rng.integers(5)),
            0,
            0,
        )
        for name, value in zip(said, row, strict=True):
            said[name].append(value)
        tracks.append(int(rng.integers(2)) if inner else 0)
        if inner:
            said["nodes_truenodeids"][at] = grow(tree, number, depth + 1)
            said["nodes_falsenodeids"][at] = grow(tree, number, depth + 1)
        else:
            for target in targets:
                for name, value in zip(leaves, (tree, own, target, float(rng.uniform(low, 1))), strict=True):
                    leaves[name].append(value)
        return own

    for tree in range(4):
        grow(tree, [0], 0)
    return {**said, **leaves, **({"nodes_missing_value_tracks_true": tracks} if missing else {})}


def model_of(operator: str, outputs: list[tuple[str, int]], **attributes: Any) -> onnx.ModelProto:
    node = helper.make_node(operator, ["x"], [name for name, _ in outputs], domain="ai.onnx.ml", **attributes)
    x = helper.make_tensor_value_info("x", 1, ["n", 5])
    infos = [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(helper.make_graph([node], "g", [x], infos), opset_imports=imports, ir_version=8)


def features() -> np.ndarray:
    return np.random.default_rng(8).integers(-3, 4, size=(40, 5)).astype(np.float32)


@pytest.mark.parametrize("modes", [[m] for m in MODES] + [MODES])
def test_regressor(modes: list[str]) -> None:
    model = model_of("TreeEnsembleRegressor", [("y", 1)], n_targets=2, **forest("target", [0, 1], modes=modes))
    plain.assert_same(model, {"x": features()}, target=TARGET)


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX"])
def test_regressor_of_one_target(aggregate: str, transform: str) -> None:
    model = model_of(
        "TreeEnsembleRegressor",
        [("y", 1)],
        n_targets=1,
        aggregate_function=aggregate,
        post_transform=transform,
        base_values=[0.25],
        **forest("target", [0], modes=MODES[:1]),
    )
    plain.assert_same(model, {"x": features()}, target=TARGET)


def test_missing_values() -> None:
    x = features()
    x[::3, 1] = np.nan
    x[1::4, 3] = np.nan
    model = model_of("TreeEnsembleRegressor", [("y", 1)], n_targets=1, **forest("target", [0], modes=MODES[:1], missing=True))
    plain.assert_same(model, {"x": x}, target=TARGET)


@pytest.mark.parametrize("transform", ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"])
def test_classifier_of_several_classes(transform: str) -> None:
    model = model_of(
        "TreeEnsembleClassifier",
        [("label", 7), ("scores", 1)],
        classlabels_int64s=[10, 20, 30],
        post_transform=transform,
        **forest("class", [0, 1, 2], modes=MODES[:1]),
    )
    plain.assert_same(model, {"x": features()}, target=TARGET)


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC"])
@pytest.mark.parametrize("low", [-1.0, 0.0])
@pytest.mark.parametrize("base", [None, [0.3]])
def test_classifier_of_two_classes_with_one_score(transform: str, low: float, base: list[float] | None) -> None:
    model = model_of(
        "TreeEnsembleClassifier",
        [("label", 7), ("scores", 1)],
        classlabels_int64s=[0, 1],
        post_transform=transform,
        base_values=base,
        **forest("class", [0], modes=MODES[:1], low=low),
    )
    plain.assert_same(model, {"x": features()}, target=TARGET)


def test_labels_that_are_strings_are_a_gap() -> None:
    model = model_of(
        "TreeEnsembleClassifier",
        [("label", 8), ("scores", 1)],
        classlabels_strings=["a", "b"],
        **forest("class", [0, 1], modes=MODES[:1]),
    )
    assert plain.gaps(plain.legalized(model, TARGET)[1])
