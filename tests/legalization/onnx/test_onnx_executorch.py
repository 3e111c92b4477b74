"""What ExecuTorch refuses of an ONNX model is told from the graph alone, and nothing that converts is refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from convkit import api
from convkit.errors import ConvkitError
from convkit.runtimes import executorch as runtime


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
        ([("Expand", ["x", "n"], ["y"])], [("x", FLOAT, [1, 1]), ("n", INT, [2])], [("y", FLOAT, [None, None])], "CK105"),
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


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [("HannWindow", [8], np.sin(np.arange(8) * np.pi / 8) ** 2), ("Range", [2, 9, 3], [2, 5, 8]), ("Expand", [1, [4]], [1] * 4)],
)
def test_a_list_of_a_length_from_the_data_is_planned_at_a_bound(tmp_path, operator, values, expected):
    names = [f"n{k}" for k in range(len(values))]
    inputs = [(n, INT, list(np.shape(v))) for n, v in zip(names, values, strict=True)]
    if operator == "Expand":
        inputs[0] = ("n0", INT, [1])
        values = [[1], [4]]
    dtype = FLOAT if operator == "HannWindow" else INT
    path = save(tmp_path / "m.onnx", [helper.make_node(operator, names, ["y"])], inputs, [("y", dtype, [None])])
    assert api.check(path, "executorch").ok
    given = {name: np.array(value, np.int64) for name, value in zip(names, values, strict=True)}
    result = api.convert(path, "executorch", output=tmp_path / "m.pte", inputs=given)
    assert result.verdict.value == "proved"
    assert any("at most" in note for stage in result.report.attempts[-1].stages for note in stage.notes)
    session = runtime.load(result.artifact)
    (got,) = session.run(given).values()
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_other_targets_are_not_concerned(tmp_path):
    path = save(tmp_path / "m.onnx", [helper.make_node("Add", ["x", "x"], ["y"])], [("x", UNSIGNED, [3])], [("y", UNSIGNED, [3])])
    assert api.check(path, "savedmodel").ok
