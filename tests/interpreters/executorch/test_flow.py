"""Jumps as what they were: conditions stay conditions, loops of known rounds are unrolled."""

from __future__ import annotations

from pathlib import Path

import torch
from executorch_models import Function, assert_same, made, noise

POSITIVE = noise(2, 3).abs()
WEIGHTS = noise(3, 3, seed=3)


def test_a_condition_on_what_branches_share(tmp_path: Path) -> None:
    def network(x):
        y = torch.tanh(x)
        return torch.cond(x.sum() > 0, lambda a, b: a @ WEIGHTS + b, lambda a, b: (a - b).sin(), (x, y)) * 2

    source = made(Function(network), POSITIVE, tmp_path / "m.pte")
    module = assert_same(source, POSITIVE, -POSITIVE)
    assert [n for n in module.graph.nodes if "cond" in str(n.target)]


def test_a_condition_inside_of_a_condition(tmp_path: Path) -> None:
    def inner(x):
        return torch.cond(x.max() > 1, lambda a: a * 10, lambda a: a - 1, (x,))

    def network(x):
        return torch.cond(x.sum() > 0, inner, lambda a: a.cos(), (x,))

    source = made(Function(network), POSITIVE, tmp_path / "m.pte")
    assert_same(source, POSITIVE + 1, POSITIVE / 10, -POSITIVE)


def test_a_condition_with_two_results(tmp_path: Path) -> None:
    def network(x):
        return torch.cond(x.sum() > 0, lambda a: (a * 2, a.sum(1)), lambda a: (a.exp(), a.amin(1)), (x,))

    source = made(Function(network), POSITIVE, tmp_path / "m.pte")
    assert_same(source, POSITIVE, -POSITIVE)


def test_a_map_over_rows(tmp_path: Path) -> None:
    from torch._higher_order_ops.map import map as torch_map

    source = made(Function(lambda x: torch_map(lambda row: row.sin() + 1, x)), noise(4, 3), tmp_path / "m.pte")
    assert_same(source, noise(4, 3), noise(4, 3, seed=1))
