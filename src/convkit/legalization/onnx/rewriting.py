"""Rewrites what a target does not accept into operators that it does: the driver, and what a rewrite is made of.

A rewrite is a function that computes an operator with simpler ones:

    @rewrite("Hardmax", summary="one-hot of the first largest element")
    def hardmax(build: Builder, node: ir.Node) -> Outputs:
        ...
        return [build("Cast", equal, to=node.outputs[0].dtype)]

It returns None where it does not apply to this node. What no rewrite takes, but onnx itself defines by a function body
(https://onnx.ai/onnx/operators: "function body"), is replaced by that body through onnx's own inliner.
"""

from __future__ import annotations

import importlib
import itertools
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, TypeAlias

import numpy as np
import onnx
import onnx.inliner
import onnx_ir as ir

from convkit.legalization.target import Finding, Verdict

__all__ = ["Builder", "OnnxTarget", "Outputs", "Rewrite", "legalize", "rewrite", "rewrites"]

Outputs: TypeAlias = Sequence[ir.Value] | None

_MOST_ROUNDS = 12
"""How deep rewrites may nest: Attention → Softmax → … is three."""


class OnnxTarget(Protocol):
    """What an importer, or a converter of others, accepts."""

    name: str

    def refusal(self, node: ir.Node, opset: int) -> str | None:
        """Why a node is not legal, None where it is."""


class Builder:
    """Makes the nodes of a replacement, in the model's opset.

    Attributes:
        opset: The version of ai.onnx that the nodes are in.
        nodes: What was built, in order.
        constants: The initializers that it needs.
    """

    _numbers = itertools.count()

    def __init__(self, opset: int, prefix: str) -> None:
        self.opset = opset
        self.nodes: list[ir.Node] = []
        self.constants: list[ir.Value] = []
        self._prefix = prefix

    def __call__(self, operator: str, *inputs: Any, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        """Adds a node.

        Args:
            operator: For example "Add".
            inputs: Values, None for a left-out optional one, or numpy arrays, which become constants.
            outputs: How many outputs it has.
            attributes: ONNX's attributes; those that are None are left out.

        Returns:
            Its output, or a list where there are several.
        """
        values = [v if v is None or isinstance(v, ir.Value) else self.constant(v) for v in inputs]
        node = ir.node(
            operator,
            values,
            {k: v for k, v in attributes.items() if v is not None},
            domain=domain,
            num_outputs=outputs,
            name=f"{self._prefix}/{operator}_{next(self._numbers)}",
        )
        for index, output in enumerate(node.outputs):
            output.name = f"{node.name}_output_{index}"
        self.nodes.append(node)
        return node.outputs[0] if outputs == 1 else list(node.outputs)

    def constant(self, array: Any, dtype: Any = None) -> ir.Value:
        """A constant; Python ints are int64, floats float32, unless told otherwise."""
        given = array
        array = np.asarray(given, dtype)
        if dtype is None and array.dtype == np.float64 and not isinstance(given, (np.ndarray, np.generic)):
            array = array.astype(np.float32)
        name = f"{self._prefix}/constant_{next(self._numbers)}"
        tensor = ir.tensor(array, name=name)
        value = ir.Value(name=name, const_value=tensor, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape))
        self.constants.append(value)
        return value


@dataclass(frozen=True)
class Rewrite:
    """How an operator is computed with simpler ones.

    Attributes:
        operator: Its name.
        domain: Its domain, "" for ai.onnx.
        summary: What the rewrite does, one clause, for reports.
        apply: Builds the replacement of a node; None where it does not apply.
    """

    operator: str
    domain: str
    summary: str
    apply: Callable[[Builder, ir.Node], Outputs]


_registered: dict[tuple[str, str], list[Rewrite]] = {}

_Apply: TypeAlias = Callable[[Builder, ir.Node], Outputs]


def rewrite(*operators: str, summary: str, domain: str = "") -> Callable[[_Apply], _Apply]:
    """Registers a rewrite; of several for one operator the first that applies is taken."""

    def register(apply: _Apply) -> _Apply:
        for operator in operators:
            _registered.setdefault((domain, operator), []).append(Rewrite(operator, domain, summary, apply))
        return apply

    return register


