"""How large a dynamic dimension may become in ExecuTorch, where nobody says."""

from __future__ import annotations

import pytest
import torch

from convkit.legalization import executorch, executorch_bounds
from convkit.legalization.exported_program import copied


class _Widened(torch.nn.Module):
    """Repeats every element."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.unsqueeze(-1).repeat(1, 1, self.times)


def _bounds(times: int, limit: int | None = None, highest: int | None = None) -> list[int]:
    dims = {0: torch.export.Dim("rows", min=1), 1: torch.export.Dim("columns", min=1, max=highest)}
    program = copied(torch.export.export(_Widened(times), (torch.zeros(2, 160),), dynamic_shapes=(dims,)))
    symbols = [str(size) for size in next(n for n in program.graph.nodes if n.op == "placeholder").meta["val"].shape]
    with executorch_bounds.isolated(program):
        notes = executorch_bounds.bound(program, dict(zip(symbols, ["rows", "columns"], strict=True)), limit, {"columns": 200})
        assert all("upper_bound=N" in note for note in notes)
        return [int(program.range_constraints[s].upper) for s in program.range_constraints]


@pytest.mark.parametrize(
    ("times", "wanted"), [(1, [64, 800]), (1_000, [16, 800]), (2_000, [16, 400]), (10_000, [64, 200])], ids=str
)
def test_there_is_room_beyond_the_example_as_far_as_memory_goes(times: int, wanted: list[int]) -> None:
    assert _bounds(times) == wanted


def test_the_user_s_bound_and_the_model_s_own_hold() -> None:
    assert _bounds(1, limit=300) == [300, 300]
    assert _bounds(1, highest=500) == [64, 500]
    assert _bounds(1, limit=700, highest=500) == [700, 500]


def test_a_bound_that_torch_made_up_is_none() -> None:
    assert _bounds(1, highest=999_999_999) == [64, 800]


def test_a_dimension_that_a_reshape_takes_away_is_refused() -> None:
    """A squeezed batch: the compiler would make it static, or fail."""

    class Squeezed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sigmoid().reshape(4)

    with torch.fx.experimental._config.patch(backed_size_oblivious=True):
        program = torch.export.export(
            Squeezed(),
            (torch.zeros(1, 4),),
            dynamic_shapes=({0: torch.export.Dim.AUTO},),
            prefer_deferred_runtime_asserts_over_guards=True,
        )
    [reason] = executorch.unsupported(program).values()
    assert "one size only" in reason
