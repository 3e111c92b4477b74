"""Where an operator comes from: the user's module and line, and which of many refused nodes is the cause."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import planted_gaps
from convkit.legalization import executorch, exported_program
from convkit.legalization.places import place

_TORCH = 'File "/usr/lib/python3/site-packages/torch/nn/modules/linear.py", line 134, in forward'


def test_the_innermost_frame_that_is_the_user_s_counts() -> None:
    stack = f'File "/home/me/torch/net.py", line 7, in forward\n  File "/home/me/torch/parts.py", line 9, in mix\n  {_TORCH}'
    found = place([("", "net.Net"), ("layers.0", "net.Layer")], stack)
    assert str(found) == "layers.0 (/home/me/torch/parts.py:9)"
    assert str(place([], _TORCH)) == ""


def test_a_file_below_the_working_directory_is_told_from_there_on(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert place([], f'File "{tmp_path}/pkg/net.py", line 3, in forward').line == "pkg/net.py:3"


def test_what_follows_from_a_dtype_is_no_finding_of_its_own() -> None:
    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            counted = x.to(torch.uint64)
            return (counted + counted).to(torch.float32)

    program = torch.export.export(Net(), (torch.ones(3),))
    gaps = [f for f in exported_program.findings(program, executorch.unsupported(program)) if f.verdict == "gap"]
    assert [(f.operator, f.code) for f in gaps] == [("aten.to.dtype", "CK102")]


def test_noise_is_told_as_noise() -> None:
    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.randn_like(x)

    program = torch.export.export(Net(), (torch.ones(3),))
    gaps = [f for f in exported_program.findings(program, executorch.unsupported(program)) if f.verdict == "gap"]
    assert [(f.operator, f.code) for f in gaps] == [("aten.randn_like.default", "CK114")]


@pytest.mark.parametrize("position", [2, 5, 12])
def test_planted_operators_are_found_where_they_are(position: int, tmp_path: Path) -> None:
    assert planted_gaps.judge(planted_gaps.MODELS[position], tmp_path) == ""
