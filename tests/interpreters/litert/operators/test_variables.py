"""Resource variables against LiteRT's interpreter: what one run assigns, the next one reads."""

from __future__ import annotations

from typing import Any

import numpy as np
from litert_flatbuffers import Graph, Op, T, constant, schema, write
from litert_models import artifact, assert_close, compared, floats, operators_of

from convkit.components import ConversionRequest
from convkit.converters import litert_to_pytorch as converter
from convkit.legalization.target import Verdict

HANDLE = T((), "RESOURCE")
LEVELS: dict[str, Any] = {"scales": (0.25,), "zero_points": (5,)}


def handle(name: str) -> Any:
    made = schema().VarHandleOptionsT()
    made.sharedName = name
    return made


def once() -> Any:
    made = schema().CallOnceOptionsT()
    made.initSubgraphIndex = 1
    return made


def test_two_variables_of_a_module(tmp_path: Any) -> None:
    """A running sum and a count, as TensorFlow's converter writes them."""
    import tensorflow as tf

    module = tf.Module()
    module.total, module.count = tf.Variable(np.zeros(4, np.float32)), tf.Variable(np.float32(1))

    @tf.function(input_signature=[tf.TensorSpec([4], tf.float32, "x")])
    def mean(x: Any) -> Any:
        return {"mean": module.total.assign_add(x) / module.count.assign_add(1.0)}

    module.mean = mean
    tf.saved_model.save(module, str(tmp_path / "saved"), {"mean": mean})
    path = tmp_path / "model.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved")).convert())
    assert {"READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"} <= operators_of(path)
    assert_close(*compared(path, [[floats(4, seed=k)] for k in range(4)]))


def streaming() -> Any:
    """A ring of int8 slices, as streaming wake-word models have them: the last two slices of three, and the new one behind."""
    ring, new = T((1, 3, 4), "INT8", **LEVELS), T((1, 1, 4), "INT8", **LEVELS)
    bounds = [constant(np.array(v, np.int32)) for v in ([0, 1, 0], [1, 3, 4], [1, 1, 1])]
    concatenated, sliced = schema().ConcatenationOptionsT(), schema().StridedSliceOptionsT()
    concatenated.axis = 1
    main = Graph(
        [new, HANDLE, ring, *bounds, T((1, 2, 4), "INT8", **LEVELS), ring],
        [
            Op("CALL_ONCE", [], [], once()),
            Op("VAR_HANDLE", [], [1], handle("ring")),
            Op("READ_VARIABLE", [1], [2], schema().ReadVariableOptionsT()),
            Op("STRIDED_SLICE", [2, 3, 4, 5], [6], sliced),
            Op("CONCATENATION", [6, 0], [7], concatenated),
            Op("ASSIGN_VARIABLE", [1, 7], [], schema().AssignVariableOptionsT()),
        ],
        [0],
        [7],
    )
    first = Graph(
        [HANDLE, constant(np.full((1, 3, 4), 5, np.int8), **LEVELS)],
        [Op("VAR_HANDLE", [], [0], handle("ring")), Op("ASSIGN_VARIABLE", [0, 1], [], schema().AssignVariableOptionsT())],
        [],
        [],
    )
    return write(main, first)


def test_a_ring_of_levels() -> None:
    slices = np.random.default_rng(0).integers(-128, 128, (5, 1, 1, 4)).astype(np.int8)
    expected, got = compared(streaming(), [[s] for s in slices])
    assert_close(expected, got, 0)
    (name,) = got[-1]
    np.testing.assert_array_equal(got[-1][name], slices[2:].reshape(1, 3, 4))


def test_a_ring_of_levels_in_float() -> None:
    slices = np.random.default_rng(0).integers(-128, 128, (4, 1, 1, 4)).astype(np.int8)
    assert_close(*compared(streaming(), [[s] for s in slices], dequantize=True), 0)


def test_a_variable_without_a_first_value_is_refused(tmp_path: Any) -> None:
    graph = Graph(
        [T((2,)), HANDLE, T((2,)), T((2,))],
        [
            Op("VAR_HANDLE", [], [1], handle("total")),
            Op("READ_VARIABLE", [1], [2], schema().ReadVariableOptionsT()),
            Op("ADD", [0, 2], [3], schema().AddOptionsT()),
        ],
        [0],
        [3],
    )
    source = artifact(write(graph))
    findings = converter.check(ConversionRequest(source, tmp_path / "m.pt2", source.signature))
    (gap,) = [f for f in findings if f.verdict is Verdict.GAP]
    assert (gap.operator, gap.where) == ("READ_VARIABLE", ("operator 1: t2",))
    assert "no CALL_ONCE gives it a first value" in gap.reason
