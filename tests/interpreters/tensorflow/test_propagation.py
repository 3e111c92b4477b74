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
    "batch": [("BatchNormalization", ["", "bias", "one_row", "bias", "positive"], {"epsilon": 1e-3})],
    "instance": [("InstanceNormalization", ["", "positive", "bias"], {})],
    "lrn": [("LRN", [""], {"size": 3})],
    "pool": [("MaxPool", [""], {"kernel_shape": [2, 2], "strides": [2, 2]})],
    "padded pool": [("MaxPool", [""], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]})],
    "mean pool": [("AveragePool", [""], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]})],
    "transposed": [("ConvTranspose", ["", "kernel"], {"strides": [2, 2]})],
    "softmax": [("Softmax", [""], {"axis": 1}), ("LogSoftmax", [""], {"axis": -1})],
    "slice": [("Slice", ["", "starts", "ends", "axes13", "steps"], {}), ("Pad", ["", "pads"], {})],
    "pad": [("Pad", ["", "pads23", "zero", "axes23"], {}), ("Pad", ["", "pads23", "-", "axes23"], {"mode": "reflect"})],
    "resize": [("Resize", ["", "-", "scales"], {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"})],
    "cubic": [("Resize", ["", "-", "odd_scales"], {"mode": "cubic"})],
    "depth": [("SpaceToDepth", [""], {"blocksize": 2}), ("DepthToSpace", [""], {"blocksize": 2, "mode": "CRD"})],
    "depth first": [("SpaceToDepth", [""], {"blocksize": 2}), ("DepthToSpace", [""], {"blocksize": 2})],
    "quantize": [("QuantizeLinear", ["", "positive", "levels"], {}), ("DequantizeLinear", ["", "positive", "levels"], {})],
    "quantize all": [("QuantizeLinear", ["", "scale", "level"], {}), ("DequantizeLinear", ["", "scale", "level"], {})],
    "gather": [("Gather", ["", "picked"], {"axis": 1}), ("Concat", ["", "v1", "v1"], {"axis": -3})],
    "cast": [("Cast", [""], {"to": TensorProto.FLOAT16}), ("Cast", [""], {"to": TensorProto.FLOAT})],
    "reduce": [("ReduceMax", ["", "axis2"], {}), ("Mul", ["", "v0"], {})],
    "squeeze and excite": [("GlobalAveragePool", [""], {}), ("HardSigmoid", [""], {}), ("Mul", ["v0", ""], {})],
    "there and back": [("Transpose", [""], {"perm": [0, 2, 3, 1]}), ("Softplus", [""], {}), ("Transpose", [""], {"perm": [0, 3, 1, 2]})],
    "rows and back": [("Reshape", ["", "flat"], {}), ("Tanh", [""], {}), ("Reshape", ["", "joined"], {})],
    "concat": [("Sigmoid", [""], {}), ("Concat", ["", "v0"], {"axis": 1}), ("Slice", ["", "starts", "ends", "axes13", "steps"], {}), ("Pad", ["", "pads"], {})],
}
_CONSTANTS["one_row"] = _values(6)
_CHANGES_CHANNELS = {"slice", "concat"}


@pytest.mark.parametrize("name", sorted(_KEEP))
@pytest.mark.parametrize("dynamic", [(), (0,), (0, 2, 3)])
def test_what_works_in_any_order_needs_no_transposition(name: str, dynamic: tuple[int, ...]) -> None:
    steps = [_FIRST, *_KEEP[name]]
    last = [] if name in _CHANGES_CHANNELS else [_LAST]
    static_only = name in ("rows and back",)
    if static_only and 2 in dynamic:
        return
    used = _check([*steps, *last], (2, 3, 8, 8), dynamic=dynamic)
    allowed = 1 if name in ("depth",) else 0  # the channels of mode CRD change places among themselves
    assert used.count("Transpose") == 2 + allowed, name
