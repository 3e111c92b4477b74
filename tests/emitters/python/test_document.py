"""The file as a whole: what it says, what it needs, and what it never lets in."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import replace

import torch
from torch import nn

from convkit import __version__
from convkit.emitters.python import document
from convkit.emitters.python.weights import weights_of
from convkit.signature import TensorSpec
from tests.emitters.python_sources import ORIGIN, written

X = torch.rand((3, 4), generator=torch.Generator().manual_seed(0))


def net():
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))


def test_the_header_says_what_it_was_made_of(tmp_path):
    found = written(net(), X, tmp_path=tmp_path)
    header = " ".join(ast.get_docstring(ast.parse(found.text)).split())
    for said in (f"convkit {__version__}", "net.onnx", "sha256:abc", "onnx-torch", "net.safetensors", "model = net.load()"):
        assert said in header
    assert "output = model(input)" in header


def test_it_needs_torch_and_safetensors_only(tmp_path):
    """In a process of its own, with a path on which convkit is not."""
    found = written(net(), X, tmp_path=tmp_path)
    imports = [n for n in ast.walk(ast.parse(found.text)) if isinstance(n, ast.Import | ast.ImportFrom)]
    roots = {(n.module if isinstance(n, ast.ImportFrom) else n.names[0].name).partition(".")[0] for n in imports}
    assert roots == {"pathlib", "torch", "safetensors"}
    code = "import sys, torch, net; print(net.load()(torch.ones(1, 4)).shape); sys.exit('convkit' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[1, 2]" in done.stdout


def test_linters_and_formatters_have_nothing_to_say(tmp_path):
    written(net(), X, tmp_path=tmp_path)
    for command in (["check", "--select", "E4,E7,E9,F,I,B"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--isolated", "net.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def test_hostile_names_stay_text(tmp_path):
    found = written(net(), X, tmp_path=tmp_path)
    evil = '"""\nraise SystemExit\n\\'
    origin = replace(ORIGIN, file=evil, kind=evil)
    signature = replace(
        found.signature, inputs=(TensorSpec(evil, "float32", (evil, 4)),), outputs=(TensorSpec(evil, "float32", ("b", 2)),)
    )
    text = document.source(found.program, weights_of(found.program), signature, origin, found.file)
    tree = ast.parse(text)
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.Raise)]
    found.file.write_text(text)
    exec(compile(text, str(found.file), "exec"), {"__name__": "net", "__file__": str(found.file)})


def test_the_root_of_a_sequential_keeps_its_numbers(tmp_path):
    module = net()
    found = written(module, X, tmp_path=tmp_path)
    assert set(found.load().state_dict()) == set(module.state_dict())


def test_a_model_without_weights(tmp_path):
    found = written(lambda x: x + 1, X, tmp_path=tmp_path)
    assert "Weights(" not in found.text
    assert torch.equal(found.load()(X), X + 1)


def test_the_same_tensor_may_be_two_outputs_and_an_input_one(tmp_path):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.rand(2))

        def forward(self, x):
            y = x + 1
            return {"a": y, "b": y, "x": x, "table": self.table}

    found = written(Twice(), X, tmp_path=tmp_path)
    assert found.forward.endswith("return a, a, x, self.table")
