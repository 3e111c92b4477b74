"""Causes in recurrent layers: gates in another framework's order, and where the reset gate applies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from convkit.validators.causes.case import Case, Cause, cause

__all__: list[str] = []

_WORK = 1 << 28
"""Multiplications of a whole run up to which an experiment, which makes some dozens of runs, is worth its time."""


@dataclass(frozen=True)
class Direction:
    """One direction of one layer; weights are float[gates, hidden, …], their gates in the order of `Layer.gates`.

    Attributes:
        inner, recurrent: float[gates, hidden, inputs] and float[gates, hidden, hidden].
        inner_bias, recurrent_bias: float[gates, hidden].
        hidden, cell: The states that it starts from, float[batch, hidden].
        reverse: Whether it runs from the end.
    """

    inner: np.ndarray
    recurrent: np.ndarray
    inner_bias: np.ndarray
    recurrent_bias: np.ndarray
    hidden: np.ndarray
    cell: np.ndarray
    reverse: bool = False


@dataclass(frozen=True)
class Layers:
    """A recurrent operator.

    Attributes:
        x: float[time, batch, inputs].
        directions: Per layer one or two.
        gates: Their letters, in the order of the weights: ONNX's "iofc" and "zrh", torch's "ifco" and "rzh".
        linear_before_reset: Of a GRU: whether the reset gate applies behind the product with the recurrent weights.
        shaped: From float[time, directions, batch, hidden] of the last layer to what the operator gives out.
    """

    x: np.ndarray
    directions: Sequence[Sequence[Direction]]
    gates: str
    linear_before_reset: bool
    shaped: Callable[[np.ndarray], np.ndarray]

    @property
    def work(self) -> int:
        """Multiplications of a run."""
        weights = sum(d.inner.size + d.recurrent.size for layer in self.directions for d in layer)
        return int(weights * self.x[..., 0].size)

    def run(self, gates: str | None = None, linear_before_reset: bool | None = None) -> np.ndarray:
        """What it computes when its weights are read as if their gates stood in that order."""
        step = _lstm if len(self.gates) == 4 else _gru
        linear = self.linear_before_reset if linear_before_reset is None else linear_before_reset
        x = self.x.astype(np.float64)
        for layer in self.directions:
            results = [_unrolled(step, d, x, gates or self.gates, linear) for d in layer]
            x = np.concatenate(results, -1)
        return self.shaped(np.stack(results, 1))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


Step = Callable[[Mapping[str, np.ndarray], Mapping[str, np.ndarray], np.ndarray, np.ndarray, bool], tuple[np.ndarray, np.ndarray]]


def _unrolled(step: Step, direction: Direction, x: np.ndarray, gates: str, linear: bool) -> np.ndarray:
    hidden, cell = direction.hidden.astype(np.float64), direction.cell.astype(np.float64)
    inner = np.einsum("tbi,ghi->gtbh", x, direction.inner) + direction.inner_bias[:, None, None]
    outputs = []
    times = range(len(x) - 1, -1, -1) if direction.reverse else range(len(x))
    for time in times:
        if step is _gru and not linear:
            recurrent = dict(zip(gates, direction.recurrent, strict=True))
            hidden = _gru_before(dict(zip(gates, inner[:, time], strict=True)), recurrent, direction, hidden, gates)
        else:
            carried = np.einsum("bk,ghk->gbh", hidden, direction.recurrent) + direction.recurrent_bias[:, None]
            given = dict(zip(gates, inner[:, time], strict=True)), dict(zip(gates, carried, strict=True))
            hidden, cell = step(*given, hidden, cell, linear)
        outputs.append(hidden)
    return np.stack(outputs[::-1] if direction.reverse else outputs)


def _lstm(
    inner: Mapping[str, np.ndarray], carried: Mapping[str, np.ndarray], hidden: np.ndarray, cell: np.ndarray, _: bool
) -> tuple[np.ndarray, np.ndarray]:
    gate = {name: inner[name] + carried[name] for name in inner}
    cell = _sigmoid(gate["f"]) * cell + _sigmoid(gate["i"]) * np.tanh(gate["c"])
    return _sigmoid(gate["o"]) * np.tanh(cell), cell


def _gru(
    inner: Mapping[str, np.ndarray], carried: Mapping[str, np.ndarray], hidden: np.ndarray, cell: np.ndarray, _: bool
) -> tuple[np.ndarray, np.ndarray]:
    update, reset = (_sigmoid(inner[n] + carried[n]) for n in "zr")
    new = np.tanh(inner["h"] + reset * carried["h"])
    return (1 - update) * new + update * hidden, cell


def _gru_before(
    inner: Mapping[str, np.ndarray], recurrent: Mapping[str, np.ndarray], direction: Direction, hidden: np.ndarray, gates: str
) -> np.ndarray:
    """A step of a GRU whose reset gate applies before the product with the recurrent weights."""
    bias = dict(zip(gates, direction.recurrent_bias, strict=True))
    update, reset = (_sigmoid(inner[n] + hidden @ recurrent[n].T + bias[n]) for n in "zr")
    new = np.tanh(inner["h"] + (reset * hidden) @ recurrent["h"].T + bias["h"])
    return np.asarray((1 - update) * new + update * hidden)


@cause(25)
def other_gates(case: Case) -> Cause | None:
    """A recurrent layer whose weights are read in another order of gates, or whose reset gate applies elsewhere."""
    if not case.whole or case.kind not in {"lstm", "gru"}:
        return None
    for layers in _layers(case):
        if layers.work > _WORK or not case.reproduces(layers.run()):
            continue
        if case.kind == "gru":
            linear = not layers.linear_before_reset
            supposed = layers.run(linear_before_reset=linear)
            if case.explains(supposed):
                place = "behind" if linear else "before"
                text = f"the reset gate applies {place} the product with the recurrent weights"
                return Cause("reset-gate", text, case.evidence(supposed))
        for order in map("".join, permutations(layers.gates)):
            supposed = layers.run(order)
            if order != layers.gates and case.explains(supposed):
                text = f"the gates are taken in the order {order}, not {layers.gates}"
                return Cause("gate-order", text, case.evidence(supposed))
    return None


def _layers(case: Case) -> Iterator[Layers]:
    if case.operator in {"LSTM", "GRU"}:
        yield from _of_onnx(case)
    elif case.operator.startswith("aten."):
        yield from _of_torch(case)


def _of_onnx(case: Case) -> Iterator[Layers]:
    """https://onnx.ai/onnx/operators/onnx__LSTM.html and …__GRU.html, without peepholes and lengths of sequences."""
    x, inner, recurrent, bias, lengths, hidden, cell, peepholes = [*case.inputs, *[None] * 8][:8]
    attributes = case.attributes
    if x is None or inner is None or recurrent is None or lengths is not None or peepholes is not None:
        return
    if attributes.get("layout", 0) or "activations" in attributes or "clip" in attributes or attributes.get("input_forget", 0):
        return
    gates = "iofc" if case.operator == "LSTM" else "zrh"
    count, size = len(gates), recurrent.shape[-1]
    both, batch = len(inner), x.shape[1]
    biases = np.zeros((both, 2 * count * size)) if bias is None else bias
    zeros = np.zeros((both, batch, size))
    directions = [
        Direction(
            inner[d].reshape(count, size, -1),
            recurrent[d].reshape(count, size, size),
            biases[d, : count * size].reshape(count, size),
            biases[d, count * size :].reshape(count, size),
            (zeros if hidden is None else hidden)[d],
            (zeros if cell is None else cell)[d],
            d == 1 or attributes.get("direction", "forward") == "reverse",
        )
        for d in range(both)
    ]

    def last(y: np.ndarray) -> np.ndarray:
        return np.stack([y[0 if d.reverse else -1, i] for i, d in enumerate(directions)])

    yield Layers(
        x, [directions], gates, bool(attributes.get("linear_before_reset", 0)), last if case.expected.ndim == 3 else _whole
    )


