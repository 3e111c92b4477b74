"""The decompositions for ExecuTorch compute what torch's own operators compute, and leave those operators out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional

from convkit.legalization.executorch_decompositions import table


class Function(torch.nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs)


def volume(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


WEIGHT = volume(4, 2, 3, 2, 3)
TIES = torch.tensor([[3.0, 1.0, 3.0, 2.0, 1.0], [0.0, 0.0, -1.0, 5.0, 5.0]])
INDEX = torch.tensor([[0, 2, 0], [1, 1, 1]])

CASES: list[tuple[Callable[..., Any], tuple[torch.Tensor, ...]]] = [
    (lambda x: torch.cumprod(x, 1), (volume(2, 5, 3),)),
    (lambda x: torch.cumprod(x, -1), (torch.tensor([[-2, 0, 3], [1, 4, 5]], dtype=torch.int32),)),
    (lambda x: torch.sort(x, dim=-1, descending=True, stable=True), (TIES,)),
    (lambda x: torch.sort(x, dim=0, stable=True), (TIES,)),
    (lambda x: torch.nonzero(x), (TIES > 2,)),
    (lambda x: torch.nonzero(x), (torch.tensor([[[0, 2], [0, 0]], [[-1, 0], [3, 4]]]),)),
    (lambda x: torch.nonzero(x), (torch.zeros(3),)),
    (lambda x, s: torch.scatter_reduce(x, 1, INDEX, s, "amax"), (volume(2, 4), volume(3, 4)[:2, :3] + 1)),
    (lambda x, s: torch.scatter_reduce(x, 0, INDEX[:, :2], s, "prod"), (volume(4, 4), volume(2, 2))),
    (lambda x: functional.conv3d(x, WEIGHT, WEIGHT[:, 0, 0, 0, 0], (2, 1, 1), (1, 0, 2), (1, 2, 1), 2), (volume(2, 4, 5, 6, 7),)),
    (
        lambda x: functional.conv_transpose3d(x, WEIGHT, None, (2, 1, 3), (1, 0, 1), (1, 0, 2), 1, (2, 1, 1)),
        (volume(2, 4, 3, 4, 2),),
    ),
    (lambda x: functional.max_pool3d(x, (2, 3, 2), (1, 2, 2), (1, 1, 0), (1, 1, 2), True), (volume(1, 2, 5, 7, 6),)),
    (lambda x: functional.avg_pool3d(x, (2, 3, 2), (1, 2, 2)), (volume(2, 2, 5, 7, 6),)),
]


@pytest.mark.parametrize(("function", "inputs"), CASES)
def test_equal_to_torch_and_gone(function: Callable[..., Any], inputs: tuple[torch.Tensor, ...]) -> None:
    program = torch.export.export(Function(function).eval(), inputs, strict=False)
    assert any(node.target in table() for node in program.graph.nodes), "the case does not have the operator"
    decomposed = program.run_decompositions(dict(table()))
    assert not [node.target for node in decomposed.graph.nodes if node.target in table()]
    torch.testing.assert_close(decomposed.module()(*inputs), function(*inputs), rtol=1e-5, atol=1e-6, equal_nan=True)


def test_a_long_axis_is_left_alone() -> None:
    program = torch.export.export(Function(lambda x: torch.cumprod(x, 0)), (volume(1000),), strict=False)
    decomposed = program.run_decompositions(dict(table()))
    assert torch.ops.aten.cumprod.default in {node.target for node in decomposed.graph.nodes}
