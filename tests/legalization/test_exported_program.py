"""What of a program is random, and reaches an output."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from convkit.legalization.exported_program import random_nodes


class Function(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def found(function: Callable[[torch.Tensor], torch.Tensor]) -> list[str]:
    program = torch.export.export(Function(function), (torch.randn(1, 2, 4, 4),), strict=False)
    return [f"{node.target}: {reason}" for node, reason in random_nodes(program).items()]


def attention(probability: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=probability)


@pytest.mark.parametrize(
    ("function", "operator", "reason"),
    [
        (lambda x: nn.functional.dropout(x, 0.5), "dropout", "call eval()"),
        (lambda x: nn.functional.rrelu(x, training=True), "rrelu", "call eval()"),
        (attention(0.1), "scaled_dot_product_attention", "call eval()"),
        (lambda x: x + torch.randn_like(x), "randn_like", "an input of the model"),
        (lambda x: torch.bernoulli(x.sigmoid()), "bernoulli", "an input of the model"),
    ],
)
def test_random_results_are_found(function: Callable[[torch.Tensor], torch.Tensor], operator: str, reason: str) -> None:
    (told,) = found(function)
    assert told.startswith(f"aten.{operator}.")
    assert reason in told


def drawn_in_vain(x: torch.Tensor) -> torch.Tensor:
    torch.rand([2])
    return x * 2


@pytest.mark.parametrize(
    "function",
    [
        drawn_in_vain,
        attention(0.0),
        lambda x: nn.functional.dropout(x, 0.5, training=False),
        lambda x: nn.functional.dropout(x, 0),
    ],
)
def test_what_is_off_or_not_used_is_not_random(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    assert found(function) == []
