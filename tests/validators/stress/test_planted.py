"""Every recipe finds a planted fault that plain seeds miss, in a real runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from convkit import api
from convkit.reports.schema import Verdict

FLOAT, INT64, UINT8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8


class Graph:
    """Writes a small ONNX model, node by node."""

    def __init__(self, dtype: int, shape: list[int | str], name: str = "x") -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs = [helper.make_tensor_value_info(name, dtype, shape)]

    def constant(self, value: object, dtype: str = "float32") -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def __call__(self, operator: str, *inputs: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [f"v{len(self.nodes)}"], **attributes))
        return self.nodes[-1].output[0]

    def save(self, path, result: str, dtype: int = FLOAT) -> None:
        self.nodes.append(helper.make_node("Identity", [result], ["y"]))
        graph = helper.make_graph(self.nodes, "g", self.inputs, [helper.make_empty_tensor_value_info("y")], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        model = onnx.shape_inference.infer_shapes(model)
        if not model.graph.output[0].type.tensor_type.elem_type:
            model.graph.output[0].type.tensor_type.elem_type = dtype
        onnx.save(model, path)


WEIGHTS = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)


@dataclass(frozen=True)
class Fault:
    """How the right and the wrong model are built; the second argument says which."""

    dtype: int
    shape: list[int | str]
    build: Callable[[Graph, bool], str]
    name: str = "x"
    note: str = ""
    """What is told where it does not count."""


def clipped(limit: float) -> Callable[[Graph, bool], str]:
    def build(g: Graph, wrong: bool) -> str:
        x = g("Clip", "x", g.constant(-limit), g.constant(limit)) if wrong else "x"
        return g("MatMul", x, g.constant(WEIGHTS))

    return build


def epsilon(g: Graph, wrong: bool) -> str:
    variance = g("ReduceMean", g("Mul", "x", "x"), g.constant([1], "int64"))
    return g("Div", "x", g("Sqrt", g("Add", variance, g.constant(1e-8 if wrong else 1e-12))))


def ones_left_out(g: Graph, wrong: bool) -> str:
    return g("MatMul", g("Where", g("Equal", "x", g.constant(1.0)), g.constant(0.0), "x") if wrong else "x", g.constant(WEIGHTS))


def last_row(g: Graph, wrong: bool) -> str:
    table = g.constant(np.random.default_rng(1).standard_normal((5000, 3)))
    ids = g("Min", "x", g.constant(4998, "int64")) if wrong else "x"
    # A lookup of the input itself is what tells its domain.
    return g("Add", g("Gather", table, "x"), g("Sub", g("Gather", table, ids), g("Gather", table, "x")))


def truncated(g: Graph, wrong: bool) -> str:
    x = g("Cast", "x", to=TensorProto.INT8) if wrong else "x"
    return g("Mul", g("Cast", x, to=FLOAT), g.constant(0.5))


def denormals_are_zero(g: Graph, wrong: bool) -> str:
    x = g("Where", g("Less", g("Abs", "x"), g.constant(1.2e-38)), g.constant(0.0), "x") if wrong else "x"
    return g("Sign", x)


def denormals_are_ten(g: Graph, wrong: bool) -> str:
    small = g("And", g("Less", g("Abs", "x"), g.constant(1.2e-38)), g("Not", g("Equal", "x", g.constant(0.0))))
    return g("Where", small, g.constant(10.0), "x") if wrong else g("Identity", "x")


def nan_as_zero(g: Graph, wrong: bool) -> str:
    x = g("Where", g("IsNaN", "x"), g.constant(0.0), "x") if wrong else "x"
    return g("MatMul", x, g.constant(WEIGHTS))


def saturated(g: Graph, wrong: bool) -> str:
    return g("Neg", g("Clip", "x", g.constant(-3e38), g.constant(3e38)) if wrong else "x")


def no_spread(g: Graph, wrong: bool) -> str:
    axes = g.constant([1, 2, 3], "int64")
    centred = g("Sub", "x", g("ReduceMean", "x", axes))
    deviation = g("Sqrt", g("ReduceMean", g("Mul", centred, centred), axes))
    guarded = g("Max", deviation, g.constant(1e-2))
    if wrong:  # guarded where the image is black, and not where it is of one colour
        black = g("Equal", g("ReduceMax", g("Abs", "x"), axes), g.constant(0.0))
        guarded = g("Where", black, g.constant(1e-2), deviation)
    return g("Add", g("Div", centred, guarded), g.constant(1.0))


def faint_corner(g: Graph, wrong: bool) -> str:
    weights = np.ones((1, 3, 6, 6), np.float32)
    weights[:, :, 0, 0] = 0 if wrong else 1e-7
    return g("ReduceSum", g("Mul", g("Cast", "x", to=FLOAT), g.constant(weights)), g.constant([1, 2, 3], "int64"))


def counted_mask(g: Graph, wrong: bool) -> str:
    mask = g("Cast", "attention_mask", to=FLOAT)
    if wrong:
        length = g("ReduceSum", mask, g.constant([1], "int64"))
        mask = g("Cast", g("Less", g.constant(np.arange(12.0)[None]), length), to=FLOAT)
    return g("Mul", mask, g.constant(np.arange(1.0, 13.0)))


def hidden_places(g: Graph, wrong: bool) -> str:
    # What a softmax over nothing gives: zeros in one runtime, something else in another. Other places do not see it.
    weight = g.constant(0.5 if wrong else 0.0)
    mask = g("Cast", "attention_mask", to=FLOAT)
    hidden = g("Cast", g("Equal", g("CumSum", mask, g.constant(1, "int64")), g.constant(0.0)), to=FLOAT)
    return g("Add", g("Mul", mask, g.constant(np.arange(1.0, 13.0))), g("Mul", hidden, weight))


def squeezed(g: Graph, wrong: bool) -> str:
    # Squeeze without axes takes every size of one away, a batch or a length of one included.
    return g("MatMul", g("Squeeze", "x") if wrong else "x", g.constant(WEIGHTS))


def short_table(g: Graph, wrong: bool) -> str:
    positions = g("Range", g.constant(0, "int64"), g("Squeeze", g("Shape", "x", start=1, end=2)), g.constant(1, "int64"))
    positions = g("Min", positions, g.constant(60, "int64")) if wrong else positions
    return g("Add", "x", g("Unsqueeze", g("Cast", positions, to=FLOAT), g.constant([1], "int64")))


FAULTS = {
    "scale 1000": Fault(FLOAT, ["batch", 8], clipped(50.0)),
    "scale 0.001": Fault(FLOAT, ["batch", 8], epsilon),
    "large floats (100000)": Fault(FLOAT, ["batch", 8], clipped(2e4)),
    "ones": Fault(FLOAT, ["batch", 8], ones_left_out),
    "largest values of the domains": Fault(INT64, ["batch", 4], last_row),
    "ends of the integers": Fault(INT64, ["batch", 4], truncated),
    "denormals": Fault(FLOAT, ["batch", 8], denormals_are_ten),
    "bright images": Fault(FLOAT, ["batch", 3, 6, 6], no_spread),
    "one-hot images": Fault(UINT8, ["batch", 3, 6, 6], faint_corner),
    "masks with padding on the left": Fault(INT64, ["batch", 12], counted_mask, "attention_mask"),
    "masks with padding on the left: outputs": Fault(
        INT64, ["batch", 12], hidden_places, "attention_mask", "masks with padding on the left: outputs differ in places"
    ),
    "least length": Fault(FLOAT, [2, "length", 8], squeezed),
    "large length": Fault(FLOAT, ["batch", "length", 8], short_table),
    "NaN in 'x'": Fault(FLOAT, ["batch", 8], nan_as_zero, note="NaN in 'x' comes out as numbers"),
    "infinity in 'x'": Fault(FLOAT, ["batch", 8], saturated, note="infinity in 'x' comes out as -3e+38"),
    "-infinity in 'x'": Fault(FLOAT, ["batch", 8], saturated, note="-infinity in 'x' comes out as 3e+38"),
    "the target takes denormals": Fault(FLOAT, ["batch", 8], denormals_are_zero, note="the target takes denormals in 'x' for 0"),
}


def pair(fault: Fault, directory):
    for wrong in (False, True):
        g = Graph(fault.dtype, fault.shape, fault.name)
        g.save(directory / f"{'wrong' if wrong else 'right'}.onnx", fault.build(g, wrong))
    return directory / "right.onnx", directory / "wrong.onnx"


@pytest.mark.parametrize("recipe", FAULTS)
def test_a_recipe_finds_what_seeds_miss(recipe, tmp_path, pool):
    fault = FAULTS[recipe]
    right, wrong = pair(fault, tmp_path)
    assert api.validate(right, wrong, pool=pool).verdict is Verdict.PROVED
    report = api.validate(right, wrong, stress=True, locate=False, shrink=False, pool=pool)
    if fault.note:
        assert report.verdict is Verdict.PROVED
        assert [n for n in report.notes if n.startswith(fault.note)], report.notes
    else:
        assert [s.recipe for s in report.sets if s.recipe.startswith(recipe) and not s.passed], report.notes
    assert api.validate(right, right, stress=True, pool=pool).verdict is Verdict.PROVED


def test_batches_of_one_are_among_the_plain_sets(tmp_path, pool):
    right, wrong = pair(Fault(FLOAT, ["batch", 8], squeezed), tmp_path)
    report = api.validate(right, wrong, locate=False, shrink=False, pool=pool)
    assert [s.recipe for s in report.sets if not s.passed] == ["seed 2, batch=1"]


def test_non_finite_values_count_where_the_user_says_so(tmp_path, pool):
    right, wrong = pair(FAULTS["NaN in 'x'"], tmp_path)
    report = api.validate(right, wrong, stress=True, count_non_finite=True, locate=False, shrink=False, pool=pool)
    assert report.verdict is Verdict.DRIFT
    assert {s.recipe for s in report.sets if not s.passed} == {"NaN in 'x', batch=2"}


def test_a_source_that_overflows_itself_does_not_fail_the_target(tmp_path, pool):
    def squares(g: Graph, wrong: bool) -> str:
        return g("Mul", "x", g("Clip", "x", g.constant(-1e28), g.constant(1e28)) if wrong else "x")

    right, wrong = pair(Fault(FLOAT, ["batch", 8], squares), tmp_path)
    report = api.validate(right, wrong, stress=True, pool=pool)
    assert report.verdict is Verdict.PROVED
    assert any("not counted (large floats (1e+30)" in n and "itself gives NaN or infinity" in n for n in report.notes)


def test_a_target_that_does_not_run_at_some_size_fails_there(tmp_path, pool):
    def fixed(g: Graph, wrong: bool) -> str:
        return g("Add", "x", g.constant(np.ones((32, 8)))) if wrong else g("Add", "x", g.constant(np.ones((1, 8))))

    right, wrong = pair(Fault(FLOAT, [2, "length", 8], fixed), tmp_path)
    report = api.validate(right, wrong, seeds=1, stress=True, locate=False, shrink=False, pool=pool)
    (failed, *_) = [s for s in report.sets if s.recipe.startswith("middle length")]
    assert "does not run" in failed.outputs[0].problem


@pytest.mark.slow
def test_a_target_whose_runtime_is_lost_fails_there_and_the_others_go_on(tmp_path, pool):
    """From a length of 40 on it computes without end: the time-out takes its worker, and the next set gets a new one."""
    values = [helper.make_tensor_value_info(n, t, []) for n, t in (("i", INT64), ("go", TensorProto.BOOL), ("sum", FLOAT))]
    results = [helper.make_tensor_value_info(n, t, []) for n, t in (("go_on", TensorProto.BOOL), ("more", FLOAT))]
    steps = [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Add", ["sum", "sum"], ["more"])]
    body = helper.make_graph(steps, "body", values, results)

    def endless(g: Graph, wrong: bool) -> str:
        length = g("Squeeze", g("Shape", "x", start=1, end=2))
        often = g("Where", g("Less", length, g.constant(40, "int64")), g.constant(1, "int64"), g.constant(10**12, "int64"))
        times = often if wrong else g.constant(1, "int64")
        return g("Add", "x", g("Loop", times, g.constant(True, "bool"), g.constant(0.0), body=body))

    right, wrong = pair(Fault(FLOAT, [2, "length", 8], endless), tmp_path)
    report = api.validate(right, wrong, seeds=1, stress=True, locate=False, shrink=False, timeout=8, pool=pool)
    failed = [s for s in report.sets if not s.passed]
    assert {s.recipe.partition(",")[0] for s in failed} == {"middle length", "large length"}
    assert all("the target does not run" in o.problem and "8 s" in o.problem for s in failed for o in s.outputs)
    assert report.sets[-1].passed
