"""Windows of volumes are cut with as few axes as kernels take."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convkit.legalization import exported_program as programs
from convkit.legalization.torch.merged_axes import with_few_axes


class Windows(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, d, h, w, c = x.shape
        cut = x.view(b, d // 2, 2, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 5, 2, 4, 6, 7).contiguous().view(-1, 8, c)
        y = cut.softmax(1)
        return y.view(b, d // 2, h // 2, w // 2, 2, 2, 2, c).permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(b, d, h, w, c)


class Heads(nn.Module):
    """Twins-SVT's: no two of its seven axes stay neighbours."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, h, w, c = x.shape
        cut = x.reshape(b, h // 2, 2, w // 3, 3, 2, c // 2).permute(0, 3, 6, 1, 4, 2, 5)
        return cut.reshape(b, w // 3 * c // 2, h // 2 * 3, 4)


class Reversed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, h, w, c = x.shape
        return x.reshape(b, h // 2, 2, w // 3, 3, 1, 2, c // 2).permute(7, 6, 5, 4, 3, 2, 1, 0).reshape(c, w, h, b)


class Seen(nn.Module):
    """Its permutation's eight axes are an output's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(2, 2, 2, 2, 2, 2, 2, 3).permute(0, 1, 3, 5, 2, 4, 6, 7)


def ranks(program: torch.export.ExportedProgram) -> int:
    return max(node.meta["val"].dim() for node in programs.calls(program) if isinstance(node.meta["val"], torch.Tensor))


@pytest.mark.parametrize("dynamic", [None, ({0: torch.export.Dim("b", min=2, max=9)},)], ids=["static", "dynamic"])
def test_windows_are_cut_with_six_axes(dynamic):
    x = torch.randn(3, 4, 4, 6, 5)
    program = torch.export.export(Windows(), (x,), dynamic_shapes=dynamic)
    changed = with_few_axes(program, 6)
    assert (ranks(program), ranks(changed)) == (8, 6)
    torch.testing.assert_close(changed.module()(x), Windows()(x))
    if dynamic:
        other = torch.randn(5, 4, 4, 6, 5)
        torch.testing.assert_close(changed.module()(other), Windows()(other))


@pytest.mark.parametrize("module", [Heads(), Reversed()], ids=["heads", "reversed"])
@pytest.mark.parametrize("most", [4, 6])
@pytest.mark.parametrize("dynamic", [None, ({0: torch.export.Dim("b", min=2, max=9)},)], ids=["static", "dynamic"])
def test_axes_that_are_all_torn_apart_are_permuted_in_turns(module, most, dynamic):
    program = torch.export.export(module, (torch.randn(3, 4, 6, 8),), dynamic_shapes=dynamic)
    changed = with_few_axes(program, most)
    assert ranks(changed) == most
    other = torch.randn(5 if dynamic else 3, 4, 6, 8)
    torch.testing.assert_close(changed.module()(other), module(other))


def test_axes_that_are_seen_stay():
    program = torch.export.export(Seen(), (torch.randn(2, 4, 4, 4, 3),))
    assert with_few_axes(program, 6) is program
