"""Loads an ONNX model and brings it into the form that importers and rewrites work on.

Model-local functions are inlined, constants become initializers of the main graph, types and shapes are inferred, mostly by
onnx's and onnx_ir's own passes. The file itself is never written to, and large external data stays mapped.
"""

from __future__ import annotations

import logging
import mmap
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from convkit.errors import ConversionError
from convkit.legalization.onnx.inference import bodies, infer_shapes

__all__ = ["NEWEST_OPSET", "OLDEST_OPSET", "infer_shapes", "load", "prepared"]

OLDEST_OPSET = 7
NEWEST_OPSET = 28
"""Of ai.onnx, as the installed onnx may know more than the importers were written for."""

_UNSAID_OPSET = 21
"""Of a model that uses only other domains; what its operators are rewritten to is in this one."""


def load(path: Path) -> ir.Model:
    """A prepared model; see `prepared`.

    Raises:
        ConversionError: It cannot be read (a sparse constant), or its opset is older or newer than what the importers know.
    """
    try:
        model = _loaded(path)
    except ir.serde.SerdeError as error:
        raise ConversionError(f"onnx_ir cannot read the model: {_root(error)}") from error
    return prepared(model)


def _loaded(path: Path) -> ir.Model:
    """What `onnx_ir.load` makes of a file, parsed where it lies instead of from a copy: half the time, and less memory."""
    proto = onnx.ModelProto()
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        proto.ParseFromString(memoryview(content))
    model = ir.from_proto(proto)
    ir.external_data.set_base_dir(model.graph, path.parent)
    return model


def prepared(model: ir.Model) -> ir.Model:
    """The model (changed in place) with functions inlined, constants as initializers, nodes in order, shapes inferred.

    Raises:
        ConversionError: Its opset is older or newer than what the importers know.
    """
    opset = model.opset_imports.get("", model.opset_imports.get("ai.onnx", _UNSAID_OPSET))
    if opset < OLDEST_OPSET and _means_the_same(model, opset, OLDEST_OPSET):
        opset = model.opset_imports[""] = OLDEST_OPSET
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise ConversionError(
            f"the model is in opset {opset}; convkit reads opsets {OLDEST_OPSET} to {NEWEST_OPSET}",
            hint="onnx.version_converter.convert_version brings it to another one",
        )
    model.opset_imports[""] = model.opset_imports.pop("ai.onnx", opset)
    for name in ("onnx_ir", "onnxscript"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if model.functions:
        common.InlinePass()(model)
    common.RemoveInitializersFromInputsPass()(model)
    _own_outputs(model.graph, None)
    _lift_constants(model)
    common.RemoveUnusedNodesPass()(model)
    common.TopologicalSortPass()(model)
    infer_shapes(model)
    return model


def _means_the_same(model: ir.Model, opset: int, other: int) -> bool:
    """Whether none of a model's operators has changed from one opset to another."""
    return not model.functions and all(
        _since(node, opset) == _since(node, other) is not None for graph in model.graphs() for node in graph
    )


def _since(node: ir.Node, opset: int) -> int | None:
    try:
        since: int = onnx.defs.get_schema(node.op_type, opset, "").since_version
    except onnx.defs.SchemaError:
        return None
    return since


def _own_outputs(graph: ir.Graph, outer: Mapping[str, ir.Value] | None) -> None:
    """Makes no output of a graph a constant node, and none of a body an initializer or a value of the graph around it.

    onnx_ir does not link an outer value that a body gives back to its producer, and what is an output cannot be lifted to
    the main graph. `outer` is what a body sees, None for the main graph.
    """
    nodes = list(graph)
    inner = [(node, body) for node in nodes for body in bodies(node)]
    if inner:
        own = [*graph.inputs, *graph.initializers.values(), *(v for node in nodes for v in node.outputs)]
        visible = {**(outer or {}), **{str(v.name): v for v in own if v.name}}
        for _, body in inner:
            _own_outputs(body, visible)
    for index, output in enumerate(list(graph.outputs)):
        producer = output.producer()
        if (producer is not None and producer.op_type == "Constant") or (outer is not None and output.is_initializer()):
            _pass_on(graph, index, output)
        elif outer is not None and producer is None and not output.is_graph_input() and str(output.name) in outer:
            _pass_on(graph, index, outer[str(output.name)])


def _pass_on(graph: ir.Graph, index: int, value: ir.Value) -> None:
    """Makes an output the Identity of a value. It keeps its name; a constant that had it gets another."""
    node = ir.node("Identity", [value], name=f"{value.name}/Identity")
    result = node.outputs[0]
    result.name, result.type, result.shape = f"{value.name}/result", value.type, value.shape
    if graph.outputs[index] is value:
        result.name, value.name = value.name, f"{value.name}/constant"
    graph.append(node)
    graph.outputs[index] = result


def _lift_constants(model: ir.Model) -> None:
    """Makes Constant nodes and the initializers of bodies initializers of the main graph, under names that nothing else has."""
    graphs = list(model.graphs())
    uses = Counter(
        v.name for g in graphs for v in [*g.inputs, *g.initializers.values(), *(o for node in g for o in node.outputs)]
    )
    for graph in graphs:
        if graph is not model.graph:
            for value in list(graph.initializers.values()):
                del graph.initializers[str(value.name)]
                _register(model.graph, value, uses)
        for node in list(graph):
            if node.op_type == "Constant" and node.domain == "":
                result, tensor = node.outputs[0], _tensor(node)
                value = ir.Value(
                    name=result.name, const_value=tensor, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape)
                )
                result.replace_all_uses_with(value)
                graph.remove(node, safe=True)
                _register(model.graph, value, uses)


def _register(graph: ir.Graph, value: ir.Value, uses: Counter[str | None]) -> None:
    name, number = value.name, 1
    while uses[value.name] > 1 or value.name in graph.initializers:
        number += 1
        value.name = f"{name}_{number}"
        uses[value.name] += 1
    graph.register_initializer(value)


def _tensor(node: ir.Node) -> ir.TensorProtocol:
    """What a Constant node holds.

    Raises:
        ConversionError: Not exactly one of the attributes that the operator has.
    """
    if len(node.attributes) == 1:
        ((name, attribute),) = node.attributes.items()
        if name == "value":
            return attribute.as_tensor()
        if name in _CONSTANTS:
            return ir.tensor(np.array(attribute.value, _CONSTANTS[name]))
        if name in ("value_string", "value_strings"):
            return ir.StringTensor(np.array(attribute.value, np.bytes_))
    raise ConversionError(f"the Constant '{node.name or node.outputs[0].name}' does not hold one value")


_CONSTANTS = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}


def _root(error: BaseException) -> str:
    """What the innermost of nested errors says, shortened: onnx_ir prints whole nodes."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:200]
