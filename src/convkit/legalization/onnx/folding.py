"""Folds what follows a convolution into its weights: a batch normalisation, and products and sums with constants per channel.

A converter that sees all weights as constants does this itself. The one to LiteRT gets the large ones later (see
`convkit.converters._litert_weights`), and would leave two operators on images behind for every such convolution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

__all__ = ["fold_into_convolutions"]


@dataclass(frozen=True)
class _Affine:
    """x · factor + offset, per channel, in double precision."""

    factor: np.ndarray
    offset: np.ndarray


def fold_into_convolutions(model: ir.Model) -> int:
    """Folds, in the main graph of a prepared model, in place.

    Returns:
        How many operators are gone.
    """
    count = 0
    for node in list(model.graph):
        if node.op_type != "Conv" or node.domain != "" or not _has_constants(node):
            continue
        whole, last = None, node
        while (following := _only_user(last)) is not None and (affine := _affine(following, last, node)) is not None:
            whole = (
                affine if whole is None else _Affine(whole.factor * affine.factor, whole.offset * affine.factor + affine.offset)
            )
            last = following
            count += 1
        if whole is not None:
            _fold(model.graph, node, last, whole)
    if count:
        RemoveUnusedNodesPass()(model)
    return count


def _has_constants(node: ir.Node) -> bool:
    weights = [value for value in node.inputs[1:] if value is not None]
    return len(weights) > 0 and all(w.const_value is not None and w.dtype is ir.DataType.FLOAT for w in weights)


def _only_user(node: ir.Node) -> ir.Node | None:
    """The node that alone uses the result, in the same graph."""
    result = node.outputs[0]
    users = [user for user, _ in result.uses()]
    if len(users) != 1 or result.is_graph_output() or users[0].graph is not node.graph or users[0].domain != "":
        return None
    return users[0]


def _affine(node: ir.Node, last: ir.Node, convolution: ir.Node) -> _Affine | None:
    """What a node does with the result of the last one, channel by channel; None where it is something else."""
    shape = _weight(convolution).shape.numpy()
    if node.op_type == "BatchNormalization":
        return _of_batch_normalization(node, shape[0]) if node.inputs[0] is last.outputs[0] else None
    arithmetic = _ARITHMETIC.get(node.op_type)
    if arithmetic is None or len(node.inputs) != 2:
        return None
    place = 1 if node.inputs[0] is last.outputs[0] else 0
    if place == 0 and node.op_type in ("Div", "Sub"):
        return None
    numbers = _per_channel(node.inputs[place], shape[0], len(shape))
    return None if numbers is None else arithmetic(numbers)


_ARITHMETIC: dict[str, Callable[[np.ndarray], _Affine | None]] = {
    "Add": lambda numbers: _Affine(np.ones_like(numbers), numbers),
    "Sub": lambda numbers: _Affine(np.ones_like(numbers), -numbers),
    "Mul": lambda numbers: _Affine(numbers, np.zeros_like(numbers)),
    "Div": lambda numbers: _Affine(1 / numbers, np.zeros_like(numbers)) if numbers.all() else None,
}


def _weight(convolution: ir.Node) -> ir.TensorProtocol:
    weight = convolution.inputs[1]
    assert weight is not None and weight.const_value is not None
    return weight.const_value


def _per_channel(value: ir.Value | None, channels: int, rank: int) -> np.ndarray | None:
    """A constant as one number per channel; None where it has more, or would make the result larger."""
    held = None if value is None else value.const_value
    if held is None or held.dtype is not ir.DataType.FLOAT or len(held.shape) > rank:
        return None
    wide = [1] * (rank - len(held.shape)) + list(held.shape.numpy())
    if wide[1] not in (1, channels) or any(size != 1 for axis, size in enumerate(wide) if axis != 1):
        return None
    return np.broadcast_to(_double(held), (channels,))


def _double(tensor: ir.TensorProtocol) -> np.ndarray:
    return np.asarray(tensor.numpy(), np.float64).reshape(-1)


def _of_batch_normalization(node: ir.Node, channels: int) -> _Affine | None:
    if node.attributes.get_int("training_mode", 0) or not node.attributes.get_int("spatial", 1):
        return None
    held = [value.const_value for value in node.inputs[1:5] if value is not None and value.const_value is not None]
    if len(held) != 4 or any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        return None
    scale, bias, mean, variance = (_double(tensor) for tensor in held)
    factor = scale / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    return _Affine(factor, bias - mean * factor) if factor.size == channels else None


def _fold(graph: ir.Graph, convolution: ir.Node, last: ir.Node, affine: _Affine) -> None:
    """Gives the convolution new weights, and the name of the last node's result."""
    weight, shape = _weight(convolution), _weight(convolution).shape
    bias = convolution.inputs[2] if len(convolution.inputs) > 2 else None
    offset = affine.offset
    if bias is not None and bias.const_value is not None:
        offset = offset + _double(bias.const_value) * affine.factor

    def scaled() -> ir.TensorProtocol:
        factor = affine.factor.reshape(-1, *[1] * (len(shape) - 1))
        return ir.tensor((weight.numpy() * factor).astype(np.float32))

    result, replaced = convolution.outputs[0], last.outputs[0]
    name = f"{result.name}/weight"
    new_weight = _constant(graph, ir.LazyTensor(scaled, dtype=ir.DataType.FLOAT, shape=ir.Shape(shape), name=name))
    new_bias = _constant(graph, ir.tensor(offset.astype(np.float32), name=f"{result.name}/bias"))
    replaced.replace_all_uses_with(result, replace_graph_outputs=True)
    result.name, replaced.name = replaced.name, f"{replaced.name}/folded"
    result.shape = replaced.shape or result.shape
    convolution.resize_inputs(3)
    convolution.replace_input_with(1, new_weight)
    convolution.replace_input_with(2, new_bias)


def _constant(graph: ir.Graph, tensor: ir.TensorProtocol) -> ir.Value:
    value = ir.Value(name=tensor.name, const_value=tensor, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape))
    graph.register_initializer(value)
    return value
