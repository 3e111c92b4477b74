"""Products, sums and batch normalisations that become part of a convolution's weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnx_nodes as nodes
import pytest
from onnx import TensorProto, helper, numpy_helper

from convkit.legalization.onnx import preparation
from convkit.legalization.onnx.folding import fold_into_convolutions

_random = np.random.default_rng(0)
_SHAPE = (2, 4, 7, 7)


def _values(*shape: int) -> np.ndarray:
    return _random.normal(size=shape).astype(np.float32)


_CONSTANTS = {
    "weight": _values(6, 4, 3, 3),
    "depthwise": _values(4, 1, 3, 3),
    "bias": _values(6),
    "channel": _values(6, 1, 1),
    "four": _values(4, 1, 1),
    "whole": _values(1, 6, 1, 1),
    "scalar": np.float32(0.7),
    "one": _values(1),
    "row": _values(5),
    "batch": _values(2, 1, 1, 1),
    "larger": _values(1, 1, 1, 1, 1),
    "mean": _values(6),
    "variance": np.abs(_values(6)),
    "zero": np.float32(0),
}


def _model(steps: Sequence[tuple[str, Sequence[str], dict[str, Any]]], outputs: Sequence[str] = ()) -> onnx.ModelProto:
    made, previous = [], "x"
    for number, (operator, inputs, attributes) in enumerate(steps):
        made.append(helper.make_node(operator, [name or previous for name in inputs], [f"v{number}"], **attributes))
        previous = f"v{number}"
    used = {name for node in made for name in node.input}
    graph = helper.make_graph(
        made,
        "folding",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, _SHAPE)],
        [helper.make_empty_tensor_value_info(name) for name in [*outputs, previous]],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in _CONSTANTS.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def _folded(model: onnx.ModelProto) -> tuple[int, list[str]]:
    """How many operators are gone, and which are left; the values stay."""
    imported = preparation.prepared(ir.from_proto(model))
    count = fold_into_convolutions(imported)
    feeds = {"x": _values(*_SHAPE)}
    result = ir.to_proto(imported)
    onnx.checker.check_model(result)
    nodes.assert_agree(nodes.onnx_runtime(result, feeds), nodes.onnx_runtime(model, feeds))
    assert [o.name for o in result.graph.output] == [o.name for o in model.graph.output]
    return count, [node.op_type for node in imported.graph]


_CONV = ("Conv", ["", "weight", "bias"], {})
_BARE = ("Conv", ["", "weight"], {})
_NORMALIZED = ("BatchNormalization", ["", "bias", "mean", "mean", "variance"], {"epsilon": 1e-3})


@pytest.mark.parametrize("first", [_CONV, _BARE])
@pytest.mark.parametrize(
    "steps",
    [
        [_NORMALIZED],
        [("Mul", ["", "channel"], {})],
        [("Add", ["scalar", ""], {}), ("Mul", ["one", ""], {}), ("Sub", ["", "whole"], {}), ("Div", ["", "scalar"], {})],
        [_NORMALIZED, ("Mul", ["", "scalar"], {}), _NORMALIZED],
    ],
)
def test_what_follows_becomes_part_of_the_weights(first: Any, steps: Any) -> None:
    assert _folded(_model([first, *steps, ("Relu", [""], {})])) == (len(steps), ["Conv", "Relu"])


def test_the_last_one_is_an_output() -> None:
    assert _folded(_model([_CONV, _NORMALIZED])) == (1, ["Conv"])


def test_a_depthwise_convolution() -> None:
    steps = [("Conv", ["", "depthwise"], {"group": 4}), ("Mul", ["", "four"], {}), ("Add", ["", "four"], {})]
    assert _folded(_model(steps)) == (2, ["Conv"])


@pytest.mark.parametrize(
    "step",
    [
        ("Mul", ["", "row"], {}),
        ("Mul", ["", "batch"], {}),
        ("Add", ["", "larger"], {}),
        ("Sub", ["scalar", ""], {}),
        ("Div", ["scalar", ""], {}),
        ("Div", ["", "zero"], {}),
        ("Mul", ["", ""], {}),
        ("Pow", ["", "scalar"], {}),
    ],
)
def test_other_operators_stay(step: Any) -> None:
    if "zero" in step[1]:
        imported = preparation.prepared(ir.from_proto(_model([_CONV, step])))
        assert fold_into_convolutions(imported) == 0
        return
    assert _folded(_model([_CONV, step])) == (0, ["Conv", step[0]])


def test_a_result_that_is_used_twice_stays() -> None:
    steps = [_CONV, ("Mul", ["", "scalar"], {}), ("Add", ["", "v0"], {})]
    assert _folded(_model(steps)) == (0, ["Conv", "Mul", "Add"])


def test_a_result_that_is_an_output_stays() -> None:
    assert _folded(_model([_CONV, _NORMALIZED], ["v0"])) == (0, ["Conv", "BatchNormalization"])


def test_a_weight_that_is_an_input_stays() -> None:
    model = _model([_CONV, _NORMALIZED])
    [weight] = [k for k, value in enumerate(model.graph.initializer) if value.name == "weight"]
    del model.graph.initializer[weight]
    model.graph.input.append(helper.make_tensor_value_info("weight", TensorProto.FLOAT, [6, 4, 3, 3]))
    assert fold_into_convolutions(preparation.prepared(ir.from_proto(model))) == 0
