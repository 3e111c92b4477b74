"""Restoring dynamic dimensions: primes, and constants that no size can be read off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from torch import nn
from torch.export import Dim

from convkit.errors import ConversionError
from convkit.legalization.litert_dynamic import restore_dynamic_dims
from convkit.legalization.prime_sizes import DynamicSizes, SizeOrigin, pin_sizes
from convkit.loading.tflite_signature import rename_edges
from convkit.signature import Signature, TensorSpec

SYMBOL = sympy.Symbol("n", integer=True, positive=True)
SIZES = DynamicSizes({"n": 13}, {14: SYMBOL + 1}, {"n": SizeOrigin(0, 0)}, (), {"n": 1})
SIGNATURE = Signature((TensorSpec("x", "float32", ("n", 2)),), (TensorSpec("y", "float32", ("n", 2)),))


def model_that_adds(constant: np.ndarray, builtin: str = "ADD") -> Any:
    """`y = x + constant` for x[13, 2]."""
    model, graph, operator, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorT(), schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, builtin)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
    model.version, model.operatorCodes, model.subgraphs, model.signatureDefs = 3, [code], [graph], []
    model.buffers = [schema.BufferT(), schema.BufferT()]
    model.buffers[1].data = np.frombuffer(constant.tobytes(), np.uint8)
    graph.tensors = []
    for name, shape, buffer in (("x", (13, 2), 0), ("c", constant.shape, 1), ("y", (13, 2), 0)):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, np.array(shape, np.int32), buffer
        tensor.type = schema.TensorType.FLOAT32
        graph.tensors.append(tensor)
    graph.inputs, graph.outputs, graph.operators = np.array([0]), np.array([2]), [operator]
    operator.inputs, operator.outputs, operator.opcodeIndex = np.array([0, 1]), np.array([2]), 0
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
    return model


def run(model: Any, path: Path, x: np.ndarray) -> np.ndarray:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    rename_edges(path, SIGNATURE)
    return Interpreter(str(path)).get_signature_runner("serving_default")(x=x)["y"]  # type: ignore[no-any-return]


def test_equal_slices_of_a_constant_are_broadcast(tmp_path: Path) -> None:
    model = model_that_adds(np.tile(np.array([[1, 2]], np.float32), (13, 1)))
    restore_dynamic_dims(model, SIZES)
    assert len(model.subgraphs[0].operators) == 1
    for batch in (1, 13, 5):
        x = np.ones((batch, 2), np.float32)
        np.testing.assert_array_equal(run(model, tmp_path / "m.tflite", x), x + np.array([1, 2]))


def test_a_constant_that_varies_with_the_size_is_refused() -> None:
    model = model_that_adds(np.random.default_rng(0).normal(size=(13, 2)).astype(np.float32))
    with pytest.raises(ConversionError, match=r"ADD 'y' uses 13 constant values that depend on the dynamic size n"):
        restore_dynamic_dims(model, SIZES)


def test_an_operator_that_hides_its_sizes_is_refused() -> None:
    model = model_that_adds(np.ones((13, 2), np.float32), "STABLEHLO_PAD")
    with pytest.raises(ConversionError, match="fixes its sizes"):
        restore_dynamic_dims(model, SIZES)


def test_sizes_resolve_to_products_and_known_expressions() -> None:
    assert SIZES.resolve(8) == 8
    assert SIZES.resolve(13) == SYMBOL
    assert SIZES.resolve(13 * 13 * 4) == 4 * SYMBOL**2
    assert SIZES.resolve(14) == SYMBOL + 1
    assert (SIZES.default(26), SIZES.default(14), SIZES.default(8)) == (2, 2, 8)


class Shapes(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, x[:, :1]], 1).reshape(-1, 11)


def pinned(low: int, high: int) -> DynamicSizes:
    dynamic = ({0: Dim("a", min=low, max=high)},)
    return pin_sizes(torch.export.export(Shapes(), (torch.randn(high, 10),), dynamic_shapes=dynamic)).sizes


def test_a_prime_divides_no_size_of_the_program_and_is_in_range() -> None:
    (prime,) = pinned(2, 500).primes.values()
    assert prime not in {2, 5, 11} and sympy.isprime(prime)
    assert pinned(3, 8).primes.popitem()[1] == 7  # 5 divides 10


def test_a_range_without_a_prime_is_refused() -> None:
    program = torch.export.export(nn.ReLU(), (torch.randn(2, 9),), dynamic_shapes=({1: Dim("length", min=8, max=10)},))
    with pytest.raises(ConversionError, match=r"in 8…10"):
        pin_sizes(program)


def test_a_batch_may_be_pinned_beyond_its_bound() -> None:
    assert pinned(8, 10).primes.popitem()[1] > 10


def test_two_sizes_get_different_primes_and_the_origins_of_derived_ones_are_known() -> None:
    half = Dim("half", min=2, max=200)
    dynamic = ({0: Dim("batch", max=300), 1: 2 * half},)
    sizes = pin_sizes(torch.export.export(nn.ReLU(), (torch.randn(6, 10),), dynamic_shapes=dynamic)).sizes
    assert len(set(sizes.primes.values())) == 2
    assert {(o.axis, o.scale, o.offset) for o in sizes.origins.values()} == {(0, 1, 0), (1, 2, 0)}
