"""ONNX: a serialized ModelProto, with its large tensors inside or in files beside it (never read here).

External data: https://github.com/onnx/onnx/blob/main/docs/ExternalData.md. Locations that leave the model's directory are
refused as in onnx's own CVE-2022-25882 and CVE-2024-27318.
"""

from __future__ import annotations

import math
import mmap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convkit.artifact import ModelInfo
from convkit.errors import UnreadableModelError
from convkit.formats import Variant
from convkit.readers.companions import companion
from convkit.readers.damage import DamagedFileError
from convkit.readers.half_precision import half_metadata
from convkit.readers.index_bounds import Lookup, Node, index_bounds
from convkit.readers.input_domains import input_domains
from convkit.readers.onnx_arithmetic import steps
from convkit.readers.protobuf import BYTES, VARINT, parse, top_level_fields
from convkit.signature import Dim, Signature, TensorSpec, dynamic_dim

__all__ = ["matches", "read"]

# Top-level fields of ModelProto (onnx.proto) and their wire types.
_MODEL_FIELDS = {
    1: VARINT, 2: BYTES, 3: BYTES, 4: BYTES, 5: VARINT, 6: BYTES, 7: BYTES, 8: BYTES, 14: BYTES, 20: BYTES, 25: BYTES,
    26: BYTES,
}  # fmt: skip
_IR_VERSION, _GRAPH, _OPSET_IMPORT = 1, 7, 8
# Tags of what exporters write after the IR version: producer, domain, graph, opset.
_AFTER_VERSION = {b"\x12", b"\x22", b"\x3a", b"\x42"}
_STANDARD_DOMAINS = ("", "ai.onnx")
_MOVES = frozenset(("Cast", "Expand", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze"))
_KNOWN_DOMAINS = {
    "com.microsoft": "ONNX Runtime (operators of com.microsoft)",
    "ai.onnx.ml": "a runtime with the ai.onnx.ml operators",
    "ai.onnx.training": "a runtime with the ai.onnx.training operators",
    "ai.onnx.preview.training": "a runtime with the ai.onnx.preview.training operators",
}


def matches(path: Path, head: bytes) -> Variant | None:
    """A protocol buffer whose top-level fields are a ModelProto's: a graph, and a version of the IR or of an opset."""
    if not head or head[0] >> 3 not in _MODEL_FIELDS:
        return None
    seen: set[int] = set()
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for number, wire_type, start, end in top_level_fields(data):
                if _MODEL_FIELDS.get(number) != wire_type:
                    return None
                if number == _IR_VERSION and not (end - start == 1 and 1 <= data[start] <= 100):
                    return None
                seen.add(number)
    except DamagedFileError as error:
        # Enough of it was there to say that this is a damaged model, and not some other file.
        if _IR_VERSION in seen and (_GRAPH in seen or head[2:3] in _AFTER_VERSION):
            raise UnreadableModelError(
                f"{path} is a truncated or corrupt ONNX file ({error})",
                hint="compare its size with the original, and download or save it again",
            ) from error
        return None
    return Variant.ONNX if _GRAPH in seen and seen & {_IR_VERSION, _OPSET_IMPORT} else None


def read(path: Path, variant: Variant) -> ModelInfo:
    import onnx

    model = parse(onnx.ModelProto(), path.read_bytes())
    walk = _Walk(model)
    external = _external_files(path, walk.tensors)
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    metadata: dict[str, Any] = {"ir_version": model.ir_version, "opsets": opsets}
    producer = f"{model.producer_name} {model.producer_version}".strip()
    if producer:
        metadata["producer"] = producer
    if model.functions:
        metadata["functions"] = [_qualified(f.domain, f.name) for f in model.functions]
    if external:
        metadata["external_data"] = sorted(file.name for file in external)
    signature = _signature(model.graph)
    if bounds := index_bounds(signature.input_names, _lookups(model.graph)):
        metadata["index_bounds"] = bounds
    if domains := input_domains(signature.inputs, steps(model.graph)):
        metadata["input_domains"] = domains
    metadata |= half_metadata(walk.computed)
    if model.metadata_props:
        metadata["metadata_props"] = {entry.key: entry.value[:200] for entry in model.metadata_props[:50]}
    return ModelInfo(
        variant,
        path,
        path.stat().st_size + sum(file.stat().st_size for file in external),
        signatures=(signature,),
        operators=walk.operators,
        parameters=walk.parameters,
        metadata=metadata,
        requires=_requirements(walk.domains, opsets),
    )


def _lookups(graph: Any) -> Iterator[Lookup | Node]:
    """Gathers from constant tables, and the comparison with 0, 1, 2, … that tf2onnx writes for a one-hot."""
    import onnx

    tables = {tensor.name: tensor for tensor in graph.initializer}
    tables |= {n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant" and n.output and n.attribute}
    for node in graph.node:
        if node.op_type in _MOVES and node.input:
            yield Node(node.input[0], tuple(node.output))
        elif node.op_type == "Where" and len(node.input) == 3:
            # Keras counts negative indices from the end: where(index < 0, index + rows, index).
            yield Node(node.input[2], tuple(node.output))
        elif node.op_type == "Gather" and len(node.input) == 2 and node.input[0] in tables:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            dims = tables[node.input[0]].dims
            if -len(dims) <= axis < len(dims):
                yield Lookup(node.input[1], dims[axis])
        elif node.op_type == "Equal":
            for name, other in (tuple(node.input), tuple(reversed(node.input))):
                table = tables.get(other)
                if table is None or table.data_type not in (onnx.TensorProto.INT32, onnx.TensorProto.INT64):
                    continue
                # An external table cannot be read here, and no one-hot is that large.
                if table.data_location != onnx.TensorProto.EXTERNAL and 1 < _elements(table) < 1 << 20:
                    values = onnx.numpy_helper.to_array(table).ravel()
                    if bool((values == range(len(values))).all()):
                        yield Lookup(name, len(values))


def _qualified(domain: str, name: str) -> str:
    return name if domain in _STANDARD_DOMAINS else f"{domain}::{name}"


# TensorProto's codes.
_HALVES = {10: "float16", 16: "bfloat16"}


class _Walk:
    """One pass over the graph, its subgraphs and the model's functions.

    A function's body counts once, and its calls do not count: they are not operators that a runtime must have.
    """

    def __init__(self, model: Any) -> None:
        self.operators: Counter[str] = Counter()
        self.domains: dict[str, set[str]] = {}
        self.tensors: list[Any] = []
        self.parameters = 0
        self.computed: set[str] = set()
        self._functions = {(f.domain, f.name) for f in model.functions}
        self._graph(model.graph)
        for function in model.functions:
            self._nodes(function.node)

    def _graph(self, graph: Any) -> None:
        for tensor in graph.initializer:
            self.tensors.append(tensor)
            self.parameters += _elements(tensor)
        for sparse in graph.sparse_initializer:
            self.tensors += [sparse.values, sparse.indices]
            self.parameters += _elements(sparse.values)
        self._nodes(graph.node)

    def _nodes(self, nodes: Any) -> None:
        for node in nodes:
            if (node.domain, node.op_type) not in self._functions:
                self.operators[_qualified(node.domain, node.op_type)] += 1
                self.domains.setdefault(node.domain, set()).add(node.op_type)
            if node.op_type == "Cast":
                self.computed |= {_HALVES[a.i] for a in node.attribute if a.name == "to" and a.i in _HALVES}
            for attribute in node.attribute:
                for graph in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                    self._graph(graph)
                if attribute.HasField("t"):
                    self.tensors.append(attribute.t)
                self.tensors += attribute.tensors


def _elements(tensor: Any) -> int:
    """Raises DamagedFileError for a negative size."""
    if any(d < 0 for d in tensor.dims):
        raise DamagedFileError(f"the tensor {tensor.name!r} has the shape {list(tensor.dims)}")
    return math.prod(tensor.dims)


def _requirements(domains: dict[str, set[str]], opsets: dict[str, int]) -> tuple[str, ...]:
    found = []
    for domain, operators in sorted(domains.items()):
        if domain in _STANDARD_DOMAINS:
            continue
        if domain in _KNOWN_DOMAINS:
            found.append(_KNOWN_DOMAINS[domain])
        else:
            found += [f"custom operator {domain}::{name}" for name in sorted(operators)]
    if "ai.onnx" in opsets:
        found.append(f"a runtime with ONNX opset {opsets['ai.onnx']}")
    return tuple(found)


def _external_files(path: Path, tensors: list[Any]) -> set[Path]:
    """The files that hold the external tensors; each lies in the model's directory and is long enough.

    Raises:
        UnreadableModelError: naming the tensor.
    """
    import onnx

    files: dict[str, Path] = {}
    for tensor in tensors:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        if location not in files:
            files[location] = companion(path, location, f"tensor {tensor.name!r}")
        offset, length = int(entries.get("offset") or 0), int(entries.get("length") or 0)
        size = files[location].stat().st_size
        if offset < 0 or length < 0 or offset + length > size:
            raise UnreadableModelError(
                f"tensor {tensor.name!r} of {path} lies at bytes {offset} to {offset + length} of {files[location]}, "
                f"which has {size}",
                hint="the external data is truncated or belongs to another model: fetch both files again",
            )
    return set(files.values())


def _signature(graph: Any) -> Signature:
    initializers = {t.name for t in graph.initializer} | {s.values.name for s in graph.sparse_initializer}
    inputs = tuple(_spec(value) for value in graph.input if value.name not in initializers)
    return Signature(inputs, tuple(map(_spec, graph.output)))


def _spec(value: Any) -> TensorSpec:
    """A tensor's type; sequences and optionals have their elements' dtype and no shape."""
    kind = value.type
    for _ in range(8):
        holder = kind.WhichOneof("value")
        if holder not in {"sequence_type", "optional_type"}:
            break
        kind = getattr(kind, holder).elem_type
    tensor = kind.sparse_tensor_type if holder == "sparse_tensor_type" else kind.tensor_type
    known = holder == value.type.WhichOneof("value") and tensor.HasField("shape")
    return TensorSpec(value.name, _dtype(value.name, tensor.elem_type), tuple(_dims(value.name, tensor)) if known else None)


def _dims(name: str, tensor: Any) -> Iterator[Dim]:
    for axis, dim in enumerate(tensor.shape.dim):
        size = dim.dim_value if dim.HasField("dim_value") else -1
        # "?" is what some exporters call every dimension that they do not know; it says nothing of equality.
        yield size if size >= 0 else dim.dim_param.strip("?") or dynamic_dim(name, axis)


def _dtype(name: str, code: int) -> str:
    """numpy's name of an element type, "variant" where the model does not say (an output that was not inferred)."""
    import onnx

    if code == onnx.TensorProto.UNDEFINED:
        return "variant"
    try:
        title: str = onnx.TensorProto.DataType.Name(code).lower()
    except ValueError:
        raise DamagedFileError(f"{name!r} has the unknown element type {code}") from None
    return {"float": "float32", "double": "float64"}.get(title, title)
