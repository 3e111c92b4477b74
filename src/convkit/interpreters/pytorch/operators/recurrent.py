"""LSTM, GRU and RNN by torch's own layers; over a dynamic number of steps, which torch.export would unroll, by its scan.

What those do not compute (peepholes, clipping, other activations, ragged batches, GRU's reset before the matrix product) is
refused; a rewrite into Scan takes over. Formulas: https://onnx.ai/onnx/operators (LSTM, GRU, RNN).
"""

from __future__ import annotations

import torch
from torch._higher_order_ops.scan import scan_op
from torch.nn import functional

from convkit.interpreters.pytorch.table import operator

_DEFAULTS = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh"), "RNN": ("tanh",)}
# In which order torch stacks the gates that ONNX stacks as LSTM: i o f c, GRU: z r h.
_LSTM, _GRU, _RNN = (0, 2, 3, 1), (1, 0, 2), (0,)


def _is_standard(node):
    """Refuses what torch's layers do not compute."""
    attributes = node.attributes
    if attributes.get_int("input_forget", 0):
        return "torch's LSTM does not couple the input and the forget gate"
    if node.op_type == "GRU" and not attributes.get_int("linear_before_reset", 0):
        return "torch's GRU applies the reset gate after the matrix product (linear_before_reset 1)"
    wanted = _DEFAULTS[node.op_type]
    given = [name.lower() for name in attributes.get_strings("activations", [])]
    both = 2 if attributes.get_string("direction", "forward") == "bidirectional" else 1
    is_default = given in ([], list(wanted) * both)
    if not is_default and not (node.op_type == "RNN" and given == ["relu"] * both):
        return f"torch's {node.op_type} has no activations {', '.join(given)}"
    if len(node.inputs) > 7 and node.inputs[7] is not None:
        return "torch's LSTM has no peepholes"
    return _ragged(node)


def _ragged(node):
    """Refuses sequence lengths, but for constant ones that are all the whole length."""
    lengths = node.inputs[4] if len(node.inputs) > 4 else None
    if lengths is None:
        return None
    shape = node.inputs[0].shape
    whole = None if shape is None else shape[1 if node.attributes.get_int("layout", 0) else 0]
    if lengths.const_value is not None and isinstance(whole, int) and (lengths.const_value.numpy() == whole).all():
        return None
    return "torch's recurrent layers take sequences of one length"


@operator("LSTM", since=7, accepts=_is_standard)
def lstm(
    x,
    w,
    r,
    b=None,
    sequence_lens=None,
    initial_h=None,
    initial_c=None,
    p=None,
    *,
    activation_alpha=None,
    activation_beta=None,
    activations=None,
    direction="forward",
    hidden_size=None,
    input_forget=0,
    layout=0,
):
    return _layer(torch.lstm, _lstm_cell, _LSTM, x, w, r, b, [initial_h, initial_c], direction, layout)


@operator("GRU", since=7, accepts=_is_standard)
def gru(
    x,
    w,
    r,
    b=None,
    sequence_lens=None,
    initial_h=None,
    *,
    activation_alpha=None,
    activation_beta=None,
    activations=None,
    direction="forward",
    hidden_size=None,
    layout=0,
    linear_before_reset=0,
):
    return _layer(torch.gru, _gru_cell, _GRU, x, w, r, b, [initial_h], direction, layout)


@operator("RNN", since=7, accepts=_is_standard)
def rnn(
    x,
    w,
    r,
    b=None,
    sequence_lens=None,
    initial_h=None,
    *,
    activation_alpha=None,
    activation_beta=None,
    activations=None,
    direction="forward",
    hidden_size=None,
    layout=0,
):
    if activations and activations[0].lower() == "relu":
        return _layer(torch.rnn_relu, _rnn_cell(torch.relu), _RNN, x, w, r, b, [initial_h], direction, layout)
    return _layer(torch.rnn_tanh, _rnn_cell(torch.tanh), _RNN, x, w, r, b, [initial_h], direction, layout)


def _layer(layer, cell, order, x, w, r, b, state, direction, layout):
    """Runs one of torch's layers on ONNX's operands; returns ONNX's outputs.

    Args:
        layer: torch's layer.
        cell: One step of it, for a dynamic number of them.
        order: Of torch's gates among ONNX's.
        state: What it starts with; None is zeros.
    """
    if layout:
        x, state = x.transpose(0, 1), [None if s is None else s.transpose(0, 1) for s in state]
    directions, hidden = w.shape[0], r.shape[2]
    zeros = torch.zeros((directions, x.shape[1], hidden), dtype=x.dtype)
    state = [zeros if s is None else s for s in state]
    parameters = [_parameters(order, w[k], r[k], None if b is None else b[k]) for k in range(directions)]
    if isinstance(x.shape[0], int):
        y, state = _by_layer(layer, x, parameters, state, direction)
    else:
        y, state = _by_steps(cell, x, parameters, state, direction)
    if layout:
        return y.transpose(0, 1), *(s.transpose(0, 1) for s in state)
    return y.transpose(1, 2), *state


def _by_layer(layer, x, parameters, state, direction):
    """torch's layer; (steps, batch, directions, hidden) and the last state."""
    reverses = direction == "reverse"
    flat = [p for one in parameters for p in one]
    hx = list(state) if len(state) > 1 else state[0]
    y, *state = layer(
        x.flip(0) if reverses else x, hx, flat, len(parameters[0]) > 2, 1, 0.0, False, direction == "bidirectional", False
    )
    return (y.flip(0) if reverses else y).unflatten(2, (len(parameters), state[0].shape[2])), state


def _by_steps(cell, x, parameters, state, direction):
    """The same, step by step in a scan; what does not depend on the state is computed for all steps at once."""
    ys, lasts = [], []
    x = x.clone(memory_format=torch.contiguous_format)  # else torch decides on strides, and with them on sizes
    for k, (w, r, *biases) in enumerate(parameters):
        reverses = direction == "reverse" or k == 1
        rows = functional.linear(x.flip(0) if reverses else x, w, biases[0] if biases else None)
        *last, y = scan_op(_step(cell, len(state)), [s[k].clone() for s in state], [rows], (r, *biases[1:]))
        ys.append(y.flip(0) if reverses else y)
        lasts.append(last)
    return torch.stack(ys, 2), [torch.stack(column) for column in zip(*lasts, strict=True)]


def _step(cell, count):
    def step(*values):
        after = cell(values[:count], values[count], *values[count + 1 :])
        return [*after, after[0].clone()]

    return step


def _lstm_cell(state, x, r, b=None):
    h, c = state
    gates = x + functional.linear(h, r, b)
    i, f, g, o = gates.chunk(4, 1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return [torch.sigmoid(o) * torch.tanh(c), c]


def _gru_cell(state, x, r, b=None):
    (h,) = state
    reset, update, new = x.chunk(3, 1)
    of_h = functional.linear(h, r, b).chunk(3, 1)
    z = torch.sigmoid(update + of_h[1])
    n = torch.tanh(new + torch.sigmoid(reset + of_h[0]) * of_h[2])
    return [n + z * (h - n)]


def _rnn_cell(activation):
    return lambda state, x, r, b=None: [activation(x + functional.linear(state[0], r, b))]


def _parameters(order, w, r, b):
    """torch's parameters of one direction: both matrices, then both biases."""
    biases = () if b is None else b.chunk(2)
    return [_gates(stacked, order) for stacked in (w, r, *biases)]


def _gates(stacked, order):
    gates = stacked.chunk(len(order))
    return torch.cat([gates[g] for g in order]) if len(order) > 1 else stacked
