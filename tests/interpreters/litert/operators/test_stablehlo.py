"""StableHLO operators, written by hand: against LiteRT's interpreter where it has a kernel, else against numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from litert_flatbuffers import Graph, Op, T, constant, schema, write
from litert_models import artifact, assert_close, compared, floats, imported

from convkit.runtimes import pytorch

X, Y = floats(2, 3, 4), floats(2, 3, 4, seed=1)
POSITIVE = floats(2, 3, 4, low=0.5, high=3)
WHOLE = np.random.default_rng(0).integers(-40, 40, (2, 3, 4)).astype(np.int32)
SHIFTS = np.random.default_rng(1).integers(0, 5, (2, 3, 4)).astype(np.int32)


def options(kind: str, **values: Any) -> Any:
    made = getattr(schema(), f"Stablehlo{kind}OptionsT")()
    for name, value in values.items():
        assert hasattr(made, name), name
        setattr(made, name, value)
    return made


def one(name: str, inputs: Sequence[T], result: np.ndarray, chosen: Any = None) -> Any:
    """A file of one operator; tensors without data are the model's inputs, in order."""
    tensors = [*inputs, T(result.shape, str(result.dtype).upper())]
    given = [k for k, t in enumerate(inputs) if t.data is None]
    last = len(inputs)
    return write(Graph(tensors, [Op(f"STABLEHLO_{name}", range(last), [last], chosen)], given, [last]))


def free(array: np.ndarray) -> T:
    return T(array.shape, str(array.dtype).upper())


def against_numpy(path: Any, feeds: Sequence[np.ndarray], expected: np.ndarray) -> None:
    """LiteRT has no kernel for most of StableHLO: numpy says what the specification says."""
    source = artifact(path)
    assert source.signature is not None
    got = pytorch.load(imported(path)).run(dict(zip(source.signature.input_names, feeds, strict=True)))
    assert_close([{source.signature.output_names[0]: expected}], [got])


BINARY: dict[str, tuple[np.ndarray, np.ndarray, Callable[..., Any]]] = {
    "ADD": (X, Y, np.add),
    "SUBTRACT": (X, Y, np.subtract),
    "MULTIPLY": (X, Y, np.multiply),
    "DIVIDE": (X, POSITIVE, np.divide),
    "MAXIMUM": (X, Y, np.maximum),
    "MINIMUM": (X, Y, np.minimum),
    "POWER": (POSITIVE, X, np.power),
    "REMAINDER": (X, POSITIVE, np.fmod),
    "AND": (WHOLE, SHIFTS, np.bitwise_and),
    "OR": (WHOLE, SHIFTS, np.bitwise_or),
    "SHIFT_LEFT": (WHOLE, SHIFTS, np.left_shift),
}
UNARY: dict[str, tuple[np.ndarray, Callable[..., Any]]] = {
    "ABS": (X, np.abs),
    "COSINE": (X, np.cos),
    "EXPONENTIAL": (X, np.exp),
    "FLOOR": (X, np.floor),
    "LOG": (POSITIVE, np.log),
    "NEGATE": (X, np.negative),
    "RSQRT": (POSITIVE, lambda x: 1 / np.sqrt(x)),
    "CBRT": (X, np.cbrt),
}


@pytest.mark.parametrize("name", BINARY)
def test_two_operands(name: str) -> None:
    x, y, function = BINARY[name]
    against_numpy(one(name, [free(x), free(y)], x), [x, y], function(x, y))


@pytest.mark.parametrize("name", UNARY)
def test_one_operand(name: str) -> None:
    x, function = UNARY[name]
    against_numpy(one(name, [free(x)], x), [x], function(x))


@pytest.mark.parametrize("name", ["ADD", "MULTIPLY", "MAXIMUM", "MINIMUM", "SHIFT_LEFT"])
def test_operators_that_litert_runs(name: str) -> None:
    x, y, _ = BINARY[name]
    assert_close(*compared(one(name, [free(x), free(y)], x), [[x, y]]))


def test_a_division_of_whole_numbers_truncates() -> None:
    divisor = SHIFTS + 2
    path = one("DIVIDE", [free(WHOLE), free(divisor)], WHOLE)
    against_numpy(path, [WHOLE, divisor], np.trunc(WHOLE / divisor).astype(np.int32))


@pytest.mark.parametrize(
    ("direction", "function"),
    [
        ("EQ", np.equal),
        ("NE", np.not_equal),
        ("GE", np.greater_equal),
        ("GT", np.greater),
        ("LE", np.less_equal),
        ("LT", np.less),
    ],
)
def test_comparisons(direction: str, function: Callable[..., Any]) -> None:
    kind = getattr(schema().StablehloComparisonDirection, f"STABLEHLO_COMPARISON_DIRECTION_{direction}")
    few = SHIFTS[::-1] - 1
    expected = function(few, SHIFTS)
    path = one("COMPARE", [free(few), free(SHIFTS)], expected, options("Compare", comparisonDirection=kind))
    against_numpy(path, [few, SHIFTS], expected)


