"""The dtypes that LiteRT is given, and whether what was measured of its kernels is still true."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnx_nodes as nodes
import pytest
from onnx import TensorProto, helper

from benchmarks import probing
from benchmarks.probe_forms import FORMS
from convkit.legalization.onnx import litert, preparation
from convkit.legalization.target import Verdict
from convkit.legalization.verdicts import Verdicts
from convkit.registry import find_converter
from convkit.workers.pool import WorkerPool

_LOCK = Path(__file__).resolve().parents[3] / "requirements.lock"


def legalized(model: onnx.ModelProto) -> tuple[ir.Model, list[str]]:
    imported = preparation.prepared(ir.from_proto(model))
    findings = litert.legalize(imported)
    return imported, [str(f) for f in findings if f.verdict is not Verdict.LEGAL]


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def chain(dtype: int, steps: list[tuple[str, dict[str, Any]]]) -> onnx.ModelProto:
    """One input through operators of two equal operands, or one."""
    made, last = [], "x"
    for number, (operator, attributes) in enumerate(steps):
        inputs = [last, last] if operator in ("Add", "Max", "Min", "Sub") else [last]
        made.append(helper.make_node(operator, inputs, [f"v{number}"], **attributes))
        last = f"v{number}"
    infos = [helper.make_tensor_value_info(n, dtype, ["n", 3]) for n in ("x", last)]
    model = helper.make_model(helper.make_graph(made, "chain", infos[:1], infos[1:]), opset_imports=[helper.make_opsetid("", 18)])
    return onnx.shape_inference.infer_shapes(model)


def test_float32_is_left_alone() -> None:
    model, told = legalized(chain(TensorProto.FLOAT, [("Add", {}), ("Relu", {}), ("Max", {})]))
    assert operators(model) == {"Add": 1, "Relu": 1, "Max": 1}
    assert told == []


def test_casts_stand_where_a_sum_may_wrap_around_and_not_where_nothing_can() -> None:
    model, _ = legalized(chain(TensorProto.UINT8, [("Max", {}), ("Min", {}), ("Max", {})]))
    assert operators(model) == {"Cast": 2, "Max": 2, "Min": 1}
    model, _ = legalized(chain(TensorProto.UINT8, [("Add", {}), ("Max", {})]))
    assert operators(model) == {"Cast": 4, "Add": 1, "Max": 1}


def test_half_precision_is_cast_at_the_edges_alone() -> None:
    steps: list[tuple[str, dict[str, Any]]] = [
        ("Relu", {}),
        ("Transpose", {"perm": [0, 1]}),
        ("Add", {}),
        ("Flatten", {"axis": 1}),
    ]
    model, told = legalized(chain(TensorProto.FLOAT16, steps))
    assert operators(model)["Cast"] == 2
    assert model.graph.inputs[0].dtype is ir.DataType.FLOAT16
    assert model.graph.outputs[0].dtype is ir.DataType.FLOAT16
    assert any("Add" in line and "float32" in line for line in told)


def test_constants_are_cast_before_the_model_runs() -> None:
    x = {"x": np.zeros((2, 3), np.float16)}
    model, _ = legalized(nodes.node_model("Add", x, {"c": np.ones(3, np.float16)}))
    assert operators(model) == {"Cast": 2, "Add": 1}


def test_bodies_keep_what_they_declare() -> None:
    def body(operator: str) -> onnx.GraphProto:
        node = helper.make_node(operator, ["x", "x"], ["r"])
        return helper.make_graph([node], operator, [], [helper.make_tensor_value_info("r", TensorProto.INT8, [3])])

    node = helper.make_node("If", ["c"], ["y"], then_branch=body("Add"), else_branch=body("Sub"))
    inputs = [helper.make_tensor_value_info("c", TensorProto.BOOL, []), helper.make_tensor_value_info("x", TensorProto.INT8, [3])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.INT8, [3])]
    graph = helper.make_graph([node], "test", inputs, outputs)
    model, _ = legalized(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10))
    branches = [a.as_graph() for a in next(iter(model.graph)).attributes.values()]
    for branch in branches:
        assert branch.outputs[0].dtype is ir.DataType.INT8
        assert Counter(n.op_type for n in branch)["Cast"] == 2


_DIVISORS = (1, -1, 3, -7, 2**31 + 11, -(2**40) + 1)


@pytest.mark.parametrize("dtype", ["int64", "uint32"])
def test_division_of_large_integers_is_exact(dtype: str, tmp_path: Path) -> None:
    from tests.converters.test_onnx_to_tflite import assert_runs

    limits = np.iinfo(dtype)
    numbers = [
        int(n) for n in (0, 1, 7, -8, 2**24 + 1, 2**31 + 5, 2**32 - 1, 2**53 + 3, -(2**61) + 9) if limits.min <= n <= limits.max
    ]
    divisors = [d for d in _DIVISORS if limits.min <= d <= limits.max]
    feeds: Mapping[str, np.ndarray] = {"a": np.array(numbers, dtype)[:, None], "b": np.array(divisors, dtype)[None]}
    assert_runs(nodes.node_model("Div", feeds), [feeds], tmp_path)


@pytest.mark.parametrize("operator", ["Greater", "Max"])
def test_order_of_uint64_counts_the_highest_bit(operator: str, tmp_path: Path) -> None:
    from tests.converters.test_onnx_to_tflite import assert_runs

    feeds: Mapping[str, np.ndarray] = {
        "a": np.array([2**63 + 5, 1, 2**64 - 1], np.uint64),
        "b": np.array([7, 2**63, 2**63], np.uint64),
    }
    assert_runs(nodes.node_model(operator, feeds), [feeds], tmp_path)


def test_verdicts_are_of_the_locked_versions() -> None:
    locked = dict(line.strip().split("==") for line in _LOCK.read_text().splitlines() if "==" in line)
    for package, version in Verdicts.load(litert.VERDICTS).versions.items():
        assert locked[package] == version, "measure anew: python -m benchmarks.probing"
        assert metadata.version(package) == version


def test_a_sample_of_the_verdicts_is_still_true(pool: WorkerPool) -> None:
    verdicts = Verdicts.load(litert.VERDICTS)
    measured = [p for p in probing.probes(FORMS) if verdicts.reason(p.operator, p.dtype, p.form.rank) is not None]
    assert len(measured) > 1000
    chosen = random.Random(0).sample(measured, 30)
    for probe, trouble in probing.measure(find_converter("onnx-tflite"), chosen, pool, {"as_is": True}):
        kept = verdicts.reason(probe.operator, probe.dtype, probe.form.rank)
        assert bool(trouble) <= bool(kept), (
            f"{probe.operator} {probe.dtype} rank {probe.form.rank}: {trouble!r}, kept is {kept!r}"
        )


def test_verdicts_are_kept_as_they_were_measured(tmp_path: Path) -> None:
    add = probing.Form(((2,), (2,)))
    results = [
        (probing.Probe("Add", "int8", add), "aborts"),
        (probing.Probe("Add", "int32", add), ""),
        (probing.Probe("Add", "int32", probing.Form(((1, 2), (1, 2)))), "wrong: other values"),
        (probing.Probe("Add", "bool", add), None),
    ]
    verdicts = probing.collected(results, find_converter("onnx-tflite"))
    verdicts.save(tmp_path / "verdicts.json")
    again = Verdicts.load(tmp_path / "verdicts.json")
    assert again == verdicts
    assert again.reason("Add", "int8", 4) == "aborts"
    assert [again.reason("Add", "int32", rank) for rank in (1, 2, None)] == ["", "wrong: other values", "wrong: other values"]
    assert again.reason("Add", "bool") is None
