"""One-operator models out of ONNX models: they hold what a conversion depends on, and compute what the operator computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from convkit.probing import onnx_models
from convkit.probing.signatures import Described, OperatorSignature
from tests.onnx_nodes import onnx_runtime

_VALUE = helper.make_tensor_value_info


def saved(path: Path, nodes, inputs, outputs, constants=None, opset: int = 17) -> Path:
    initializers = [numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), path)
    return path


def signatures(path: Path) -> dict[str, OperatorSignature]:
    found = Described.from_json(onnx_models.described(str(path)))
    return {s.operator: s for s in found.signatures}


def probe(path: Path, operator: str) -> onnx.ModelProto:
    chosen = signatures(path)[operator]
    file = path.with_name(f"{chosen.digest}.onnx")
    assert onnx_models.write(str(path), {str(file): [chosen.digest]})
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    return model


def two_convolutions(path: Path, seed: int = 0, stride: int = 1, names: str = "a") -> Path:
    generator = np.random.default_rng(seed)
    weights = {f"{names}{k}": generator.standard_normal((4, 4, 3, 3)).astype(np.float32) for k in range(2)}
    nodes = [
        helper.make_node("Conv", ["x", f"{names}0"], ["h"], pads=[1, 1, 1, 1], strides=[1, 1], name=f"{names}/first"),
        helper.make_node("Conv", ["h", f"{names}1"], ["y"], pads=[1, 1, 1, 1], strides=[stride, stride], name=f"{names}/second"),
    ]
    return saved(path, nodes, [_VALUE("x", 1, ["batch", 4, 8, 8])], [_VALUE("y", 1, None)], weights)


def test_models_with_other_weights_and_names_have_the_same_probes(tmp_path: Path) -> None:
    first = signatures(two_convolutions(tmp_path / "a.onnx"))["Conv"]
    other = signatures(two_convolutions(tmp_path / "b.onnx", seed=1, names="other"))["Conv"]
    assert (first.count, first.where) == (2, ("a/first", "a/second"))
    assert first.digest == other.digest
    structures = [onnx_models.described(str(two_convolutions(tmp_path / f"{s}.onnx", seed=s)))["structure"] for s in (0, 1)]
    assert structures[0] == structures[1]


def test_another_attribute_is_another_probe(tmp_path: Path) -> None:
    found = Described.from_json(onnx_models.described(str(two_convolutions(tmp_path / "a.onnx", stride=2))))
    assert [s.count for s in found.signatures] == [1, 1]


def test_a_probe_keeps_dynamic_dimensions_and_makes_weights_up(tmp_path: Path) -> None:
    model = probe(two_convolutions(tmp_path / "a.onnx"), "Conv")
    (given,) = model.graph.input
    assert [d.dim_param or d.dim_value for d in given.type.tensor_type.shape.dim] == ["d0", 4, 8, 8]
    (result,) = onnx_runtime(model, {given.name: np.ones((3, 4, 8, 8), np.float32)})
    assert result.shape == (3, 4, 8, 8) and np.abs(result).max() > 0


def test_sizes_are_computed_from_shapes_in_the_probe_too(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"]),
        helper.make_node("Concat", ["batch", "rest"], ["wanted"], axis=0),
        helper.make_node("Relu", ["x"], ["h"]),
        helper.make_node("Reshape", ["h", "wanted"], ["y"]),
    ]
    constants = {"zero": np.array([0]), "rest": np.array([-1])}
    path = saved(tmp_path / "m.onnx", nodes, [_VALUE("x", 1, ["n", 2, 3])], [_VALUE("y", 1, None)], constants)
    found = signatures(path)
    assert "size" in found["Gather"].obstacle and not found["Gather"].digest
    model = probe(path, "Reshape")
    assert [n.op_type for n in model.graph.node] == ["Shape", "Gather", "Concat", "Reshape"]
    first, second = (i.name for i in model.graph.input)
    feeds = dict.fromkeys((first, second), np.arange(12, dtype=np.float32).reshape(2, 2, 3))
    assert onnx_runtime(model, feeds)[0].shape == (2, 6)


def test_small_constants_keep_their_values(tmp_path: Path) -> None:
    nodes = [helper.make_node("Clip", ["x", "low", "high"], ["y"])]
    constants = {"low": np.float32(-1), "high": np.float32(2)}
    path = saved(tmp_path / "m.onnx", nodes, [_VALUE("x", 1, [3])], [_VALUE("y", 1, [3])], constants)
    model = probe(path, "Clip")
    (result,) = onnx_runtime(model, {model.graph.input[0].name: np.array([-9, 0, 9], np.float32)})
    assert result.tolist() == [-1, 0, 2]


def test_a_branch_takes_what_it_captures_along(tmp_path: Path) -> None:
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(kind, ["h", "offset"], ["r"])], name, [], [_VALUE("r", 1, [2])]
        )
        for name, kind in (("then", "Add"), ("else", "Sub"))
    }  # fmt: skip
    nodes = [helper.make_node("Relu", ["x"], ["h"]), helper.make_node("If", ["c"], ["y"], **branches)]
    inputs = [_VALUE("x", 1, [2]), _VALUE("c", TensorProto.BOOL, [])]
    path = saved(tmp_path / "m.onnx", nodes, inputs, [_VALUE("y", 1, [2])], {"offset": np.float32([1, 2])})
    model = probe(path, "If")
    condition, data = (i.name for i in model.graph.input)
    assert onnx_runtime(model, {condition: np.array(False), data: np.float32([5, 5])})[0].tolist() == [4, 3]


def test_operators_in_company_share_nothing(tmp_path: Path) -> None:
    then, other = (
        helper.make_graph([helper.make_node(op, ["h"], ["b"])], op, [], [_VALUE("b", 1, None)]) for op in ("Neg", "Abs")
    )
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("If", ["flag"], ["y"], then_branch=then, else_branch=other),
        helper.make_node("Relu", ["h"], ["r"]),
    ]
    inputs = [_VALUE("x", 1, ["n", 4]), _VALUE("flag", TensorProto.BOOL, [])]
    outputs = [_VALUE("y", 1, ["n", 4]), _VALUE("r", 1, ["n", 4])]
    path = saved(tmp_path / "a.onnx", nodes, inputs, outputs, {"w": np.ones((4, 4), np.float32)})
    found = signatures(path)
    file = str(tmp_path / "together.onnx")
    written = onnx_models.write(str(path), {file: [s.digest for s in found.values()]})
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    assert [name for own in written[file] for name in own["outputs"]] == [o.name for o in model.graph.output]
    assert {d.dim_param for i in model.graph.input for d in i.type.tensor_type.shape.dim if d.dim_param} == {"d0"}
    feeds = {
        i.name: np.full([2 if d.dim_param else d.dim_value for d in i.type.tensor_type.shape.dim], -3, np.float32)
        for i in model.graph.input
        if i.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    flag = next(i.name for i in model.graph.input if i.name not in feeds)
    _, chosen, rectified = onnx_runtime(model, {**feeds, flag: np.array(True)})
    assert (chosen[0, 0], rectified[0, 0]) == (3, 0)


def test_sizes_that_inference_does_not_know_are_fixed(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    path = saved(
        tmp_path / "m.onnx", nodes, [_VALUE("x", 1, ["n", 6])], [_VALUE("y", 1, None)], {"shape": np.array([-1, 3])}
    )  # fmt: skip
    (given,) = probe(path, "Relu").graph.input
    assert [d.dim_value for d in given.type.tensor_type.shape.dim] == [4, 3]


@pytest.mark.parametrize(("node", "why"), [("RandomNormalLike", "random"), ("SequenceConstruct", "not all shapes")])
def test_what_cannot_be_probed_says_why(node: str, why: str, tmp_path: Path) -> None:
    nodes = [helper.make_node(node, ["x"], ["h"])]
    if node == "SequenceConstruct":
        nodes.append(helper.make_node("ConcatFromSequence", ["h"], ["y"], axis=0))
    else:
        nodes.append(helper.make_node("Relu", ["h"], ["y"]))
    found = signatures(saved(tmp_path / "m.onnx", nodes, [_VALUE("x", 1, [3])], [_VALUE("y", 1, None)]))
    assert why in found[node].obstacle


def test_external_weights_are_never_read(tmp_path: Path) -> None:
    path = two_convolutions(tmp_path / "a.onnx")
    onnx.save(onnx.load(path), tmp_path / "b.onnx", save_as_external_data=True, size_threshold=0, location="b.data")
    (tmp_path / "b.data").unlink()
    assert signatures(tmp_path / "b.onnx")["Conv"].count == 2
    assert probe(tmp_path / "b.onnx", "Conv").graph.initializer
