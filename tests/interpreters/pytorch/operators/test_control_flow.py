"""If, Loop and Scan of the PyTorch importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_nodes as nodes
import pytest

from interpreters.pytorch.operators.operator_checks import floats

_X = floats(4, 3)


def _model(text: str, opset: int = 17) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]>\n' + text)


def _check(text: str, opset: int = 17, **feeds: np.ndarray) -> None:
    model = _model(text, opset)
    nodes.assert_agree(nodes.pytorch(model, feeds), nodes.onnx_runtime(model, feeds))


@pytest.mark.parametrize("x", (_X, -abs(_X)))
def test_branches_on_data_use_weights_sizes_and_values_around_them(x: np.ndarray) -> None:
    _check(
        """g (float[n,3] x) => (float[n,3] y) <float[3] w = {1,2,3}, float zero = {0}, int64[2] rows = {-1,3}> {
            largest = ReduceMax <keepdims = 0> (x)
            c = Greater(largest, zero)
            shape = Shape(x)
            y = If (c) <
                then_branch = t () => (float[n,3] a) { a0 = Reshape(x, shape) a = Mul(a0, w) },
                else_branch = e () => (float[n,3] b) { b = Reshape(x, rows) }>
        }""",
        x=x,
    )


def test_a_body_holds_no_constants_so_that_it_can_be_decomposed() -> None:
    import onnx_ir as ir
    import torch

    from convkit.interpreters.pytorch.importer import OnnxModule
    from convkit.legalization.onnx import preparation

    model = _model(
        """g (float[5] x) => (float[2] y) <float zero = {0}> {
            largest = ReduceMax <keepdims = 0> (x)
            c = Greater(largest, zero)
            y = If (c) <
                then_branch = t () => (float[2] a) { i = Constant <value = int64[2] {3,1}> () a = Gather(x, i) },
                else_branch = e () => (float[2] b) { b = Constant <value = float[2] {7,8}> () }>
        }"""
    )
    module = OnnxModule(preparation.prepared(ir.from_proto(model)))
    program = torch.export.export(module, (torch.ones(5),), strict=False).run_decompositions()
    for x in (floats(5), -abs(floats(5))):
        (got,) = program.module()(torch.from_numpy(x))
        nodes.assert_agree([got.numpy()], nodes.onnx_runtime(model, {"x": x}))


def test_a_known_condition_leaves_one_branch() -> None:
    import onnx_ir as ir
    import torch

    from convkit.interpreters.pytorch.importer import OnnxModule
    from convkit.legalization.onnx import preparation

    model = _model(
        """g (float[n,3] x) => (float[k] y) <int64 three = {3}> {
            width = Shape <start = 1> (x)
            c = Equal(width, three)
            y = If (c) <
                then_branch = t () => (float[k] a) { m = Constant <value = int64[1] {-1}> () a = Reshape(x, m) },
                else_branch = e () => (float[n,3] b) { b = Identity(x) }>
        }"""
    )
    program = torch.export.export(OnnxModule(preparation.prepared(ir.from_proto(model))), (torch.ones(4, 3),), strict=False)
    assert "cond" not in program.graph_module.code


@pytest.mark.parametrize("rows", (1, 4))
def test_a_condition_on_a_dynamic_size_stays(rows: int) -> None:
    _check(
        """g (float[n,3] x) => (float[n,3] y) <int64 two = {2}> {
            rows = Shape <end = 1> (x)
            c = Less(rows, two)
            y = If (c) <
                then_branch = t () => (float[n,3] a) { a = Neg(x) },
                else_branch = e () => (float[n,3] b) { b = Add(x, x) }>
        }""",
        x=_X[:rows],
    )


def test_branches_of_unequal_rank_are_refused() -> None:
    model = _model(
        """g (float[4,3] x) => (float[k] y) <float zero = {0}> {
            largest = ReduceMax <keepdims = 0> (x)
            c = Greater(largest, zero)
            y = If (c) <
                then_branch = t () => (float[12] a) { m = Constant <value = int64[1] {-1}> () a = Reshape(x, m) },
                else_branch = e () => (float[4,3] b) { b = Identity(x) }>
        }"""
    )
    with pytest.raises(Exception, match="branches of a condition on data return 1 and 2 axes"):
        nodes.pytorch(model, {"x": _X})


@pytest.mark.parametrize("x", (_X, -abs(_X)))
def test_a_single_element_gets_the_axes_of_the_other_branch(x: np.ndarray) -> None:
    """A counter that one branch sets and the other raises, as paddle writes it: the file declares no axes, and one has one."""
    _check(
        """g (float[4,3] x) => (float[3] y) <float zero = {0}, float[1] one = {1}> {
            largest = ReduceMax <keepdims = 0> (x)
            c = Greater(largest, zero)
            count = If (c) <
                then_branch = t () => (float a) { a = Constant <value = float {5}> () },
                else_branch = e () => (float b) { b = Add(one, one) }>
            row = ReduceMax <axes = [0], keepdims = 0> (x)
            y = Mul(row, count)
        }""",
        x=x,
    )


_SUMS = """b (int64 i, bool before, float[3] h) => (bool after, float[3] h2, float[3] r) {
    after = Identity(before) row = Gather(x, i) h2 = Add(h, row) r = Identity(h2) }"""


@pytest.mark.parametrize("rows", ("4", "n"))
def test_as_many_rounds_as_a_known_or_a_dynamic_size(rows: str) -> None:
    _check(
        f"""g (float[{rows},3] x) => (float[3] y, float[{rows},3] z) <bool c = {{1}}, float[3] zero = {{0,0,0}}> {{
            s = Shape <end = 1> (x) e = Constant <value = int64[0] {{}}> () t = Reshape(s, e)
            y, z = Loop(t, c, zero) <body = {_SUMS}>
        }}""",
        x=_X,
    )


def test_many_rounds_stay_a_loop() -> None:
    _check(
        """g (float[3] x) => (float[3] y) <bool c = {1}, int64 t = {3000}> {
            y = Loop(t, c, x) <body = b (int64 i, bool before, float[3] h) => (bool after, float[3] h2) {
                after = Identity(before) h1 = Sin(h) h2 = Add(h1, x) }>
        }""",
        x=_X[0],
    )


@pytest.mark.parametrize("rows", (1, 4))
def test_a_counter_that_the_condition_compares_with_a_size(rows: int) -> None:
    """How tf2onnx writes a recurrent layer; the bound and the weights are state that is only handed on."""
    _check(
        """g (float[n,3] x) => (float[3] y, float[n,3] z) <int64 zero = {0}, float[3] none = {0,0,0}, float[3] w = {1,2,3}> {
            s = Shape <end = 1> (x) e = Constant <value = int64[0] {}> () bound = Reshape(s, e)
            starts = Less(zero, bound)
            last, y, same, weights, z = Loop("", starts, zero, none, bound, w) <
                body = b (int64 i, bool before, int64 k, float[3] h, int64 m, float[3] v)
                       => (bool after, int64 k2, float[3] h2, int64 m2, float[3] v2, float[3] r) {
                    one = Constant <value = int64 {1}> ()
                    k2 = Add(k, one)
                    row = Gather(x, k) scaled = Mul(row, v) h2 = Add(h, scaled) r = Identity(h2)
                    m2 = Identity(m) v2 = Identity(v)
                    kf = Cast <to = 1> (k2) mf = Cast <to = 1> (m)
                    after = Less(kf, mf)
                }>
        }""",
        x=_X[:rows],
    )


def test_rounds_until_the_data_say_so() -> None:
    _check(
        """g (float[3] x, int64 m) => (float[3] y, int64 k) <bool c = {1}, int64 zero = {0}, float most = {50}> {
            y, k = Loop(m, c, x, zero) <
                body = b (int64 i, bool before, float[3] h, int64 j) => (bool after, float[3] h2, int64 j2) {
                    h2 = Add(h, h) s = ReduceSum <keepdims = 0> (h2) after = Less(s, most) j2 = Add(i, zero) }>
        }""",
        x=abs(_X[1]),
        m=np.array(10),
    )


def test_rows_of_a_loop_that_ends_early() -> None:
    _check(
        """g (float[3] x) => (float[3] y, float[k,3] z) <bool c = {1}, int64 m = {10}, float most = {50}> {
            y, z = Loop(m, c, x) <body = b (int64 i, bool before, float[3] h) => (bool after, float[3] h2, float[3] r) {
                h2 = Add(h, h) s = ReduceSum <keepdims = 0> (h2) after = Less(s, most) r = Identity(h2) }>
        }""",
        x=abs(_X[1]),
    )


def test_rows_without_a_bound_are_refused() -> None:
    model = _model(
        """g (float[3] x) => (float[3] y, float[k,3] z) <bool c = {1}, float most = {50}> {
            y, z = Loop("", c, x) <body = b (int64 i, bool before, float[3] h) => (bool after, float[3] h2, float[3] r) {
                h2 = Add(h, h) s = ReduceSum <keepdims = 0> (h2) after = Less(s, most) r = Identity(h2) }>
        }"""
    )
    with pytest.raises(Exception, match="number of rows that only the data tell"):
        nodes.pytorch(model, {"x": _X[1]})


@pytest.mark.parametrize("steps", ("5", "t"))
def test_scans_in_both_directions_and_over_any_axis(steps: str) -> None:
    _check(
        f"""g (float[b,3] h0, float[b,3,{steps}] x) => (float[b,3] y, float[b,{steps},3] z)
                <float[3,3] w = {{1,2,3,4,5,6,7,8,9}}> {{
            y, z = Scan <num_scan_inputs = 1, scan_input_axes = [2], scan_input_directions = [1],
                         scan_output_axes = [1], scan_output_directions = [1],
                         body = s (float[b,3] h, float[b,3] r) => (float[b,3] h2, float[b,3] o) {{
                             p = MatMul(h, w) q = Add(p, r) h2 = Tanh(q) o = Mul(h2, r) }}> (h0, x)
        }}""",
        h0=_X[:2],
        x=floats(2, 3, 5),
    )


def test_the_first_form_of_scan_has_a_batch() -> None:
    _check(
        """g (float[2,3] h0, float[2,4,3] x) => (float[2,3] y, float[2,4,3] z) {
            y, z = Scan <num_scan_inputs = 1, body = s (float[3] h, float[3] r) => (float[3] h2, float[3] o) {
                h2 = Add(h, r) o = Mul(h2, r) }> ("", h0, x)
        }""",
        opset=8,
        h0=_X[:2],
        x=floats(2, 4, 3),
    )
