"""Channels last from one convolution to the next: no transposition but at the edges, and the values of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnx_nodes as nodes
import pytest
import tensorflow as tf
from onnx import TensorProto, helper, numpy_helper

from convkit.interpreters.tensorflow.importer import OnnxFunction
from convkit.interpreters.tensorflow.table import operators
from convkit.legalization.onnx import preparation
from convkit.legalization.onnx.rewriting import legalize

_random = np.random.default_rng(0)
_Step = tuple[str, Sequence[str], Mapping[str, Any]]
"""An operator, its inputs ("" the result of the step before, others named constants), its attributes."""


def _values(*shape: int) -> np.ndarray:
    return _random.normal(size=shape).astype(np.float32)


_CONSTANTS = {
    "kernel": _values(6, 6, 3, 3),
    "first": _values(6, 3, 3, 3),
    "line": _values(6, 6, 3),
    "first_line": _values(6, 3, 3),
    "cube": _values(6, 6, 2, 2, 2),
    "bias": _values(6),
    "channel": _values(6, 1, 1),
    "image": _values(1, 6, 8, 8),
    "row": _values(8),
    "mean": _values(6),
    "positive": np.abs(_values(6)) + 0.5,
    "scalar": _values(),
    "one": _values(1),
    "zero": np.float32(0),
    "six": np.float32(6),
    "level": np.uint8(3),
    "levels": _random.integers(0, 9, 6).astype(np.uint8),
    "scale": np.float32(0.1),
    "axis1": np.array([1]),
    "axis2": np.array([2]),
    "axes23": np.array([2, 3]),
    "starts": np.array([1, -7]),
    "ends": np.array([5, 2**62]),
    "axes13": np.array([1, -1]),
    "steps": np.array([2, 3]),
    "pads": np.array([0, 1, 0, 2, 0, 0, 1, 0]),
    "pads23": np.array([1, 0, 0, 1]),
    "halves": np.array([2, 4]),
    "scales": np.array([1, 1, 2, 2], np.float32),
    "odd_scales": np.array([1, 1, 1.5, 1.5], np.float32),
    "picked": np.array([5, 0]),
    "third": np.array(3),
    "groups": np.array([0, 2, 3, 8, 8]),
    "joined": np.array([0, 6, 8, 8]),
    "flat": np.array([0, 6, -1]),
    "exponent": np.float32(2),
}


def _model(steps: Sequence[_Step], shape: Sequence[int], opset: int, dynamic: Sequence[int] = ()) -> onnx.ModelProto:
    made, previous, used = [], "x", set()
    for number, (operator, inputs, attributes) in enumerate(steps):
        names = [previous if not name else name.removesuffix("?") for name in inputs]
        names = ["" if name == "-" else name for name in names]
        used.update(set(names) & set(_CONSTANTS))
        made.append(helper.make_node(operator, names, [f"v{number}"], name=f"n{number}", **attributes))
        previous = f"v{number}"
    initializers = [numpy_helper.from_array(np.asarray(_CONSTANTS[name]), name) for name in sorted(used)]
    sizes = [f"d{axis}" if axis in dynamic else size for axis, size in enumerate(shape)]
    graph = helper.make_graph(
        made,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)],
        [helper.make_empty_tensor_value_info(previous)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def _traced(model: onnx.ModelProto) -> Any:
    imported = preparation.prepared(ir.from_proto(model))
    legalize(imported, operators())
    function = OnnxFunction(imported)
    sizes = [d.dim_value or None for d in model.graph.input[0].type.tensor_type.shape.dim]
    spec = [tf.TensorSpec(sizes, tf.float32)]
    return tf.function(lambda x: function(x), input_signature=spec, autograph=False).get_concrete_function()


def _check(steps: Sequence[_Step], shape: Sequence[int], opset: int = 21, dynamic: Sequence[int] = ()) -> list[str]:
    """Compares with ONNX Runtime. Returns the operators that were traced."""
    model = _model(steps, shape, opset, dynamic)
    feeds = {"x": _values(*shape)}
    traced = _traced(model)
    wanted = nodes.onnx_runtime(model, feeds)
    nodes.assert_agree([result.numpy() for result in traced(tf.constant(feeds["x"]))], wanted, 2e-5)
    return [operation.type for operation in traced.graph.get_operations()]


def _convolution(weight: str) -> _Step:
    return "Conv", ["", weight, "bias"], {"pads": [1, 1] if "line" in weight else [1, 1, 1, 1]}


_FIRST, _LAST = _convolution("first"), _convolution("kernel")

_KEEP = {
    "relu": [("Relu", [""], {})],
    "clip": [("Clip", ["", "zero", "six"], {})],
    "channel": [("Add", ["", "channel"], {}), ("Mul", ["channel", ""], {})],
    "row": [("Add", ["", "row"], {})],
    "image": [("Sub", ["image", ""], {})],
    "scalar": [("Mul", ["", "scalar"], {}), ("Add", ["one", ""], {})],
    "power": [("Pow", ["", "exponent"], {})],
    "prelu": [("PRelu", ["", "channel"], {})],
    "max": [("Max", ["", "channel", "scalar"], {})],
    "batch": [("BatchNormalization", ["", "bias", "mean", "bias", "positive"], {"epsilon": 1e-3})],
    "instance": [("InstanceNormalization", ["", "positive", "bias"], {})],
    "lrn": [("LRN", [""], {"size": 3})],
    "pool": [("MaxPool", [""], {"kernel_shape": [2, 2], "strides": [2, 2]})],
    "padded pool": [("MaxPool", [""], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]})],
    "mean pool": [("AveragePool", [""], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]})],
    "transposed": [("ConvTranspose", ["", "kernel"], {"strides": [2, 2]})],
    "softmax": [("Softmax", [""], {"axis": 1}), ("LogSoftmax", [""], {"axis": -3})],
    "slice": [("Slice", ["", "starts", "ends", "axes13", "steps"], {}), ("Pad", ["", "pads"], {})],
    "pad": [("Pad", ["", "pads23", "zero", "axes23"], {}), ("Pad", ["", "pads23", "-", "axes23"], {"mode": "reflect"})],
    "resize": [("Resize", ["", "-", "scales"], {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"})],
    "cubic": [("Resize", ["", "-", "odd_scales"], {"mode": "cubic"})],
    "depth": [("SpaceToDepth", [""], {"blocksize": 2}), ("DepthToSpace", [""], {"blocksize": 2, "mode": "CRD"})],
    "depth first": [("SpaceToDepth", [""], {"blocksize": 2}), ("DepthToSpace", [""], {"blocksize": 2})],
    "quantize": [("QuantizeLinear", ["", "positive", "levels"], {}), ("DequantizeLinear", ["", "positive", "levels"], {})],
    "quantize all": [("QuantizeLinear", ["", "scale", "level"], {}), ("DequantizeLinear", ["", "scale", "level"], {})],
    "gather": [("Gather", ["", "picked"], {"axis": 1}), ("Concat", ["", "v1", "v1"], {"axis": -3})],
    "cast": [("Cast", [""], {"to": TensorProto.DOUBLE}), ("Cast", [""], {"to": TensorProto.FLOAT})],
    "reduce": [("ReduceMax", ["", "axis2"], {}), ("Mul", ["", "v0"], {})],
    "squeeze and excite": [("GlobalAveragePool", [""], {}), ("HardSigmoid", [""], {}), ("Mul", ["v0", ""], {})],
    "there and back": [
        ("Transpose", [""], {"perm": [0, 2, 3, 1]}),
        ("Softplus", [""], {}),
        ("Transpose", [""], {"perm": [0, 3, 1, 2]}),
    ],
    "rows and back": [("Reshape", ["", "flat"], {}), ("Tanh", [""], {}), ("Reshape", ["", "joined"], {})],
    "concat": [
        ("Sigmoid", [""], {}),
        ("Concat", ["", "v0"], {"axis": 1}),
        ("Slice", ["", "starts", "ends", "axes13", "steps"], {}),
        ("Pad", ["", "pads"], {}),
    ],
}
_CHANGES_CHANNELS = {"slice", "concat"}


@pytest.mark.parametrize("name", sorted(_KEEP))
@pytest.mark.parametrize("dynamic", [(), (0,), (0, 2, 3)])
def test_what_works_in_any_order_needs_no_transposition(name: str, dynamic: tuple[int, ...]) -> None:
    if name == "rows and back" and 2 in dynamic:
        dynamic = (0,)  # the rows are parted again by numbers
    last = [] if name in _CHANGES_CHANNELS else [_LAST]
    used = _check([_FIRST, *_KEEP[name], *last], (2, 3, 8, 8), dynamic=dynamic)
    within = 1 if name == "depth" else 0  # the channels of the mode CRD change places among themselves
    assert used.count("Transpose") == 2 + within


_HEAD = [_FIRST, ("Relu", [""], {})]
_LINES = [("Conv", ["", "first_line", "bias"], {"pads": [1, 1]}), ("Relu", [""], {})]
_LINE: _Step = ("Conv", ["", "line", "bias"], {"pads": [1, 1]})

_ENDS: dict[str, tuple[list[_Step], tuple[int, ...], int]] = {
    "nothing but the edges": ([_FIRST], (2, 3, 8, 8), 2),
    "one channel is no transposition": ([("ReduceMax", ["", "axis1"], {}), ("Conv", ["", "one_channel"], {})], (2, 3, 8, 8), 1),
    "a mean over the image": ([*_HEAD, ("ReduceMean", ["", "axes23"], {"keepdims": 0})], (2, 3, 8, 8), 1),
    "a pooled image is flat": ([*_HEAD, ("GlobalMaxPool", [""], {}), ("Flatten", [""], {})], (2, 3, 8, 8), 1),
    "the best channel": ([*_HEAD, ("ArgMax", [""], {"axis": 1, "keepdims": 0})], (2, 3, 8, 8), 1),
    "the best channel, kept": ([*_HEAD, ("ArgMin", [""], {"axis": 1})], (2, 3, 8, 8), 1),
    "one channel": ([*_HEAD, ("Gather", ["", "third"], {"axis": 1})], (2, 3, 8, 8), 1),
    "one row": ([*_HEAD, ("Gather", ["", "third"], {"axis": 2}), _LINE], (2, 3, 8, 8), 2),
    "a sequence of columns": (
        [*_HEAD, ("ReduceMax", ["", "axis2"], {}), ("Squeeze", ["", "axis2"], {}), ("Transpose", [""], {"perm": [0, 2, 1]})],
        (2, 3, 8, 8),
        1,
    ),
    "all squeezed": ([*_HEAD, ("GlobalMaxPool", [""], {}), ("Squeeze", [""], {})], (2, 3, 8, 8), 1),
    "patches": ([*_HEAD, ("Reshape", ["", "flat"], {}), ("Transpose", [""], {"perm": [0, 2, 1]})], (2, 3, 8, 8), 1),
    "flat": ([*_HEAD, ("Flatten", [""], {})], (2, 3, 8, 8), 2),
    "groups of channels": (
        [
            *_HEAD,
            ("Reshape", ["", "groups"], {}),
            ("Transpose", [""], {"perm": [0, 2, 1, 3, 4]}),
            ("Reshape", ["", "joined"], {}),
            _LAST,
        ],
        (2, 3, 8, 8),
        3,
    ),
    "anchors": ([*_HEAD, ("Reshape", ["", "groups"], {}), ("Transpose", [""], {"perm": [0, 1, 3, 4, 2]})], (2, 3, 8, 8), 2),
    "lines": ([*_LINES, _LINE, ("Sigmoid", [""], {}), ("Mul", ["", "v1"], {}), _LINE], (2, 3, 9), 2),
    "lines of pools": ([*_LINES, ("MaxPool", [""], {"kernel_shape": [2]}), ("Add", ["", "line_bias"], {}), _LINE], (2, 3, 9), 2),
    "lines and images": ([*_LINES, ("Unsqueeze", ["", "axis2"], {}), _LAST, ("Squeeze", ["", "axis2"], {}), _LINE], (2, 3, 9), 2),
    "lines in front": ([*_LINES, ("Unsqueeze", ["", "axis1"], {}), ("Squeeze", ["", "axis1"], {}), _LINE], (2, 3, 9), 2),
    "volumes": (
        [
            ("Conv", ["", "first_cube", "bias"], {}),
            ("Relu", [""], {}),
            ("Conv", ["", "cube"], {}),
            ("Add", ["", "cube_bias"], {}),
        ],
        (2, 3, 5, 6, 7),
        2,
    ),
    "a model of channels last": (
        [
            ("Transpose", [""], {"perm": [0, 3, 1, 2]}),
            _FIRST,
            ("Add", ["", "channel"], {}),
            ("Transpose", [""], {"perm": [0, 2, 3, 1]}),
        ],
        (2, 8, 8, 3),
        0,
    ),
    "a matrix": ([*_LINES, ("MatMul", ["", "square"], {})], (2, 3, 9), 2),
    "sums over dead axes": ([*_LINES, ("ReduceSumSquare", ["", "axis2"], {"keepdims": 0})], (2, 3, 9), 1),
    "mostly others": ([_FIRST, ("Concat", ["", "image2", "image2"], {"axis": 1})], (2, 3, 8, 8), 2),
}
_CONSTANTS |= {
    "one_channel": _values(6, 1, 3, 3),
    "first_cube": _values(6, 3, 2, 2, 2),
    "line_bias": _values(6, 1),
    "cube_bias": _values(1, 6, 1, 1, 1),
    "square": _values(9, 4),
    "image2": _values(2, 6, 8, 8),
}


@pytest.mark.parametrize("name", sorted(_ENDS))
@pytest.mark.parametrize("is_dynamic", [False, True])
def test_transpositions_that_are_left(name: str, is_dynamic: bool) -> None:
    steps, shape, count = _ENDS[name]
    is_dynamic = is_dynamic and name != "all squeezed"  # which of the axes these are must be known
    assert _check(steps, shape, dynamic=(0,) if is_dynamic else ()).count("Transpose") == count


@pytest.mark.parametrize("opset", [9, 10, 12])
def test_axes_of_older_opsets(opset: int) -> None:
    steps = [
        _FIRST,
        ("Softmax", [""], {"axis": 3}),
        ("Unsqueeze", [""], {"axes": [2]}),
        ("Squeeze", [""], {"axes": [2]}),
        ("ReduceMean", [""], {"axes": [-1]}),
        ("Add", ["", "v0"], {}),
        *(
            [("Slice", [""], {"starts": [1, 1], "ends": [5, 9]}), ("Pad", [""], {"pads": [1, 1, 0, 0, 0, 0, 0, 2]})]
            if opset == 9
            else []
        ),
    ]
    _check(steps, (2, 3, 8, 8), opset)


def test_several_uses_share_one_transposition() -> None:
    steps = [_FIRST, ("MatMul", ["", "eight"], {}), ("MatMul", ["v0", "eight"], {}), ("Add", ["", "v1"], {})]
    _CONSTANTS["eight"] = _values(8, 8)
    assert _check(steps, (2, 3, 8, 8)).count("Transpose") == 2


def test_a_value_in_the_bodies_of_a_condition() -> None:
    def body(name: str, operator: str) -> onnx.GraphProto:
        made = helper.make_node(operator, ["v", "v"], [name])
        return helper.make_graph([made], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 6, 8, 8])])

    made = [
        helper.make_node("Conv", ["x", "first", "bias"], ["v"], pads=[1, 1, 1, 1]),
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Greater", ["most", "zero"], ["is_bright"]),
        helper.make_node("If", ["is_bright"], ["w"], then_branch=body("then", "MatMul"), else_branch=body("other", "Mul")),
        helper.make_node("Add", ["v", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        made,
        "condition",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 6, 8, 8])],
        [numpy_helper.from_array(np.asarray(_CONSTANTS[name]), name) for name in ("first", "bias", "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    traced = _traced(model)
    for sign in (1, -1):
        feeds = {"x": sign * np.abs(_values(2, 3, 8, 8))}
        nodes.assert_agree([r.numpy() for r in traced(tf.constant(feeds["x"]))], nodes.onnx_runtime(model, feeds), 2e-5)


def test_a_constant_keeps_its_axes() -> None:
    steps = [("Transpose", ["square_of_one"], {"perm": [0, 2, 1]}), ("Add", ["", "row"], {}), ("Mul", ["", "x"], {})]
    _CONSTANTS["square_of_one"] = _values(1, 8, 8)
    _check(steps, (2, 8, 8))
