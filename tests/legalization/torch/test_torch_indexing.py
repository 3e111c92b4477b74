"""Decompositions that sort, select, scatter and reduce by index compute what torch's kernels do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch_operators import INFINITY, NAN, assert_decomposition, volume

TIES = torch.tensor([[3.0, 1.0, 3.0, 2.0, 1.0], [0.0, 0.0, -1.0, 5.0, 5.0]])
WITH_NAN = torch.tensor([[3.0, NAN, 1.0, 2.0, 5.0], [0.0, 4.0, -INFINITY, INFINITY, 2.0], [NAN, NAN, NAN, NAN, NAN]])
INDEX = torch.tensor([[0, 2, 0], [1, 1, 1]])
LENGTHS = torch.tensor([2, 0, 4])
PLACES = torch.tensor([2, 0, 2])

ORDER: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("cumprod.default", [volume(2, 5, 3), 1], {}),
    ("cumprod.default", [torch.tensor([[-2, 0, 3], [1, 4, 5]], dtype=torch.int32), -1], {}),
    ("sort.stable", [TIES], {"stable": True, "dim": -1, "descending": True}),
    ("sort.stable", [TIES], {"stable": True, "dim": 0}),
    ("max.dim", [TIES, 1], {}),
    ("min.dim", [TIES, 0, True], {}),
    ("max.dim", [WITH_NAN, 1], {}),
    ("topk.default", [volume(3, 6), 2, 0, False], {}),
    ("kthvalue.default", [volume(3, 6), 2, 1, True], {}),
    ("kthvalue.default", [volume(7), 7], {}),
    ("median.default", [volume(3, 5)], {}),
    ("median.default", [WITH_NAN], {}),
    ("median.dim", [volume(3, 6), 1], {}),
    ("median.dim", [WITH_NAN, 1, True], {}),
    ("median.dim", [torch.tensor([[5, 1, 3], [9, 7, 8]]), 1], {}),
    ("nanmedian.default", [WITH_NAN], {}),
    ("nanmedian.dim", [WITH_NAN[:2], 1], {}),
    ("mode.default", [torch.tensor([[2.0, 1.0, 2.0, 1.0, 7.0], [3.0, 3.0, 3.0, 1.0, 1.0]])], {}),
    ("bucketize.Tensor", [TIES, torch.tensor([0.0, 1.0, 3.0])], {}),
    ("bucketize.Tensor", [WITH_NAN, torch.tensor([0.0, 1.0, 3.0])], {"right": True, "out_int32": True}),
    ("searchsorted.Tensor", [torch.tensor([[0.0, 1.0, 1.0, 5.0], [1.0, 2.0, 3.0, 4.0]]), TIES], {}),
    ("searchsorted.Tensor", [torch.tensor([0.0, 1.0, 1.0, 5.0]), TIES], {"side": "right"}),
    ("histc.default", [volume(200), 10], {}),
    ("histc.default", [volume(200), 7, -1.0, 1.0], {}),
    ("histc.default", [torch.full((5,), 2.0), 4], {}),
]

SELECTING: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("nonzero.default", [TIES > 2], {}),
    ("nonzero.default", [torch.tensor([[[0, 2], [0, 0]], [[-1, 0], [3, 4]]])], {}),
    ("nonzero.default", [torch.zeros(3)], {}),
    ("nonzero_static.default", [TIES > 2], {"size": 3}),
    ("nonzero_static.default", [TIES > 2], {"size": 14, "fill_value": -7}),
    ("masked_select.default", [TIES, TIES[0] > 1], {}),
    ("combinations.default", [torch.arange(5), 2], {}),
    ("combinations.default", [volume(4), 3], {}),
    ("combinations.default", [volume(4), 2, True], {}),
    ("combinations.default", [volume(1), 1], {}),
    ("unique_consecutive.default", [torch.tensor([1.0, 1.0, 2.0, 2.0, 2.0, 1.0]), True, True], {}),
    ("narrow_copy.default", [volume(3, 5), 1, 2, 3], {}),
    ("masked_scatter.default", [TIES, TIES > 1, volume(12)], {}),
    ("masked_scatter.default", [TIES, torch.zeros(5, dtype=torch.bool), volume(12)], {}),
    ("gather.default", [TIES, 1, INDEX.to(torch.int32)], {}),
]

SCATTERING: list[tuple[str, list[Any], dict[str, Any]]] = [
    *(
        ("scatter_reduce.two", [volume(2, 4), 1, INDEX, volume(3, 4)[:2, :3] + 1, reduce], {"include_self": include})
        for reduce in ("sum", "prod", "amax", "amin", "mean")
        for include in (True, False)
    ),
    ("scatter.reduce", [volume(2, 4), 1, INDEX, volume(2, 3)], {"reduce": "multiply"}),
    ("scatter.value_reduce", [volume(2, 4), 1, INDEX, 2.5], {"reduce": "add"}),
    *(
        ("index_reduce.default", [volume(4, 3), 0, PLACES, volume(3, 3, seed=1), reduce], {"include_self": include})
        for reduce in ("prod", "amax", "amin", "mean")
        for include in (True, False)
    ),
    ("index_add.default", [volume(2, 4), 1, PLACES, volume(2, 3, seed=1)], {"alpha": 2}),
    ("put.default", [volume(2, 4), torch.tensor([[0, -1], [3, 5]]), volume(2, 2, seed=1)], {}),
    ("put.default", [volume(2, 4), torch.tensor([1, 1]), volume(2, seed=1), True], {}),
    ("index_put.default", [volume(4, 3), [PLACES], volume(3, 3, seed=1), True], {}),
    ("index_put.default", [volume(4, 3), [None, PLACES], volume(4, 3, seed=1), True], {}),
    ("index_put.default", [volume(4, 3, 5), [torch.tensor([[0], [-1]]), PLACES], volume(5)], {}),
    ("index_put.default", [volume(2, 4, 3, 5), [None, PLACES, PLACES], volume(2, 3, 5, seed=1), True], {}),
    ("index_put.default", [TIES, [TIES > 1], torch.tensor(9.0)], {}),
    ("as_strided_scatter.default", [volume(4, 4), volume(2, 2, seed=1), [2, 2], [1, 2]], {}),
    ("as_strided_scatter.default", [volume(4, 4), volume(2, 3, seed=1), [2, 3], [8, 1], 1], {}),
    ("diagonal_scatter.default", [volume(4, 4), volume(4, seed=1)], {}),
    ("diagonal_scatter.default", [volume(3, 5), volume(3, seed=1), 1], {}),
    ("diagonal_scatter.default", [volume(5, 3), volume(3, seed=1), -1], {}),
    ("diagonal_scatter.default", [volume(3, 2, 4), volume(2, 3, seed=1), 0, 0, 2], {}),
    *(
        ("segment_reduce.default", [volume(6, 2), reduce], {"lengths": LENGTHS, "unsafe": True, "initial": initial})
        for reduce in ("sum", "mean", "max", "min", "prod")
        for initial in (None, 1.0)
    ),
    ("segment_reduce.default", [volume(6), "sum"], {"offsets": torch.tensor([0, 2, 2, 6]), "unsafe": True}),
    ("segment_reduce.default", [volume(2, 4), "max"], {"lengths": torch.tensor([[1, 3], [2, 2]]), "axis": 1, "unsafe": True}),
]

BAGS = (volume(6, 3), torch.tensor([1, 2, 4, 5, 4, 3]), torch.tensor([0, 2, 2]))
EMBEDDING: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("_embedding_bag_forward_only.default", [*BAGS, False, mode, False, None, False, padding], {})
    for mode in (0, 1, 2)
    for padding in (-1, 4)
]
EMBEDDING += [("_embedding_bag_forward_only.default", [*BAGS, False, 0, False, volume(6)], {})]


@pytest.mark.parametrize(("name", "arguments", "named"), [*EMBEDDING, *ORDER, *SELECTING, *SCATTERING])
def test_equal_to_torch(name: str, arguments: list[Any], named: dict[str, Any]) -> None:
    assert_decomposition(name, arguments, **named)


def test_a_sort_of_many_elements_is_a_top_k() -> None:
    assert_decomposition("sort.default", [volume(2, 300), -1, True])


def test_values_for_the_places_of_a_mask_are_taken_in_turn() -> None:
    from convkit.legalization.torch.decompositions import registered

    index_put = registered()["aten.index_put.default"].function
    values = volume(4)
    wanted = TIES.clone()
    wanted[TIES > 2] = values
    torch.testing.assert_close(index_put(TIES, [TIES > 2], values), wanted)
    assert index_put(TIES, [TIES > 2], values, accumulate=True) is NotImplemented
