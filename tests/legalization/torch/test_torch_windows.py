"""Decompositions of pooling, convolution, resampling, norms, attention and padding compute what torch's kernels do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch_operators import NAN, assert_decomposition, volume

from convkit.legalization.torch import pooling, windows

WEIGHT = volume(4, 2, 3, 2, 3)
GRID = volume(2, 3, 4, 2, 3) * 1.2
HOLES = torch.where(torch.arange(54).reshape(2, 3, 9) == 13, torch.tensor(NAN), volume(2, 3, 9))

CASES: list[tuple[str, list[Any]]] = [
    ("conv3d.default", [volume(2, 4, 5, 6, 7), WEIGHT, volume(4), [2, 1, 1], [1, 0, 2], [1, 2, 1], 2]),
    ("conv3d.default", [volume(2, 5, 6, 7), WEIGHT]),
    ("conv3d.padding", [volume(2, 4, 5, 6, 7), WEIGHT, volume(4), [1, 1, 1], "same", [1, 2, 1], 2]),
    ("conv3d.padding", [volume(2, 5, 6, 7), WEIGHT, None, [2, 1, 1], "valid"]),
    ("conv_transpose3d.input", [volume(2, 4, 3, 4, 2), WEIGHT, None, [2, 1, 3], [1, 0, 1], [1, 0, 2], 1, [2, 1, 1]]),
    ("conv_transpose3d.input", [volume(4, 3, 4, 2), WEIGHT]),
    ("conv1d.default", [volume(4, 9), volume(6, 2, 3), None, [2], [1], [1], 2]),
    ("conv1d.padding", [volume(4, 9), volume(6, 4, 3), None, [1], "same"]),
    ("conv2d.default", [volume(4, 9, 8), volume(6, 4, 3, 2), volume(6)]),
    ("conv_transpose1d.default", [volume(4, 9), volume(4, 2, 3), None, [2]]),
    ("conv_transpose2d.input", [volume(4, 5, 6), volume(4, 2, 3, 2), None, [2, 1], [1, 0]]),
    ("max_pool1d.default", [volume(2, 3, 10), [3], [2], [1], [2]]),
    ("max_pool2d.default", [volume(2, 3, 9, 7), [3, 2], [2, 3], [1, 0], [2, 1], True]),
    ("max_pool3d.default", [volume(1, 2, 5, 7, 6), [2, 3, 2], [1, 2, 2], [1, 1, 0], [1, 1, 2], True]),
    ("avg_pool1d.default", [volume(2, 3, 10), [3], [2], [1], True, False]),
    ("avg_pool2d.default", [volume(1, 3, 9, 9), [3, 3], [1, 1], [1, 1], True, False, 2]),
    ("avg_pool2d.default", [volume(1, 3, 9, 8), [4, 4], [2, 3], [1, 2], True, True]),
    ("avg_pool2d.default", [volume(3, 9, 8), [4, 3], [2, 3], [1, 1], False, False]),
    ("avg_pool3d.default", [volume(2, 2, 5, 7, 6), [2, 3, 2], [1, 2, 2]]),
    ("avg_pool3d.default", [volume(1, 2, 4, 4, 4), [2, 2, 2], [1, 1, 1], [1, 1, 1], True, False, 2]),
    ("adaptive_max_pool1d.default", [volume(2, 3, 10), [4]]),
    ("adaptive_max_pool2d.default", [volume(2, 3, 7, 5), [3, 2]]),
    ("adaptive_max_pool2d.default", [volume(3, 8, 6), [4, 9]]),
    ("adaptive_max_pool2d.default", [HOLES.unsqueeze(2), [1, 1]]),
    ("adaptive_max_pool3d.default", [volume(2, 2, 5, 4, 6), [2, 3, 4]]),
    ("adaptive_avg_pool3d.default", [volume(2, 2, 5, 4, 6), [2, 3, 4]]),
    ("adaptive_avg_pool3d.default", [volume(2, 5, 4, 6), [1, 1, 1]]),
    ("fractional_max_pool2d.default", [volume(2, 3, 9, 8), [2, 3], [4, 3], volume(2, 3, 2).sigmoid()]),
    ("fractional_max_pool2d.default", [volume(3, 9, 8), [2, 3], [1, 3], volume(1, 3, 2).sigmoid()]),
    ("fractional_max_pool3d.default", [volume(2, 3, 9, 8, 7), [2, 3, 2], [4, 3, 5], volume(2, 3, 3).sigmoid()]),
    *(
        ("grid_sampler_3d.default", [volume(2, 3, 4, 5, 3), GRID, mode, padding, align])
        for mode in (0, 1)
        for padding in (0, 1, 2)
        for align in (False, True)
    ),
    *(
        (f"_upsample_{kernel}2d_aa.default", [volume(1, 2, 8, 9), [3, 12], align])
        for kernel in ("bilinear", "bicubic", "lanczos")
        for align in (False, True)
    ),
    ("cdist.default", [volume(2, 3, 4), volume(2, 5, 4, seed=1)]),
    ("cdist.default", [volume(3, 4), volume(5, 4, seed=1), 1.0]),
    ("cdist.default", [volume(3, 4), volume(5, 4, seed=1), 3.0]),
    ("cdist.default", [volume(3, 4), volume(5, 4, seed=1), 0.0]),
    ("cdist.default", [volume(3, 4), volume(5, 4, seed=1), float("inf")]),
    ("pdist.default", [volume(5, 4), 2.0]),
    ("pdist.default", [volume(1, 4), 2.0]),
    ("amax.default", [volume(2, 3)]),
    ("amin.default", [volume(2, 3), [], True]),
    ("squeeze.dims", [volume(1, 2, 1, 1), [0, -1]]),
    ("squeeze.dims", [volume(1, 2, 1), []]),
    ("pad.default", [volume(2, 3, 4), [-4, 5, 0, 0], "replicate"]),
    ("constant_pad_nd.default", [volume(2, 3, 4), [0, 0, 1, -1]]),
    ("constant_pad_nd.default", [volume(2, 3, 4), [-1, 2, -2, 0, 3, -1], 1.5]),
    ("pad.default", [volume(2, 3, 4), [-1, 3], "reflect"]),
    ("pad.default", [volume(2, 3, 4), [2, 1], "circular"]),
    ("scaled_dot_product_attention.default", [volume(4, 3, 8), volume(4, 6, 8), volume(4, 6, 8), None, 0.0, True]),
    ("scaled_dot_product_attention.default", [volume(3, 8), volume(6, 8), volume(6, 8), volume(3, 6)]),
    ("scaled_dot_product_attention.default", [volume(2, 3, 4, 5, 8), volume(2, 3, 4, 6, 8), volume(2, 3, 4, 6, 8)]),
    ("_native_batch_norm_legit.no_stats", [volume(3, 2, 4), volume(2), volume(2), True, 0.1, 1e-5]),
    *(
        (
            "_native_batch_norm_legit_functional.default",
            [volume(3, 2, 4), volume(2), None, volume(2), volume(2).abs(), training, 0.3, 1e-5],
        )
        for training in (True, False)
    ),
]


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_equal_to_torch(name: str, arguments: list[Any]) -> None:
    assert_decomposition(name, arguments, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_places_of_a_maximum_count_in_the_whole_plane(rank: int) -> None:
    x = volume(2, 3, *[7, 6, 5][:rank])
    pool = getattr(torch.nn.functional, f"max_pool{rank}d")
    wanted = pool(x, 3, 2, 1, return_indices=True)
    found = windows.max_pool_with_places(x, [3] * rank, [2] * rank, [1] * rank, rank=rank)
    torch.testing.assert_close(found[0], wanted[0])
    torch.testing.assert_close(found[1], wanted[1])


def test_a_gradient_goes_to_the_places_of_the_maxima() -> None:
    x, window = volume(1, 2, 3, 6), ([3, 3], [2, 2], [0, 0], [1, 1], True)
    values, places = torch.ops.aten.max_pool2d_with_indices(x, *window)
    gradient = volume(*values.shape, seed=1)
    wanted = torch.ops.aten.max_pool2d_with_indices_backward(gradient, x, *window, places)
    torch.testing.assert_close(pooling.max_pool2d_with_indices_backward(gradient, x, *window, places), wanted)
