"""LiteRT (`.tflite`): a FlatBuffers file with the identifier "TFL3".

Field numbers are those of tensorflow/compiler/mlir/lite/schema/schema.fbs, schema version 3.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from convkit.artifact import ModelInfo
from convkit.formats import Variant
from convkit.readers.damage import DamagedFileError
from convkit.readers.flatbuffer import Table, open_flatbuffer
from convkit.readers.index_bounds import Lookup, Node, index_bounds
from convkit.readers.input_domains import input_domains
from convkit.readers.litert_arithmetic import steps
from convkit.readers.litert_operators import BUILTIN_OPERATORS
from convkit.signature import Dim, Signature, TensorSpec, dynamic_dim

__all__ = ["matches", "read"]

_DTYPE_NAMES = """
float32 float16 int32 uint8 int64 string bool int16 complex64 int8 float64 complex128 uint64 resource variant uint32
uint16 int4 bfloat16 int2 uint4 float8_e4m3fn float8_e5m2
"""
_DTYPES = tuple(_DTYPE_NAMES.split())
_CUSTOM = BUILTIN_OPERATORS.index("CUSTOM")
_MOVES = frozenset(("CAST", "EXPAND_DIMS", "RESHAPE", "SLICE", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE"))
# Keras counts negative indices from the end: select(index < 0, index + rows, index).
_SELECTS = frozenset(("SELECT", "SELECT_V2"))
# Which inputs of a lookup are the table and the indices.
_TABLES = {"GATHER": (0, 1), "EMBEDDING_LOOKUP": (1, 0)}
# Codes up to here fit the deprecated byte-sized field that old files use alone.
_PLACEHOLDER = BUILTIN_OPERATORS.index("PLACEHOLDER_FOR_GREATER_OP_CODES")


def matches(path: Path, head: bytes) -> Variant | None:
    return Variant.TFLITE if head[4:8] == b"TFL3" else None


def read(path: Path, variant: Variant) -> ModelInfo:
    with open_flatbuffer(path) as buffer:
        model = buffer.root()
        _check_buffers(model, buffer.size)
        subgraphs = model.children(2)
        if not subgraphs:
            raise DamagedFileError("it has no subgraph")
        # A subgraph's tables are read once: they can be many, and hostile files make them more.
        tensors = [graph.children(0) for graph in subgraphs]
        codes = [_operator_name(code) for code in model.children(1)]
        operators: Counter[str] = Counter()
        for graph in subgraphs:
            for operator in graph.children(3):
                operators[_pick(codes, operator.number(0, "I"), "operator code")] += 1
        quantization, parameters = _weights(model, tensors)
        signatures = _signatures(model, subgraphs, tensors)
        metadata = _metadata(model, len(subgraphs), quantization)
        if bounds := _index_bounds(subgraphs[0], tensors[0], codes, signatures[0]):
            metadata["index_bounds"] = bounds
        if domains := _input_domains(model, subgraphs[0], tensors[0], codes, signatures[0]):
            metadata["input_domains"] = domains
        return ModelInfo(
            variant,
            path,
            path.stat().st_size,
            signatures=signatures,
            operators=operators,
            parameters=parameters,
            metadata=metadata,
            requires=_requirements(operators),
        )


def _pick(items: Sequence[Any], index: int, what: str) -> Any:
    if not 0 <= index < len(items):
        raise DamagedFileError(f"{what} {index} of {len(items)}")
    return items[index]


def _operator_name(code: Table) -> str:
    """The built-in name, or the custom operator's own."""
    builtin = max(code.number(3, "i"), code.number(0, "b"))
    if builtin == _CUSTOM:
        return code.text(1) or "CUSTOM"
    if builtin == _PLACEHOLDER:
        raise DamagedFileError("an operator code is a placeholder")
    # A newer schema has codes that this table does not; the file can still be described.
    return BUILTIN_OPERATORS[builtin] if 0 <= builtin < len(BUILTIN_OPERATORS) else f"BUILTIN_{builtin}"


def _requirements(operators: Counter[str]) -> tuple[str, ...]:
    custom = sorted(set(operators) - set(BUILTIN_OPERATORS))
    flex = [name.removeprefix("Flex") for name in custom if name.startswith("Flex")]
    found = [f"custom operator {name}" for name in custom if not name.startswith(("Flex", "BUILTIN_"))]
    found += [f"a newer LiteRT (operator code {name[8:]})" for name in custom if name.startswith("BUILTIN_")]
    if flex:
        found.append(f"Flex delegate (TensorFlow operators {', '.join(flex)}), which current Python packages lack")
    return tuple(found)


def _check_buffers(model: Table, size: int) -> None:
    """All weights lie inside the file, also those that a large file stores after its flatbuffer."""
    for index, buffer in enumerate(model.children(4)):
        buffer.length(0, 1)
        offset, length = buffer.number(1, "Q"), buffer.number(2, "Q")
        if offset > 1 and offset + length > size:
            raise DamagedFileError(f"buffer {index} ends at byte {offset + length} of {size}")


