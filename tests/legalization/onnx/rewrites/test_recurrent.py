"""RNN, GRU and LSTM as Scans: ONNX Runtime computes the same with either."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_nodes as nodes
import pytest
from legalization.onnx import plain_target as plain

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
ACTIVATIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}
TARGET = plain.PlainTarget(accepted=["Elu", "HardSigmoid", "LeakyRelu", "Softplus", "Softsign"])


def recurrent(
    cell: str,
    direction: str = "forward",
    *,
    given: str = "B",
    fed: bool = False,
    opset: int = 21,
    time: int = 5,
    **attributes: Any,
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """A model of one layer with batch 3, 4 inputs and 2 hidden units, and what to feed it.

    Args:
        given: The optional inputs that it has: B (bias), L (lengths), H, C (initial states), P (peepholes).
        fed: Whether the weights are inputs of the model.
    """
    rng = np.random.default_rng(7)
    ways, gates, batch, hidden = 1 + (direction == "bidirectional"), GATES[cell], 3, 2
    normal = {
        "W": rng.normal(size=(ways, gates * hidden, 4)),
        "R": rng.normal(size=(ways, gates * hidden, hidden)),
        "B": rng.normal(size=(ways, 2 * gates * hidden)),
        "H": rng.normal(size=(ways, batch, hidden)),
        "C": rng.normal(size=(ways, batch, hidden)),
        "P": rng.normal(size=(ways, 3 * hidden)),
    }
    arrays: dict[str, np.ndarray] = {name: array.astype(np.float32) for name, array in normal.items()}
    arrays["L"] = np.array([time, 0, time // 2], np.int32)
    order = ["X", "W", "R", *(name if name in given else "" for name in "BLHCP")]
    while not order[-1]:
        order.pop()
    held = {} if fed else {name: arrays[name] for name in order if name and name in "WRBP"}
    feeds = {"X": rng.normal(size=(time, batch, 4)).astype(np.float32)}
    feeds.update((name, arrays[name]) for name in order[1:] if name and name not in held)
    model = nodes.node_model(
        cell,
        feeds,
        held,
        order=order,
        outputs=3 if cell == "LSTM" else 2,
        opset=opset,
        dynamic={"X": {0: "time", 1: "batch"}},
        hidden_size=hidden,
        direction=direction,
        **attributes,
    )
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return model, feeds


@pytest.mark.parametrize("fed", [False, True])
@pytest.mark.parametrize("given", ["", "B", "BLHC"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("cell", GATES)
def test_directions_and_inputs(cell: str, direction: str, given: str, fed: bool) -> None:
    given = given if cell == "LSTM" else given.replace("C", "")
    plain.assert_same(*recurrent(cell, direction, given=given, fed=fed), target=TARGET)


@pytest.mark.parametrize(
    "attributes",
    [{"clip": 0.3}, {"input_forget": 1}, {"clip": 0.5, "input_forget": 1}, {}],
    ids=["clip", "coupled", "both", "neither"],
)
def test_lstm_with_peepholes(attributes: dict[str, Any]) -> None:
    plain.assert_same(*recurrent("LSTM", "bidirectional", given="BLHCP", **attributes), target=TARGET)


@pytest.mark.parametrize("fed", [False, True])
@pytest.mark.parametrize("clip", [{}, {"clip": 0.4}])
@pytest.mark.parametrize("after", [0, 1])
def test_gru_resets_before_or_after_the_linear_part(after: int, clip: dict[str, float], fed: bool) -> None:
    plain.assert_same(*recurrent("GRU", "bidirectional", fed=fed, linear_before_reset=after, **clip), target=TARGET)


@pytest.mark.parametrize("opset", [9, 11, 13, 14, 18, 22])
def test_opsets(opset: int) -> None:
    plain.assert_same(*recurrent("LSTM", "bidirectional", given="BHC", opset=opset), target=TARGET)


@pytest.mark.parametrize("activation", ["Relu", "Tanh", "Sigmoid", "LeakyRelu", "HardSigmoid", "Elu", "Softsign", "Softplus"])
def test_activations_with_their_defaults(activation: str) -> None:
    for cell, count in ACTIVATIONS.items():
        plain.assert_same(*recurrent(cell, time=2, activations=[activation] * count), target=TARGET)


def test_only_activations_that_take_parameters_use_them_up() -> None:
    model, feeds = recurrent(
        "LSTM",
        "bidirectional",
        activations=["HardSigmoid", "Tanh", "LeakyRelu", "Affine", "ScaledTanh", "ThresholdedRelu"],
        activation_alpha=[0.3, 0.2, 0.7, 0.8, 0.1],
        activation_beta=[0.4, 0.1, 0.9],
    )
    plain.assert_same(model, feeds, target=plain.PlainTarget(accepted=["HardSigmoid", "LeakyRelu", "ThresholdedRelu"]))


@pytest.mark.parametrize("activation", ["Affine", "ScaledTanh", "ThresholdedRelu"])
def test_activations_without_agreed_defaults_are_a_gap(activation: str) -> None:
    _, findings = plain.legalized(recurrent("RNN", activations=[activation])[0], TARGET)
    assert plain.gaps(findings) == ["RNN ×1: not RNN (at the_rnn)"]


def test_a_dynamic_length_with_lengths_needs_range() -> None:
    assert plain.gaps(plain.legalized(recurrent("GRU", given="L", opset=10)[0], TARGET)[1])


def test_lengths_that_cover_every_step_cost_nothing() -> None:
    model, feeds = recurrent("LSTM", given="BL")
    fixed = nodes.node_model(
        "LSTM",
        {"X": feeds["X"]},
        {**{i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}, "L": np.full(3, 5, np.int32)},
        order=list(model.graph.node[0].input),
        outputs=3,
        hidden_size=2,
    )
    rewritten = plain.assert_same(fixed, {"X": feeds["X"]}, target=TARGET)
    assert "Less" not in {node.op_type for node in rewritten.graph.node}


def test_the_projection_of_the_inputs_is_outside_of_the_loop() -> None:
    rewritten, _ = plain.legalized(recurrent("LSTM", "bidirectional")[0], TARGET)
    (scan,) = [node for node in rewritten.graph.node if node.op_type == "Scan"]
    (body,) = [attribute.g for attribute in scan.attribute if attribute.name == "body"]
    assert [node.op_type for node in rewritten.graph.node].count("MatMul") == 2
    assert [node.op_type for node in body.node].count("MatMul") == 2
    assert not {"W", "R"} & {initializer.name for initializer in rewritten.graph.initializer}


@pytest.mark.parametrize("cell", GATES)
def test_batch_first_against_the_transposed_layer(cell: str) -> None:
    """ONNX Runtime has no layout 1; it is the transposed layer by definition."""
    model, feeds = recurrent(cell, "bidirectional", given="BH", fed=True)
    wanted = plain.run(model, feeds)
    other = {name: array.transpose(1, 0, 2) if name in "XHC" else array for name, array in feeds.items()}
    first = nodes.node_model(
        cell,
        other,
        order=list(model.graph.node[0].input),
        outputs=len(wanted),
        hidden_size=2,
        direction="bidirectional",
        layout=1,
    )
    got = plain.run(plain.legalized(first, TARGET)[0], {name: np.ascontiguousarray(a) for name, a in other.items()})
    plain.compare(got[0], wanted[0].transpose(2, 0, 1, 3), 1e-5)
    for mine, theirs in zip(got[1:], wanted[1:], strict=True):
        plain.compare(mine, theirs.transpose(1, 0, 2), 1e-5)
