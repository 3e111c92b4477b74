"""Faults that conversions make, planted into ONNX models: what `benchmarks.planted_faults` searches for.

A kind takes a model and one of its nodes, and changes that node in place as a bad conversion would have; it returns whether it
applies. What stands before and behind the node stays right.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

__all__ = ["KINDS", "Editor", "Kind"]

_INTEGERS = (onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL)


class Editor:
    """An ONNX model that is being changed."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.graph = model.graph
        self._numbers = iter(range(1 << 30))

    def weight(self, name: str) -> np.ndarray | None:
        for tensor in self.graph.initializer:
            if tensor.name == name:
                return numpy_helper.to_array(tensor)
        for node in self.graph.node:
            if node.op_type == "Constant" and node.output[0] == name:
                value = node.attribute[0]
                return numpy_helper.to_array(value.t) if value.name == "value" else None
        return None

    def float_weight(self, node: NodeProto, operators: set[str]) -> np.ndarray | None:
        """The float32 weights of a node of one of these operators."""
        if node.op_type not in operators or len(node.input) < 2:
            return None
        weight = self.weight(node.input[1])
        return weight if weight is not None and weight.dtype == np.float32 else None

    def replace(self, node: NodeProto, position: int, array: np.ndarray) -> None:
        """Gives one input of a node another constant; others that read the old one keep it."""
        name = f"planted_{next(self._numbers)}"
        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        node.input[position] = name

    def after(
        self, node: NodeProto, *chain: tuple[str, dict[str, object]] | tuple[str, dict[str, object], list[np.ndarray]]
    ) -> None:
        """Puts operators behind the first output of a node; what read it reads the last of them."""
        name = node.output[0]
        current = f"planted_{next(self._numbers)}"
        node.output[0] = current
        made = []
        for index, (operator, attributes, *constants) in enumerate(chain):
            inputs = [current]
            for array in constants[0] if constants else []:
                constant = f"planted_{next(self._numbers)}"
                self.graph.initializer.append(numpy_helper.from_array(array, constant))
                inputs.append(constant)
            current = name if index == len(chain) - 1 else f"planted_{next(self._numbers)}"
            made.append(helper.make_node(operator, inputs, [current], **attributes))
        place = list(self.graph.node).index(node)
        for offset, new in enumerate(made):
            self.graph.node.insert(place + 1 + offset, new)

    def bypass(self, node: NodeProto, position: int) -> None:
        """A node becomes the identity of one of its inputs."""
        kept = node.input[position]
        node.op_type = "Identity"
        del node.attribute[:]
        del node.input[:]
        node.input.append(kept)


def attribute(node: NodeProto, name: str) -> onnx.AttributeProto | None:
    return next((a for a in node.attribute if a.name == name), None)


def set_attribute(node: NodeProto, name: str, value: object) -> None:
    found = attribute(node, name)
    if found is not None:
        node.attribute.remove(found)
    node.attribute.append(helper.make_attribute(name, value))


Kind = Callable[[Editor, NodeProto], bool]


def swapped_operands(editor: Editor, node: NodeProto) -> bool:
    """a − b for b − a."""
    if node.op_type not in {"Sub", "Div", "Pow"}:
        return False
    first, second = node.input
    node.input[0], node.input[1] = second, first
    return node.op_type != "Div" or editor.weight(first) is None


def wrong_axis(editor: Editor, node: NodeProto) -> bool:
    if node.op_type not in {"Softmax", "LogSoftmax"}:
        return False
    set_attribute(node, "axis", -2)
    return True


def epsilon(editor: Editor, node: NodeProto) -> bool:
    if node.op_type not in {"LayerNormalization", "BatchNormalization", "InstanceNormalization", "GroupNormalization"}:
        return False
    set_attribute(node, "epsilon", 1e-2)
    return True


