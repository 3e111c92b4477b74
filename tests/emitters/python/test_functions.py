"""Statements: sizes, blocks of one place, results with several parts, branches and loops, and what is let go of."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from convkit.errors import ConversionError
from convkit.interpreters.pytorch.importer import OnnxModule
from tests.emitters.python_sources import emitted, written
from tests.onnx_nodes import node_model

X = torch.rand((3, 4), generator=torch.Generator().manual_seed(0))
BATCH = {"x": {0: "batch"}}


def formatted(text):
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def test_sizes_are_read_where_they_are_used(tmp_path):
    def compute(x):
        size = x.shape[0] * 3 + 1
        return x.reshape(x.shape[0] * 2, -1), torch.zeros(size) + size, x.expand(2, x.shape[0], 4)

    found = written(compute, X, tmp_path=tmp_path, dynamic=BATCH)
    assert "x.reshape(x.shape[0] * 2, -1)" in found.forward
    assert "x.expand(2, x.shape[0], 4)" in found.forward
    assert "add = x.shape[0] * 3 + 1\n" in found.forward
    for batch in (1, 2, 5):
        x = torch.rand(batch, 4)
        for mine, theirs in zip(found.load()(x), found.program.module()(x), strict=True):
            assert torch.equal(mine, theirs)


def test_slices_between_sizes(tmp_path):
    def compute(x, y):
        return y[: x.shape[0]], y[x.shape[0] - 1 :], y[x.shape[0] - 1 : x.shape[0] + 1], y[:, 1 : x.shape[0] : 2]

    found = written(compute, X, torch.rand(30, 40), tmp_path=tmp_path, dynamic=BATCH)
    assert "y[: x.shape[0]]" in found.forward
    assert "y[:, 1 : x.shape[0] : 2]" in found.forward
    assert formatted(found.text) == found.text


def test_what_is_written_can_be_exported_again_with_dynamic_sizes(tmp_path):
    def compute(x):
        return x.reshape(x.shape[0] * 2, -1) + torch.sym_max(x.shape[0], 2)

    found = written(compute, X, tmp_path=tmp_path, dynamic=BATCH)
    assert "torch.sym_max(x.shape[0], 2)" in found.forward
    again = torch.export.export(found.load(), (X,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    x = torch.rand(7, 4)
    assert torch.equal(again.module()(x), found.load()(x))


class Layered(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(2))

    def forward(self, image):
        x = self.first(image)
        for layer in self.layers:
            x = layer(x)
        return {"logits": x + 1, "first": x}


def test_blocks_say_where_in_the_users_code_they_are_from(tmp_path):
    found = written(Layered(), X, tmp_path=tmp_path)
    comments = [line for line in found.forward.split("\n") if line.startswith("#")]
    assert [c.partition(" (")[0] for c in comments[:-1]] == [
        *("# first", "# layers.0.0", "# layers.0.1", "# layers.1.0", "# layers.1.1"),
    ]
    assert comments[-1].startswith("# test_functions.py:")
    assert "def forward(self, image: torch.Tensor)" in found.text
    assert found.forward.endswith("return logits, first")
    assert formatted(found.text) == found.text


def import_onnx(model, feeds, tmp_path):
    """The source of an ONNX model, through convkit's importer."""
    from torch.fx import traceback

    from convkit import readers
    from convkit.interpreters.pytorch.table import operators
    from convkit.legalization.onnx import preparation
    from convkit.legalization.onnx.rewriting import legalize
    from convkit.loading import pytorch_capture

    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    signature = readers.inspect(path).signature
    prepared = preparation.load(path)
    legalize(prepared, operators())
    with traceback.preserve_node_meta():
        program = pytorch_capture.export(OnnxModule(prepared).eval(), signature, feeds)
    return emitted(program, signature, feeds, tmp_path)


def test_one_onnx_node_is_one_block(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["product"], name="/head/Gemm", transB=1, alpha=0.5),
        helper.make_node("Relu", ["product"], ["y"], name="/head/Relu"),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 4]) for n in "xy")
    weight = onnx.numpy_helper.from_array(np.random.default_rng(0).random((4, 4), np.float32), "w")
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y], [weight]), opset_imports=[helper.make_opsetid("", 21)])
    found = import_onnx(model, {"x": X.numpy()}, tmp_path)
    blocks = [b.split("\n")[0] for b in found.forward.split("\n\n")]
    assert blocks == ["# /head/Gemm", "# /head/Relu", "return y"]
    assert "self.w" in found.forward


