"""Recurrent layers against LiteRT's interpreter; their states go on from run to run.

Today's Keras has its layers converted to loops; the fused operators of older files are written by hand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from litert_flatbuffers import Graph, Op, T, constant, schema, write
from litert_models import assert_close, compared, floats, imported, litert_file, operators_of

from convkit.errors import ConversionError

SEQUENCE = floats(1, 7, 5)
UNITS = 4


def options(kind: str, **values: Any) -> Any:
    made = getattr(schema(), f"{kind}OptionsT")()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def weights(*shape: int, seed: int) -> T:
    return constant(floats(*shape, seed=seed, low=-0.5, high=0.5))


@pytest.mark.parametrize("layer", ["LSTM", "GRU", "SimpleRNN"])
def test_layers_as_loops(layer: str) -> None:
    import keras

    inputs = keras.Input((7, 5), batch_size=1)
    model = keras.Model(inputs, getattr(keras.layers, layer)(6, return_sequences=True)(inputs))
    path = litert_file(lambda x: model(x, training=False), [SEQUENCE])
    assert "WHILE" in operators_of(path)
    assert_close(*compared(path, [[SEQUENCE], [floats(1, 7, 5, seed=1)]]))


def lstm(*, coupled: bool = False, peepholes: bool = False, projected: int = 0, normed: bool = False) -> Any:
    """A fused LSTM; the positions are those of the schema's 24 inputs."""
    out = projected or UNITS
    tensors: list[T] = [T((1, 7, 5))]
    places = [0]

    def add(tensor: T | None) -> None:
        if tensor is not None:
            tensors.append(tensor)
        places.append(-1 if tensor is None else len(tensors) - 1)

    for gate in range(4):
        add(None if coupled and gate == 0 else weights(UNITS, 5, seed=gate))
    for gate in range(4):
        add(None if coupled and gate == 0 else weights(UNITS, out, seed=10 + gate))
    for gate in range(3):
        add(weights(UNITS, seed=20 + gate) if peepholes and not (coupled and gate == 0) else None)
    for gate in range(4):
        add(None if coupled and gate == 0 else weights(UNITS, seed=30 + gate))
    add(weights(projected, UNITS, seed=40) if projected else None)
    add(None)
    add(T((1, out), variable=True))
    add(T((1, UNITS), variable=True))
    for gate in range(4):
        add(weights(UNITS, seed=50 + gate) if normed and not (coupled and gate == 0) else None)
    tensors.append(T((1, 7, out)))
    chosen = options("UnidirectionalSequenceLSTM", fusedActivationFunction=4, cellClip=1.5)
    operator = Op("UNIDIRECTIONAL_SEQUENCE_LSTM", places, [len(tensors) - 1], chosen)
    return write(Graph(tensors, [operator], [0], [len(tensors) - 1]))


@pytest.mark.parametrize(
    "form", [{}, {"coupled": True}, {"peepholes": True}, {"projected": 3}, {"normed": True}], ids=lambda f: "".join(f) or "plain"
)
def test_fused_lstm(form: dict[str, Any]) -> None:
    assert_close(*compared(lstm(**form), [[SEQUENCE], [floats(1, 7, 5, seed=1)], [SEQUENCE]]))


def test_a_fused_lstm_keeps_its_state() -> None:
    first, second = compared(lstm(), [[SEQUENCE], [SEQUENCE]])[1]
    name = next(iter(first))
    assert not np.allclose(first[name], second[name])


def test_fused_rnn() -> None:
    tensors = [
        T((1, 7, 5)), weights(UNITS, 5, seed=1), weights(UNITS, UNITS, seed=2), weights(UNITS, seed=3),
        T((1, UNITS), variable=True), T((1, 7, UNITS)),
    ]  # fmt: skip
    chosen = options("SequenceRNN", fusedActivationFunction=4)
    path = write(Graph(tensors, [Op("UNIDIRECTIONAL_SEQUENCE_RNN", [0, 1, 2, 3, 4], [5], chosen)], [0], [5]))
    assert_close(*compared(path, [[SEQUENCE], [SEQUENCE]]))


def test_singular_value_filter() -> None:
    filters, memory, rank = 6, 4, 2
    tensors = [
        T((1, 5)), weights(filters, 5, seed=1), weights(filters, memory, seed=2), weights(filters // rank, seed=3),
        T((1, filters * memory), variable=True), T((1, filters // rank)),
    ]  # fmt: skip
    path = write(Graph(tensors, [Op("SVDF", [0, 1, 2, 3, 4], [5], options("SVDF", rank=rank))], [0], [5]))
    assert_close(*compared(path, [[SEQUENCE[:, k]] for k in range(6)]))


@pytest.mark.parametrize(("size", "reason"), [((1 << 20, 1 << 20), "exceeds all memory"), ((-1, UNITS), "is dynamic")])
def test_a_state_that_cannot_be_held(size: tuple[int, int], reason: str) -> None:
    tensors = [
        T((1, 5)), weights(UNITS, 5, seed=1), weights(UNITS, UNITS, seed=2), weights(UNITS, seed=3), T(size, variable=True),
        T((1, UNITS)),
    ]  # fmt: skip
    path = write(Graph(tensors, [Op("RNN", [0, 1, 2, 3, 4], [5], options("RNN"))], [0], [5]))
    with pytest.raises(ConversionError, match=reason):
        imported(path)
