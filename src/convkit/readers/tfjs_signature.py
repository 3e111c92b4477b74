"""The inputs and outputs of a TF.js graph model: those that the file names, else those that its graph shows.

What TF.js itself does: tfjs-converter/src/operations/operation_mapper.ts (transformGraph).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from convkit.readers.damage import DamagedFileError
from convkit.signature import Dim, Signature, TensorSpec, dynamic_dim

__all__ = ["SIGNATURE_KEY", "Edge", "GraphEdges", "graph_edges"]

SIGNATURE_KEY = "convkit_signature"
"""Where convkit's writer keeps what a TF.js signature cannot hold: `userDefinedMetadata` is the format's place for it."""

_DTYPES = {
    "DT_FLOAT": "float32", "DT_INT32": "int32", "DT_BOOL": "bool", "DT_STRING": "string", "DT_COMPLEX64": "complex64",
    "DT_INT64": "int64", "DT_HALF": "float16", "DT_DOUBLE": "float64", "DT_UINT8": "uint8", "DT_INT8": "int8",
    "DT_UINT16": "uint16", "DT_INT16": "int16", "DT_RESOURCE": "resource", "DT_VARIANT": "variant",
}  # fmt: skip
_NUMBERS = {1: "DT_FLOAT", 2: "DT_DOUBLE", 3: "DT_INT32", 4: "DT_UINT8", 7: "DT_STRING", 8: "DT_COMPLEX64", 9: "DT_INT64",
            10: "DT_BOOL", 19: "DT_HALF", 20: "DT_RESOURCE", 21: "DT_VARIANT"}  # fmt: skip
# dtypes that TF.js does not have → those that it computes them in
_COMPUTED = {
    **dict.fromkeys(("int8", "uint8", "int16", "uint16", "uint32", "int64", "uint64"), "int32"),
    **dict.fromkeys(("float16", "bfloat16", "float64"), "float32"),
    "complex128": "complex64",
}
_TRUTHS = "All Any Equal Greater GreaterEqual IsFinite IsInf IsNan Less LessEqual LogicalAnd LogicalNot LogicalOr NotEqual"
_INDICES = "ArgMax ArgMin NonMaxSuppressionV2 NonMaxSuppressionV3 Rank Shape ShapeN Size TensorArraySizeV3 TensorListLength Where"
_PASSING = ("ExpandDims", "Identity", "Reshape", "Slice", "Squeeze", "StopGradient", "StridedSlice", "Transpose")
_INPUTS = ("Placeholder", "PlaceholderWithDefault")
_NO_RESULTS = frozenset(("Const", "NoOp", *_INPUTS))
_CHAIN = 64


@dataclass(frozen=True)
class Edge:
    """One input or output, and the tensor of the graph ("Identity:0") that it is."""

    spec: TensorSpec
    tensor: str


@dataclass(frozen=True)
class GraphEdges:
    """All of them, in order, and what a user should know about how they were found."""

    inputs: tuple[Edge, ...]
    outputs: tuple[Edge, ...]
    notes: tuple[str, ...] = ()

    @property
    def signature(self) -> Signature:
        return Signature(tuple(e.spec for e in self.inputs), tuple(e.spec for e in self.outputs))


def graph_edges(model: Mapping[str, Any]) -> GraphEdges:
    """Reads them from a `model.json` of a graph model.

    Raises:
        DamagedFileError: two nodes or two edges have one name, or a shape or dtype is none.
    """
    nodes = _nodes(model["modelTopology"]["node"])
    recorded = model.get("signature") or (model.get("userDefinedMetadata") or {}).get("signature") or {}
    inputs, outputs = recorded.get("inputs") or {}, recorded.get("outputs") or {}
    notes = []
    if not inputs and not outputs:
        notes.append("no signature: inputs and outputs are the graph's placeholders and its unused results")
    elif not inputs:
        notes.append("the signature names no inputs: they are the graph's placeholders")
    found = GraphEdges(
        # What has a resourceId (a hash table) comes from the model's own initialiser.
        tuple(_recorded(key, info, nodes) for key, info in inputs.items() if info.get("resourceId") is None)
        or tuple(_placeholders(nodes)),
        tuple(_recorded(key, info, nodes) for key, info in outputs.items()) or tuple(_unused_results(nodes)),
        tuple(notes),
    )
    return _in_source_order(found, (model.get("userDefinedMetadata") or {}).get(SIGNATURE_KEY))


def _nodes(nodes: Sequence[Any]) -> dict[str, Any]:
    by_name: dict[str, Any] = {}
    for node in nodes:
        name = node["name"]
        if not isinstance(name, str) or not isinstance(node["op"], str):
            raise DamagedFileError("a node of its topology has no name or no operator")
        if name in by_name:
            raise DamagedFileError(f"it has two nodes called {name!r}")
        by_name[name] = node
    return by_name


def _node_of(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]


def _attribute(node: Any, name: str) -> Any:
    return (node.get("attr") or {}).get(name) or {}


def _placeholders(nodes: Mapping[str, Any]) -> Iterator[Edge]:
    for name, node in nodes.items():
        if node["op"] == _INPUTS[0]:
            shape = _shape(name, _attribute(node, "shape").get("shape"))
            yield Edge(TensorSpec(name, _dtype(_attribute(node, "dtype").get("type")), shape), f"{name}:0")


def _unused_results(nodes: Mapping[str, Any]) -> Iterator[Edge]:
    used = {_node_of(str(source)) for node in nodes.values() for source in node.get("input") or ()}
    for name, node in nodes.items():
        if name not in used and node["op"] not in _NO_RESULTS:
            yield Edge(TensorSpec(name, _computed_dtype(nodes, name), None), f"{name}:0")


def _recorded(key: str, info: Any, nodes: Mapping[str, Any]) -> Edge:
    tensor = str(info.get("name") or key)
    declared = info.get("dtype")
    dtype = _dtype(declared) if declared else _computed_dtype(nodes, tensor)
    return Edge(TensorSpec(key, dtype, _shape(key, info.get("tensorShape"))), tensor)


def _computed_dtype(nodes: Mapping[str, Any], tensor: str) -> str:
    """The dtype of a tensor that no signature declares, by the operator that computes it, in TF.js's dtypes."""
    node = _giving(nodes, tensor)
    for _ in range(_CHAIN):
        sources = node.get("input") or ()
        if node["op"] not in _PASSING or not sources:
            break
        tensor = str(sources[0])
        node = _giving(nodes, tensor)
    index = tensor.partition(":")[2]
    if node["op"] in _TRUTHS.split():
        return "bool"
    if node["op"] in _INDICES.split() or (node["op"].startswith("NonMaxSuppression") and index in ("", "0")):
        return "int32"
    keys = ("DstT", "out_type", "output_type", "dtype", "T")
    title = next((_attribute(node, key).get("type") for key in keys if _attribute(node, key).get("type")), None)
    dtype = _dtype(title)
    return "int32" if dtype.startswith(("int", "uint")) else "float32" if dtype.startswith("float") else dtype


