"""Numbers that a program reads from its tensors: what they can be, and that it is never claimed too narrowly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convkit.legalization import executorch
from convkit.legalization import exported_program as programs
from convkit.legalization.torch import permutations, value_ranges
from convkit.legalization.torch.interval_arithmetic import Interval
from convkit.legalization.torch.value_ranges import intervals, settled


class CountedRows(torch.nn.Module):
    """As many rows as pass a threshold, at most five."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        passing = (x[:, 0] > 0).to(torch.int32).sum()
        count = torch.where(passing > 5, 5, passing).item()
        torch._check(count >= 0)
        return torch.arange(count) * 2


class AlwaysFour(torch.nn.Module):
    """A size that is computed from the data, and the same whatever they are."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flag = (x.sum() > 0).to(torch.int64)
        count = torch.stack([flag * 0 + 4, flag])[0].item()
        torch._check(count >= 0)
        return x[:count] + 1


class CountedInPlace(torch.nn.Module):
    """A number that is zero where it is made, and not where it is read."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = torch.full((), 0, dtype=torch.int64)
        total.add_((x[:, 0] > 0).sum())
        count = total.item()
        torch._check(count >= 0)
        return torch.arange(count) * 2


class PermutedBack(torch.nn.Module):
    """What ONNX's NonZero and the Transpose behind it become."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = torch.nonzero(x > 0)
        torch._check(found.shape[0] <= 8)
        return found.permute(1, 0).permute(1, 0).reshape(-1) + 1


def exported(module: torch.nn.Module, *inputs: torch.Tensor) -> torch.export.ExportedProgram:
    return torch.export.export(module, inputs, strict=False)


def upper_bounds(program: torch.export.ExportedProgram) -> list[int]:
    return [int(r.upper) for s, r in program.range_constraints.items() if str(s).startswith("u")]


def test_a_count_of_what_is_selected_is_bounded() -> None:
    program = exported(CountedRows(), torch.randn(8, 2))
    bounded = settled(program)
    assert upper_bounds(bounded) == [8]
    assert not executorch.unsupported(bounded)


def test_a_number_that_can_be_one_only_becomes_a_constant() -> None:
    x = torch.randn(6, 3)
    program = settled(exported(AlwaysFour(), x))
    assert not any(value_ranges._is_read(node) for node in programs.calls(program))
    assert torch.equal(program.module()(x), x[:4] + 1)


def test_what_is_changed_in_place_is_no_constant() -> None:
    x = torch.tensor([[1.0], [-1.0], [2.0]])
    program = settled(exported(CountedInPlace(), x))
    assert not executorch.unsupported(program), "it is bounded all the same"
    assert program.module()(x).tolist() == [0, 2]


def test_a_program_that_reads_no_numbers_stays_what_it_is() -> None:
    program = exported(torch.nn.Linear(3, 2), torch.randn(1, 3))
    assert settled(program) is program
    assert permutations.without_undone(program) is program


def test_permutations_that_undo_each_other_go() -> None:
    x = torch.randn(8)
    program = exported(PermutedBack(), x)
    assert executorch.unsupported(program)
    changed = permutations.without_undone(program)
    assert not executorch.unsupported(changed)
    assert torch.equal(changed.module()(x), PermutedBack()(x))


class Arithmetic(torch.nn.Module):
    """Every rule at once, on integers that the data choose."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        bit = (x > 0).to(torch.int64)  # each 0 or 1
        small = bit * 7 - 3
        return (
            small,
            -small,
            small * small,
            small * 3 - bit,
            torch.where(bit > 0, small, small + 10),
            torch.minimum(small, bit),
            torch.maximum(small, bit * 2),
            small.clamp(-1, 2),
            bit.sum().reshape(1),
            torch.ceil(small.to(torch.float64) / 2).to(torch.int64),
            torch.floor(small.to(torch.float32) * 0.3).to(torch.int32),
            torch.cat([small, bit]),
            torch.stack([small, bit])[1],
            small.to(torch.bool).logical_not().to(torch.int64),
            (small == 4).to(torch.int64) + (small != 4).to(torch.int64),
            (small >= bit).to(torch.int64) + (small < bit).to(torch.int64),
            (small.to(torch.int8) * 100).to(torch.int64),  # wraps around
        )


@pytest.fixture(scope="module")
def known() -> list[Interval]:
    program = exported(Arithmetic(), torch.randn(4))
    found = intervals(program)
    (output,) = (node for node in program.graph.nodes if node.op == "output")
    results = [found.get(node) for node in output.args[0]]
    assert all(isinstance(r, Interval) for r in results), "a rule is missing"
    return results  # type: ignore[return-value]


@given(st.lists(st.floats(-2, 2, width=32), min_size=4, max_size=4))
@settings(deadline=None, max_examples=40)
def test_no_value_is_outside_of_what_is_claimed(known: list[Interval], values: list[float]) -> None:
    for interval, result in zip(known, Arithmetic()(torch.tensor(values)), strict=True):
        numbers = result.to(torch.float64)
        assert bool((interval.low <= numbers).all()) and bool((numbers <= interval.high).all())


def test_what_the_data_cannot_change_is_exact(known: list[Interval]) -> None:
    assert known[14].low.tolist() == [0.0] * 4 and known[14].high.tolist() == [2.0] * 4, "each side alone may hold"
    assert (float(known[0].low.min()), float(known[0].high.max())) == (-3.0, 4.0)
    assert (float(known[8].low), float(known[8].high)) == (0.0, 4.0)


class SortedSelection(torch.nn.Module):
    """The selected numbers in order: how many there are only the data tell."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = torch.nonzero(x > 0)
        torch._check(found.shape[0] <= 16)
        values, order = x[found[:, 0]].sort(descending=True, stable=True)
        return values, order


def test_a_sort_of_as_many_as_the_data_tell_has_a_kernel() -> None:
    x = torch.randn(16)
    program = executorch.legalized(exported(SortedSelection(), x))[0]
    assert "aten.sort.stable" not in {str(node.target) for node in programs.calls(program)}
    got, expected = program.module()(x), SortedSelection()(x)
    assert np.array_equal(got[0], expected[0]) and np.array_equal(got[1], expected[1])