@cache
def rewrites() -> dict[tuple[str, str], list[Rewrite]]:
    """Every registered rewrite by (domain, operator)."""
    package = importlib.import_module("convkit.legalization.onnx.rewrites")
    for info in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{info.name}")
    return _registered


def legalize(model: ir.Model, target: OnnxTarget) -> list[Finding]:
    """Rewrites a prepared model in place until a target accepts it.

    Returns:
        One finding per operator and reason: what was legal, what was rewritten, and the gaps that are left.
    """
    findings: dict[tuple[str, Verdict, str], list[str]] = {}
    opsets = dict(model.opset_imports)
    for graph in list(model.graphs()):
        for node in list(graph):
            verdict, reason = _legalize_node(graph, node, target, opsets, 0)
            findings.setdefault((_name(node), verdict, reason), []).append(node.name or str(node.outputs[0].name))
    order = [Verdict.GAP, Verdict.REWRITTEN, Verdict.LEGAL]
    found = [
        Finding(operator, len(places), verdict, reason, tuple(places[:5]) if verdict is Verdict.GAP else ())
        for (operator, verdict, reason), places in findings.items()
    ]
    return sorted(found, key=lambda f: (order.index(f.verdict), f.operator, f.reason))


def _name(node: ir.Node) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type


def _legalize_node(graph: ir.Graph, node: ir.Node, target: OnnxTarget, opsets: dict[str, int], depth: int) -> tuple[Verdict, str]:
    """Replaces one node, and what replaces it, until all is legal or a gap is left."""
    opset = opsets.get("" if node.domain == "ai.onnx" else node.domain, 1)
    refusal = target.refusal(node, opset)
    if refusal is None:
        return Verdict.LEGAL, ""
    if depth == _MOST_ROUNDS:
        return Verdict.GAP, refusal
    replaced = _replacement(node, opsets)
    if replaced is None:
        return Verdict.GAP, refusal
    summary, nodes, constants, outputs = replaced
    _infer(nodes, outputs, opsets)
    for constant in constants:
        graph.register_initializer(constant)
    ir.convenience.replace_nodes_and_values(graph, node, [node], nodes, list(node.outputs[: len(outputs)]), outputs)
    for inner in nodes:
        verdict, reason = _legalize_node(graph, inner, target, opsets, depth + 1)
        if verdict is Verdict.GAP:
            return verdict, reason if inner.op_type == node.op_type else f"it is computed with {inner.op_type}: {reason}"
    return Verdict.REWRITTEN, summary


def _replacement(node: ir.Node, opsets: dict[str, int]) -> tuple[str, list[ir.Node], list[ir.Value], Sequence[ir.Value]] | None:
    """What replaces a node: the summary, nodes, constants and outputs; None where nothing does."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    for candidate in rewrites().get((domain, node.op_type), ()):
        build = Builder(opsets.get("", 1), node.name or node.op_type)
        outputs = candidate.apply(build, node)
        if outputs is not None:
            return candidate.summary, build.nodes, build.constants, outputs
    return _function_body(node, opsets)


def _function_body(node: ir.Node, opsets: dict[str, int]) -> tuple[str, list[ir.Node], list[ir.Value], Sequence[ir.Value]] | None:
    """onnx's own definition of an operator, where it has one: a model of this one node, inlined by onnx."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    try:
        schema = onnx.defs.get_schema(node.op_type, opsets.get(domain, 1), domain)
    except onnx.defs.SchemaError:
        return None
    if not (schema.has_function or schema.has_context_dependent_function):
        return None
    lone, inputs = _lone_model(node, opsets)
    inlined = onnx.inliner.inline_selected_functions(
        lone, [(domain, node.op_type), ("ai.onnx", node.op_type)], exclude=False, inline_schema_functions=True
    )
    if len(inlined.graph.node) == 1 and inlined.graph.node[0].op_type == node.op_type:
        return None
    body = ir.from_proto(inlined)
    opsets.update({d: v for d, v in body.opset_imports.items() if d not in opsets})
    mapping = dict(zip(body.graph.inputs, inputs, strict=True))
    nodes = list(body.graph)
    for inner in nodes:
        for index, value in enumerate(inner.inputs):
            if value in mapping:
                inner.replace_input_with(index, mapping[value])
    prefix = node.name or str(node.outputs[0].name)
    number = itertools.count()
    outputs = list(body.graph.outputs)
    body.graph.outputs.clear()
    body.graph.remove(nodes)
    for inner in nodes:
        inner.name = f"{prefix}/{inner.op_type}_{next(number)}"
        for value in inner.outputs:
            value.name = f"{prefix}/{value.name}"
    return f"replaced by onnx's own definition of {node.op_type}", nodes, [], outputs


