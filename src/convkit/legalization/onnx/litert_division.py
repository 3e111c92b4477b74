"""The division of 64-bit integers, which LiteRT lacks, out of its remainder and divisions of float32."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir import DataType

from convkit.legalization.onnx.building import Builder
from convkit.legalization.onnx.inference import infer_nodes

__all__ = ["EXPANDED", "divide_exactly"]

EXPANDED = frozenset({("Div", DataType.INT64)})
"""The operators, with their dtype, that are expanded here."""

_ROUNDS = 3
"""A float32 quotient is right in its first 23 bits; three of them make 63."""


def divide_exactly(model: ir.Model) -> None:
    """Replaces every Div of int64 in a model, in place."""
    opset = model.opset_imports.get("", 1)
    for graph in list(model.graphs()):
        for node in list(graph):
            if node.op_type != "Div" or node.domain or node.inputs[0] is None or node.inputs[0].dtype is not DataType.INT64:
                continue
            build = Builder(opset, node.name or str(node.outputs[0].name))
            result = _quotient(build, *node.inputs[:2])
            result.type, result.shape, name = node.outputs[0].type, node.outputs[0].shape, node.outputs[0].name
            for constant in build.constants:
                model.graph.register_initializer(constant)
            node.outputs[0].replace_all_uses_with(result, replace_graph_outputs=True)
            graph.insert_after(node, build.nodes)
            graph.remove(node, safe=True)
            infer_nodes(build.nodes, dict(model.opset_imports))
            result.name = name


def _quotient(build: Builder, dividend: ir.Value | None, divisor: ir.Value | None) -> ir.Value:
    """What is divided is a multiple of the divisor, so rounding ends at the quotient; ONNX truncates it towards zero."""
    remainder = build("Mod", dividend, divisor)  # of the divisor's sign: this quotient is rounded down
    left = build("Sub", dividend, remainder)
    slope = build("Cast", divisor, to=DataType.FLOAT)
    quotient = None
    for _ in range(_ROUNDS):
        step = build("Cast", build("Round", build("Div", build("Cast", left, to=DataType.FLOAT), slope)), to=DataType.INT64)
        quotient = step if quotient is None else build("Add", quotient, step)
        left = build("Sub", left, build("Mul", step, divisor))
    zero = build.constant(0)
    inexact = build("Cast", build("Not", build("Equal", remainder, zero)), to=DataType.INT64)
    unlike = build("Cast", build("Xor", build("Less", dividend, zero), build("Less", divisor, zero)), to=DataType.INT64)
    return build("Add", quotient, build("Mul", inexact, unlike))
