"""What the layout costs in a LiteRT file: transpositions, paddings, activations, weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_nodes as nodes
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from onnx import TensorProto, helper, numpy_helper

from convkit.converters import _litert_tracing as tracing
from convkit.legalization.onnx import litert, preparation
from convkit.signature import Signature, TensorSpec

_random = np.random.default_rng(0)


def _values(*shape: int) -> np.ndarray:
    return _random.normal(size=shape).astype(np.float32)


_CONSTANTS = {
    "first": _values(8, 3, 3, 3),
    "weight": _values(24, 24, 3, 3),  # more than 4096 numbers: it is put into the file afterwards
    "wide": _values(24, 8, 1, 1),
    "depthwise": _values(8, 1, 3, 3),
    "bias": _values(24),
    "slope": _values(24, 1, 1),
    "mean": _values(24),
    "variance": np.abs(_values(24)),
    "three": np.array([3], np.float32),
    "sixth": np.array([6], np.float32),
    "zero": np.float32(0),
    "six": np.float32(6),
    "square": _values(24, 10),
    "margins": np.array([0, 0, 1, 2, 0, 0, 0, 1]),
    "rows": np.array([0, 24, -1]),
}


def _lowered(
    steps: Sequence[tuple[str, Sequence[str], Mapping[str, Any]]], tmp_path: Path, shape: Sequence[int] = (2, 3, 12, 12)
) -> Counter[str]:
    """Makes a LiteRT file, with a dynamic batch, and compares it with ONNX Runtime. Returns its operators."""
    made, previous = [], "x"
    for number, (operator, inputs, attributes) in enumerate(steps):
        made.append(helper.make_node(operator, [name or previous for name in inputs], [f"v{number}"], f"n{number}", **attributes))
        previous = f"v{number}"
    used = {name for node in made for name in node.input}
    graph = helper.make_graph(
        made,
        "layout",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape[1:]])],
        [helper.make_empty_tensor_value_info(previous)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in _CONSTANTS.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    source, output = tmp_path / "model.onnx", tmp_path / "model.tflite"
    onnx.save(model, source)
    result = model.graph.output[0].type.tensor_type.shape.dim
    signature = Signature(
        (TensorSpec("x", "float32", ("batch", *shape[1:])),),
        (TensorSpec(previous, "float32", tuple(d.dim_param or d.dim_value for d in result)),),
    )
    imported = preparation.load(source)
    litert.legalize(imported)
    tracing.write(imported, signature, output)
    interpreter = Interpreter(str(output), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    feeds = {"x": _values(*shape)}
    [given], [got] = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(given["index"], shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], feeds["x"])
    interpreter.invoke()
    nodes.assert_agree([interpreter.get_tensor(got["index"])], nodes.onnx_runtime(model, feeds), 2e-5)
    return Counter(operator["op_name"] for operator in interpreter._get_ops_details())


_FIRST = ("Conv", ["", "first"], {"pads": [1, 1, 1, 1]})
_WIDE = ("Conv", ["", "wide"], {})
_NORMALIZED = ("BatchNormalization", ["", "bias", "mean", "mean", "variance"], {})
_LARGE = ("Conv", ["", "weight", "bias"], {"pads": [1, 1, 1, 1]})


def test_a_network_of_convolutions(tmp_path: Path) -> None:
    steps = [_FIRST, ("Relu", [""], {}), _WIDE, _NORMALIZED, ("Clip", ["", "zero", "six"], {}), _LARGE, _NORMALIZED]
    steps += [("Relu", [""], {}), ("Add", ["", "v4"], {}), ("GlobalAveragePool", [""], {}), ("Flatten", [""], {})]
    steps += [("MatMul", ["", "square"], {})]
    used = _lowered(steps, tmp_path)
    used.pop("RESHAPE", None)
    assert used == {"TRANSPOSE": 1, "CONV_2D": 3, "ADD": 1, "MEAN": 1, "FULLY_CONNECTED": 1}


def test_the_output_keeps_its_layout(tmp_path: Path) -> None:
    assert _lowered([_FIRST, _WIDE, _LARGE], tmp_path) == {"TRANSPOSE": 2, "CONV_2D": 3}


def test_patches_are_rows_at_once(tmp_path: Path) -> None:
    steps = [
        _FIRST,
        _WIDE,
        ("Reshape", ["", "rows"], {}),
        ("Transpose", [""], {"perm": [0, 2, 1]}),
        ("MatMul", ["", "square"], {}),
    ]
    assert _lowered(steps, tmp_path) == {"TRANSPOSE": 1, "CONV_2D": 2, "RESHAPE": 1, "FULLY_CONNECTED": 1}


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        ([("PRelu", ["", "slope"], {})], {"PRELU": 1}),
        ([("PRelu", ["", "three"], {})], {"LEAKY_RELU": 1}),
        ([("LeakyRelu", [""], {"alpha": 0.1})], {"LEAKY_RELU": 1}),
        ([("HardSwish", [""], {})], {"HARD_SWISH": 1}),
        ([("HardSigmoid", [""], {"alpha": 1 / 6}), ("Mul", ["", "v1"], {})], {"HARD_SWISH": 1}),
        (
            [
                ("Add", ["", "three"], {}),
                ("Clip", ["", "zero", "six"], {}),
                ("Mul", ["v1", ""], {}),
                ("Div", ["", "sixth"], {}),
            ],
            {"HARD_SWISH": 1},
        ),
        ([("Gelu", [""], {})], {"GELU": 1}),
    ],
)
def test_activations_are_one_operator(steps: Any, wanted: dict[str, int], tmp_path: Path) -> None:
    steps = [("Conv", ["", "first"], {}), _WIDE, *steps]
    assert _lowered(steps, tmp_path) == {"TRANSPOSE": 2, "CONV_2D": 2, **wanted}


@pytest.mark.parametrize("strides", [[2, 2], [2, 1], [1, 3]])
def test_a_depthwise_convolution_is_one_operator(strides: list[int], tmp_path: Path) -> None:
    steps = [_FIRST, ("Conv", ["", "depthwise"], {"group": 8, "strides": strides})]
    assert _lowered(steps, tmp_path) == {"TRANSPOSE": 2, "CONV_2D": 1, "DEPTHWISE_CONV_2D": 1}


def test_zeros_are_padded_by_the_operator_for_zeros(tmp_path: Path) -> None:
    steps = [("Conv", ["", "first"], {"pads": [1, 1, 1, 1], "strides": [2, 2]}), ("Pad", ["", "margins"], {})]
    assert _lowered(steps, tmp_path) == {"TRANSPOSE": 2, "CONV_2D": 1, "PAD": 2}
