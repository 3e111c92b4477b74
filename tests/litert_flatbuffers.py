"""LiteRT files written by hand: operators that today's converters do not make any more, packed and sparse constants, damage."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convkit.readers.litert_operators import BUILTIN_OPERATORS


@dataclass(frozen=True)
class T:
    """One tensor of a hand-written subgraph.

    Attributes:
        shape: Its sizes; -1 for dynamic ones.
        dtype: The schema's name of its type.
        data: The constant's array, or its bytes; None for what is computed.
        scales: Of its levels.
        zero_points: Of its levels.
        axis: Of the scales.
        variable: Whether its value outlives a run.
        sparsity: A `SparsityParametersT`.
        details: A `BlockwiseQuantizationT`, or what else the schema has.
    """

    shape: tuple[int, ...]
    dtype: str = "FLOAT32"
    data: Any = None
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    axis: int = 0
    variable: bool = False
    sparsity: Any = None
    details: Any = None


def constant(array: np.ndarray, **how: Any) -> T:
    return T(array.shape, str(array.dtype).upper(), array, **how)


@dataclass(frozen=True)
class Op:
    """One operator; inputs and outputs are indices of tensors, -1 for one that is left out."""

    name: str
    inputs: Sequence[int]
    outputs: Sequence[int]
    options: Any = None
    custom_options: bytes | None = None


@dataclass(frozen=True)
class Graph:
    """One subgraph."""

    tensors: Sequence[T]
    operators: Sequence[Op]
    inputs: Sequence[int]
    outputs: Sequence[int]


def schema() -> Any:
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


def write(*graphs: Graph, signatures: Sequence[tuple[str, int]] = ()) -> Path:
    """A file with those subgraphs; each signature is a name and its subgraph, and names its tensors a0, a1, … and b0, b1, …."""
    import flatbuffers

    s = schema()
    model = s.ModelT()
    model.version = 3
    model.buffers = [s.BufferT()]
    codes: list[str] = []
    model.subgraphs = [_subgraph(graph, model, codes) for graph in graphs]
    model.operatorCodes = [_code(name) for name in codes]
    model.signatureDefs = [_signature(name, index, graphs[index]) for name, index in signatures]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path = Path(tempfile.mkdtemp(prefix="convkit-tests-")) / "model.tflite"
    path.write_bytes(bytes(builder.Output()))
    return path


def _subgraph(graph: Graph, model: Any, codes: list[str]) -> Any:
    s = schema()
    made = s.SubGraphT()
    made.tensors = [_tensor(number, tensor, model) for number, tensor in enumerate(graph.tensors)]
    made.inputs, made.outputs = list(graph.inputs), list(graph.outputs)
    made.operators = []
    for operator in graph.operators:
        if operator.name not in codes:
            codes.append(operator.name)
        node = s.OperatorT()
        node.opcodeIndex = codes.index(operator.name)
        node.inputs, node.outputs = list(operator.inputs), list(operator.outputs)
        if operator.options is not None:
            kind = type(operator.options).__name__.removesuffix("T")
            second = hasattr(s.BuiltinOptions2, kind)
            target = s.BuiltinOptions2 if second else s.BuiltinOptions
            setattr(node, "builtinOptions2" if second else "builtinOptions", operator.options)
            setattr(node, "builtinOptions2Type" if second else "builtinOptionsType", getattr(target, kind))
        if operator.custom_options is not None:
            node.customOptions = list(operator.custom_options)
        made.operators.append(node)
    return made


def _tensor(number: int, tensor: T, model: Any) -> Any:
    s = schema()
    made = s.TensorT()
    made.name = f"t{number}"
    made.type = getattr(s.TensorType, tensor.dtype)
    made.shape = [1 if size < 0 else size for size in tensor.shape]
    made.shapeSignature = list(tensor.shape) if -1 in tensor.shape else None
    made.hasRank = True
    made.isVariable = tensor.variable
    made.sparsity = tensor.sparsity
    if tensor.data is not None:
        buffer = s.BufferT()
        buffer.data = list(tensor.data if isinstance(tensor.data, bytes) else np.ascontiguousarray(tensor.data).tobytes())
        made.buffer = len(model.buffers)
        model.buffers.append(buffer)
    if tensor.details is not None:
        quantization = s.QuantizationParametersT()
        quantization.details = tensor.details
        quantization.detailsType = getattr(s.QuantizationDetails, type(tensor.details).__name__.removesuffix("T"))
        made.quantization = quantization
    if tensor.scales:
        quantization = s.QuantizationParametersT()
        quantization.scale = list(tensor.scales)
        quantization.zeroPoint = list(tensor.zero_points or [0] * len(tensor.scales))
        quantization.quantizedDimension = tensor.axis
        made.quantization = quantization
    return made


def _code(name: str) -> Any:
    s = schema()
    code = s.OperatorCodeT()
    number = BUILTIN_OPERATORS.index(name) if name in BUILTIN_OPERATORS else s.BuiltinOperator.CUSTOM
    code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
    code.customCode = None if name in BUILTIN_OPERATORS else name
    return code


def _signature(name: str, index: int, graph: Graph) -> Any:
    s = schema()

    def named(prefix: str, tensors: Sequence[int]) -> list[Any]:
        found = []
        for number, tensor in enumerate(tensors):
            entry = s.TensorMapT()
            entry.name, entry.tensorIndex = f"{prefix}{number}", tensor
            found.append(entry)
        return found

    made = s.SignatureDefT()
    made.signatureKey, made.subgraphIndex = name, index
    made.inputs, made.outputs = named("a", graph.inputs), named("b", graph.outputs)
    return made