def transposed_weight(editor: Editor, node: NodeProto) -> bool:
    if node.op_type not in {"MatMul", "Gemm"}:
        return False
    weight = editor.weight(node.input[1])
    if weight is None or weight.ndim != 2 or weight.shape[0] != weight.shape[1]:
        return False
    editor.replace(node, 1, weight.T)
    return True


def shifted_padding(editor: Editor, node: NodeProto) -> bool:
    """The odd element of the padding on the wrong side: TensorFlow's SAME for explicit pads."""
    found = attribute(node, "pads")
    if node.op_type not in {"Conv", "MaxPool", "AveragePool"} or found is None or not any(found.ints):
        return False
    pads = list(found.ints)
    half = len(pads) // 2
    for axis in range(half):
        if pads[axis]:
            pads[axis], pads[axis + half] = pads[axis] - 1, pads[axis + half] + 1
    set_attribute(node, "pads", pads)
    return True


def wrong_resize_mode(editor: Editor, node: NodeProto) -> bool:
    if node.op_type != "Resize":
        return False
    mode = attribute(node, "mode")
    linear = mode is not None and mode.s == b"linear"
    coordinates = attribute(node, "coordinate_transformation_mode")
    if linear:
        aligned = coordinates is not None and coordinates.s == b"align_corners"
        set_attribute(node, "coordinate_transformation_mode", "half_pixel" if aligned else "align_corners")
    else:
        set_attribute(node, "mode", "linear")
        set_attribute(node, "coordinate_transformation_mode", "half_pixel")
    return True


def truncated(editor: Editor, node: NodeProto) -> bool:
    """Integers where there were fractions."""
    if node.op_type not in {"Gemm", "Conv", "MatMul", "Mul", "Add"} or _is_integer(editor, node):
        return False
    editor.after(node, ("Cast", {"to": onnx.TensorProto.INT32}), ("Cast", {"to": onnx.TensorProto.FLOAT}))
    return True


def half_overflow(editor: Editor, node: NodeProto) -> bool:
    """Half precision, where values are beyond its range.

    A format without halves holds them in 32 bits, and would not overflow. By 2^112 the largest half is the largest float32; what
    stands between that and its inverse keeps optimisers from multiplying both beforehand.
    """
    if node.op_type not in {"Gemm", "Conv", "MatMul"}:
        return False
    big, small, widening = np.float32(2e5), np.float32(1 / 2e5), np.float32(2.0**112)
    editor.after(
        node,
        ("Mul", {}, [big]),
        ("Cast", {"to": onnx.TensorProto.FLOAT16}),
        ("Cast", {"to": onnx.TensorProto.FLOAT}),
        ("Mul", {}, [widening]),
        ("Neg", {}),
        ("Mul", {}, [-1 / widening]),
        ("Mul", {}, [small]),
    )
    return True


