"""LSTM, GRU and RNN of the PyTorch importer, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import onnx_nodes as nodes
import pytest

from convkit.interpreters.pytorch.table import operators
from interpreters.pytorch.operators.operator_checks import floats

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_STEPS, _BATCH, _WIDTH, _HIDDEN = 5, 2, 3, 4


def _check(
    operator: str, *, direction: str = "forward", bias: bool = True, state: bool = False, steps: Any = None, **rest: Any
) -> None:
    directions, rows = (2 if direction == "bidirectional" else 1), _GATES[operator] * _HIDDEN
    feeds = {"x": floats(_STEPS, _BATCH, _WIDTH)}
    constants = {"w": floats(directions, rows, _WIDTH, seed=1), "r": floats(directions, rows, _HIDDEN, seed=2)}
    if bias:
        constants["b"] = floats(directions, 2 * rows, seed=3)
    order = ["x", "w", "r", "b" if bias else "", ""]
    if state:
        names = ["h", "c"] if operator == "LSTM" else ["h"]
        feeds.update({name: floats(directions, _BATCH, _HIDDEN, seed=4 + k) for k, name in enumerate(names)})
        order += names
    dynamic = {"x": {1: "batch"}, "h": {1: "batch"}, "c": {1: "batch"}}
    if steps:
        dynamic["x"][0] = steps
    attributes = {"hidden_size": _HIDDEN, "direction": direction, **rest}
    if operator == "GRU":
        attributes.setdefault("linear_before_reset", 1)
    outputs = 3 if operator == "LSTM" else 2
    model = nodes.node_model(operator, feeds, constants, order=order, outputs=outputs, dynamic=dynamic, **attributes)
    run = nodes.pytorch_function(model, feeds)
    others = {name: np.repeat(a, 2, axis=1) for name, a in feeds.items()}
    if steps:
        others["x"] = np.concatenate([others["x"], others["x"][:2]])
    for given in (feeds, others):
        nodes.assert_agree(run(given), nodes.onnx_runtime(model, given))


@pytest.mark.parametrize("steps", (None, "time"))
@pytest.mark.parametrize("direction", ("forward", "reverse", "bidirectional"))
@pytest.mark.parametrize("operator", ("LSTM", "GRU", "RNN"))
def test_every_layer(operator: str, direction: str, steps: str | None) -> None:
    _check(operator, direction=direction, state=True, steps=steps)


@pytest.mark.parametrize("operator", ("LSTM", "GRU", "RNN"))
def test_without_bias_and_state_in_an_old_opset(operator: str) -> None:
    _check(operator, bias=False, opset=7)


def test_rectified_cells() -> None:
    _check("RNN", activations=["Relu"], steps="time")
    _check("RNN", activations=["Relu", "Relu"], direction="bidirectional")


def test_batch_first() -> None:
    """ONNX Runtime refuses `layout` 1 on CPUs; the result of `layout` 0 is the wanted one."""
    x, w, r = floats(_STEPS, _BATCH, _WIDTH), floats(1, 16, _WIDTH, seed=1), floats(1, 16, _HIDDEN, seed=2)
    first = nodes.node_model("LSTM", {"x": x}, {"w": w, "r": r}, outputs=3, hidden_size=_HIDDEN)
    swapped = {"x": np.ascontiguousarray(x.transpose(1, 0, 2))}
    last = nodes.node_model("LSTM", swapped, {"w": w, "r": r}, outputs=3, hidden_size=_HIDDEN, layout=1)
    y, h, c = nodes.onnx_runtime(first, {"x": x})
    wanted = [y.transpose(2, 0, 1, 3), h.transpose(1, 0, 2), c.transpose(1, 0, 2)]
    nodes.assert_agree(nodes.pytorch(last, swapped), wanted)


@pytest.mark.parametrize(
    ("operator", "attributes", "reason"),
    (
        ("LSTM", {"clip": 3.0}, "attribute clip"),
        ("LSTM", {"input_forget": 1}, "couple"),
        ("LSTM", {"activations": ["Sigmoid", "Relu", "Tanh"]}, "no activations"),
        ("GRU", {}, "linear_before_reset"),
        ("RNN", {"activations": ["Affine"]}, "no activations"),
    ),
)
def test_what_torch_does_not_compute_is_left_to_the_rewrite(operator: str, attributes: dict[str, Any], reason: str) -> None:
    values = [ir.val(name, ir.DataType.FLOAT, [_STEPS, _BATCH, _WIDTH]) for name in "xwr"]
    assert reason in str(operators().refusal(ir.node(operator, values, attributes), 22))


def test_peepholes_and_ragged_batches_are_left_to_the_rewrite() -> None:
    values = [ir.val(name, ir.DataType.FLOAT, [_STEPS, _BATCH, _WIDTH]) for name in "xwrb"]
    lengths = ir.val("lengths", ir.DataType.INT32, [_BATCH])
    assert "one length" in str(operators().refusal(ir.node("LSTM", [*values, lengths]), 22))
    whole = ir.val("whole", ir.DataType.INT32, [_BATCH], const_value=ir.tensor(np.full(_BATCH, _STEPS, np.int32)))
    assert operators().refusal(ir.node("LSTM", [*values, whole]), 22) is None
    peepholes = ir.val("p", ir.DataType.FLOAT, [1, 12])
    assert "peepholes" in str(operators().refusal(ir.node("LSTM", [*values, None, None, None, peepholes]), 22))
