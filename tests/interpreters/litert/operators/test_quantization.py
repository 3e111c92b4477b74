"""Operators between levels and numbers against LiteRT's interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from litert_flatbuffers import Graph, Op, T, constant, schema, write
from litert_models import assert_close, compared, floats

X = floats(3, 4, 5, low=-4, high=4)
LEVELS = np.random.default_rng(0).integers(-128, 128, (3, 4, 5)).astype(np.int8)


def one(name: str, given: Sequence[T], made: T, chosen: Any = None) -> Any:
    last = len(given)
    free = [k for k, t in enumerate(given) if t.data is None]
    return write(Graph([*given, made], [Op(name, range(last), [last], chosen)], free, [last]))


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point"), [("INT8", 0.03, -5), ("UINT8", 0.02, 120), ("INT16", 1 / 8192, 0), ("INT8", 0.01, 0)]
)
def test_to_levels(dtype: str, scale: float, zero_point: int) -> None:
    """Numbers beyond the range become its ends."""
    path = one("QUANTIZE", [T(X.shape)], T(X.shape, dtype, scales=(scale,), zero_points=(zero_point,)))
    expected, got = compared(path, [[X]])
    (name,) = expected[0]
    assert np.abs(expected[0][name].astype(int) - got[0][name]).max() <= 1  # halves
    assert (expected[0][name] != got[0][name]).mean() < 0.02


@pytest.mark.parametrize(("dtype", "numpy_type"), [("INT8", np.int8), ("UINT8", np.uint8), ("INT16", np.int16)])
def test_to_numbers(dtype: str, numpy_type: type) -> None:
    levels = (LEVELS.astype(int) + (128 if dtype == "UINT8" else 0)).astype(numpy_type)
    zero_point = 0 if dtype == "INT16" else 7
    path = one("DEQUANTIZE", [T(levels.shape, dtype, scales=(0.25,), zero_points=(zero_point,))], T(levels.shape))
    assert_close(*compared(path, [[levels]]), 0)


def test_from_levels_to_other_levels() -> None:
    path = one(
        "QUANTIZE",
        [T(LEVELS.shape, "INT8", scales=(0.25,), zero_points=(-7,))],
        T(LEVELS.shape, "INT8", scales=(0.4,), zero_points=(3,)),
    )
    expected, got = compared(path, [[LEVELS]])
    (name,) = expected[0]
    assert np.abs(expected[0][name].astype(int) - got[0][name]).max() <= 1
    assert (expected[0][name] != got[0][name]).mean() < 0.1


def test_half_precision_constants() -> None:
    halves = floats(5).astype(np.float16)
    tensors = [T(X.shape), constant(halves), T((5,)), T(X.shape)]
    operators = [Op("DEQUANTIZE", [1], [2]), Op("ADD", [0, 2], [3], schema().AddOptionsT())]
    assert_close(*compared(write(Graph(tensors, operators, [0], [3])), [[X]]), 1e-6)


@pytest.mark.parametrize(
    ("dtype", "data", "levels"),
    [("INT4", b"\x21\xf8\x07", [1, 2, -8, -1, 7]), ("INT8", bytes([1, 2, 200, 255, 7]), [1, 2, -56, -1, 7])],
)
def test_weights_below_a_byte(dtype: str, data: bytes, levels: list[int]) -> None:
    """Two 4-bit weights share a byte, the first one in its low bits."""
    tensors = [T(X.shape), T((5,), dtype, data, scales=(0.5,), zero_points=(0,)), T((5,)), T(X.shape)]
    operators = [Op("DEQUANTIZE", [1], [2]), Op("MUL", [0, 2], [3], schema().MulOptionsT())]
    expected, got = compared(write(Graph(tensors, operators, [0], [3])), [[X]])
    assert_close(expected, got, 1e-6)
    (name,) = got[0]
    np.testing.assert_allclose(got[0][name], X * 0.5 * np.array(levels, np.float32), rtol=1e-6)


def test_per_channel_weights_of_four_bits() -> None:
    rows, columns = 4, 6
    levels = np.random.default_rng(1).integers(-8, 8, (rows, columns))
    packed = bytes((a & 15) | (b & 15) << 4 for a, b in levels.reshape(-1, 2).tolist())
    scales = (0.1, 0.2, 0.3, 0.4)
    tensors = [T((2, columns)), T((rows, columns), "INT4", packed, scales=scales), T((rows, columns)), T((2, rows))]
    operators = [Op("DEQUANTIZE", [1], [2]), Op("FULLY_CONNECTED", [0, 2, -1], [3], schema().FullyConnectedOptionsT())]
    x = floats(2, columns)
    (got,) = compared_alone(write(Graph(tensors, operators, [0], [3])), x)
    np.testing.assert_allclose(got, x @ (levels * np.array(scales)[:, None]).T, rtol=1e-5, atol=1e-5)


def compared_alone(path: Any, x: np.ndarray) -> list[np.ndarray]:
    """What the importer makes of a file that LiteRT has no kernel for (4-bit weights per channel as an operand of DEQUANTIZE)."""
    from litert_models import imported

    from convkit.runtimes import pytorch

    target = imported(path)
    assert target.signature is not None
    return list(pytorch.load(target).run({target.signature.input_names[0]: x}).values())


@pytest.mark.parametrize(("low", "high"), [(-2.0, 3.0), (0.5, 3.0), (-3.0, -0.5)])
def test_numbers_rounded_to_levels(low: float, high: float) -> None:
    """Ranges without zero are moved until they have it."""
    chosen = schema().FakeQuantOptionsT()
    chosen.min, chosen.max, chosen.numBits = low, high, 4
    path = one("FAKE_QUANT", [T(X.shape)], T(X.shape), chosen)
    assert_close(*compared(path, [[X]]), 1e-6)
