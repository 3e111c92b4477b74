"""Tree ensembles of ai.onnx.ml: every tree is walked for as many steps as the deepest one has, by gathers from node tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import onnx_ir as ir

from convkit.legalization.onnx.rewrites.constants import attributes
from convkit.legalization.onnx.rewriting import Builder, Outputs, rewrite

_COMPARISONS = {
    "BRANCH_LEQ": "LessOrEqual",
    "BRANCH_LT": "Less",
    "BRANCH_GTE": "GreaterOrEqual",
    "BRANCH_GT": "Greater",
    "BRANCH_EQ": "Equal",
    "BRANCH_NEQ": "Equal",
}
_BRANCHES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
"""In the order of TreeEnsemble's nodes_modes."""


_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")
"""In the order of TreeEnsemble's post_transform; PROBIT comes after them."""


@dataclass(frozen=True)
class _Forest:
    """The nodes of all trees in one table; a leaf leads to itself.

    Attributes:
        roots: The first node of every tree.
        feature: Which input each node looks at.
        value: What it compares that with.
        if_true: Where it leads.
        if_false: Where it leads otherwise.
        missing_true: Whether it leads to the first for NaN.
        weights: [nodes, targets], what each leaf adds.
        modes: The comparison of every node; empty for leaves.
        members: [nodes, …], the set that each node with BRANCH_MEMBER looks in, filled up with NaN; None without such nodes.
    """

    roots: np.ndarray
    feature: np.ndarray
    value: np.ndarray
    if_true: np.ndarray
    if_false: np.ndarray
    missing_true: np.ndarray
    weights: np.ndarray
    modes: Sequence[str]
    members: np.ndarray | None = None

    def depth(self) -> int:
        depth, level = 0, np.unique(self.roots)
        while True:
            below = np.unique(np.concatenate([self.if_true[level], self.if_false[level]]))
            inner = below[(self.if_true[below] != below)]
            if not np.any(self.if_true[level] != level):
                return depth
            depth += 1
            if not inner.size:
                return depth
            level = inner
            if depth > len(self.feature):
                raise ValueError("a tree leads back to itself")


@rewrite("TreeEnsembleRegressor", domain="ai.onnx.ml", summary="gathers from tables of nodes")
def regressor(build: Builder, node: ir.Node) -> Outputs:
    said = attributes(node)
    transform = said.get("post_transform", "NONE")
    forest = _forest(said, "target", said.get("n_targets", 1))
    if forest is None or build.opset < 11:
        return None
    scores = _scores(build, node.inputs[0], forest, said.get("aggregate_function", "SUM"))
    if scores is None or transform not in _TRANSFORMS:
        return None
    return [_finished(build, _with_base(build, scores, said.get("base_values")), transform, said.get("n_targets", 1))]


@rewrite("TreeEnsembleClassifier", domain="ai.onnx.ml", summary="gathers from tables of nodes")
def classifier(build: Builder, node: ir.Node) -> Outputs:
    said = attributes(node)
    labels = said.get("classlabels_int64s")
    if labels is None or build.opset < 11:
        return None  # labels are strings
    used = sorted(set(said["class_ids"]))
    binary = len(labels) == 2 and len(used) == 1
    forest = _forest(said, "class", 1 if binary else len(labels), dict.fromkeys(used, 0) if binary else None)
    if forest is None:
        return None
    scores = _scores(build, node.inputs[0], forest, "SUM")
    if scores is None:
        return None
    base = said.get("base_values")
    transform = said.get("post_transform", "NONE")
    if not binary:
        scores = _with_base(build, scores, base)
        label = build("Gather", np.array(labels), build("ArgMax", scores, axis=1, keepdims=0), axis=0)
        return [label, _finished(build, scores, transform, len(labels))] if transform in _TRANSFORMS else None
    if base is not None and len(base) == 2:
        return None  # ONNX Runtime has rules of its own for this
    scores = _with_base(build, scores, base)
    positive_weights = all(w >= 0 for w in said["class_weights"])
    if transform == "NONE" and positive_weights:  # the weights are probabilities of the second class
        both = build("Concat", build("Sub", np.float32(1), scores), scores, axis=1)
        threshold = 0.5
    elif transform == "LOGISTIC":
        both = build("Concat", build("Sigmoid", build("Neg", scores)), build("Sigmoid", scores), axis=1)
        threshold = 0.5 if positive_weights else 0.0
    elif transform == "NONE":
        both, threshold = build("Concat", build("Neg", scores), scores, axis=1), 0.0
    else:
        return None
    second = build("Greater", build.squeeze(scores, [1]), np.float32(threshold))
    return [build("Where", second, np.int64(labels[1]), np.int64(labels[0])), both]


