"""Where two graphs begin to differ, on traces of graphs that are computed here: no framework, every step in sight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from convkit.reports.drift import DriftReport
from convkit.traces import Recorder, Trace, TracedOperator
from convkit.validators.drift import locate
from convkit.validators.operator_kinds import kind_of

Array = np.ndarray
X = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
W = np.random.default_rng(1).standard_normal((6, 6)).astype(np.float32)
V = np.random.default_rng(2).standard_normal((6, 5)).astype(np.float32)


class Graph:
    """A graph that is computed while it is written down."""

    def __init__(self, directory: Path, prefix: str = "") -> None:
        directory.mkdir()
        self._directory = directory
        self._record = Recorder(directory)
        self._arrays: dict[str, Array] = {}
        self._prefix = prefix
        self._outputs: dict[str, str] = {}
        self.constant("w", W)
        self.constant("v", V)
        self._arrays["x"] = X
        self._record.tensor("x", X)

    def constant(self, name: str, array: Array) -> None:
        self._arrays[name] = array
        self._record.tensor(name, array, constant=True)

    def add(self, name: str, operator: str, inputs: tuple[str, ...], compute: Callable[..., Array], **attributes: object) -> None:
        name = self._prefix + name
        inputs = tuple(i if i in ("x", "w", "v") else self._prefix + i for i in inputs)
        self._arrays[name] = np.asarray(compute(*(self._arrays[i] for i in inputs)), np.float32)
        self._record.operator(TracedOperator(f"node_{name}", operator, inputs, (name,), attributes))
        self._record.tensor(name, self._arrays[name])

    def split(self, name: str, read: str, parts: tuple[str, ...]) -> None:
        """Equal parts along the last axis; the first is called as the first name says, whatever that is."""
        made = tuple(self._prefix + part for part in parts)
        self._record.operator(TracedOperator(f"node_{self._prefix}{name}", "Split", (self._prefix + read,), made))
        for part, array in zip(made, np.split(self._arrays[self._prefix + read], len(parts), -1), strict=True):
            self._arrays[part] = array
            self._record.tensor(part, array)

    def done(self, outputs: Mapping[str, str]) -> Trace:
        self._record.edges({"x": "x"}, {n: self._prefix + t for n, t in outputs.items()})
        self._record.close()
        return Trace.open(self._directory)


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def block(graph: Graph, product: Callable[..., Array] = np.matmul, activation: Callable[[Array], Array] = relu) -> Graph:
    """relu(x·w) + x, times v."""
    graph.add("p", "MatMul", ("x", "w"), product)
    graph.add("r", "Relu", ("p",), activation)
    graph.add("s", "Add", ("r", "x"), np.add)
    graph.add("y", "MatMul", ("s", "v"), np.matmul)
    return graph


@pytest.fixture
def source(tmp_path) -> Trace:
    return block(Graph(tmp_path / "source")).done({"y": "y"})


def located(source: Trace, target: Trace) -> DriftReport:
    return locate(source, target, DriftReport("test", "a", "b", 1e-5))


def test_the_same_graph_under_other_names_agrees(source, tmp_path):
    report = located(source, block(Graph(tmp_path / "target", "t_")).done({"y": "y"}))
    assert not report.suspects and report.compared == 4 and all(o.agrees for o in report.operators)


def test_the_operator_that_differs_is_named_and_those_behind_it_are_not(source, tmp_path):
    report = located(
        source, block(Graph(tmp_path / "target", "t_"), activation=lambda x: np.where(x > 0, x, 0.1 * x)).done({"y": "y"})
    )
    assert [s.name for s in report.suspects] == ["node_r"]
    suspect = report.suspects[0]
    assert suspect.error_in < 1e-6 < 1e-2 < suspect.error
    assert suspect.code == "other-function" and "0.1" in suspect.cause
    assert [o.agrees for o in report.operators] == [True, False, False, False]


def test_weights_in_another_layout_are_recognised(source, tmp_path):
    report = located(source, block(Graph(tmp_path / "target", "t_"), product=lambda x, w: x @ w.T).done({"y": "y"}))
    assert (report.suspects[0].name, report.suspects[0].code) == ("node_p", "transposed-weight")


def test_what_is_fused_is_covered_by_what_reads_it(source, tmp_path):
    graph = Graph(tmp_path / "target", "t_")
    graph.add("r", "Fused", ("x", "w"), lambda x, w: relu(x @ w))
    graph.add("s", "Add", ("r", "x"), np.add)
    graph.add("y", "MatMul", ("s", "v"), np.matmul)
    report = located(source, graph.done({"y": "y"}))
    assert not report.suspects and report.compared == 4
    assert report.operators[0].error is None and report.operators[0].agrees


def test_a_fault_in_what_is_fused_names_all_of_it(source, tmp_path):
    graph = Graph(tmp_path / "target", "t_")
    graph.add("r", "Fused", ("x", "w"), lambda x, w: relu(x @ (w * np.array([1, 1, 1.1, 1, 1, 1], np.float32)[:, None])))
    graph.add("s", "Add", ("r", "x"), np.add)
    graph.add("y", "MatMul", ("s", "v"), np.matmul)
    report = located(source, graph.done({"y": "y"}))
    assert [s.name for s in report.suspects] == ["node_p", "node_r"]
    assert set(report.suspects[0].among) == {"node_p", "node_r"}


def test_a_lost_residual_is_recognised_though_nothing_stands_in_its_place(source, tmp_path):
    graph = Graph(tmp_path / "target", "t_")
    graph.add("p", "MatMul", ("x", "w"), np.matmul)
    graph.add("r", "Relu", ("p",), relu)
    graph.add("y", "MatMul", ("r", "v"), np.matmul)
    report = located(source, graph.done({"y": "y"}))
    assert (report.suspects[0].name, report.suspects[0].code) == ("node_s", "dropped")


def test_a_result_that_is_changed_on_the_way_blames_what_made_it(source, tmp_path):
    graph = Graph(tmp_path / "target", "t_")
    graph.add("p", "MatMul", ("x", "w"), np.matmul)
    graph.add("r", "Relu", ("p",), relu)
    graph.add("s", "Add", ("r", "x"), np.add)
    graph.add("cut", "Cast", ("s",), np.trunc)
    graph.add("y", "MatMul", ("cut", "v"), np.matmul)
    report = located(source, graph.done({"y": "y"}))
    assert (report.suspects[0].name, report.suspects[0].code) == ("node_s", "truncation")
    assert "on the way to node_y" in report.suspects[0].cause


def attention(graph: Graph, parts: tuple[str, ...], order: tuple[str, str]) -> Trace:
    """Scores of the parts of x·w, and a bias that depends on the place."""
    graph.add("p", "MatMul", ("x", "w"), np.matmul)
    graph.split("parts", "p", parts)
    graph.add("k", "Transpose", (order[1],), np.transpose)
    graph.add("scores", "MatMul", (order[0], "k"), np.matmul)
    graph.add("scaled", "Div", ("scores",), lambda s: s / 3)
    graph.add("masked", "Add", ("scaled", "x"), lambda s, x: s + x[:, :4])
    graph.add("y", "Softmax", ("masked",), lambda s: np.exp(s) / np.exp(s).sum(-1, keepdims=True))
    return graph.done({"y": "y"})


@pytest.mark.parametrize("prefix", ["", "t_"])
def test_parts_of_a_split_in_each_other_s_place(tmp_path, prefix):
    """By their names, where the target keeps them; else by the product of the two, which comes out transposed."""
    source = attention(Graph(tmp_path / "source"), ("a", "b"), ("a", "b"))
    target = attention(Graph(tmp_path / "target", prefix), ("b", "a"), ("a", "b"))
    report = located(source, target)
    assert (report.suspects[0].name, report.suspects[0].code) == ("node_parts", "swapped-parts")
    healthy = located(source, attention(Graph(tmp_path / "healthy", prefix), ("a", "b"), ("a", "b")))
    assert not healthy.suspects


def normed(graph: Graph, residual: bool) -> Trace:
    """(x·w + x), without its mean, which a target computes from several readers; times v."""
    graph.add("p", "MatMul", ("x", "w"), np.matmul)
    if residual:
        graph.add("s", "Add", ("p", "x"), np.add)
    read = "s" if residual else "p"
    graph.add("mean", "ReduceMean", (read,), lambda s: s.mean(-1, keepdims=True))
    graph.add("centred", "Add", (read, "mean"), lambda s, m: s - m)
    graph.add("y", "MatMul", ("centred", "v"), np.matmul)
    return graph.done({"y": "y"})


def test_a_residual_is_lost_where_its_operands_never_meet(tmp_path):
    source, target = normed(Graph(tmp_path / "source"), True), normed(Graph(tmp_path / "target", "t_"), False)
    first = located(source, target).suspects[0]
    assert (first.name, first.code) == ("node_s", "dropped") and "residual" in first.cause


def test_an_operand_that_is_changed_on_the_way_is_no_lost_residual(tmp_path):
    graph = Graph(tmp_path / "target", "t_")
    graph.add("p", "MatMul", ("x", "w"), np.matmul)
    graph.add("cut", "Cast", ("p",), np.trunc)
    graph.add("s", "Add", ("cut", "x"), np.add)
    graph.add("mean", "ReduceMean", ("s",), lambda s: s.mean(-1, keepdims=True))
    graph.add("centred", "Add", ("s", "mean"), lambda s, m: s - m)
    graph.add("y", "MatMul", ("centred", "v"), np.matmul)
    first = located(normed(Graph(tmp_path / "source"), True), graph.done({"y": "y"})).suspects[0]
    assert (first.name, first.code) == ("node_p", "truncation")


def test_swapped_outputs_are_told_as_that(tmp_path):
    def twins(graph: Graph) -> Graph:
        graph.add("a", "MatMul", ("x", "w"), np.matmul)
        graph.add("b", "Relu", ("x",), relu)
        return graph

    source = twins(Graph(tmp_path / "source")).done({"left": "a", "right": "b"})
    target = twins(Graph(tmp_path / "target", "t_")).done({"left": "b", "right": "a"})
    report = located(source, target)
    assert {s.name for s in report.suspects} == {"node_a", "node_b"}
    assert all(s.code == "swapped-outputs" for s in report.suspects)


def test_an_output_in_another_layout_is_a_note(tmp_path):
    graph = Graph(tmp_path / "source")
    graph.add("y", "MatMul", ("x", "w"), np.matmul)
    other = Graph(tmp_path / "target", "t_")
    other.add("y", "MatMul", ("x", "w"), lambda x, w: np.ascontiguousarray((x @ w).T))
    report = located(graph.done({"y": "y"}), other.done({"y": "y"}))
    assert report.notes == ["output y agrees but for its layout: axes permuted by [1, 0]"] and not report.suspects


def test_amplifiers_need_inputs_that_are_known(source, tmp_path):
    report = located(source, block(Graph(tmp_path / "target", "t_"), product=lambda x, w: x @ w * 1.01).done({"y": "y"}))
    assert [o.name for o in report.amplifiers] == ["node_p"]


KINDS = {
    "convolution": ("Conv", "aten.conv2d.default", "CONV_2D", "DepthwiseConv2dNative"),
    "transposed convolution": ("ConvTranspose", "TRANSPOSE_CONV"),
    "matrix product": ("Gemm", "aten.linear.default", "FULLY_CONNECTED", "BatchMatMulV2"),
    "resize": ("Resize", "aten.upsample_bilinear2d.vec", "RESIZE_BILINEAR"),
    "softmax": ("aten._softmax.default", "SOFTMAX"),
    "log softmax": ("LogSoftmax", "LOG_SOFTMAX"),
    "layer norm": ("aten.native_layer_norm.default", "LayerNormalization"),
    "add": ("AddV2", "aten.add.Tensor", "BiasAdd"),
    "divide": ("RealDiv", "DIV"),
    "mystery": ("com.example::Mystery",),
}


@pytest.mark.parametrize(("operator", "kind"), [(o, kind) for kind, operators in KINDS.items() for o in operators])
def test_kinds(operator, kind):
    assert kind_of(operator) == kind