def test_a_nodes_name_cannot_leave_its_comment(tmp_path):
    """A file's names end up in code that is run: here one that would be a statement of its own."""
    model = node_model("Relu", {"x": X.numpy()})
    model.graph.node[0].name = "a\nraise SystemExit\r\x0c\u2028b"
    found = import_onnx(model, {"x": X.numpy()}, tmp_path)
    assert "# a\\x0araise SystemExit\\x0d\\x0c" in found.forward


def test_an_operators_name_must_be_one(tmp_path):
    from convkit.emitters.python.functions import _check_name

    _check_name("aten.add.Tensor")
    with pytest.raises(ConversionError, match="no name of an operator"):
        _check_name("aten.add;exit()")


def test_results_are_unpacked_and_many_are_numbered(tmp_path):
    def compute(x):
        parts = x.split(1, 1)
        values, indices = x.sort(1)
        many = torch.cat([x, x], 1).split(1, 1)
        return parts[0] + parts[3], values, indices, many[1] - many[7]

    forward = written(compute, X, tmp_path=tmp_path).forward
    assert "split_0, _, _, split_3 = torch.split(x, 1, dim=1)" in forward
    assert "output_1, output_2 = torch.sort(x, dim=1)" in forward
    assert "split_1[1] - split_1[7]" in forward


def test_what_nobody_reads_is_not_written(tmp_path):
    def compute(x):
        x.sin()
        return x.topk(2).values + 1

    forward = written(compute, X, tmp_path=tmp_path).forward
    assert "sin" not in forward
    assert "topk, _ = torch.topk(x, k=2)" in forward


def test_large_values_are_let_go_of_after_their_last_reader(tmp_path):
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.grow, self.shrink = nn.Linear(4, 1 << 17), nn.Linear(1 << 17, 2)

        def forward(self, x):
            return self.shrink(F.relu(self.grow(x)))

    lines = written(Deep(), X, tmp_path=tmp_path).forward.split("\n")
    deleted = [line for line in lines if line.startswith("del ")]
    assert deleted == ["del linear"]  # the other one ends with the function
    assert lines.index("del linear") > lines.index("relu = F.relu(linear)")


def test_a_branch_is_a_function_inside(tmp_path):
    def compute(x, y):
        def positive(x, y):
            inner = torch.cond(y.sum() > 3, lambda x: x.sin(), lambda x: x.cos(), (x,))
            return inner + y

        return torch.cond(x.sum() > 0, positive, lambda x, y: x - y, (x, y))

    found = written(compute, X, X + 1, tmp_path=tmp_path)
    assert "def true_graph_0(" in found.forward
    assert "    def true_graph_0" in found.forward  # the inner one
    assert "torch.ops.higher_order.cond(" in found.forward
    for sign in (1, -1):
        for shift in (0, 5):
            x, y = X * sign, X + shift
            assert torch.equal(found.load()(x, y), found.program.module()(x, y)[0])
    assert formatted(found.text) == found.text


def test_loops_are_functions_inside(tmp_path):
    from torch._higher_order_ops.scan import scan
    from torch._higher_order_ops.while_loop import while_loop

    def compute(x):
        total, sums = scan(lambda carry, row: (carry + row, carry * row), torch.zeros(4), x)
        count, grown = while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, a * 1.5), (torch.tensor(0), x))
        return total, sums, count, grown

    found = written(compute, X, tmp_path=tmp_path)
    assert "torch.ops.higher_order.scan(" in found.forward
    assert "torch.ops.higher_order.while_loop(" in found.forward
    assert formatted(found.text) == found.text


def test_constants_of_the_code_are_written_out(tmp_path):
    def compute(x):
        return x * torch.tensor(0.1) + x[:, torch.tensor([0, 2, 1, 3])], x + torch.arange(40.0).reshape(10, 4)[:1]

    found = written(compute, X, tmp_path=tmp_path)
    assert "x * torch.tensor(0.1)" in found.forward
    assert "constant = torch.tensor([0, 2, 1, 3], device=x.device)" in found.forward


def test_a_large_constant_is_a_buffer(tmp_path):
    table = list(range(100))
    found = written(lambda x: x + torch.tensor(table)[:4], X, tmp_path=tmp_path)
    assert "buffer(100, dtype=torch.int64)" in found.text


class Counting(nn.Module):
    """Keeps count in a buffer, and changes a constant that it makes anew every time."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.count += 1
        fresh = torch.tensor([1.0, 2.0])
        fresh.add_(self.count)
        return x[:, :2] * fresh


def test_state_is_kept_from_call_to_call(tmp_path):
    found = written(Counting(), X, tmp_path=tmp_path)
    mine = found.load()
    start = mine.count.clone()
    for calls in (1, 2, 3):
        assert torch.equal(mine(X), X[:, :2] * (torch.tensor([1.0, 2.0]) + start + calls))
    assert mine.count == start + 3