def test_a_choice_and_a_range() -> None:
    against_numpy(one("SELECT", [free(X > 0), free(X), free(Y)], X), [X > 0, X, Y], np.where(X > 0, X, Y))
    low, high = np.float32(-0.5), np.float32(0.75)
    bounds = [T((), "FLOAT32", b.tobytes()) for b in (low, high)]
    against_numpy(one("CLAMP", [bounds[0], free(X), bounds[1]], X), [X], np.clip(X, low, high))


def test_a_cast() -> None:
    against_numpy(one("CONVERT", [free(X)], WHOLE), [X], np.trunc(X).astype(np.int32))


def test_shapes() -> None:
    against_numpy(one("RESHAPE", [free(X)], X.reshape(6, 4)), [X], X.reshape(6, 4))
    turned = X.transpose(2, 0, 1)
    against_numpy(one("TRANSPOSE", [free(X)], turned, options("Transpose", permutation=[2, 0, 1])), [X], turned)
    joined = np.concatenate([X, Y], 1)
    against_numpy(one("CONCATENATE", [free(X), free(Y)], joined, options("Concatenate", dimension=1)), [X, Y], joined)
    part = X[0:2, 1:3, 0:4:3]
    chosen = options("Slice", startIndices=[0, 1, 0], limitIndices=[2, 3, 4], strides=[1, 1, 3])
    against_numpy(one("SLICE", [free(X)], part, chosen), [X], part)
    row = floats(3)
    wide = np.broadcast_to(row[None, :, None], (2, 3, 4))
    chosen = options("BroadcastInDim", broadcastDimensions=[1])
    against_numpy(one("BROADCAST_IN_DIM", [free(row)], wide, chosen), [row], wide)


def test_counting_along_an_axis() -> None:
    counted = np.broadcast_to(np.arange(3, dtype=np.float32)[None, :, None], X.shape)
    tensors = [free(X), free(counted), free(X)]
    operators = [Op("STABLEHLO_IOTA", [], [1], options("Iota", iotaDimension=1)), Op("STABLEHLO_ADD", [0, 1], [2])]
    against_numpy(write(Graph(tensors, operators, [0], [2])), [X], X + counted)


@pytest.mark.parametrize("start", [1, 9])
def test_a_slice_whose_start_the_data_tell(start: int) -> None:
    starts = [np.array(v, np.int32) for v in (0, start, 1)]
    clamped = min(start, 1)
    part = X[:, clamped : clamped + 2, 1:4]
    path = one("DYNAMIC_SLICE", [free(X), *map(free, starts)], part, options("DynamicSlice", sliceSizes=[2, 2, 3]))
    against_numpy(path, [X, *starts], part)


def test_padding() -> None:
    padded = np.pad(X, [(0, 0), (1, 2), (0, 3)], constant_values=1.5)
    chosen = options("Pad", edgePaddingLow=[0, 1, 0], edgePaddingHigh=[0, 2, 3], interiorPadding=[0, 0, 0])
    path = one("PAD", [free(X), constant(np.array(1.5, np.float32))], padded, chosen)
    assert_close(*compared(path, [[X]]))
    against_numpy(path, [X], padded)


def test_a_general_product() -> None:
    right = floats(2, 5, 4, seed=2)
    chosen = options(
        "DotGeneral", lhsBatchingDimensions=[0], rhsBatchingDimensions=[0], lhsContractingDimensions=[2],
        rhsContractingDimensions=[2],
    )  # fmt: skip
    expected = np.einsum("bik,bjk->bij", X, right)
    against_numpy(one("DOT_GENERAL", [free(X), free(right)], expected, chosen), [X, right], expected)


def test_gathering_slices() -> None:
    """Rows of the middle axis, the last of them clamped to where its slice fits."""
    starts = np.array([[1], [0], [7]], np.int32)
    expected = np.stack([X[:, 1:3], X[:, 0:2], X[:, 1:3]])
    chosen = options(
        "Gather", offsetDims=[1, 2, 3], collapsedSliceDims=[], startIndexMap=[1], indexVectorDim=1, sliceSizes=[2, 2, 4]
    )
    path = one("GATHER", [free(X), free(starts)], expected, chosen)
    against_numpy(path, [X, starts], expected)
    assert_close(*compared(path, [[X, starts]]))
