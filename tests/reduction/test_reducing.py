"""Failing models shrunk to what fails: by real conversions, and the repro shows the same."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import convkit
from convkit.cli.main import run
from convkit.errors import OperatorGapError, UsageError
from convkit.readers import inspect
from convkit.reduction.failures import Failure
from convkit.reduction.minimizing import minimized
from convkit.workers.pool import WorkerPool


def deep_model(path: Path, depth: int = 30) -> Path:
    """Many plain nodes; in the middle an operator that nothing here has, on what a slice of a shape says."""
    nodes, constants, value = [], [], "x"
    for k in range(depth):
        weight = np.random.default_rng(k).standard_normal((6, 6)).astype(np.float32)
        constants.append(numpy_helper.from_array(weight, f"w{k}"))
        nodes += [
            helper.make_node("MatMul", [value, f"w{k}"], [f"m{k}"], name=f"project{k}"),
            helper.make_node("Tanh", [f"m{k}"], [f"t{k}"], name=f"tanh{k}"),
        ]
        value = f"t{k}"
        if k == depth // 2:
            nodes.append(helper.make_node("Mystery", [value], ["planted"], name="the/planted", domain="my.domain"))
            value = "planted"
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", 1, ["n", 6])], [helper.make_tensor_value_info(value, 1, ["n", 6])], constants,
        value_info=[helper.make_tensor_value_info("planted", TensorProto.FLOAT, ["n", 6])],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my.domain", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def test_an_onnx_model_is_cut_to_the_operator(tmp_path: Path, pool: WorkerPool) -> None:
    found = convkit.reduce(deep_model(tmp_path / "deep.onnx"), "savedmodel", tmp_path / "repro", pool=pool)
    assert (found.before, found.after, found.failure.kind) == (61, 1, "gap")
    small = onnx.load(found.model)
    assert [n.op_type for n in small.graph.node] == ["Mystery"]
    with pytest.raises(OperatorGapError, match="Mystery"):
        convkit.convert(found.model, "savedmodel", tmp_path / "out", pool=pool)
    issue = (found.directory / "ISSUE.md").read_text()
    assert "convkit convert model.onnx --to savedmodel" in issue and "| onnx |" in issue and "Mystery" in issue
    script = subprocess.run(
        [sys.executable, found.directory / "repro.py"], capture_output=True, text=True, timeout=120, check=False
    )
    assert script.returncode != 0 and "Mystery" in script.stderr


def test_an_exported_program_is_cut_too(tmp_path: Path, pool: WorkerPool) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(12))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for k, layer in enumerate(self.layers):
                x = layer(x).relu()
                if k == 5:
                    x = x + torch.linalg.svdvals(x).sum()
            return x

    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(Net().eval(), (torch.randn(3, 4),)), path)
    found = convkit.reduce(path, "executorch", tmp_path / "repro", pool=pool)
    assert found.after <= 2 < found.before
    assert "aten.linalg_svdvals.default" in inspect(found.model).operators


def test_the_command_tells_what_it_wrote(tmp_path: Path, model, capsys) -> None:
    path = deep_model(tmp_path / "deep.onnx", 4)
    assert run(["check", str(path), "--to", "savedmodel", "--reduce", str(tmp_path / "r"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["nodes"] == {"before": 9, "after": 1}
    assert run(["check", str(path), "--to", "savedmodel", "--reduce", str(tmp_path / "r")]) == 2
    assert run(["check", str(path), "--reduce", str(tmp_path / "s")]) == 2
    capsys.readouterr()
    assert run(["check", str(model("digits_cnn", "onnx")), "--to", "savedmodel", "--reduce", str(tmp_path / "s")]) == 2
    assert "nothing to reduce" in capsys.readouterr().err
    with pytest.raises(UsageError, match="cannot be cut"):
        convkit.reduce(model("digits_cnn", "tflite"), "onnx", tmp_path / "s")


@pytest.mark.parametrize("culprits", [{7}, {3, 60}, {0, 31, 63}])
def test_what_is_needed_together_stays_together(culprits: set[int]) -> None:
    tried: list[int] = []

    def fails(part) -> bool:
        tried.append(len(part))
        return culprits <= set(part)

    assert set(minimized(range(64), fails, time.monotonic() + 60)) == culprits
    assert len(tried) < 200


def test_the_search_ends_with_its_patience() -> None:
    assert minimized(range(64), lambda part: True, time.monotonic() - 1) == list(range(64))


def test_a_failure_is_told_by_its_words_and_not_by_its_names() -> None:
    one = Failure("not converted", "executorch", "cannot lower 'conv_12' of shape [1, 3]: stride is not known at /tmp/a/b.py")
    assert one.is_same(Failure("not converted", "executorch", "cannot lower 'x' of shape [7]: stride is not known at /y/b.py"))
    assert not one.is_same(Failure("not converted", "executorch", "the worker died of SIGABRT in stage convert"))
    assert not one.is_same(Failure("drift", "", one.message))
    assert not one.is_same(None)
