"""Types and shapes of values, by onnx's own inference. Weights are never serialised for it, so size does not matter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import onnx
import onnx_ir as ir
from onnx.helper import make_opsetid

__all__ = ["bodies", "infer_nodes", "infer_shapes", "merge_shapes", "value_info"]

_LARGEST_DATA = 1024
"""Elements up to which a constant is handed to inference as data: shapes, axes, pads."""


def infer_shapes(model: ir.Model) -> None:
    """Fills in the types and shapes of a model's values, those in bodies included, with shape arithmetic propagated."""
    inferred = _inferred(list(model.graph), model.graph.inputs, model.graph.initializers.values(), model.opset_imports)
    if inferred is not None:
        _merge(model.graph, model.graph, inferred)


def infer_nodes(nodes: Sequence[ir.Node], opsets: Mapping[str, int]) -> None:
    """Fills in what is not known of the outputs of some nodes, in order, from what is known of their inputs."""
    own = {v for n in nodes for v in n.outputs}
    outer = dict.fromkeys(v for v in _used(nodes) if v not in own)
    inputs = [v for v in outer if v.const_value is None]
    inferred = _inferred(nodes, inputs, [v for v in outer if v.const_value is not None], opsets)
    if inferred is not None:
        _merge(nodes, None, inferred)


def merge_shapes(known: ir.Shape | None, other: ir.Shape | None) -> ir.Shape | None:
    """The more precise of two descriptions of one shape, dimension by dimension; the first one's where they differ."""
    if known is None or other is None or len(known) != len(other):
        return other if known is None else known
    return ir.Shape(
        [
            b if not isinstance(a, int) and (a.value is None or isinstance(b, int)) else a
            for a, b in zip(known, other, strict=True)
        ]
    )


def bodies(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs that a node's attributes hold."""
    for attribute in node.attributes.values():
        if attribute.type is ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type is ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def value_info(value: ir.Value, name: str | None = None) -> onnx.ValueInfoProto:
    """What is known of a value, as onnx's structure; a dtype that is not known is left out."""
    name = str(value.name) if name is None else name
    if value.type is not None and not isinstance(value.type, ir.TensorType):
        info = ir.to_proto(value)
        info.name = name
        return info
    if value.dtype is None:
        return onnx.ValueInfoProto(name=name)
    shape = None if value.shape is None else [d if isinstance(d, int) else d.value for d in value.shape]
    return onnx.helper.make_tensor_value_info(name, value.dtype.value, shape)


def _inferred(
    nodes: Sequence[ir.Node], inputs: Iterable[ir.Value], constants: Iterable[ir.Value], opsets: Mapping[str, int]
) -> onnx.GraphProto | None:
    """A graph of some nodes after inference; None where onnx gives up."""
    graph = onnx.GraphProto(name="inferred")
    graph.node.extend(ir.serde.serialize_node(node) for node in nodes)
    graph.input.extend(value_info(v) for v in inputs)
    for value in constants:
        tensor = value.const_value
        if tensor is not None and tensor.size <= _LARGEST_DATA and tensor.dtype in _PLAIN:
            graph.initializer.append(onnx.numpy_helper.from_array(tensor.numpy(), value.name))
        else:
            graph.input.append(_weight_info(value))
    graph.value_info.extend(
        value_info(v) for n in nodes for v in n.outputs if v.name and (v.type is not None or v.shape is not None)
    )
    model = onnx.helper.make_model(graph, opset_imports=[make_opsetid(d, v) for d, v in opsets.items()])
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError):
        return None


_PLAIN = frozenset(
    (ir.DataType.BOOL, ir.DataType.INT32, ir.DataType.INT64, ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16)
)


def _weight_info(value: ir.Value) -> onnx.ValueInfoProto:
    tensor = value.const_value
    assert tensor is not None
    return onnx.helper.make_tensor_value_info(value.name, tensor.dtype.value, list(tensor.shape.numpy()))


def _merge(nodes: Iterable[ir.Node], graph: ir.Graph | None, inferred: onnx.GraphProto) -> None:
    """Brings the results of inference back; a graph's nodes and the structure's correspond one to one."""
    infos = {info.name: info for info in [*inferred.value_info, *inferred.output]}
    nodes = list(nodes)
    values = [v for n in nodes for v in n.outputs]
    for value in [*values, *graph.inputs] if graph is not None else values:
        info = infos.get(str(value.name))
        if info is not None and value.name:
            _describe(value, info)
    for node, proto in zip(nodes, inferred.node, strict=True):
        for attribute in proto.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                body = node.attributes[attribute.name].as_graph()
                _merge(body, body, attribute.g)


def _describe(value: ir.Value, info: onnx.ValueInfoProto) -> None:
    kind = info.type.WhichOneof("value")
    if kind is None or (kind == "tensor_type" and not info.type.tensor_type.elem_type):
        return
    described = ir.serde.deserialize_value_info_proto(info, None)
    if value.type is None:
        value.type = described.type
    if kind == "tensor_type":
        value.shape = merge_shapes(value.shape, described.shape)


def _used(nodes: Iterable[ir.Node]) -> Iterator[ir.Value]:
    """What nodes, and the nodes of their bodies, refer to outside of those bodies."""
    for node in nodes:
        yield from (v for v in node.inputs if v is not None)
        for body in bodies(node):
            inner = {*body.inputs, *(v for n in body for v in n.outputs)}
            yield from (v for v in [*_used(body), *body.outputs] if v not in inner)
