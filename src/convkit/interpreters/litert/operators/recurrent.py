"""Recurrent layers: their steps unrolled, their states kept from run to run where the file says so.

A state is a variable tensor, which LiteRT sets to zero once, and never again. Weights are numbers, whatever they are stored as.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from convkit.interpreters.litert import quantization
from convkit.interpreters.litert.table import operator
from convkit.interpreters.litert.values import Variable
from convkit.interpreters.operators import UnsupportedError, Value

_LSTM_STATES = (18, 19)
_GATES = ("input", "forget", "cell", "output")


def _is_float(node):
    """Refuses LSTMs that keep their states as integers: their arithmetic is one of its own."""
    if any(t is not None and t.is_variable and t.dtype != "float32" for t in node.inputs):
        return "its state is quantized"
    if len(node.outputs) != 1:
        return "an LSTM of one step with all its inner values as outputs" if node.options.get("kernel_type") else None
    return None


def _state(node, position):
    """The value of a state, and a function that replaces it; a state that is an ordinary input is not kept."""
    value, variables = node.given[position], node.interpreter.variables
    if isinstance(value, Variable):
        return variables[value.name], lambda new: variables.__setitem__(value.name, new)
    return node.tensor_at(position), lambda new: None


def _optional(node, position):
    given = node.given
    return node.tensor_at(position) if position < len(given) and given[position] is not None else None


@operator("UNIDIRECTIONAL_SEQUENCE_LSTM", accepts=_is_float, foldable=False)
def sequence_lstm(
    *inputs: Value, cell_clip=0.0, proj_clip=0.0, time_major=False, asymmetric_quantize_inputs=False,
    diagonal_recurrent_tensors=False, fused_activation_function="NONE", node,
):  # fmt: skip
    if diagonal_recurrent_tensors:
        raise UnsupportedError("recurrent weights that are diagonals")
    x = node.tensor_at(0)
    (hidden, keep_hidden), (cell, keep_cell) = (_state(node, p) for p in _LSTM_STATES)
    layer = _Lstm(node, fused_activation_function, cell_clip, proj_clip)
    result, hidden, cell = layer.run(x, hidden, cell, time_major)
    keep_hidden(hidden)
    keep_cell(cell)
    return result


@operator("LSTM", accepts=_is_float, foldable=False)
def lstm_step(
    *inputs: Value, cell_clip=0.0, proj_clip=0.0, kernel_type="FULL", asymmetric_quantize_inputs=False,
    fused_activation_function="NONE", node,
):  # fmt: skip
    if kernel_type != "FULL":
        raise UnsupportedError(f"an LSTM of the kind {kernel_type}")
    (hidden, keep_hidden), (cell, keep_cell) = (_state(node, p) for p in _LSTM_STATES)
    layer = _Lstm(node, fused_activation_function, cell_clip, proj_clip)
    hidden, cell = layer.step(node.tensor_at(0), hidden, cell)
    keep_hidden(hidden)
    keep_cell(cell)
    return hidden


class _Lstm:
    """One layer's weights, in the schema's order of inputs (`lstm_shared.h`)."""

    def __init__(self, node, activation, cell_clip, projection_clip):
        weights = [None if p in _LSTM_STATES else _optional(node, p) for p in range(1, 24)]
        self.of_input = dict(zip(_GATES, weights[0:4], strict=True))
        self.of_state = dict(zip(_GATES, weights[4:8], strict=True))
        self.peepholes = dict(zip(("input", "forget", "output"), weights[8:11], strict=True))
        self.biases = dict(zip(_GATES, weights[11:15], strict=True))
        self.projection, self.projection_bias = weights[15:17]
        self.norms = dict(zip(_GATES, weights[19:23], strict=True))
        self.activation, self.cell_clip, self.projection_clip = activation, cell_clip, projection_clip

    def run(self, x, hidden, cell, time_major):
        """All steps of a sequence: the results in x's layout, and the last states."""
        steps = x.unbind(0 if time_major else 1)
        results = []
        for step in steps:
            hidden, cell = self.step(step, hidden, cell)
            results.append(hidden)
        return torch.stack(results, 0 if time_major else 1), hidden, cell

    def step(self, x, hidden, cell):
        """The next hidden state and the next cell."""
        forget = torch.sigmoid(self._gate("forget", x, hidden, cell))
        # Without weights of its own the input gate is what the forget gate leaves (CIFG).
        let_in = 1 - forget if self.of_input["input"] is None else torch.sigmoid(self._gate("input", x, hidden, cell))
        candidate = quantization.activated(self._gate("cell", x, hidden, None), self.activation)
        cell = forget * cell + let_in * candidate
        cell = _clipped(cell, self.cell_clip)
        out = torch.sigmoid(self._gate("output", x, hidden, cell))
        hidden = out * quantization.activated(cell, self.activation)
        if self.projection is not None:
            hidden = _clipped(functional.linear(hidden, self.projection, self.projection_bias), self.projection_clip)
        return hidden, cell

    def _gate(self, name, x, hidden, cell):
        norm, bias = self.norms[name], self.biases[name]
        sums = functional.linear(x, self.of_input[name], None if norm is not None else bias)
        sums = sums + functional.linear(hidden, self.of_state[name])
        if cell is not None and self.peepholes.get(name) is not None:
            sums = sums + self.peepholes[name] * cell
        if norm is not None:
            sums = functional.layer_norm(sums, [sums.shape[-1]], eps=1e-8) * norm + bias
        return sums


def _clipped(x, limit):
    return torch.clamp(x, -limit, limit) if limit else x


@operator("UNIDIRECTIONAL_SEQUENCE_RNN", foldable=False)
def sequence_rnn(*inputs: Value, time_major=False, fused_activation_function="NONE", asymmetric_quantize_inputs=False, node):
    x, w, r, b = (node.tensor_at(p) for p in range(4))
    hidden, keep = _state(node, 4)
    results = []
    for step in x.unbind(0 if time_major else 1):
        hidden = quantization.activated(functional.linear(step, w, b) + functional.linear(hidden, r), fused_activation_function)
        results.append(hidden)
    keep(hidden)
    return torch.stack(results, 0 if time_major else 1)


@operator("RNN", foldable=False)
def rnn_step(*inputs: Value, fused_activation_function="NONE", asymmetric_quantize_inputs=False, node):
    x, w, r, b = (node.tensor_at(p) for p in range(4))
    hidden, keep = _state(node, 4)
    hidden = quantization.activated(functional.linear(x, w, b) + functional.linear(hidden, r), fused_activation_function)
    keep(hidden)
    return hidden


@operator("SVDF", foldable=False)
def singular_value_filter(*inputs: Value, rank=0, fused_activation_function="NONE", asymmetric_quantize_inputs=False, node):
    # The state is a window over the last results of the feature filters: [batch, filters * memory].
    x, features, moments, bias = node.tensor_at(0), node.tensor_at(1), node.tensor_at(2), _optional(node, 3)
    state, keep = _state(node, 4)
    filters, memory = moments.shape
    window = state.reshape(-1, filters, memory)
    window = torch.cat([window[:, :, 1:], functional.linear(x, features).unsqueeze(-1)], -1)
    keep(window.reshape(list(state.shape)))
    result = (window * moments).sum(-1).reshape(-1, filters // rank, rank).sum(-1)
    return quantization.activated(result if bias is None else result + bias, fused_activation_function)