@rewrite("TreeEnsemble", domain="ai.onnx.ml", summary="gathers from tables of nodes")
def ensemble(build: Builder, node: ir.Node) -> Outputs:
    said = attributes(node)
    modes = np.asarray(_array(said["nodes_modes"])).astype(np.int64)
    if build.opset < 11:
        return None
    inner = len(modes)
    leaves, targets = len(said["leaf_targetids"]), said["n_targets"]
    dtype = node.inputs[0].dtype if node.inputs[0] is not None else None
    if dtype is None:
        return None
    kind = dtype.numpy()

    def child(nodes: str, leafs: str) -> np.ndarray:
        places: np.ndarray = np.asarray(said[nodes]) + np.asarray(said[leafs]) * inner
        return places

    own = np.arange(inner, inner + leaves)
    weights = np.zeros((inner + leaves, targets), kind)
    weights[own, np.asarray(said["leaf_targetids"])] = _array(said["leaf_weights"])
    missing = np.asarray(said.get("nodes_missing_value_tracks_true") or [0] * inner, bool)
    forest = _Forest(
        np.asarray(said["tree_roots"]),
        np.concatenate([np.asarray(said["nodes_featureids"]), np.zeros(leaves, np.int64)]),
        np.concatenate([_array(said["nodes_splits"]), np.zeros(leaves)]).astype(kind),
        np.concatenate([child("nodes_truenodeids", "nodes_trueleafs"), own]),
        np.concatenate([child("nodes_falsenodeids", "nodes_falseleafs"), own]),
        np.concatenate([missing, np.zeros(leaves, bool)]),
        weights,
        [*(_BRANCHES[m] for m in modes), *[""] * leaves],
        _members(said, modes == _BRANCHES.index("BRANCH_MEMBER"), leaves),
    )
    scores = _scores(build, node.inputs[0], forest, ("AVERAGE", "SUM", "MIN", "MAX")[said.get("aggregate_function", 1)])
    transform = said.get("post_transform", 0)
    if scores is None or transform >= len(_TRANSFORMS):
        return None
    return [_finished(build, scores, _TRANSFORMS[transform], targets)]


def _members(said: dict[str, Any], nodes: np.ndarray, leaves: int) -> np.ndarray | None:
    """The sets, which NaN ends each, one a node that looks in one."""
    if not nodes.any():
        return None
    values = _array(said["membership_values"])
    sets = np.split(values, np.flatnonzero(np.isnan(values)) + 1)
    table = np.full((len(nodes) + leaves, max(len(s) for s in sets)), np.nan, values.dtype)
    for node, members in zip(np.flatnonzero(nodes), sets, strict=False):
        table[node, : len(members)] = members
    return table


def _array(value: Any) -> np.ndarray:
    """An attribute that is a tensor or a list."""
    return np.asarray(value.numpy() if hasattr(value, "numpy") else value)


def _forest(said: dict[str, Any], prefix: str, targets: int, columns: dict[int, int] | None = None) -> _Forest | None:
    """The older operators' lists; None where comparisons differ between nodes or are not known."""
    trees, nodes = np.asarray(said["nodes_treeids"]), np.asarray(said["nodes_nodeids"])
    modes = [m.decode() if isinstance(m, bytes) else m for m in said["nodes_modes"]]
    number = {pair: k for k, pair in enumerate(zip(trees.tolist(), nodes.tolist(), strict=True))}
    count = len(modes)
    leaf = np.array([m == "LEAF" for m in modes])
    own = np.arange(count)

    def child(name: str) -> np.ndarray:
        ids = np.asarray(said[name])
        return np.array([k if leaf[k] else number[trees[k].item(), ids[k].item()] for k in own])

    if any(key.endswith("_as_tensor") for key in said):
        return None  # float64 ensembles
    weights = np.zeros((count, targets), np.float32)
    for tree, at, target, weight in zip(*(said[f"{prefix}_{n}"] for n in ("treeids", "nodeids", "ids", "weights")), strict=True):
        weights[number[tree, at], target if columns is None else columns[target]] += weight
    missing = np.asarray(said.get("nodes_missing_value_tracks_true") or [0] * count, bool)
    roots = np.array([np.flatnonzero(trees == tree)[0] for tree in dict.fromkeys(trees.tolist())])
    values = np.asarray(said["nodes_values"], np.float32)
    kinds = ["" if m == "LEAF" else m for m in modes]
    if any(m and m not in _COMPARISONS for m in kinds):
        return None
    features = np.where(leaf, 0, np.asarray(said["nodes_featureids"]))
    return _Forest(roots, features, values, child("nodes_truenodeids"), child("nodes_falsenodeids"), missing, weights, kinds)


