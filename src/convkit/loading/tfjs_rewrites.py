"""Operators that only TF.js has, and forms that TensorFlow's kernels lack, as TensorFlow operators.

TF.js fuses a convolution or product with its bias and activation. TensorFlow has fused operators too, which its own optimiser
makes for one device and no converter reads; so they are taken apart again. Semantics:
tfjs-converter/src/operations/executors/convolution_executor.ts and matrices_executor.ts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from convkit.errors import ConversionError
from convkit.loading.tfjs_bodies import Body, new_node
from convkit.loading.tfjs_convolutions import channels_last, undilated

__all__ = ["rewrite"]

_PLAIN_ACTIVATIONS = {"relu": "Relu", "relu6": "Relu6", "elu": "Elu", "sigmoid": "Sigmoid"}
_LEAKY_RELU_ALPHA = 0.2
"""TensorFlow's default, and TF.js's for a fused operator that names none."""


def rewrite(body: Body) -> None:
    """Replaces the nodes that TensorFlow does not have.

    Raises:
        ConversionError: naming the node whose form has no counterpart.
    """
    for replacements in (_REPLACEMENTS, _FORMS):
        for node in list(body.nodes.values()):
            replacement = replacements.get(node.op)
            if replacement is not None and (made := replacement(body, node)) is not None:
                body.replace(node.name, made)


def _fused(operator: str, keep: tuple[str, ...]) -> Callable[[Body, Any], list[Any]]:
    """The rewriter of a fused operator: its first two inputs to `operator`, then a bias, then an activation."""

    def taken_apart(body: Body, node: Any) -> list[Any]:
        data = [i for i in node.input if not i.startswith("^")]
        control = [i for i in node.input if i.startswith("^")]
        rest = data[2:]
        steps = [step.decode("ascii", "replace").lower() for step in node.attr["fused_ops"].list.s]
        made = [new_node(body.free_name(f"{node.name}/{operator}"), operator, [*data[:2], *control], node, keep)]
        if steps and steps[0] == "biasadd":
            made.append(_bias(body, node, f"{made[-1].name}:0", _taken(rest, node)))
            steps = steps[1:]
        for step in steps:
            made += _activation(body, node, step, f"{made[-1].name}:0", rest)
        made[-1].name = node.name
        return made

    return taken_apart


def _taken(rest: list[str], node: Any) -> str:
    if not rest:
        raise ConversionError(f"the fused {node.op} {node.name!r} lacks an input that its fused operators take")
    return rest.pop(0)


def _bias(body: Body, node: Any, source: str, bias: str) -> Any:
    return new_node(body.free_name(f"{node.name}/BiasAdd"), "BiasAdd", [source, bias], node, ("T", "data_format"))


def _activation(body: Body, node: Any, step: str, source: str, rest: list[str]) -> list[Any]:
    if step in ("", "linear", "noop"):
        return []
    if step == "prelu":
        return _leaky_by_tensor(body, node, source, _taken(rest, node))
    name = body.free_name(f"{node.name}/{step}")
    if step == "leakyrelu":
        made = new_node(name, "LeakyRelu", [source], node, ("T",))
        given = node.attr["leakyrelu_alpha"].f if "leakyrelu_alpha" in node.attr else _LEAKY_RELU_ALPHA
        made.attr["alpha"].f = given
        return [made]
    if step not in _PLAIN_ACTIVATIONS:
        raise ConversionError(f"the fused {node.op} {node.name!r} ends in {step}, which is no activation of TF.js")
    return [new_node(name, _PLAIN_ACTIVATIONS[step], [source], node, ("T",))]


def _leaky_by_tensor(body: Body, node: Any, source: str, alpha: str) -> list[Any]:
    """Relu(x) + (-alpha) · Relu(-x): Keras's formulation, which TFLiteConverter knows as one PRELU."""
    steps = (
        ("positive", "Relu", [source]),
        ("negated", "Neg", [source]),
        ("negative", "Relu", ["negated"]),
        ("slope", "Neg", [alpha]),
        ("scaled", "Mul", ["slope", "negative"]),
        ("sum", "AddV2", ["positive", "scaled"]),
    )
    names = {step: body.free_name(f"{node.name}/{step}") for step, _, _ in steps}
    return [new_node(names[s], op, [f"{names[i]}:0" if i in names else i for i in ins], node, ("T",)) for s, op, ins in steps]


def _prelu(body: Body, node: Any) -> list[Any]:
    made = _leaky_by_tensor(body, node, node.input[0], node.input[1])
    made[-1].name = node.name
    for each in made:
        if not each.attr["T"].type:
            each.attr["T"].type = _FLOAT
    return made


_FLOAT = 1
_WINDOW = ("T", "strides", "padding", "data_format", "dilations", "explicit_paddings")
_REPLACEMENTS: dict[str, Callable[[Body, Any], list[Any]]] = {
    "_FusedConv2D": _fused("Conv2D", _WINDOW),
    "FusedDepthwiseConv2dNative": _fused("DepthwiseConv2dNative", _WINDOW),
    "_FusedMatMul": _fused("MatMul", ("T", "transpose_a", "transpose_b")),
    "Prelu": _prelu,
}


def _outer_product(body: Body, node: Any) -> list[Any] | None:
    """A product of whole numbers that sums nothing, as a multiplication: spatial transformers repeat their indices so.

    LiteRT's converter has no such product, and ends its process over one.
    """
    from tensorflow.core.framework import types_pb2

    whole = node.attr["T"].type in (types_pb2.DT_INT32, types_pb2.DT_INT64)
    if not whole or node.attr["transpose_a"].b or node.attr["transpose_b"].b:
        return None
    first, second = (body.nodes.get(reference.partition(":")[0]) for reference in node.input[:2])
    sizes = [_size(first, 1), _size(second, 0)]
    return [new_node(node.name, "Mul", list(node.input), node, ("T",))] if 1 in sizes else None


def _size(node: Any, axis: int) -> int | None:
    """A dimension of a constant matrix, None for what is none."""
    dims = node.attr["value"].tensor.tensor_shape.dim if node is not None and node.op == "Const" else ()
    return dims[axis].size if len(dims) == 2 else None


_FORMS: dict[str, Callable[[Body, Any], list[Any] | None]] = {
    "Conv2D": channels_last,
    "DepthwiseConv2dNative": undilated,
    "MatMul": _outer_product,
}
"""What is looked at when the fused operators have been taken apart."""
