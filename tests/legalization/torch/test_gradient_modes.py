"""`with torch.no_grad():` in a model's forward: the same results, outputs and state; and source lines that survive."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convkit.legalization.exported_program import calls, operator_name, place_of
from convkit.legalization.gradient_modes import inline_gradient_modes


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("steps", torch.zeros(4))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            first = self.linear(x).relu()
            with torch.enable_grad():
                second = first * 2 + torch.tensor([1.0, 2, 3, 4])
            self.steps.add_(1)
        left, right = second.split(2, -1)
        with torch.no_grad():
            chosen = torch.cond(x.sum() > 0, lambda v: v + 1, lambda v: v - 1, (left,))
        return {"chosen": chosen, "first": first, "right": right}


@pytest.mark.parametrize("strict", [False, True])
def test_results_outputs_and_state_stay(strict: bool, tmp_path) -> None:
    batch = ({0: torch.export.Dim("n")},)
    program = torch.export.export(Net().eval(), (torch.randn(3, 4),), strict=strict, dynamic_shapes=batch)
    x = torch.randn(5, 4)
    wanted, names = program.module()(x), program.graph_signature.user_outputs
    assert inline_gradient_modes(program) > 0
    assert not any("set_grad" in operator_name(node.target) for node in calls(program))
    assert program.graph_signature.user_outputs == names
    torch.export.save(program, tmp_path / "p.pt2")
    for one in (program, torch.export.load(tmp_path / "p.pt2"), program.run_decompositions({})):
        got = one.module()(x)
        assert all(torch.equal(got[key], value) for key, value in wanted.items())
    decomposed = program.run_decompositions()
    relu = next(node for node in decomposed.graph.nodes if "relu" in str(node.target))
    assert "test_gradient_modes.py:" in place_of(relu).line
