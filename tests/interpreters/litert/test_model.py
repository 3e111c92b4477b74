"""Reading files: packed and sparse constants, and damage that must not reach an operator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from litert_flatbuffers import Graph, Op, T, constant, schema, write
from litert_models import assert_close, compared, floats

from convkit.errors import UnreadableModelError
from convkit.interpreters.litert.model import read_model


def options(kind: str, **values: object) -> object:
    made = getattr(schema(), f"{kind}OptionsT")()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def doubled(**changes: object) -> Path:
    """A file that adds a constant to its input, with parts of it replaced."""
    parts: dict[str, object] = {
        "tensors": [T((2, 3)), constant(floats(3)), T((2, 3))],
        "operators": [Op("ADD", [0, 1], [2], options("Add"))],
        "inputs": [0],
        "outputs": [2],
    }
    return write(Graph(**{**parts, **changes}))


def test_an_honest_file() -> None:
    model = read_model(doubled())
    (operator,) = model.subgraphs[0].operators
    assert (operator.name, operator.place) == ("ADD", "operator 0: t2")
    assert_close(*compared(doubled(), [[floats(2, 3)]]))


def test_options_have_the_schemas_names() -> None:
    chosen = options("Conv2D", padding=1, strideW=1, strideH=2, dilationHFactor=3, fusedActivationFunction=1)
    graph = Graph(
        [T((1, 5, 5, 1)), constant(floats(2, 1, 1, 1)), T((1, 3, 5, 2))], [Op("CONV_2D", [0, 1], [2], chosen)], [0], [2]
    )
    (operator,) = read_model(write(graph)).subgraphs[0].operators
    assert operator.options == {
        "padding": "VALID", "stride_w": 1, "stride_h": 2, "dilation_h_factor": 3, "fused_activation_function": "RELU",
    }  # fmt: skip


def test_four_bits_an_element() -> None:
    levels = np.array([-8, -1, 0, 3, 7, 2], np.int8)
    packed = bytes((int(levels[k]) & 15) | (int(levels[k + 1]) & 15) << 4 for k in range(0, 6, 2))
    weights = T((2, 3), "INT4", packed, scales=(0.5,))
    path = write(Graph([weights, T((2, 3))], [Op("DEQUANTIZE", [0], [1])], [], [1]))
    constant_tensor = read_model(path).subgraphs[0].tensors[0]
    assert constant_tensor.data is not None
    np.testing.assert_array_equal(constant_tensor.data.ravel(), levels)


def test_sparse_constants_are_dense_when_they_are_read() -> None:
    s = schema()
    dense, compressed = s.DimensionMetadataT(), s.DimensionMetadataT()
    dense.denseSize = 3
    compressed.format = 1
    for name, numbers in (("Segments", [0, 1, 1, 3]), ("Indices", [2, 0, 3])):
        vector = s.Uint8VectorT()
        vector.values = numbers
        setattr(compressed, f"array{name}", vector)
        setattr(compressed, f"array{name}Type", s.SparseIndexVector.Uint8Vector)
    sparsity = s.SparsityParametersT()
    sparsity.traversalOrder, sparsity.dimMetadata = [0, 1], [dense, compressed]
    weights = T((3, 4), data=np.array([1, 2, 3], np.float32).tobytes(), sparsity=sparsity)
    (tensor, *_) = read_model(doubled(tensors=[weights, constant(floats(3)), T((3, 4))])).subgraphs[0].tensors
    expected = np.zeros((3, 4), np.float32)
    expected[0, 2], expected[2, 0], expected[2, 3] = 1, 2, 3
    np.testing.assert_array_equal(tensor.data, expected)
    with pytest.raises(UnreadableModelError, match="segments do not fit"):
        compressed.arraySegments.values = [0, 1, 1, 200]
        read_model(doubled(tensors=[weights, constant(floats(3)), T((3, 4))]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"operators": [Op("ADD", [0, 9], [2])]}, "tensor 9 of 3"),
        ({"operators": [Op("ADD", [0, -7], [2])]}, "tensor -7 of 3"),
        ({"operators": [Op("ADD", [0, 1], [5])]}, "tensor 5 of 3"),
        ({"inputs": [4]}, "tensor 4 of 3"),
        ({"tensors": [T((2, 3)), T((1 << 20, 1 << 20), data=b"1234"), T((2, 3))]}, "needs"),
        ({"tensors": [T((2, 3)), T((4,), "INT8", b"1234", scales=(1.0, 2.0)), T((2, 3))]}, "2 scales along axis 0"),
        ({"operators": [Op("CALL", [0], [2], options("Call", subgraph=7))]}, "subgraph 7 of 1"),
        ({"operators": [Op("CALL", [0], [2], options("Call", subgraph=0))]}, "calls itself"),
        ({"operators": [Op("IF", [0], [2], options("If"))]}, "calls itself"),
    ],
)  # fmt: skip
def test_damage(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UnreadableModelError, match=message):
        read_model(doubled(**changes))


def test_subgraphs_that_call_each_other() -> None:
    tensors = [T((1,)), T((1,))]
    graphs = [Graph(tensors, [Op("CALL", [0], [1], options("Call", subgraph=other))], [0], [1]) for other in (1, 0)]
    with pytest.raises(UnreadableModelError, match="calls itself"):
        read_model(write(*graphs))


def test_every_truncation_is_an_error_or_a_model() -> None:
    whole = doubled().read_bytes()
    for length in range(8, len(whole), 7):
        path = doubled()
        path.write_bytes(whole[:length])
        try:
            read_model(path)
        except UnreadableModelError as error:
            assert "truncated or corrupt" in error.message


def test_flipped_bytes_are_an_error_or_a_model() -> None:
    whole = doubled().read_bytes()
    path = doubled()
    generator = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(whole)
        for place in generator.integers(8, len(whole), 3):
            broken[place] = generator.integers(256)
        path.write_bytes(bytes(broken))
        try:
            read_model(path)
        except UnreadableModelError as error:
            assert "truncated or corrupt" in error.message
