"""onnx's own definition of an operator ("function body" on https://onnx.ai/onnx/operators), as a replacement of a node.

The body is asked from the operator's schema, as many bodies depend on attributes and on the types of inputs, and put in the
node's place by onnx's inliner in a model of this one node. Bodies are kept: a network has the same layer many times.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import onnx
import onnx.inliner
import onnx_ir as ir

from convkit.legalization.onnx.building import Builder
from convkit.legalization.onnx.inference import bodies, value_info

__all__ = ["function_body"]

_DOMAIN = "convkit.body"
"""Of the function that is inlined, so that a body may use the operator that it defines."""


def function_body(build: Builder, node: ir.Node, opsets: dict[str, int]) -> list[ir.Value | None] | None:
    """Builds what computes a node by onnx's definition of it; None where onnx has none.

    Args:
        build: Receives the nodes.
        node: The node.
        opsets: The model's; a domain that the body needs besides is added.

    Returns:
        One value per output of the node, None for those that are left out.
    """
    domain = "" if node.domain == "ai.onnx" else node.domain
    opset = opsets.get(domain, 1)
    if not _has_body(domain, node.op_type, opset):
        return None
    inputs = list(dict.fromkeys(v for v in node.inputs if v is not None))
    serialized = _inlined(_lone_model(node, inputs, opsets), domain, opset)
    if serialized is None:
        return None
    body = ir.from_proto(onnx.ModelProto.FromString(serialized))
    for name, version in body.opset_imports.items():
        opsets.setdefault(name, version)
    graph = body.graph
    for formal, actual in zip(list(graph.inputs), inputs, strict=True):
        formal.replace_all_uses_with(actual, replace_graph_outputs=True)
    results = list(graph.outputs)
    graph.outputs.clear()
    nodes = list(graph)
    graph.remove(nodes)
    constants = {}
    for inner in nodes:
        if inner.op_type == "Constant":
            constants[inner.outputs[0]] = _constant(build, inner)
        else:
            for inside in bodies(inner):
                _lift_constants(build, inside)
            build.adopt(inner)
    given = iter(constants.get(r, r) for r in results)
    return [next(given) if output.name else None for output in node.outputs]


def _lift_constants(build: Builder, body: ir.Graph) -> None:
    """Makes the Constant nodes of a body constants of the builder; those that the body gives back pass through an Identity."""
    for node in list(body):
        for inner in bodies(node):
            _lift_constants(build, inner)
        if node.op_type == "Constant":
            if node.outputs[0].is_graph_output():
                identity = ir.node("Identity", [node.outputs[0]])
                body.insert_after(node, identity)
                for index, output in enumerate(body.outputs):
                    if output is node.outputs[0]:
                        body.outputs[index] = identity.outputs[0]
                identity.outputs[0].name = f"{node.outputs[0].name}_result"
            _constant(build, node)
            body.remove(node, safe=True)


def _constant(build: Builder, node: ir.Node) -> ir.Value:
    (attribute,) = node.attributes.values()
    constant = build.constant(attribute.as_tensor().numpy() if attribute.type is ir.AttributeType.TENSOR else attribute.value)
    node.outputs[0].replace_all_uses_with(constant)
    return constant


def _schema(domain: str, operator: str, opset: int) -> Any:
    try:
        return onnx.defs.get_schema(operator, opset, domain)
    except onnx.defs.SchemaError:
        return None


def _has_body(domain: str, operator: str, opset: int) -> bool:
    schema = _schema(domain, operator, opset)
    return schema is not None and bool(schema.has_function or schema.has_context_dependent_function)


@lru_cache(maxsize=512)
def _inlined(serialized: bytes, domain: str, opset: int) -> bytes | None:
    """A model of one node with the node replaced by its body; None where onnx has no body for these types and opset."""
    model = onnx.ModelProto.FromString(serialized)
    (node,) = model.graph.node
    schema = _schema(domain, node.op_type, opset)
    # The schema fills in what a body refers to, not what the node leaves at its default.
    given = {a.name for a in node.attribute}
    defaults = (a.default_value for a in schema.attributes.values() if a.name not in given)
    node.attribute.extend(a for a in defaults if a.name)
    types = {info.name: info.type.SerializeToString() for info in model.graph.input}
    function = onnx.FunctionProto()
    text = _body(schema, opset, node, [types.get(name, b"") for name in node.input])
    if text is None:
        return None
    function.ParseFromString(text)
    if not _fits(function.node, {**{o.domain: o.version for o in function.opset_import}, domain: opset}):
        return None
    node.domain = function.domain = _DOMAIN
    function.name = node.op_type
    for imported in function.opset_import:
        if imported.domain == domain:
            imported.version = opset
    model.opset_import.append(onnx.helper.make_opsetid(_DOMAIN, 1))
    model.functions.append(function)
    inlined: bytes = onnx.inliner.inline_local_functions(model).SerializeToString()
    return inlined


def _body(schema: Any, opset: int, node: onnx.NodeProto, types: list[bytes]) -> bytes | None:
    """The body for the newest opset that is not newer than the model's, the oldest one if all are."""
    if schema.has_function:
        version = _nearest(schema.function_opset_versions, opset)
        text: bytes = schema.get_function_with_opset_version(version)
    else:
        version = _nearest(schema.context_dependent_function_opset_versions, opset)
        try:
            text = schema.get_context_dependent_function_with_opset_version(version, node.SerializeToString(), types)
        except RuntimeError:
            return None
    return text or None


def _nearest(versions: Iterable[int], opset: int) -> int:
    versions = sorted(versions)
    return max((v for v in versions if v <= opset), default=versions[0])


def _fits(nodes: Iterable[onnx.NodeProto], opsets: Mapping[str, int]) -> bool:
    """Whether nodes written for one opset mean the same in another, as far as their form tells."""
    for node in nodes:
        schema = _schema(node.domain, node.op_type, opsets.get(node.domain, 1))
        if schema is None or len(node.input) > schema.max_input or any(a.name not in schema.attributes for a in node.attribute):
            return False
        if not all(_fits(a.g.node, opsets) for a in node.attribute if a.HasField("g")):
            return False
    return True


def _lone_model(node: ir.Node, inputs: list[ir.Value], opsets: Mapping[str, int]) -> bytes:
    """A model of one node with typed inputs (each once) under names that do not tell where it is from."""
    proto = ir.serde.serialize_node(node)
    names = {value: f"i{k}" for k, value in enumerate(inputs)}
    del proto.input[:], proto.output[:]
    proto.ClearField("name")
    proto.ClearField("doc_string")
    proto.ClearField("metadata_props")
    proto.input.extend("" if v is None else names[v] for v in node.inputs)
    proto.output.extend("" if not o.name else f"o{k}" for k, o in enumerate(node.outputs))
    infos = [value_info(value, name) for value, name in names.items()]
    results = [value_info(o, f"o{k}") for k, o in enumerate(node.outputs) if o.name]
    graph = onnx.helper.make_graph([proto], "lone", infos, results)
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    serialized: bytes = onnx.helper.make_model(graph, opset_imports=imports).SerializeToString(deterministic=True)
    return serialized
