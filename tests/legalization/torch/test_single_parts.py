"""Splits into one part."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convkit.legalization import exported_program as programs
from convkit.legalization.torch.single_parts import without_single_parts


class Split(nn.Module):
    def __init__(self, parts: int, how: str) -> None:
        super().__init__()
        self.parts, self.how = parts, how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pieces = torch.chunk(x, self.parts) if self.how == "chunk" else torch.split(x, 4 // self.parts)
        return torch.cat([piece * 2 for piece in pieces])


@pytest.mark.parametrize("how", ["chunk", "split"])
def test_an_only_part_is_the_whole(how):
    x = torch.randn(4, 3)
    program = torch.export.export(Split(1, how), (x,))
    changed = without_single_parts(program)
    assert not any("chunk" in str(n.target) or "split" in str(n.target) for n in programs.calls(changed))
    torch.testing.assert_close(changed.module()(x), x * 2)


@pytest.mark.parametrize("how", ["chunk", "split"])
def test_several_parts_stay(how):
    program = torch.export.export(Split(2, how), (torch.randn(4, 3),))
    assert without_single_parts(program) is program
