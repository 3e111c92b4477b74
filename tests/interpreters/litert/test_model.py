"""Reading files: packed and sparse constants, and damage that must not reach an operator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from litert_flatbuffers import Graph, Op, T, constant, schema, write
from litert_models import assert_close, compared, floats, imported

from convkit.errors import ConversionError, UnreadableModelError
from convkit.interpreters.litert.model import read_model
from convkit.runtimes import pytorch


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


def test_a_constant_without_elements() -> None:
    """The shape of a scalar; nothing in the file tells it from a tensor that is computed, but that nothing computes it."""
    tensors = [T((1, 1)), T((0,), "INT32"), T(()), T((2, 3)), T((2, 3))]
    operators = [Op("RESHAPE", [0, 1], [2], options("Reshape")), Op("ADD", [2, 3], [4], options("Add"))]
    assert_close(*compared(write(Graph(tensors, operators, [0, 3], [4])), [[floats(1, 1), floats(2, 3)]]))


def in_blocks(size: int = 4, scales: int = 2, zero_points: int = 0) -> Path:
    """A product with 4-bit weights [3, 8], two blocks a row; the scales are tensor 2, zero points tensor 3."""
    details = schema().BlockwiseQuantizationT()
    details.scales, details.zeroPoints, details.blockSize = scales, zero_points, size
    levels = np.arange(24) % 16 - 8
    packed = bytes((a & 15) | (b & 15) << 4 for a, b in levels.reshape(-1, 2).tolist())
    tensors = [
        T((2, 8)), T((3, 8), "INT4", packed, details=details), constant(BLOCK_SCALES), constant(np.arange(6, dtype=np.int8)),
        T((2, 3)),
    ]  # fmt: skip
    return write(Graph(tensors, [Op("FULLY_CONNECTED", [0, 1, -1], [4], options("FullyConnected"))], [0], [4]))


BLOCK_SCALES = np.linspace(0.25, 1.5, 6).astype(np.float16).reshape(3, 2)


@pytest.mark.parametrize("zero_points", [0, 3])
def test_one_scale_per_block_of_a_row(zero_points: int) -> None:
    tensor = read_model(in_blocks(zero_points=zero_points)).subgraphs[0].tensors[1]
    levels = (np.arange(24) % 16 - 8).reshape(6, 4) - (np.arange(6)[:, None] if zero_points else 0)
    expected = (levels * BLOCK_SCALES.reshape(6, 1).astype(np.float32)).reshape(3, 8)
    assert (tensor.dtype, tensor.quantization) == ("float32", None)
    np.testing.assert_allclose(tensor.data, expected)


def test_a_product_with_weights_in_blocks() -> None:
    path = in_blocks()
    target, x = imported(path), floats(2, 8)
    assert target.signature is not None
    (found,) = pytorch.load(target).run({target.signature.input_names[0]: x}).values()
    weights = read_model(path).subgraphs[0].tensors[1].data
    assert weights is not None
    np.testing.assert_allclose(found, x @ weights.T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"size": 3}, "6 scales of blocks of 3"), ({"size": 0}, "of blocks of 0"), ({"scales": 9}, "tensor 9 of 5"),
     ({"scales": 4}, "are no constant"), ({"scales": 3, "zero_points": 2, "size": 2}, "6 scales of blocks of 2")],
)  # fmt: skip
def test_blocks_that_do_not_fit(changes: dict[str, int], message: str) -> None:
    with pytest.raises(UnreadableModelError, match=message):
        read_model(in_blocks(**changes))


def test_other_kinds_of_quantization_are_refused() -> None:
    tensors = [T((2, 3)), T((3,), "INT8", b"abc", details=schema().CustomQuantizationT()), T((2, 3))]
    with pytest.raises(ConversionError, match="quantized in a way that the importer does not know"):
        read_model(doubled(tensors=tensors))


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