def _scores(build: Builder, x: ir.Value | None, forest: _Forest, aggregate: str) -> ir.Value | None:
    """[N, targets]: the leaves of all trees together."""
    if x is None or x.dtype is None:
        return None
    kind = forest.value.dtype
    x = build("Cast", x, to=ir.DataType.from_numpy(kind)) if np.dtype(x.dtype.numpy()) != kind else x
    rows = build.slice(build("Shape", x), 0, 0, 1)
    trees = len(forest.roots)
    state = build("Expand", forest.roots.astype(np.int64)[None, :], build("Concat", rows, np.array([trees]), axis=0))
    tables = [build.constant(np.ascontiguousarray(t)) for t in (forest.feature.astype(np.int64), forest.value)]
    branches = [build.constant(b.astype(np.int64)) for b in (forest.if_true, forest.if_false)]
    missing = build.constant(forest.missing_true) if forest.missing_true.any() else None
    for _ in range(forest.depth()):
        seen = build("GatherElements", x, build("Gather", tables[0], state, axis=0), axis=1)
        holds = _holds(build, forest, seen, build("Gather", tables[1], state, axis=0), state)
        if missing is not None:
            holds = build("Or", holds, build("And", build("IsNaN", seen), build("Gather", missing, state, axis=0)))
        state = build("Where", holds, *(build("Gather", branch, state, axis=0) for branch in branches))
    reached = build("Gather", forest.weights, state, axis=0)  # [N, trees, targets]
    operator = {"SUM": "ReduceSum", "AVERAGE": "ReduceSum", "MIN": "ReduceMin", "MAX": "ReduceMax"}.get(aggregate)
    if operator is None:
        return None
    scores = build.reduce(operator, reached, [1], keepdims=False)
    return build("Div", scores, np.asarray(trees, kind)) if aggregate == "AVERAGE" else scores


def _holds(build: Builder, forest: _Forest, seen: ir.Value, value: ir.Value, state: ir.Value) -> ir.Value:
    """What the comparison of every node says: [N, trees]."""
    modes = sorted({mode for mode in forest.modes if mode}) or ["BRANCH_LEQ"]
    results = []
    for mode in modes:
        if mode == "BRANCH_MEMBER":
            members = build("Gather", forest.members, state, axis=0)
            equal = build("Cast", build("Equal", build.unsqueeze(seen, [2]), members), to=ir.DataType.INT32)
            result = build("Cast", build.reduce("ReduceMax", equal, [2], keepdims=False), to=ir.DataType.BOOL)
        else:
            result = build(_COMPARISONS[mode], seen, value)
            result = build("Not", result) if mode == "BRANCH_NEQ" else result
        if len(modes) > 1:
            result = build("And", result, build("Gather", np.array([m == mode for m in forest.modes]), state, axis=0))
        results.append(result)
    return reduce(lambda a, b: build("Or", a, b), results)


def _with_base(build: Builder, scores: ir.Value, base: Sequence[float] | None) -> ir.Value:
    return scores if not base else build("Add", scores, np.asarray(base, np.float32))


def _finished(build: Builder, scores: ir.Value, transform: str, targets: int) -> ir.Value:
    """The scores after the post_transform, which ONNX Runtime leaves out where there is one target."""
    if targets == 1 or transform == "NONE":
        return scores
    if transform == "LOGISTIC":
        return build("Sigmoid", scores)
    if transform == "SOFTMAX":
        return build("Softmax", scores, axis=1)
    lifted = build("Exp", build("Sub", scores, build.reduce("ReduceMax", scores, [1])))
    weights = build("Where", build("Equal", scores, np.float32(0)), np.float32(0), lifted)
    return build("Div", weights, build.reduce("ReduceSum", weights, [1]))
