"""Programs are rewritten for a target where it lacks an operator, stay as they are elsewhere, and keep their dynamic sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.export import Dim
from torch_operators import volume

from convkit.legalization.exported_program import calls, operators
from convkit.legalization.torch.decompositions import registered, table
from convkit.legalization.torch.targets import TorchTarget, needed, rewritten, written_out

NOTHING = TorchTarget("nothing", lambda operator: str(operator) not in registered())
EVERYTHING = TorchTarget("everything", lambda operator: True)


class Function(torch.nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs)


def exported(function: Callable[..., Any], *inputs: torch.Tensor, dynamic: Any = None) -> torch.export.ExportedProgram:
    shapes = None if dynamic is None else ((dynamic,) * len(inputs),)
    return torch.export.export(Function(function).eval(), inputs, strict=False, dynamic_shapes=shapes)


def test_a_program_that_needs_nothing_is_the_same_program() -> None:
    program = exported(lambda x: torch.lgamma(x), volume(3))
    assert written_out(program, EVERYTHING) is program
    assert rewritten(program, EVERYTHING) == {}


def test_what_is_written_out_is_gone_and_told() -> None:
    program = exported(lambda x: torch.lgamma(x) + torch.polygamma(2, x), volume(3).abs() + 1)
    assert sorted(rewritten(program, NOTHING)) == ["aten.lgamma.default", "aten.polygamma.default"]
    ready = written_out(program, NOTHING)
    assert not set(operators(ready)) & set(registered())
    x = volume(3, seed=1).abs() + 1
    torch.testing.assert_close(ready.module()(x), program.module()(x), rtol=1e-4, atol=1e-5)


def test_forms_that_a_target_takes_stay() -> None:
    target = TorchTarget("some", lambda operator: True, {"aten.topk.default": lambda x, k, dim=-1, largest=True, *_: largest})
    program = exported(lambda x: (x.topk(2)[0], x.topk(2, largest=False)[0]), volume(3, 5))
    assert len(needed(calls(program), target)) == 1
    ready = written_out(program, target)
    assert len(operators(ready)["aten.topk.default"]) == 2  # the other one of negated values
    assert not needed(calls(ready), target)


def test_composite_operators_that_a_target_takes_are_not_written_out() -> None:
    target = TorchTarget(
        "some", lambda operator: True, {"aten.scaled_dot_product_attention.default": lambda q, *_, **__: q.dim() == 4}
    )
    attend = torch.nn.functional.scaled_dot_product_attention
    four, three = volume(1, 2, 3, 4), volume(2, 3, 4)
    program = exported(lambda x, y: (attend(x, x, x), attend(y, y, y)), four, three)
    assert len(operators(written_out(program, target))["aten.scaled_dot_product_attention.default"]) == 2


DYNAMIC: list[Callable[..., Any]] = [
    lambda x: torch.special.digamma(x),
    lambda x: torch.fmin(x, -x),
    lambda x: torch.cdist(x, x * 2),
    lambda x: torch.nanmedian(x, 1)[0],
    lambda x: torch.kthvalue(x, 2, 1)[0],
    lambda x: torch.isin(x, x[:1]),
    lambda x: torch.index_add(x, 1, torch.tensor([0, 2]), x[:, :2]),
    lambda x: torch.bucketize(x, torch.tensor([0.0, 0.5])),
    lambda x: torch.floor_divide(x, 0.3),
    lambda x: torch.nn.functional.adaptive_max_pool2d(x[:, None, None], (1, 2)),
    lambda x: torch.searchsorted(x.sort(1)[0], x),
    lambda x: torch.put(x, torch.tensor([0, -1]), torch.tensor([7.0, 8.0])),
    lambda x: torch.diagonal_scatter(x.unsqueeze(0).expand(4, -1, -1), x[:, :4].mT.mT, 0, 0, 2),
]


@pytest.mark.parametrize("function", DYNAMIC)
def test_dynamic_sizes_stay_dynamic(function: Callable[..., Any]) -> None:
    program = exported(function, volume(3, 4), dynamic={0: Dim("batch", min=2, max=16)})
    ready = written_out(program, NOTHING)
    assert any(node.target in table(NOTHING) for node in calls(program))
    assert str(ready.range_constraints) == str(program.range_constraints)
    for size in (2, 7):
        x = volume(size, 4, seed=size)
        torch.testing.assert_close(ready.module()(x), function(x), rtol=1e-4, atol=1e-5)


def test_what_is_changed_in_place_keeps_its_new_value() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        y = x.clone()
        y[:, 0].zero_()
        return y + torch.lgamma(x)

    program = exported(function, volume(3, 4).abs() + 1)
    x = volume(3, 4, seed=1).abs() + 1
    torch.testing.assert_close(written_out(program, NOTHING).module()(x), function(x), rtol=1e-4, atol=1e-5)
