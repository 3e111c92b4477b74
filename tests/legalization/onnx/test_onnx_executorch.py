"""What ExecuTorch refuses of an ONNX model is told from the graph alone, and nothing that converts is refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from convkit import api
from convkit.errors import ConvkitError


def save(path, nodes, inputs, outputs, weights=()):
    infos = [[helper.make_tensor_value_info(*t) for t in side] for side in (inputs, outputs)]
    graph = helper.make_graph(nodes, "graph", *infos, list(weights))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


FLOAT, INT, UNSIGNED = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT32


@pytest.mark.parametrize(
    ("nodes", "inputs", "outputs", "code"),
    [
        ([("Add", ["x", "x"], ["y"])], [("x", UNSIGNED, [3])], [("y", UNSIGNED, [3])], "CK102"),
        ([("HannWindow", ["n"], ["y"])], [("n", INT, [])], [("y", FLOAT, [None])], "CK105"),
        ([("Expand", ["x", "n"], ["y"])], [("x", FLOAT, [1]), ("n", INT, [1])], [("y", FLOAT, [None])], "CK105"),
    ],
)
def test_a_refusal_is_called_and_true(tmp_path, nodes, inputs, outputs, code):
    made = [helper.make_node(*n, name=f"node_{i}") for i, n in enumerate(nodes)]
    path = save(tmp_path / "m.onnx", made, inputs, outputs)
    result = api.check(path, "executorch")
    assert not result.ok
    gap = next(g for g in result.gaps if g.code == code)
    assert gap.where == ("node_0",) and gap.hint and gap.evidence == "registry"
    with pytest.raises(ConvkitError):
        api.convert(path, "executorch", output=tmp_path / "m.pte", validate=False)


def test_sizes_that_follow_from_shapes_and_constants_are_no_gap(tmp_path):
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Mul", ["s", "two"], ["n"]),
        helper.make_node("ConstantOfShape", ["n"], ["z"]),
        helper.make_node("Shape", ["z"], ["t"]),
        helper.make_node("Expand", ["one", "t"], ["y"]),
    ]
    weights = [numpy_helper.from_array(np.array([2]), "two"), numpy_helper.from_array(np.array([1], np.float32), "one")]
    path = save(tmp_path / "m.onnx", nodes, [("x", FLOAT, [3])], [("y", FLOAT, [6])], weights)
    assert api.check(path, "executorch").ok


def test_other_targets_are_not_concerned(tmp_path):
    path = save(tmp_path / "m.onnx", [helper.make_node("Add", ["x", "x"], ["y"])], [("x", UNSIGNED, [3])], [("y", UNSIGNED, [3])])
    assert api.check(path, "savedmodel").ok
