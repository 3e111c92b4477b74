"""Out-variants as the operators that they are variants of: creation, several results, lists of results, numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from executorch_models import Function, assert_same, made, noise

from convkit.interpreters.executorch import kernels

WEIGHTS = {
    shape: noise(*shape) for shape in [(1, 2, 3, 3), (1, 6), (1, 6, 2), (2, 1, 2, 2), (4,), (4, 3, 3), (4, 6), (6,), (6, 2)]
}
"""Made beforehand: constants of the programs."""

CASES: dict[str, Callable[..., Any]] = {
    "several results": lambda x: (*torch.topk(x, 2), *x.max(1)),
    "lists of results": lambda x: [p * 2 for p in (*torch.split(x, [1, 3, 2], 1), *torch.unbind(x))],
    "norms": lambda x: (F.layer_norm(x, [6]), F.group_norm(x[None], 3), F.batch_norm(x, WEIGHTS[6,], WEIGHTS[6,].abs() + 1)),
    "creation": lambda x: (
        x + torch.arange(6),
        torch.zeros_like(x) + 1,
        torch.full((3,), 2.5) * x[0, 0],
        torch.ones(2) + x[0, :2],
    ),
    "dtypes": lambda x: (x.to(torch.int32), (x > 0).to(torch.int64), x.double() * 2, x.half().float()),
    "numbers": lambda x: (torch.add(x, x, alpha=2), x * 0.5 - 1, torch.pow(x.abs() + 1, 1.5), x.clamp(-0.5, None), 2 - x),
    "comparisons": lambda x: (x > 0, x.isfinite(), torch.logical_or(x > 1, x < -1), (x == x.max()).int()),
    "reductions": lambda x: (
        x.sum(),
        x.mean(1, keepdim=True),
        x.amax((0, 1)),
        x.argmin(1),
        x.var(1),
        x.prod(0),
        (x > 3).logical_not().all(),
    ),
    "indexing": lambda x: (
        x[:, [0, 5, 0]],
        x[1:, ::2],
        x.gather(1, torch.tensor([[0, 3]])),
        x[torch.tensor([2, 1]), torch.tensor([0, 4])],
    ),
    "scatters": lambda x: (
        x.scatter(1, torch.tensor([[1], [2], [3]]), 7.0),
        x.index_put((torch.tensor([0, 0]),), WEIGHTS[6,], accumulate=True),
        torch.where(x > 0, x, -x),
        x.scatter_add(0, torch.zeros(1, 6, dtype=torch.int64), WEIGHTS[1, 6]),
    ),
    "shapes": lambda x: (
        x.t(),
        x.unsqueeze(1).expand(3, 2, 6) + 1,
        torch.stack([x, x], 2),
        x.repeat(2, 1),
        x.flip(0),
        x.roll(1, 1),
    ),
    "windows": lambda x: (
        F.max_pool1d(x[None], 2, 1, 1),
        F.avg_pool2d(x[None, None], 2, 1),
        F.pad(x, (1, 2), value=3.0),
        F.pad(x[None], (2, 1), "reflect"),
        F.interpolate(x[None, None], scale_factor=2.0, mode="nearest"),
    ),
    "activations": lambda x: (
        F.gelu(x),
        F.silu(x),
        F.softplus(x),
        F.elu(x),
        F.leaky_relu(x),
        F.glu(x),
        F.hardsigmoid(x),
        F.softmax(x, 0),
    ),
    "convolutions": lambda x: (
        F.conv1d(x[None], WEIGHTS[4, 3, 3], WEIGHTS[4,], 2, 1),
        F.conv_transpose2d(x[None, None], WEIGHTS[1, 2, 3, 3], stride=2, output_padding=1),
        F.conv2d(x[None, None], WEIGHTS[2, 1, 2, 2], dilation=2),
    ),
    "products": lambda x: (
        x @ WEIGHTS[6, 2],
        F.linear(x, WEIGHTS[4, 6], WEIGHTS[4,]),
        torch.bmm(x[None], WEIGHTS[1, 6, 2]),
        torch.einsum("ij,kj->ik", x, x),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_portable_kernels(case: str, tmp_path: Path) -> None:
    source = made(Function(CASES[case]), noise(3, 6), tmp_path / "m.pte")
    assert_same(source, noise(3, 6), noise(3, 6, seed=1), tolerance=2e-5)


@pytest.mark.parametrize(
    ("name", "functional"),
    [
        ("aten::add.out", "aten::add.Tensor"),
        ("aten::mul_.Tensor", "aten::mul.Tensor"),
        ("aten::sum.IntList_out", "aten::sum.dim_IntList"),
        ("aten::slice_copy.Tensor_out", "aten::slice.Tensor"),
        ("aten::split_with_sizes_copy.out", "aten::split_with_sizes"),
        ("aten::topk.values", "aten::topk"),
        ("aten::full.out", "aten::full"),
    ],
)
def test_an_out_variant_has_a_functional_operator(name: str, functional: str) -> None:
    found = kernels.find(name)
    assert isinstance(found, kernels.OfSchema)
    assert found.functional.name() == functional


@pytest.mark.parametrize("name", ["my_library::own.out", "aten::no_such_operator.out", "no_namespace"])
def test_an_unknown_kernel_is_none(name: str) -> None:
    assert kernels.find(name) is None