def corrupted_weight(editor: Editor, node: NodeProto) -> bool:
    """One element of the weights is wrong."""
    weight = editor.float_weight(node, {"Gemm", "Conv", "MatMul"})
    if weight is None:
        return False
    weight = weight.copy()
    weight.reshape(-1)[weight.size // 3] += 3 * np.abs(weight).max()
    editor.replace(node, 1, weight)
    return True


def saturated(editor: Editor, node: NodeProto) -> bool:
    """A quantization scale that does not cover the values."""
    if node.op_type not in {"Gemm", "Conv", "MatMul"}:
        return False
    editor.after(node, ("Clip", {}, [np.float32(-0.5), np.float32(0.5)]))
    return True


def swapped_parts(editor: Editor, node: NodeProto) -> bool:
    """The parts of a Split in each other's place."""
    if node.op_type != "Split" or len(node.output) < 2:
        return False
    first, second = node.output[0], node.output[1]
    node.output[0], node.output[1] = second, first
    return True


def swapped_outputs(editor: Editor, node: NodeProto) -> bool:
    """Two outputs of the model in each other's place."""
    outputs = {o.name: o for o in editor.graph.output}
    mine = outputs.get(node.output[0]) if node.output else None
    if mine is None:
        return False
    for other in editor.graph.node:
        theirs = outputs.get(other.output[0]) if other is not node and other.output else None
        if theirs is not None and theirs.type == mine.type:
            node.output[0], other.output[0] = other.output[0], node.output[0]
            return True
    return False


def dropped_residual(editor: Editor, node: NodeProto) -> bool:
    if node.op_type != "Add" or any(editor.weight(n) is not None for n in node.input) or _is_integer(editor, node):
        return False
    shapes = {v.name: v.type.tensor_type.shape for v in (*editor.graph.value_info, *editor.graph.input)}
    if shapes.get(node.input[1]) != shapes.get(node.output[0]):
        return False  # the sum is broadcast
    editor.bypass(node, 1)
    return True


def dropped_bias(editor: Editor, node: NodeProto) -> bool:
    if node.op_type not in {"Conv", "Gemm"} or len(node.input) < 3 or not node.input[2]:
        return False
    bias = editor.weight(node.input[2])
    if bias is None or not np.abs(bias).max() > 1e-3:
        return False
    editor.replace(node, 2, np.zeros_like(bias))
    return True


def tanh_gelu(editor: Editor, node: NodeProto) -> bool:
    """GELU by its approximation; the exported pattern has an Erf, whose neighbourhood is replaced through its argument."""
    if node.op_type == "Gelu":
        set_attribute(node, "approximate", "tanh")
        return True
    if node.op_type != "Erf":
        return False
    # erf(x/√2) ≈ tanh(√(2/π)·(x + 0.044715·x³)), with z = x/√2: √(2/π)·√2·(z + 0.08943·z³)
    name, output = node.input[0], node.output[0]
    place = list(editor.graph.node).index(node)
    editor.graph.initializer.extend(
        numpy_helper.from_array(np.float32(value), f"{output}_{role}")
        for role, value in (("three", 3), ("cubic", 0.08943), ("outer", 2 / np.sqrt(np.pi)))
    )
    editor.graph.node.remove(node)
    chain = [
        helper.make_node("Pow", [name, f"{output}_three"], [f"{output}_cube"]),
        helper.make_node("Mul", [f"{output}_cube", f"{output}_cubic"], [f"{output}_bent"]),
        helper.make_node("Add", [name, f"{output}_bent"], [f"{output}_sum"]),
        helper.make_node("Mul", [f"{output}_sum", f"{output}_outer"], [f"{output}_scaled"]),
        helper.make_node("Tanh", [f"{output}_scaled"], [output]),
    ]
    for offset, new in enumerate(chain):
        editor.graph.node.insert(place + offset, new)
    return True


def wrong_activation(editor: Editor, node: NodeProto) -> bool:
    """Relu6 for Relu at a scale where it shows, hard sigmoid for sigmoid."""
    if node.op_type == "Relu":
        node.op_type = "LeakyRelu"
        set_attribute(node, "alpha", 0.05)
        return True
    if node.op_type == "Sigmoid":
        node.op_type = "HardSigmoid"
        return True
    return False


def wrong_pooling(editor: Editor, node: NodeProto) -> bool:
    if node.op_type == "MaxPool":
        node.op_type = "AveragePool"
        for name in ("storage_order", "dilations"):
            found = attribute(node, name)
            if found is not None:
                node.attribute.remove(found)
        return True
    if node.op_type == "AveragePool" and attribute(node, "pads") is not None:
        found = attribute(node, "count_include_pad")
        set_attribute(node, "count_include_pad", 1 - (found.i if found is not None else 0))
        return True
    return False


def coarse_weights(editor: Editor, node: NodeProto) -> bool:
    """Weights with the eight bits of bfloat16."""
    weight = editor.float_weight(node, {"Gemm", "Conv", "MatMul"})
    if weight is None:
        return False
    bits = (weight.view(np.uint32) + np.uint32(0x8000)) & np.uint32(0xFFFF0000)
    editor.replace(node, 1, bits.view(np.float32))
    return True


def wrong_scale(editor: Editor, node: NodeProto) -> bool:
    """A factor that is forgotten: attention without 1/√d."""
    if node.op_type not in {"Mul", "Div"} or _is_integer(editor, node):
        return False
    for position in (1, 0) if node.op_type == "Mul" else (1,):
        factor = editor.weight(node.input[position])
        if factor is not None and factor.size == 1 and factor.dtype == np.float32 and factor.reshape(-1)[0] not in (0, 1):
            editor.replace(node, position, np.ones_like(factor))
            return True
    return False


def flipped_kernel(editor: Editor, node: NodeProto) -> bool:
    """Convolution for correlation."""
    if node.op_type not in {"Conv", "ConvTranspose"}:
        return False
    weight = editor.weight(node.input[1])
    if weight is None or weight.ndim != 4 or weight.shape[2] == 1:
        return False
    editor.replace(node, 1, weight[:, :, ::-1, ::-1])
    return True


def swapped_gates(editor: Editor, node: NodeProto) -> bool:
    """The gates of a recurrent layer in another framework's order."""
    if node.op_type not in {"LSTM", "GRU"}:
        return False
    count = 4 if node.op_type == "LSTM" else 3
    for position in (1, 2, 3):
        if len(node.input) > position and node.input[position]:
            weight = editor.weight(node.input[position])
            if weight is None:
                return False
            parts = np.split(weight, count * (2 if position == 3 else 1), axis=1)
            order = [0, 2, 1, 3] if count == 4 else [1, 0, 2]
            order += [count + i for i in order] if position == 3 else []
            editor.replace(node, position, np.concatenate([parts[i] for i in order], axis=1))
    return True


def wrong_channel_scale(editor: Editor, node: NodeProto) -> bool:
    """One output channel dequantized by another channel's scale."""
    weight = editor.float_weight(node, {"Gemm", "Conv"})
    if weight is None:
        return False
    weight = weight.copy()
    weight[weight.shape[0] // 2] *= 1.3
    editor.replace(node, 1, weight)
    return True


def negated(editor: Editor, node: NodeProto) -> bool:
    """The sign of a product of activations."""
    if node.op_type != "MatMul" or any(editor.weight(n) is not None for n in node.input):
        return False
    editor.after(node, ("Neg", {}))
    return True


def wrong_slice(editor: Editor, node: NodeProto) -> bool:
    """A slice that is off by one."""
    if node.op_type != "Gather" or not len(node.input) > 1:
        return False
    index = editor.weight(node.input[1])
    if index is None or index.dtype != np.int64 or index.size != 1 or editor.weight(node.input[0]) is not None:
        return False
    editor.replace(node, 1, index - 1)
    return True


def _is_integer(editor: Editor, node: NodeProto) -> bool:
    """Whether a node computes with shapes, as far as its constants tell."""
    arrays = [a for a in map(editor.weight, node.input) if a is not None]
    integers = {v.name for v in editor.graph.value_info if v.type.tensor_type.elem_type in _INTEGERS}
    return any(a.dtype.kind != "f" for a in arrays) or any(n in integers for n in (*node.input, *node.output))


KINDS: dict[str, Kind] = {
    kind.__name__: kind
    for kind in (
        swapped_operands, wrong_axis, epsilon, transposed_weight, shifted_padding, wrong_resize_mode, truncated, half_overflow,
        corrupted_weight, saturated, swapped_parts, swapped_outputs, dropped_residual, dropped_bias, tanh_gelu, wrong_activation,
        wrong_pooling, coarse_weights, wrong_scale, flipped_kernel, swapped_gates, wrong_channel_scale, negated, wrong_slice,
    )
}  # fmt: skip
