"""The driver of rewrites: what it replaces, and that the model around stays what it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnx_nodes as nodes
import pytest
from legalization.onnx import plain_target as plain

from convkit.legalization.onnx import preparation, rewriting
from convkit.legalization.onnx.rewriting import Builder, Outputs, legalize
from convkit.legalization.target import Verdict

X = np.array([[3, -1, 2], [0, 5, 5]], np.float32)


def parsed(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 18]> g {text}')


@pytest.fixture
def registered() -> Iterator[None]:
    """Whatever a test registers is forgotten afterwards."""
    rewriting.rewrites()
    before = {key: list(value) for key, value in rewriting._registered.items()}
    yield
    rewriting._registered.clear()
    rewriting._registered.update(before)


def test_verdicts() -> None:
    _, findings = plain.legalized(parsed("(float[2,3] x) => (y) { a = Hardmax (x) b = Abs (a) y = Asinh (b) }"))
    verdicts = {f.operator: f.verdict for f in findings}
    assert verdicts == {"Asinh": Verdict.GAP, "Hardmax": Verdict.REWRITTEN, "Abs": Verdict.LEGAL}
    assert findings[0].where == ("y",)


def test_outputs_keep_names_and_order() -> None:
    model = parsed("(float[2,3] x) => (float[2,3] b, float[2,3] a) { a = Hardmax (x) b = Softmax (a) }")
    rewritten = plain.assert_same(model, {"x": X})
    assert [o.name for o in rewritten.graph.output] == ["b", "a"]


def test_a_rewrite_may_give_back_an_input(registered: None) -> None:
    @rewriting.rewrite("Asinh", summary="nothing to do")
    def asinh(build: Builder, node: ir.Node) -> Outputs:
        return [node.inputs[0]]

    rewritten, _ = plain.legalized(
        parsed("(float[2,3] x) => (float[2,3] y, float[2,3] z) { y = Asinh (x) t = Asinh (y) z = Neg (t) }")
    )
    y, z = plain.run(rewritten, {"x": X})
    np.testing.assert_array_equal(y, X)
    np.testing.assert_array_equal(z, -X)
    assert [i.name for i in rewritten.graph.input] == ["x"]


def test_one_value_for_two_outputs(registered: None) -> None:
    @rewriting.rewrite("Split", summary="the same twice")
    def split(build: Builder, node: ir.Node) -> Outputs:
        both = build("Neg", node.inputs[0])
        return [both, both]

    model = parsed("(float[2,3] x) => (float[2,3] y, float[2,3] z) { y, z = Split <num_outputs = 2> (x) }")
    rewritten, _ = plain.legalized(model, plain.PlainTarget(refused=["Split"]))
    assert [o.name for o in rewritten.graph.output] == ["y", "z"]
    np.testing.assert_array_equal(plain.run(rewritten, {"x": X})[1], -X)


def test_a_rewrite_that_does_not_apply_leaves_nothing_behind(registered: None) -> None:
    @rewriting.rewrite("Asinh", summary="never")
    def asinh(build: Builder, node: ir.Node) -> Outputs:
        build("Neg", node.inputs[0], build.constant(1))
        return None

    model = preparation.prepared(ir.from_proto(parsed("(float[2,3] x) => (float[2,3] y) { y = Asinh (x) }")))
    legalize(model, plain.PlainTarget())
    assert len(model.graph.inputs[0].uses()) == 1
    assert not model.graph.initializers


def test_a_rewrite_without_an_output_that_is_needed_is_passed_over(registered: None) -> None:
    @rewriting.rewrite("DynamicQuantizeLinear", summary="the first output only")
    def dynamic_quantize_linear(build: Builder, node: ir.Node) -> Outputs:
        return [build("Cast", node.inputs[0], to=ir.DataType.UINT8)]

    model = parsed("(float[2,3] x) => (uint8[2,3] q, float s, uint8 z) { q, s, z = DynamicQuantizeLinear (x) }")
    rewriting._registered["", "DynamicQuantizeLinear"].reverse()
    plain.assert_same(model, {"x": X}, target=plain.PlainTarget(accepted=["QuantizeLinear"]))


def test_bodies_are_rewritten_and_constants_are_the_main_graphs() -> None:
    model = parsed("""(float[2,3] x, bool c) => (float[2,3] y) {
      y = If (c) <then_branch = t () => (float[2,3] a) { h = Hardmax <axis = 0> (x) a = Softmax (h) },
                  else_branch = e () => (float[2,3] b) { b = Hardmax (x) }>
    }""")
    for given in (True, False):
        rewritten = plain.assert_same(model, {"x": X, "c": np.array(given)})
    branches = [a.g for node in rewritten.graph.node for a in node.attribute]
    assert branches
    assert not any(branch.initializer for branch in branches)
    assert rewritten.graph.initializer


def test_a_gap_in_a_body_is_named() -> None:
    model = parsed("""(float[2,3] x, bool c) => (float[2,3] y) {
      y = If (c) <then_branch = t () => (float[2,3] a) { a = Asinh (x) }, else_branch = e () => (float[2,3] b) { b = Neg (x) }>
    }""")
    assert plain.gaps(plain.legalized(model)[1]) == ["Asinh ×1: not Asinh (at a)"]


def test_a_gap_behind_a_rewrite_says_what_it_needs() -> None:
    model = nodes.node_model("Hardmax", {"x": X})
    _, findings = plain.legalized(model, plain.PlainTarget(refused=["ArgMax"]))
    assert plain.gaps(findings) == ["Hardmax ×1: it is computed with ArgMax: not ArgMax (at the_hardmax)"]


def test_one_value_given_twice() -> None:
    w = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    model = nodes.node_model("Attention", {"q": w[None, None]}, order=["q", "q", "q"], opset=23)
    plain.assert_same(model, {"q": w[None, None]})


def test_a_body_with_an_optional_input_left_out() -> None:
    rng = np.random.default_rng(0)
    feeds = {name: rng.normal(size=(1, 2, 3, 4)).astype(np.float32) for name in ("q", "k", "v", "pk", "pv")}
    order = ["q", "k", "v", "", "pk", "pv"]
    model = nodes.node_model("Attention", feeds, order=order, outputs=3, opset=23, is_causal=1)
    plain.assert_same(model, feeds)


def test_defaults_of_a_body() -> None:
    plain.assert_same(nodes.node_model("Selu", {"x": X}, opset=22), {"x": X})
    plain.assert_same(
        nodes.node_model("MeanVarianceNormalization", {"x": X.reshape(1, 1, 2, 3)}, opset=13), {"x": X.reshape(1, 1, 2, 3)}
    )


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
def test_bodies_are_in_the_models_opset(opset: int) -> None:
    """Reductions have their axes in an attribute until opset 17, and in an input from 18 on."""
    plain.assert_same(nodes.node_model("Softmax", {"x": X}, opset=opset), {"x": X})
    plain.assert_same(nodes.node_model("LogSoftmax", {"x": X}, opset=opset, axis=0), {"x": X})


def test_a_body_written_for_a_newer_opset_is_used_only_if_it_means_the_same() -> None:
    plain.assert_same(nodes.node_model("Elu", {"x": X}, opset=16), {"x": X})
    assert plain.gaps(plain.legalized(nodes.node_model("Elu", {"x": X}, opset=13))[1])  # no CastLike yet


def test_a_model_that_was_rewritten_before() -> None:
    """Its names are those that the driver gives: a new process starts to count at the same number."""
    once, _ = plain.legalized(nodes.node_model("Hardmax", {"x": X}), plain.PlainTarget())
    once.graph.node.append(onnx.helper.make_node("Hardmax", ["y0"], ["z"], name="the_hardmax"))
    once.graph.output.append(onnx.helper.make_tensor_value_info("z", 1, [2, 3]))
    numbers, Builder._numbers = Builder._numbers, iter(range(10**6))
    try:
        twice, _ = plain.legalized(once)
    finally:
        Builder._numbers = numbers
    wanted = plain.run(once, {"x": X})
    for mine, theirs in zip(plain.run(twice, {"x": X}), wanted, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_domains_come_and_go_with_their_nodes() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18, "ai.onnx.ml": 3]> g (float[2,3] x, int64[2] i) => (float[2,2] y)'
        "{ y = ai.onnx.ml.ArrayFeatureExtractor (x, i) }"
    )
    rewritten = plain.assert_same(model, {"x": X, "i": np.array([2, 0])})
    assert [o.domain for o in rewritten.opset_import] == [""]


def test_types_of_new_values_are_known() -> None:
    model = preparation.prepared(ir.from_proto(nodes.node_model("Softmax", {"x": X}, dynamic={"x": {0: "n"}})))
    legalize(model, plain.PlainTarget())
    assert all(o.dtype is not None and o.shape is not None for node in model.graph for o in node.outputs)
    assert str(model.graph.outputs[0].shape[0]) == "n"


def test_a_gap_is_tried_again_when_shapes_have_become_known(registered: None) -> None:
    """An operator that onnx cannot infer hides the shape that the next rewrite needs, until it is rewritten itself."""

    @rewriting.rewrite("Late", domain="own", summary="a cast")
    def late(build: Builder, node: ir.Node) -> Outputs:
        return [build("Abs", node.inputs[0])]

    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18, "own": 1]> g (float[2,3] x) => (float[2,3] y)'
        "{ a = own.Late (x) b = Neg (a) y = Hardmax (b) }"
    )
    rewritten, findings = plain.legalized(model)
    assert not plain.gaps(findings)
    np.testing.assert_array_equal(plain.run(rewritten, {"x": X})[0].argmax(1), (-np.abs(X)).argmax(1))


@pytest.mark.usefixtures("nothing_to_collect")
def test_a_large_graph_takes_linear_time(tmp_path: Path) -> None:
    def seconds(count: int) -> float:
        chain = [onnx.helper.make_node("Hardmax", [f"x{k}"], [f"x{k + 1}"]) for k in range(count)]
        infos = [onnx.helper.make_tensor_value_info(name, 1, ["n", 3]) for name in ("x0", f"x{count}")]
        graph = onnx.helper.make_graph(chain, "g", infos[:1], infos[1:])
        model = preparation.prepared(
            ir.from_proto(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]))
        )
        started = time.process_time()
        legalize(model, plain.PlainTarget())
        return time.process_time() - started

    seconds(10)
    assert seconds(2000) < 12 * seconds(400)