def _giving(nodes: Mapping[str, Any], tensor: str) -> Any:
    if (node := nodes.get(_node_of(tensor))) is None:
        raise DamagedFileError(f"it names the tensor {tensor!r}, which no node of its graph gives")
    return node


def _dtype(title: Any) -> str:
    """numpy's name; the converter leaves the dtype out where it is the default."""
    return _DTYPES.get(str(_NUMBERS.get(title, title) or "DT_FLOAT"), "variant")


def _shape(name: str, shape: Any) -> tuple[Dim, ...] | None:
    """Sizes are 64-bit numbers, which JSON has as strings; -1 is dynamic."""
    if not isinstance(shape, dict) or shape.get("unknownRank"):
        return None
    sizes = [int(dim.get("size", -1)) for dim in shape.get("dim") or ()]
    if any(not -1 <= size < 1 << 31 for size in sizes):
        raise DamagedFileError(f"{name!r} has the shape {sizes}")
    return tuple(size if size >= 0 else dynamic_dim(name, axis) for axis, size in enumerate(sizes))


def _in_source_order(found: GraphEdges, recorded: Any) -> GraphEdges:
    """In the order of the model that convkit wrote the file from, with its dimensions' names and its dtypes."""
    try:
        source = Signature.from_json(recorded)
    except (LookupError, TypeError, AttributeError):
        return found
    sides = []
    for mine, theirs in ((found.inputs, source.inputs), (found.outputs, source.outputs)):
        by_name = {edge.spec.name: edge for edge in mine}
        if set(by_name) != {spec.name for spec in theirs} or len(by_name) != len(theirs):
            return found
        sides.append(tuple(_as_declared(by_name[spec.name], spec) for spec in theirs))
    return GraphEdges(sides[0], sides[1], found.notes)


def _as_declared(edge: Edge, source: TensorSpec) -> Edge:
    """With the source's symbols, and its dtype where TF.js computes that as the file says: a runtime narrows, and widens."""
    own = edge.spec
    dtype = source.dtype if _COMPUTED.get(source.dtype) == own.dtype else own.dtype
    shape = own.shape
    if shape is not None and source.shape is not None and len(shape) == len(source.shape):
        pairs = zip(shape, source.shape, strict=True)
        shape = tuple(theirs if isinstance(mine, str) and isinstance(theirs, str) else mine for mine, theirs in pairs)
    return replace(edge, spec=replace(own, dtype=dtype, shape=shape))
