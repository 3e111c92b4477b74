"""Arithmetic on dynamic sizes reaches ExecuTorch's runtime, or is refused before anything is converted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from executorch.extension.pybindings import _portable_lib

from convkit.converters import _executorch_lowering as lowering
from convkit.legalization import executorch as target
from convkit.legalization.executorch_repairs import repaired


class _Module(torch.nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


def _exported(function: Callable[[torch.Tensor], Any]) -> torch.export.ExportedProgram:
    sizes = {0: torch.export.Dim("n", min=2, max=10), 1: torch.export.Dim("m", min=2, max=10)}
    return torch.export.export(_Module(function), (torch.rand(5, 4),), dynamic_shapes=(sizes,))


_OF_SIZES: dict[str, Callable[[torch.Tensor], Any]] = {
    "the sum of several": lambda x: torch.arange(torch.sym_sum([x.shape[0], 3, x.shape[1]])),
    "a square": lambda x: torch.arange(x.shape[0] ** 2),
    "rounded down": lambda x: torch.arange(math.floor(x.shape[0] * 0.7) + 3),
    "the larger of two fractions": lambda x: x * torch.sym_max(x.shape[0] * 0.5, x.shape[1] * 0.3),
    "the smaller of two fractions": lambda x: x * torch.sym_min(x.shape[0] * 0.5, x.shape[1] * 0.3),
    "a fraction, or a number": lambda x: x * torch.sym_max(x.shape[0] * 0.5, 1.75),
    "whether two differ": lambda x: x * torch.sym_ite(x.shape[0] != x.shape[1], 2, 3),
    "two conditions": lambda x: x * torch.sym_ite((x.shape[0] > 3) & (x.shape[1] > 3), 2, 3),
    "either condition": lambda x: x * torch.sym_ite((x.shape[0] > 4) | (x.shape[1] > 4), 2, 3),
    "a remainder of numbers below zero": lambda x: (torch.arange(x.shape[0]) - 3) % (2 * x.shape[0] - 2),
}


@pytest.mark.parametrize("title", _OF_SIZES)
def test_the_runtime_computes_what_torch_does(title: str) -> None:
    function = _OF_SIZES[title]
    program = _exported(function)
    assert target.unsupported(program) == {}
    compiled = lowering.compiled(repaired(program)[0], [], {})
    loaded = _portable_lib._load_for_executorch_from_buffer(compiled.buffer)
    for shape in ((5, 4), (3, 6), (3, 3)):
        x = torch.rand(shape)
        torch.testing.assert_close(loaded.forward([x])[0], function(x))


def test_what_the_runtime_cannot_compute_of_sizes_is_refused() -> None:
    [reason] = target.unsupported(_exported(lambda x: x * torch.sym_sqrt(x.shape[0]))).values()
    assert "sqrt of sizes" in reason


def test_a_loop_that_only_the_data_end_is_refused() -> None:
    from torch._higher_order_ops.while_loop import while_loop

    def halved(x: torch.Tensor) -> Any:
        return while_loop(lambda y: y.abs().max() > 1, lambda y: (y / 2,), (x,))

    [reason] = target.unsupported(torch.export.export(_Module(halved), (torch.ones(3),))).values()
    assert "no loop whose end only the data tell" in reason
