"""When the tables are enough for a check, and when a trial is made."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from convkit import api
from convkit.formats import Variant
from convkit.legalization.onnx import certainty, preparation

FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
VARIANTS = [Variant.EXPORTED_PROGRAM, Variant.SAVEDMODEL, Variant.TFLITE, Variant.PTE]
_LOCK = Path(__file__).resolve().parents[3] / "requirements.lock"


def made(nodes, inputs, outputs, weights=()):
    infos = [[helper.make_tensor_value_info(*t) for t in side] for side in (inputs, outputs)]
    graph = helper.make_graph(nodes, "graph", *infos, [numpy_helper.from_array(a, n) for n, a in weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def certain(model, variant):
    return certainty.is_certain(preparation.prepared(ir.from_proto(model)), variant.value)


@pytest.mark.parametrize("variant", VARIANTS)
def test_proved_operators_whose_sizes_follow_from_shapes_need_no_trial(variant):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], auto_pad="NOTSET", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Shape", ["r"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"], axis=0),
        helper.make_node("Concat", ["n", "rest"], ["t"], axis=0),
        helper.make_node("Reshape", ["r", "t"], ["y"]),
    ]
    weights = [("w", np.ones((4, 3, 3, 3), np.float32)), ("zero", np.array([0])), ("rest", np.array([-1]))]
    model = made(nodes, [("x", FLOAT, ["n", 3, 8, 8])], [("y", FLOAT, ["n", 256])], weights)
    assert certain(model, variant)


@pytest.mark.parametrize(
    ("nodes", "inputs", "outputs"),
    [
        ([("Squeeze", ["x"], ["y"], {})], [("x", FLOAT, ["n", 1, "m"])], [("y", FLOAT, None)]),
        ([("NonZero", ["x"], ["y"], {})], [("x", FLOAT, [3])], [("y", INT, [1, None])]),
        ([("BitShift", ["x", "k"], ["y"], {"direction": "NEVER"})], [("x", INT, [4]), ("k", INT, [4])], [("y", INT, [4])]),
        ([("Sinh", ["x"], ["y"], {})], [("x", TensorProto.COMPLEX64, [4])], [("y", TensorProto.COMPLEX64, [4])]),
    ],
)
def test_what_hangs_on_data_or_was_not_proved_is_tried(nodes, inputs, outputs):
    made_nodes = [helper.make_node(o, i, y, **a) for o, i, y, a in nodes]
    assert not any(certain(made(made_nodes, inputs, outputs), variant) for variant in VARIANTS)


def test_a_parameter_that_must_be_known_is_tried_where_it_is_computed():
    nodes = [helper.make_node("MelWeightMatrix", ["bins", "length", "rate", "low", "high"], ["y"])]
    computed = [("bins", INT, [])]
    weights = [("length", np.array(16)), ("rate", np.array(8192))]
    weights += [("low", np.array(0.0, np.float32)), ("high", np.array(4096.0, np.float32))]
    output = [("y", FLOAT, [None, None])]
    assert not certain(made(nodes, computed, output, weights), Variant.EXPORTED_PROGRAM)


def test_a_trial_finds_what_no_table_says(tmp_path):
    """Both branches are made of proved operators, and together they have no rank."""
    tensor = [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in (("a", [2, 3]), ("b", [1, 2, 3]))]
    branches = [
        helper.make_graph([helper.make_node("Relu", ["x"], ["a"])], "then", [], tensor[:1]),
        helper.make_graph([helper.make_node("Unsqueeze", ["x", "axis"], ["b"])], "else", [], tensor[1:]),
    ]
    node = helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])
    path = tmp_path / "m.onnx"
    model = made([node], [("x", FLOAT, [2, 3]), ("c", BOOL, [])], [("y", FLOAT, None)], [("axis", np.array([0]))])
    path.write_bytes(model.SerializeToString())
    result = api.check(path, "savedmodel")
    assert [(g.operator, g.evidence) for g in result.gaps] == [("If", "trial")]


def test_forms_are_of_the_locked_versions():
    locked = dict(line.strip().split("==") for line in _LOCK.read_text().splitlines() if "==" in line)
    for package, version in json.loads(certainty.PROVED.read_text())["versions"].items():
        assert version == metadata.version(package), "measure anew: python -m benchmarks.onnx_node_suite"
        assert version.partition("+")[0] == locked[package]


def test_defaults_of_the_standard_are_no_form_of_their_own():
    node = ir.node("Resize", [ir.val("x", dtype=ir.DataType.FLOAT)], {"mode": "nearest", "antialias": 0})
    assert certainty.form(node) == {"< FLOAT", "> "}
