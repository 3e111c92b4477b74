"""Sums and means over many values keep their digits, in form and in ExecuTorch's runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import convkit
from convkit.legalization import exported_program as programs
from convkit.legalization.torch.staged_reductions import stage_reductions
from convkit.workers.pool import WorkerPool

_Function = Callable[[torch.Tensor], torch.Tensor]

MANY: dict[str, _Function] = {
    "mean of all": lambda x: x.mean(),
    "sum of all": lambda x: x.sum(),
    "mean with axes kept": lambda x: x.mean((0, -1), True),
    "sum in float64": lambda x: x.sum((0, 2), dtype=torch.float64),
    "mean of axes in any order": lambda x: x.mean((2, 0)),
    "a long axis": lambda x: x.reshape(5, 40960, 1).mean(1, True),
    "a long last axis": lambda x: x.reshape(2, 10, 10240).sum(-1),
}
FEW: dict[str, _Function] = {
    "one axis": lambda x: x.mean(1),
    "a long axis without divisors": lambda x: x.reshape(-1)[:204793].reshape(1, -1).mean(1),
    "few values": lambda x: x[:2, :2].sum((0, 1)),
    "integers": lambda x: x.to(torch.int32).sum((1, 2)),
}


class Applied(nn.Module):
    def __init__(self, function: _Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def staged(function: _Function, x: torch.Tensor, shapes: object = None) -> torch.export.ExportedProgram:
    program = programs.copied(torch.export.export(Applied(function), (x,), dynamic_shapes=shapes))
    stage_reductions(program)
    return program


def reductions(program: torch.export.ExportedProgram) -> list[torch.fx.Node]:
    return [n for n in programs.calls(program) if "mean" in str(n.target) or "sum" in str(n.target)]


@pytest.mark.parametrize("name", MANY)
def test_many_values_are_reduced_axis_after_axis(name):
    x = torch.randn(64, 40, 80)
    program = staged(MANY[name], x)
    assert all(len(n.args[1]) == 1 for n in reductions(program)) and len(reductions(program)) > 1
    expected = MANY[name](x)
    found = program.module()(x)
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("name", FEW)
def test_the_rest_stays(name):
    assert len(reductions(staged(FEW[name], torch.randn(64, 40, 80)))) == 1


def test_an_axis_of_unknown_size_stays():
    program = staged(lambda x: x.mean((0, 1)), torch.randn(64, 80), ({0: torch.export.Dim("n", max=128)},))
    assert len(reductions(program)) == 1


def test_a_long_axis_beside_one_of_unknown_size():
    program = staged(lambda x: x.mean(1), torch.randn(3, 10000), ({0: torch.export.Dim("n", min=1, max=9)},))
    assert len(reductions(program)) == 2
    x = torch.randn(7, 10000)
    torch.testing.assert_close(program.module()(x), x.mean(1))


def test_the_mean_of_a_million_values_is_right_on_executorch(tmp_path: Path, pool: WorkerPool) -> None:
    """The runtime's own kernel is wrong by 4e-4 of it."""
    x = torch.randn(1, 8, 200, 625)
    torch.export.save(torch.export.export(Applied(lambda x: (x * x).mean()), (x,)), tmp_path / "m.pt2")
    result = convkit.convert(tmp_path / "m.pt2", "executorch", tmp_path / "m.pte", pool=pool)
    validation = result.report.attempts[-1].validation
    assert validation is not None and max(o.required for s in validation.sets for o in s.outputs) < 2e-6
