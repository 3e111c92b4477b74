"""MediaPipe's custom operators against LiteRT's interpreter, which has their kernels."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from litert_flatbuffers import Graph, Op, T, constant, write
from litert_models import artifact, assert_close, compared, floats

from convkit.components import ConversionRequest
from convkit.converters import litert_to_pytorch as converter
from convkit.legalization.target import Verdict

SAME, VALID = 1, 2


def transposed(padding: int, strides: tuple[int, int], kernel: tuple[int, int], size: tuple[int, int], options: bytes) -> Any:
    tensors = [
        T((1, 5, 6, 3)), constant(floats(4, *kernel, 3, seed=1)), constant(floats(4, seed=2)), T((1, *size, 4)),
    ]  # fmt: skip
    return write(Graph(tensors, [Op("Convolution2DTransposeBias", [0, 1, 2], [3], custom_options=options)], [0], [3]))


@pytest.mark.parametrize(
    ("padding", "strides", "kernel", "size"),
    [
        (SAME, (2, 2), (2, 2), (10, 12)),
        (SAME, (2, 2), (3, 3), (9, 11)),
        (SAME, (1, 1), (3, 3), (5, 6)),
        (VALID, (2, 2), (3, 3), (11, 13)),
    ],
)
def test_a_transposed_convolution_with_a_bias(
    padding: int, strides: tuple[int, int], kernel: tuple[int, int], size: tuple[int, int]
) -> None:
    options = struct.pack("<3i", padding, strides[1], strides[0])
    path = transposed(padding, strides, kernel, size, options)
    assert_close(*compared(path, [[floats(1, 5, 6, 3)]]))


@pytest.mark.parametrize("options", [b"", struct.pack("<3i", 7, 2, 2), struct.pack("<3i", SAME, 0, 2)])
def test_options_of_another_layout_are_refused(options: bytes, tmp_path: Any) -> None:
    source = artifact(transposed(SAME, (2, 2), (2, 2), (10, 12), options))
    findings = converter.check(ConversionRequest(source, tmp_path / "m.pt2", source.signature))
    (gap,) = [f for f in findings if f.verdict is Verdict.GAP]
    assert gap.operator == "Convolution2DTransposeBias"
    assert "not those of a transposed convolution" in gap.reason
