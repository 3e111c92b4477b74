"""Norms lose no digits to a large mean, in form and in ExecuTorch's runtime."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import convkit
from convkit.legalization import exported_program as programs
from convkit.legalization.torch.centred_norms import centre_norms
from convkit.workers.pool import WorkerPool

NORMS = {
    "layer": (nn.LayerNorm(8), (3, 4, 8)),
    "layer of two axes": (nn.LayerNorm([4, 8], elementwise_affine=False), (3, 4, 8)),
    "group": (nn.GroupNorm(2, 4), (3, 4, 5, 6)),
    "group without pixels": (nn.GroupNorm(2, 32), (3, 32)),
    "group of a volume": (nn.GroupNorm(1, 4), (3, 4, 2, 3, 5)),
}


def exported(module: nn.Module, shape: tuple[int, ...], *, dynamic: bool) -> torch.export.ExportedProgram:
    shapes = ({0: torch.export.Dim("b", min=1, max=9)},) if dynamic else None
    return programs.copied(torch.export.export(module.eval(), (torch.randn(shape),), dynamic_shapes=shapes))


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("core", [False, True], ids=["composite", "core"])
def test_the_mean_is_taken_away_before(name, dynamic, core):
    torch.manual_seed(0)
    module, shape = NORMS[name]
    program = exported(module, shape, dynamic=dynamic)
    program = program.run_decompositions({}) if core else program
    centre_norms(program)
    subtractions = [n for n in programs.calls(program) if n.target is torch.ops.aten.sub.Tensor]
    assert len(subtractions) == 1
    x = torch.randn(7 if dynamic else 3, *shape[1:]) + 30
    torch.testing.assert_close(program.module()(x), module(x), atol=1e-4, rtol=1e-4)
    (centred,) = subtractions
    assert centred.meta["val"].shape == centred.args[0].meta["val"].shape


@pytest.mark.parametrize("affine", [True, False])
def test_a_group_of_many_pixels_is_a_layer(affine: bool, tmp_path: Path, pool: WorkerPool) -> None:
    """The runtime's group norm is wrong by 1e-5 there."""
    torch.manual_seed(0)
    module = nn.GroupNorm(4, 32, affine=affine)
    if affine:
        nn.init.normal_(module.weight)
        nn.init.normal_(module.bias)
    torch.export.save(torch.export.export(module.eval(), (torch.randn(1, 32, 128, 128),)), tmp_path / "m.pt2")
    result = convkit.convert(tmp_path / "m.pt2", "executorch", tmp_path / "m.pte", pool=pool)
    validation = result.report.attempts[-1].validation
    assert validation is not None and max(o.required for s in validation.sets for o in s.outputs) < 2e-6


def test_groups_of_pixels_of_any_number_are_groups():
    sizes = {2: torch.export.Dim("h", min=2, max=64), 3: torch.export.Dim("w", min=2, max=64)}
    program = programs.copied(torch.export.export(nn.GroupNorm(2, 4).eval(), (torch.randn(3, 4, 5, 6),), dynamic_shapes=(sizes,)))
    centre_norms(program)
    assert any(n.target is torch.ops.aten.group_norm.default for n in programs.calls(program))
    x = torch.randn(3, 4, 9, 7) + 30
    torch.testing.assert_close(program.module()(x), nn.GroupNorm(2, 4)(x), atol=1e-4, rtol=1e-4)


class Mean(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, mean, _ = torch.native_layer_norm(x, [8], None, None, 1e-5)
        return y, mean


def test_a_mean_that_is_read_stays():
    program = exported(Mean(), (3, 8), dynamic=False)
    centre_norms(program)
    assert not [n for n in programs.calls(program) if n.target is torch.ops.aten.sub.Tensor]
