"""RNN, GRU and LSTM as a Scan over time; what does not depend on the state, the projection of the inputs, is done before it.

Equations: https://onnx.ai/onnx/operators/onnx__LSTM.html and its siblings. One Scan runs both directions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from convkit.legalization.onnx.rewrites.constants import attributes, folded, is_used, known, part, sizes
from convkit.legalization.onnx.rewriting import Builder, Outputs, rewrite

_SUMMARY = "unrolled over time by a Scan"
_Activation = Callable[[Builder, ir.Value], ir.Value]
_Step = Callable[[Builder, "_Direction", ir.Value, Sequence[ir.Value]], list[ir.Value]]


@dataclass(frozen=True)
class _Direction:
    """The weights of one direction, ready for the right of a MatMul, and its activations.

    Attributes:
        inputs: [I, gates * H].
        recurrent: [H, gates * H].
        bias: [gates * H], of the inputs and the state together as far as that is possible; None without one.
        state_bias: [H], GRU's bias of the hidden gate that is added before the reset; None without one.
        peepholes: Three of [H], for the input, output and forget gate; empty without them.
        activations: One for each kind of gate.
    """

    inputs: ir.Value
    recurrent: ir.Value
    bias: ir.Value | None
    state_bias: ir.Value | None
    peepholes: Sequence[ir.Value]
    activations: Sequence[_Activation]


@dataclass(frozen=True)
class _Layer:
    """What a node says, whichever cell it is."""

    node: ir.Node
    gates: int
    hidden: int
    dtype: ir.DataType
    directions: int
    reverse: bool
    batch_first: bool
    clip: float

    @property
    def input(self) -> ir.Value:
        value = self.node.inputs[0]
        assert value is not None
        return value

    def given(self, index: int) -> ir.Value | None:
        return self.node.inputs[index] if index < len(self.node.inputs) else None


@rewrite("RNN", summary=_SUMMARY)
def rnn(build: Builder, node: ir.Node) -> Outputs:
    layer = _layer(build, node, gates=1)
    if layer is None:
        return None

    def step(body: Builder, way: _Direction, projected: ir.Value, states: Sequence[ir.Value]) -> list[ir.Value]:
        total = body("Add", projected, body("MatMul", states[0], way.recurrent))
        return [way.activations[0](body, _clipped(body, total, layer))]

    return _scan(build, layer, step, _directions(build, layer, ["Tanh"]), states=1)


@rewrite("GRU", summary=_SUMMARY)
def gru(build: Builder, node: ir.Node) -> Outputs:
    layer = _layer(build, node, gates=3)
    if layer is None:
        return None
    after = bool(node.attributes.get_int("linear_before_reset", 0))
    one = np.ones((), layer.dtype.numpy())

    def step(body: Builder, way: _Direction, projected: ir.Value, states: Sequence[ir.Value]) -> list[ir.Value]:
        (state,) = states
        gate, candidate = way.activations
        x_gates, x_hidden = _split(body, projected, [2 * layer.hidden, layer.hidden])
        gates_weight = part(build, way.recurrent, 1, 0, 2 * layer.hidden)
        hidden_weight = part(build, way.recurrent, 1, 2 * layer.hidden, 3 * layer.hidden)
        z_r = gate(body, _clipped(body, body("Add", x_gates, body("MatMul", state, gates_weight)), layer))
        z, r = _split(body, z_r, [layer.hidden, layer.hidden])
        if after:
            linear = body("MatMul", state, hidden_weight)
            if way.state_bias is not None:
                linear = body("Add", linear, way.state_bias)
            recurrent = body("Mul", r, linear)
        else:
            recurrent = body("MatMul", body("Mul", r, state), hidden_weight)
        h = candidate(body, _clipped(body, body("Add", x_hidden, recurrent), layer))
        return [body("Add", body("Mul", body("Sub", one, z), h), body("Mul", z, state))]

    return _scan(build, layer, step, _directions(build, layer, ["Sigmoid", "Tanh"], apart=after), states=1)


@rewrite("LSTM", summary=_SUMMARY)
def lstm(build: Builder, node: ir.Node) -> Outputs:
    layer = _layer(build, node, gates=4)
    if layer is None:
        return None
    coupled = bool(node.attributes.get_int("input_forget", 0))
    one = np.ones((), layer.dtype.numpy())

    def step(body: Builder, way: _Direction, projected: ir.Value, states: Sequence[ir.Value]) -> list[ir.Value]:
        state, cell = states
        gate, candidate, output = way.activations
        total = body("Add", projected, body("MatMul", state, way.recurrent))
        i, o, f, c = _split(body, total, [layer.hidden] * 4)

        def opened(linear: ir.Value, peephole: int, seen: ir.Value) -> ir.Value:
            if way.peepholes:
                linear = body("Add", linear, body("Mul", way.peepholes[peephole], seen))
            return gate(body, _clipped(body, linear, layer))

        i = opened(i, 0, cell)
        f = body("Sub", one, i) if coupled else opened(f, 2, cell)
        c = candidate(body, _clipped(body, c, layer))
        cell = body("Add", body("Mul", f, cell), body("Mul", i, c))
        return [body("Mul", opened(o, 1, cell), output(body, cell)), cell]

    return _scan(build, layer, step, _directions(build, layer, ["Sigmoid", "Tanh", "Tanh"]), states=2)


def _layer(build: Builder, node: ir.Node, gates: int) -> _Layer | None:
    """What the node says; None where a size or dtype is missing, or the opset has no Scan of this form."""
    value, recurrent = node.inputs[0], node.inputs[2]
    shape = sizes(recurrent)
    hidden = node.attributes.get_int("hidden_size", 0) or (shape[2] if shape is not None else None)
    if build.opset < 9 or hidden is None or value is None or value.dtype is None:
        return None
    direction = node.attributes.get_string("direction", "forward").lower()
    return _Layer(
        node,
        gates,
        hidden,
        value.dtype,
        directions=2 if direction == "bidirectional" else 1,
        reverse=direction == "reverse",
        batch_first=node.attributes.get_int("layout", 0) == 1,
        clip=node.attributes.get_float("clip", 0.0),
    )


def _directions(build: Builder, layer: _Layer, defaults: list[str], apart: bool = False) -> list[_Direction] | None:
    """The weights by direction; None for activations that are not known.

    Args:
        defaults: The activations of one direction.
        apart: Whether the last gate's state bias is not added to the others (GRU's linear_before_reset).
    """
    activations = [a for a in _activations(layer, defaults) if a is not None]
    count = len(defaults)
    if len(activations) != count * layer.directions:
        return None
    return [
        _Direction(
            _of_direction(build, layer.given(1), k, transposed=True),
            _of_direction(build, layer.given(2), k, transposed=True),
            *_biases(build, layer, k, apart),
            _peepholes(build, layer, k),
            activations[k * count : (k + 1) * count],
        )
        for k in range(layer.directions)
    ]


def _biases(build: Builder, layer: _Layer, direction: int, apart: bool) -> tuple[ir.Value | None, ir.Value | None]:
    if layer.given(3) is None:
        return None, None
    row = _of_direction(build, layer.given(3), direction)
    total, hidden = layer.gates * layer.hidden, layer.hidden
    if not apart:
        return _added(build, part(build, row, 0, 0, total), part(build, row, 0, total, 2 * total)), None
    shared = total - hidden
    bias = _added(build, part(build, row, 0, 0, shared), part(build, row, 0, total, total + shared))
    own = part(build, row, 0, shared, total)
    return _joined(build, bias, own), part(build, row, 0, total + shared, 2 * total)


def _peepholes(build: Builder, layer: _Layer, direction: int) -> list[ir.Value]:
    if layer.node.op_type != "LSTM" or layer.given(7) is None:
        return []
    row = _of_direction(build, layer.given(7), direction)
    return [part(build, row, 0, k * layer.hidden, (k + 1) * layer.hidden) for k in range(3)]


def _added(build: Builder, a: ir.Value, b: ir.Value) -> ir.Value:
    left, right = known(a), known(b)
    return build("Add", a, b) if left is None or right is None else build.constant(left + right)


def _joined(build: Builder, a: ir.Value, b: ir.Value) -> ir.Value:
    left, right = known(a), known(b)
    return build("Concat", a, b, axis=0) if left is None or right is None else build.constant(np.concatenate([left, right]))


def _of_direction(build: Builder, value: ir.Value | None, direction: int, transposed: bool = False) -> ir.Value:
    assert value is not None

    def nodes(value: ir.Value) -> ir.Value:
        row = build("Gather", value, build.constant(direction), axis=0)
        return build("Transpose", row, perm=[1, 0]) if transposed else row

    return folded(build, value, lambda a: a[direction].T if transposed else a[direction], nodes)


def _split(build: Builder, value: ir.Value, parts: list[int]) -> list[ir.Value]:
    given, attribute = ([np.array(parts)], None) if build.opset >= 13 else ([], parts)
    results: list[ir.Value] = build("Split", value, *given, outputs=len(parts), axis=1, split=attribute)
    return results


def _clipped(build: Builder, value: ir.Value, layer: _Layer) -> ir.Value:
    if not layer.clip:
        return value
    limit = np.asarray(layer.clip, layer.dtype.numpy())
    return build("Max", build("Min", value, limit), -limit)


# Activations

_TAKES_ALPHA = {"affine": None, "leakyrelu": 0.01, "thresholdedrelu": None, "scaledtanh": None, "hardsigmoid": 0.2, "elu": 1.0}
_TAKES_BETA = {"affine": 0.0, "scaledtanh": None, "hardsigmoid": 0.5}
"""The defaults; None where the specification and ONNX Runtime (which takes 0) do not agree."""
_SIMPLE = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "softsign": "Softsign", "softplus": "Softplus"}
_WITH_ALPHA = {"leakyrelu": "LeakyRelu", "thresholdedrelu": "ThresholdedRelu", "elu": "Elu", "hardsigmoid": "HardSigmoid"}


def _activations(layer: _Layer, defaults: list[str]) -> Iterator[_Activation | None]:
    """The activations of all directions; the lists of alpha and beta hold values only for those that have one."""
    said = attributes(layer.node)
    alphas, betas = iter(said.get("activation_alpha", ())), iter(said.get("activation_beta", ()))
    for given in said.get("activations", defaults * layer.directions):
        name = given.lower()
        alpha = next(alphas, _TAKES_ALPHA[name]) if name in _TAKES_ALPHA else 0.0
        beta = next(betas, _TAKES_BETA[name]) if name in _TAKES_BETA else 0.0
        yield None if alpha is None or beta is None else _activation(name, alpha, beta, layer.dtype)


def _activation(name: str, alpha: float, beta: float, dtype: ir.DataType) -> _Activation | None:
    def number(value: float) -> np.ndarray:
        return np.asarray(value, dtype.numpy())

    if name in _SIMPLE:
        return lambda build, x: build(_SIMPLE[name], x)
    if name in _WITH_ALPHA:
        return lambda build, x: build(_WITH_ALPHA[name], x, alpha=alpha, beta=beta if name in _TAKES_BETA else None)
    if name == "affine":
        return lambda build, x: build("Add", build("Mul", x, number(alpha)), number(beta))
    if name == "scaledtanh":
        return lambda build, x: build("Mul", build("Tanh", build("Mul", x, number(beta))), number(alpha))
    return None


# The loop


def _scan(build: Builder, layer: _Layer, step: _Step, ways: list[_Direction] | None, states: int) -> Outputs:
    """Runs a cell over time; `step` computes the next states from the projected input and the states."""
    if ways is None:
        return None
    x = build("Transpose", layer.input, perm=[1, 0, 2]) if layer.batch_first else layer.input
    shape = sizes(layer.input) or [None, None, None]
    time, batch = (shape[1], shape[0]) if layer.batch_first else (shape[0], shape[1])
    initial = [_initial(build, layer, x, 5 + s, k, batch) for k in range(layer.directions) for s in range(states)]
    streams = [_projected(build, x, way) for way in ways]
    lengths = _lengths(layer, time)
    if lengths is not None and time is None and build.opset < 11:
        return None  # there is no Range yet
    mask = None if lengths is None else _mask(build, lengths, x, time)
    width = layer.gates * layer.hidden
    inputs: list[tuple[str, ir.DataType, list[Any]]] = [("state", layer.dtype, [batch, layer.hidden])] * len(initial)
    inputs += [("projected", layer.dtype, [batch, width])] * len(streams)
    backwards = [int(layer.reverse or k == 1) for k in range(len(ways))]
    masks = [] if mask is None else [mask] * len(ways)
    inputs += [("within", ir.DataType.BOOL, [batch, 1])] * len(masks)

    def make(body: Builder, *values: ir.Value) -> list[ir.Value]:
        before, rest = list(values[: len(initial)]), values[len(initial) :]
        after, seen = [], []
        for k, way in enumerate(ways):
            own = before[k * states : (k + 1) * states]
            new = step(body, way, rest[k], own)
            shown = new[0]
            if masks:
                within = rest[len(ways) + k]
                shown = body("Where", within, new[0], np.zeros((), layer.dtype.numpy()))
                new = [body("Where", within, n, o) for n, o in zip(new, own, strict=True)]
            after += new
            seen.append(shown)
        return after + (seen if is_used(layer.node, 0) else [])

    results = build(
        "Scan",
        *initial,
        *streams,
        *masks,
        outputs=len(initial) + (len(ways) if is_used(layer.node, 0) else 0),
        body=build.body(inputs, make),
        num_scan_inputs=len(streams) + len(masks),
        scan_input_directions=backwards * (2 if masks else 1),
        scan_output_directions=backwards if is_used(layer.node, 0) else None,
    )
    results = results if isinstance(results, list) else [results]
    last, seen = results[: len(initial)], results[len(initial) :]
    if lengths is not None:  # the last state of an empty sequence is zero in ONNX Runtime, not the initial state
        empty = build.unsqueeze(build("Less", lengths, np.int32(1)), [1])
        last = [build("Where", empty, np.zeros((), layer.dtype.numpy()), state) for state in last]
    return [
        _sequence(build, layer, seen) if seen else None,
        *(_last(build, layer, last[s::states]) if is_used(layer.node, 1 + s) else None for s in range(states)),
    ]


def _projected(build: Builder, x: ir.Value, way: _Direction) -> ir.Value:
    product = build("MatMul", x, way.inputs)
    return product if way.bias is None else build("Add", product, way.bias)


def _initial(build: Builder, layer: _Layer, x: ir.Value, index: int, direction: int, batch: int | None) -> ir.Value:
    """[B, H]: what is given, or zeros."""
    given = layer.given(index)
    if given is not None:
        axis = int(layer.batch_first)
        return folded(
            build,
            given,
            lambda a: a.take(direction, axis),
            lambda v: build("Gather", v, build.constant(direction), axis=axis),
        )
    if batch is not None:
        return build.constant(np.zeros((batch, layer.hidden), layer.dtype.numpy()))
    wanted = build("Concat", _size(build, x, 1), np.array([layer.hidden]), axis=0)
    return build("Expand", np.zeros((1, 1), layer.dtype.numpy()), wanted)


def _size(build: Builder, x: ir.Value, axis: int) -> ir.Value:
    return build("Gather", build("Shape", x), np.array([axis]), axis=0)


def _lengths(layer: _Layer, time: int | None) -> ir.Value | None:
    """[B]: how long each sequence is; None where all take all of the steps."""
    lengths = layer.given(4)
    array = known(lengths)
    return None if array is not None and time is not None and np.all(array >= time) else lengths


def _mask(build: Builder, lengths: ir.Value, x: ir.Value, time: int | None) -> ir.Value:
    """[T, B, 1]: whether a step is within the sequence."""
    if time is not None:
        steps = build.constant(np.arange(time, dtype=np.int32))
    else:
        count = build("Cast", build.squeeze(_size(build, x, 0), [0]), to=ir.DataType.INT32)
        steps = build("Range", np.int32(0), count, np.int32(1))
    return build.unsqueeze(build("Less", build.unsqueeze(steps, [1]), build.unsqueeze(lengths, [0])), [2])


def _sequence(build: Builder, layer: _Layer, seen: list[ir.Value]) -> ir.Value:
    """Y: [T, D, B, H], or [B, T, D, H], of [T, B, H] for every direction."""
    parts = [build.unsqueeze(part, [1]) for part in seen]
    every = parts[0] if len(parts) == 1 else build("Concat", *parts, axis=1)
    return build("Transpose", every, perm=[2, 0, 1, 3]) if layer.batch_first else every


def _last(build: Builder, layer: _Layer, states: list[ir.Value]) -> ir.Value:
    """Y_h or Y_c: [D, B, H], or [B, D, H], of [B, H] for every direction."""
    axis = int(layer.batch_first)
    parts = [build.unsqueeze(part, [axis]) for part in states]
    return parts[0] if len(parts) == 1 else build("Concat", *parts, axis=axis)