def _whole(y: np.ndarray) -> np.ndarray:
    return y


def _of_torch(case: Case) -> Iterator[Layers]:
    """`aten.lstm.input` and `aten.gru.input`: the input, the states, then four parameters per direction and layer."""
    states = 2 if case.kind == "lstm" else 1
    arrays = [a for a in case.inputs if a is not None]
    attributes: Mapping[str, Any] = case.attributes
    if len(arrays) != len(case.inputs) or (len(arrays) - 1 - states) % 4 or not attributes.get("has_biases"):
        return
    x, *rest = arrays
    count = 4 if states == 2 else 3
    both = 2 if attributes.get("bidirectional") else 1
    parameters = [rest[states:][i : i + 4] for i in range(0, len(rest) - states, 4)]
    directions = [
        Direction(
            w.reshape(count, -1, w.shape[-1]),
            r.reshape(count, -1, r.shape[-1]),
            b.reshape(count, -1),
            c.reshape(count, -1),
            rest[0][n],
            rest[states - 1][n],
            n % both == 1,
        )
        for n, (w, r, b, c) in enumerate(parameters)
    ]
    first = bool(attributes.get("batch_first"))

    def shaped(y: np.ndarray) -> np.ndarray:
        joined = np.moveaxis(y, 1, 2).reshape(y.shape[0], y.shape[2], -1)
        return joined.swapaxes(0, 1) if first else joined

    layers = [directions[i : i + both] for i in range(0, len(directions), both)]
    yield Layers(x.swapaxes(0, 1) if first else x, layers, "ifco" if states == 2 else "rzh", True, shaped)
