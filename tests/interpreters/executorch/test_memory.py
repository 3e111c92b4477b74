"""Memory planning undone: values that share memory, views that left no instruction, and writes in place."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from executorch_models import Function, assert_same, converted, edited, made, noise

from convkit.errors import ConvkitError
from convkit.interpreters.executorch.program import Program, TensorValue


class Total(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.total.add_(x)
        return self.total * 2


def test_values_that_share_memory_one_after_the_other(tmp_path: Path) -> None:
    """A chain whose tensors the compiler lays into two places."""

    def chain(x):
        for k in range(6):
            x = torch.tanh(x * (k + 1)) + x
        return x

    source = made(Function(chain), noise(3, 4), tmp_path / "m.pte")
    values = [v for v in Program(source.path).method("forward").values if isinstance(v, TensorValue) and v.location]
    assert len({v.location for v in values}) < len(values)
    assert_same(source, noise(3, 4), noise(3, 4, seed=1))


def test_views_without_an_instruction(tmp_path: Path) -> None:
    """Reshaped twice, and both ends still in use."""

    def views(x):
        y = torch.relu(x)
        return y.reshape(6, 4).sum(1), y.view(2, 12) * 2, y.flatten()

    source = made(Function(views), noise(2, 3, 4), tmp_path / "m.pte")
    assert_same(source, noise(2, 3, 4), noise(2, 3, 4, seed=1))


def test_a_view_of_the_input_and_of_a_constant(tmp_path: Path) -> None:
    table = noise(4, 6, seed=5)
    source = made(
        Function(lambda x: x.reshape(6, 4) @ table.reshape(4, 6) + table.view(-1)[:6]), noise(2, 12), tmp_path / "m.pte"
    )
    assert_same(source, noise(2, 12))


def test_the_input_is_an_output(tmp_path: Path) -> None:
    source = made(Function(lambda x: (x, x + 1, x.view(6))), noise(2, 3), tmp_path / "m.pte")
    assert_same(source, noise(2, 3))


def test_one_value_is_two_outputs(tmp_path: Path) -> None:
    def twice(x):
        y = torch.exp(x)
        return y, y.t(), y

    source = made(Function(twice), noise(2, 3), tmp_path / "m.pte")
    assert_same(source, noise(2, 3))


def test_writes_in_place_and_into_slices(tmp_path: Path) -> None:
    def writes(x):
        y = x.clone()
        y[:, 1] = 5.0
        y[0].mul_(2)
        y.index_put_((torch.tensor([2, 0]), torch.tensor([0, 3])), torch.tensor([7.0, 8.0]))
        y.masked_fill_(x > 1, -1.0)
        return y

    source = made(Function(writes), noise(3, 4), tmp_path / "m.pte")
    assert_same(source, noise(3, 4), noise(3, 4, seed=1))


def test_channels_last_memory(tmp_path: Path) -> None:
    """What lies as NHWC is an NCHW tensor to the program's user."""

    def network(x):
        y = torch.relu(x.to(memory_format=torch.channels_last))
        return y.to(memory_format=torch.contiguous_format) + x

    source = made(Function(network), noise(1, 3, 4, 5), tmp_path / "m.pte")
    assert any(getattr(v, "dim_order", ()) == (0, 2, 3, 1) for v in Program(source.path).method("forward").values)
    assert_same(source, noise(1, 3, 4, 5))


def test_sizes_that_shrink(tmp_path: Path) -> None:
    rows = torch.export.Dim("rows", min=2, max=9)

    def network(x, y):
        return torch.cat([x, y * 2], 1).reshape(-1, 2).mean(1), x @ y.t()

    source = made(Function(network), [noise(4, 6), noise(4, 6)], tmp_path / "m.pte", shapes=(({0: rows}, {0: rows}),))
    assert_same(
        source, [noise(4, 6), noise(4, 6, seed=1)], [noise(7, 6), noise(7, 6, seed=1)], [noise(2, 6), noise(2, 6, seed=1)]
    )


@pytest.mark.parametrize("rank", [1, 2])
def test_state_beyond_all_memory_is_an_error(rank: int, tmp_path: Path) -> None:
    def enlarge(program):
        for value in program.execution_plan[0].values:
            if type(value.val).__name__ == "Tensor" and value.val.sizes == [4]:
                value.val.sizes = [(1 << 31) - 1] * rank
                value.val.dim_order = list(range(rank))

    source = edited(made(Total(), noise(4), tmp_path / "m.pte"), enlarge)
    with pytest.raises(ConvkitError):
        converted(source, tmp_path / "m.pt2")