def _lone_model(node: ir.Node, opsets: dict[str, int]) -> tuple[onnx.ModelProto, list[ir.Value]]:
    """A model of one node with typed inputs (distinct ones), for onnx's inliner."""
    proto = ir.to_proto(node)
    inputs = list(dict.fromkeys(v for v in node.inputs if v is not None))
    names = {value: f"i{k}" for k, value in enumerate(inputs)}
    del proto.input[:], proto.output[:]
    proto.input.extend("" if v is None else names[v] for v in node.inputs)
    proto.output.extend("" if not o.name else f"o{k}" for k, o in enumerate(node.outputs))
    infos = [_value_info(value, name) for value, name in names.items()]
    results = [_value_info(o, f"o{k}") for k, o in enumerate(node.outputs) if o.name]
    graph = onnx.helper.make_graph([proto], "lone", infos, results)
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    return onnx.helper.make_model(graph, opset_imports=imports), inputs


def _value_info(value: ir.Value, name: str) -> onnx.ValueInfoProto:
    if value.type is not None and not isinstance(value.type, ir.TensorType):
        info = ir.to_proto(value)
        info.name = name
        return info
    dtype = value.dtype.value if value.dtype is not None else 0
    shape = None if value.shape is None else [d if isinstance(d, int) else d.value for d in value.shape]
    return onnx.helper.make_tensor_value_info(name, dtype, shape)


def _infer(nodes: list[ir.Node], outputs: Sequence[ir.Value], opsets: dict[str, int]) -> None:
    """Fills in the types of the values between new nodes, so that dtype-sensitive rewrites and handlers can read them."""
    if not nodes:
        return
    own = {v for n in nodes for v in n.outputs}
    outer = list(dict.fromkeys(v for v in _inputs(nodes) if v not in own))
    names = {value: f"v{k}" for k, value in enumerate([*outer, *own])}
    protos = []
    for node in nodes:
        proto = ir.to_proto(node)
        if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values()):
            return  # its body refers to names; the graph's own inference has to do
        del proto.input[:], proto.output[:]
        proto.input.extend("" if v is None else names[v] for v in node.inputs)
        proto.output.extend(names[v] for v in node.outputs)
        protos.append(proto)
    known = [
        onnx.numpy_helper.from_array(v.const_value.numpy(), names[v])
        for v in outer
        if v.const_value is not None and v.const_value.size <= 1024 and v.const_value.dtype is not ir.DataType.STRING
    ]
    graph = onnx.helper.make_graph(protos, "new", [_value_info(v, names[v]) for v in outer], [], known)
    for output in outputs:
        if output in own:
            graph.output.append(onnx.ValueInfoProto(name=names[output]))
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    try:
        inferred = onnx.shape_inference.infer_shapes(onnx.helper.make_model(graph, opset_imports=imports), data_prop=True)
    except onnx.shape_inference.InferenceError:
        return
    types = {info.name: info for info in [*inferred.graph.value_info, *inferred.graph.output]}
    for value in own:
        info = types.get(names[value])
        if info is not None and info.type.HasField("tensor_type") and info.type.tensor_type.elem_type:
            described = ir.serde.deserialize_value_info_proto(info, None)
            value.type, value.shape = described.type, described.shape


def _inputs(nodes: Sequence[ir.Node]) -> Iterator[ir.Value]:
    for node in nodes:
        yield from (v for v in node.inputs if v is not None)
