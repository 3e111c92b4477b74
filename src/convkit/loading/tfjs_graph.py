"""The topology of a TF.js graph model as a TensorFlow GraphDef that TensorFlow can run.

The JSON is the proto's own (protobuf's JSON mapping), with four departures: the values of constants lie in the shards, strings
may be lists of character codes, there are operators that only TF.js has, and the dtypes are those of the model that TF.js was
given, not the ones that TF.js computes in.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convkit.loading.tfjs_bodies import Body
from convkit.loading.tfjs_control_flow import ControlFlow, structured
from convkit.loading.tfjs_dtypes import adapt_dtypes, narrow_signature
from convkit.loading.tfjs_rewrites import rewrite
from convkit.loading.tfjs_tensor_arrays import arrays_as_lists
from convkit.loading.tfjs_tracing import trace
from convkit.readers.damage import DamagedFileError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ImportedGraph", "import_topology"]

_INTERNAL_ATTRIBUTE = "_"
_MOST_REPEATED = 1 << 24
"""Elements of a constant in the topology: weights are in the shards, and TF.js reads none elsewhere."""


@dataclass(frozen=True)
class ImportedGraph:
    """A graph of TensorFlow operators, in TF.js's dtypes throughout, and where the tensors of the file's own names went.

    Attributes:
        body: Its nodes; tells the tensor behind a name.
        flow: The same with its loops and branches as such.
        library: A GraphDef with the functions that the nodes call.
    """

    body: Body
    flow: ControlFlow
    library: Any

    def tensor(self, reference: str) -> str:
        """The tensor ("node:0") that a name of the file ("node", "node:1") stands for.

        Raises:
            DamagedFileError: The graph has no such node.
        """
        return self.body.resolved(reference)

    def dtypes(self, tensors: Iterable[str]) -> list[int]:
        """The DataTypes of tensors, as `tensor` names them."""
        return [self.body.dtype(tensor) for tensor in tensors]

    def trace(self, feeds: Mapping[str, Any], tensors: Sequence[str]) -> list[Any]:
        """Computes tensors in TensorFlow's default graph, from TensorFlow tensors for some others."""
        return trace(self.flow, self.library, feeds, tensors)


def import_topology(topology: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> ImportedGraph:
    """Builds the GraphDef.

    Args:
        topology: `modelTopology` of a `model.json`.
        weights: An array per constant, by node name.

    Raises:
        DamagedFileError: It is no GraphDef; a constant has no weight; nodes have one name, or an input that is not there.
        ConversionError: An operator has a form that TensorFlow does not have.
    """
    from tensorflow.python.framework import versions

    graph = _parsed(topology)
    _give_own_names(graph)
    graph.versions.Clear()
    graph.versions.producer = versions.GRAPH_DEF_VERSION
    body = _prepared(Body.of_graph(graph), weights)
    flow = structured(body)
    del graph.node[:]
    for function in graph.library.function:
        inner = _prepared(Body.of_function(function), weights)
        inner.write_to(function)
        narrow_signature(function)
    return ImportedGraph(body, flow, graph)


def _prepared(body: Body, weights: Mapping[str, np.ndarray]) -> Body:
    body.refuse_missing_inputs()
    for node in body.nodes.values():
        if node.op == "Const":
            _fill(node, weights)
    rewrite(body)
    arrays_as_lists(body)
    for node in body.nodes.values():
        _without_foreign_attributes(node)
    adapt_dtypes(body)
    body.settle()
    return body


def _parsed(topology: Mapping[str, Any]) -> Any:
    from google.protobuf import json_format
    from tensorflow.core.framework import graph_pb2

    _decode_character_codes(topology)
    try:
        return json_format.ParseDict(topology, graph_pb2.GraphDef(), ignore_unknown_fields=True)
    except json_format.ParseError as error:
        raise DamagedFileError(f"its topology is no TensorFlow graph: {error}") from error


def _give_own_names(graph: Any) -> None:
    """Names the functions of a graph as no other in this process: TensorFlow keeps one register of them for all graphs.

    A file has the names of the process that wrote it, which may be this one.
    """
    from tensorflow.python.framework import ops

    names = {f.signature.name: f"{f.signature.name}_{ops.uid()}" for f in graph.library.function}
    for function in graph.library.function:
        function.signature.name = names[function.signature.name]
    for node in (*graph.node, *(n for f in graph.library.function for n in f.node_def)):
        for value in node.attr.values():
            for called in [value.func] if value.HasField("func") else value.list.func if value.HasField("list") else ():
                called.name = names.get(called.name, called.name)


def _decode_character_codes(topology: Mapping[str, Any]) -> None:
    """Turns strings that are lists of bytes into base64, in place; TF.js 1 wrote them so."""
    for node in _json_nodes(topology):
        for value in (node.get("attr") or {}).values():
            for holder in (value, value.get("list") or {}):
                if "s" in holder:
                    holder["s"] = _base64(holder["s"], nested=holder is not value)


def _base64(text: Any, *, nested: bool) -> Any:
    if nested:
        return [_base64(each, nested=False) for each in text]
    return base64.b64encode(bytes(text)).decode() if isinstance(text, list) else text


def _json_nodes(topology: Mapping[str, Any]) -> Iterable[Any]:
    yield from topology.get("node") or ()
    for function in (topology.get("library") or {}).get("function") or ():
        yield from function.get("nodeDef") or ()


def _fill(node: Any, weights: Mapping[str, np.ndarray]) -> None:
    """Puts the weight of that name into a constant, unless the topology itself has the value."""
    import tensorflow as tf

    if node.name in weights:
        tensor = tf.make_tensor_proto(weights[node.name])
        node.attr["value"].tensor.CopyFrom(tensor)
    elif not _has_value(node.attr["value"].tensor):
        raise DamagedFileError(f"its constant {node.name!r} has no weight")
    elif _elements(node.attr["value"].tensor) > _MOST_REPEATED:
        raise DamagedFileError(f"its constant {node.name!r} has too large a shape to stand in the topology")
    node.attr["dtype"].type = node.attr["value"].tensor.dtype


def _elements(tensor: Any) -> int:
    """How many there are; a proto may give one number for all."""
    return math.prod(abs(dim.size) for dim in tensor.tensor_shape.dim)


def _has_value(tensor: Any) -> bool:
    return bool(tensor.tensor_content) or any(field.name.endswith("_val") for field, _ in tensor.ListFields())


def _without_foreign_attributes(node: Any) -> None:
    """Removes attributes that TensorFlow's operator does not have: internal ones, and those of another version."""
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(node.op)
    if definition is None:
        raise DamagedFileError(f"its node {node.name!r} has the unknown operator {node.op!r}")
    known = {attribute.name for attribute in definition.attr}
    for name in list(node.attr):
        if name.startswith(_INTERNAL_ATTRIBUTE) or name not in known:
            del node.attr[name]
    node.device = ""