def _metadata(model: Table, subgraphs: int, quantization: Counter[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"schema_version": model.number(0, "I")}
    if description := model.text(3):
        found["description"] = description
    buffers = model.children(4)
    for entry in model.children(6):
        if entry.text(0) == "min_runtime_version":
            version = _pick(buffers, entry.number(1, "I"), "buffer").raw(0)
            found["min_runtime_version"] = version.split(b"\0")[0].decode("ascii", "replace")
    found["subgraphs"] = subgraphs
    if quantization:
        found["quantization"] = dict(quantization)
    return found


def _weights(model: Table, tensors: Sequence[Sequence[Table]]) -> tuple[Counter[str], int]:
    """How many tensors are quantized in which way ("int8 per-channel"), and the number of weight elements.

    A constant counts as a weight when it is of a floating-point or a quantized type: shapes and axes are neither.
    """
    filled = [b.length(0, 1) > 0 or b.number(1, "Q") > 1 for b in model.children(4)]
    quantization: Counter[str] = Counter()
    elements: dict[int, int] = {}
    for tensor in (tensor for graph in tensors for tensor in graph):
        dtype = _dtype(tensor)
        scales = _scales(tensor)
        if scales:
            quantization[f"{dtype} {'per-channel' if scales > 1 else 'per-tensor'}"] += 1
        buffer = tensor.number(2, "I")
        if _pick(filled, buffer, "buffer") and (scales or "float" in dtype):
            elements[buffer] = math.prod(tensor.numbers(0, "i"))
    return quantization, sum(elements.values())


def _scales(tensor: Table) -> int:
    """The number of quantization scales, 0 for a tensor that is not quantized."""
    quantization = tensor.child(4)
    return 0 if quantization is None else quantization.length(2, 4)


def _index_bounds(subgraph: Table, tensors: Sequence[Table], codes: Sequence[str], signature: Signature) -> dict[str, int]:
    """Bounds of the inputs that index constant tables, by the signature's names."""
    bounds = index_bounds(map(str, subgraph.numbers(1, "i")), _lookups(subgraph, tensors, codes))
    return {name: bounds[index] for index, name in _names_of_inputs(subgraph, tensors, signature).items() if index in bounds}


def _names_of_inputs(subgraph: Table, tensors: Sequence[Table], signature: Signature) -> dict[str, str]:
    """The inputs' tensors, as the numbers that they have, under the signature's names, which are in another order."""
    inputs = subgraph.numbers(1, "i")
    names = {spec.name for spec in signature.inputs}
    named = {}
    for position, index in enumerate(inputs):
        # serving_default_tokens:0 is what TensorFlow's converter calls the tensor of the input tokens.
        own = _pick(tensors, index, "tensor").text(3).removeprefix("serving_default_").removesuffix(":0")
        named[str(index)] = own if own in names else signature.inputs[position].name if len(names) == len(inputs) else own
    return named


def _input_domains(
    model: Table, subgraph: Table, tensors: Sequence[Table], codes: Sequence[str], signature: Signature
) -> dict[str, dict[str, Any]]:
    """What the graph tells of its inputs' values, by the signature's names."""
    names = _names_of_inputs(subgraph, tensors, signature)
    own = {spec.name: spec for spec in signature.inputs}
    specs = [replace(own[name], name=index) for index, name in names.items() if name in own]
    found = input_domains(specs, steps(subgraph, tensors, model.children(4), codes))
    return {names[index]: domain for index, domain in found.items()}


def _lookups(subgraph: Table, tensors: Sequence[Table], codes: Sequence[str]) -> Iterator[Lookup | Node]:
    for operator in subgraph.children(3):
        name = _pick(codes, operator.number(0, "I"), "operator code")
        given, results = operator.numbers(1, "i"), operator.numbers(2, "i")
        if name in _MOVES and given:
            yield Node(str(given[0]), tuple(map(str, results)))
        elif name in _SELECTS and len(given) == 3:
            yield Node(str(given[2]), tuple(map(str, results)))
        elif name in _TABLES and len(given) >= 2:
            table, indices = (given[i] for i in _TABLES[name])
            rows = _pick(tensors, table, "tensor").numbers(0, "i")[:1]
            # A table that is computed has no buffer of its own: buffer 0 is the empty one.
            if rows and _pick(tensors, table, "tensor").number(2, "I"):
                yield Lookup(str(indices), rows[0])


def _dtype(tensor: Table) -> str:
    name: str = _pick(_DTYPES, tensor.number(1, "b"), "tensor type")
    return name


def _spec(name: str, tensor: Table) -> TensorSpec:
    """`shape_signature` has the dynamic dimensions as -1; `shape` the sizes that the converter saw (1 for those)."""
    if not (tensor.has(0) or tensor.has(7) or tensor.number(8, "?")):
        return TensorSpec(name, _dtype(tensor), None)
    sizes = tensor.numbers(7, "i") or tensor.numbers(0, "i")
    shape: tuple[Dim, ...] = tuple(dynamic_dim(name, axis) if d < 0 else d for axis, d in enumerate(sizes))
    return TensorSpec(name, _dtype(tensor), shape)


def _signatures(model: Table, subgraphs: Sequence[Table], tensors: Sequence[Sequence[Table]]) -> tuple[Signature, ...]:
    found = []
    for definition in model.children(7):
        of_graph = _pick(tensors, definition.number(4, "I"), "subgraph")
        inputs, outputs = (
            tuple(_spec(m.text(0), _pick(of_graph, m.number(1, "I"), "tensor")) for m in definition.children(role))
            for role in (0, 1)
        )
        found.append(Signature(inputs, outputs, definition.text(2) or "serving_default"))
    if found:
        return tuple(found)
    inputs, outputs = (
        _specs_of_subgraph(subgraphs[0].numbers(role, "i"), tensors[0], prefix) for role, prefix in ((1, "input"), (2, "output"))
    )
    return (Signature(inputs, outputs),)


def _specs_of_subgraph(indices: Sequence[int], tensors: Sequence[Table], prefix: str) -> tuple[TensorSpec, ...]:
    """The tensors' own names, unless they cannot tell the tensors apart."""
    chosen = [_pick(tensors, index, "tensor") for index in indices]
    names = [tensor.text(3) for tensor in chosen]
    if len(set(names)) < len(names) or "" in names:
        names = [f"{prefix}_{position}" for position in range(len(chosen))]
    return tuple(_spec(name, tensor) for name, tensor in zip(names, chosen, strict=True))
