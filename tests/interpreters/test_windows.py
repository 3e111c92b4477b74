"""The arithmetic of sliding windows, against what ONNX Runtime makes of every combination."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_nodes as nodes
import pytest

from convkit.interpreters.operators import UnsupportedError
from convkit.interpreters.windows import WindowAxis, transposed_crops, window_axes


@pytest.mark.parametrize("include_pad", (False, True))
def test_steps_and_counts_are_onnx_runtimes(include_pad: bool) -> None:
    size = 11
    ones = np.ones((1, 1, size), np.float32)
    windows = itertools.product((2, 3, 4), (1, 2, 3), (1, 2), (0, 1), (0, 1), (0, 1))
    for kernel, stride, dilation, begin, end, ceil_mode in windows:
        axis = WindowAxis(size, kernel, stride, dilation, begin, end)
        model = nodes.node_model(
            "AveragePool",
            {"x": ones},
            kernel_shape=[kernel],
            strides=[stride],
            dilations=[dilation],
            pads=[begin, end],
            ceil_mode=ceil_mode,
            count_include_pad=int(include_pad),
        )
        (mean,) = nodes.onnx_runtime(model, {"x": ones})
        counts = axis.counts(np, ceil_mode=bool(ceil_mode), include_pad=include_pad)
        assert axis.steps(bool(ceil_mode)) == mean.shape[2] == counts.shape[0]
        inside = axis.counts(np, ceil_mode=bool(ceil_mode))
        np.testing.assert_allclose(inside / counts, mean[0, 0], rtol=1e-6)


def test_auto_pad_keeps_the_ratio_of_sizes() -> None:
    for size, stride, dilation in itertools.product((7, 8), (1, 2, 3), (1, 2)):
        for auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            (axis,) = window_axes([size], [3], [stride], [dilation], None, auto_pad)
            assert axis.steps() == -(-size // stride)
            assert abs(axis.begin - axis.end) <= 1
            assert (axis.end if auto_pad == "SAME_UPPER" else axis.begin) == max(axis.begin, axis.end)


def test_overhang_is_what_rounding_up_adds() -> None:
    assert WindowAxis(11, 4, 3, 1, 0, 0).overhang(True) == 2
    assert WindowAxis(11, 4, 3, 1, 0, 0).overhang() == 0
    # The window that would start in the padding at the end is dropped, so that nothing is added.
    assert WindowAxis(11, 3, 3, 1, 1, 2).steps(True) == 4
    assert WindowAxis(11, 3, 3, 1, 1, 2).overhang(True) == 0


def test_an_output_shape_needs_a_known_size() -> None:
    assert transposed_crops([4], [3], [2], None, None, "NOTSET", None, [6]) == [(2, 1)]
    assert transposed_crops([4], [3], [2], None, None, "SAME_UPPER", None, [6]) == [(1, 2)]
    with pytest.raises(UnsupportedError, match="output_shape of a dynamic"):
        transposed_crops([None], [3], [2], None, None, "NOTSET", None, [6])
