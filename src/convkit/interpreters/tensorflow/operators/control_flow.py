"""If, Loop and Scan.

A condition or a number of rounds that is known while tracing leaves no control flow; what only the data tell becomes
TensorFlow's functional `If` and `While`. Stacked outputs are written into tensors, not into TensorArrays: neither LiteRT's
builtin operators nor TF.js have these.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import tensorflow as tf

from convkit.interpreters.host import Host
from convkit.interpreters.operators import UnsupportedError, Value
from convkit.interpreters.tensorflow.backend import Size
from convkit.interpreters.tensorflow.sizes import size_tensor, sizes_of
from convkit.interpreters.tensorflow.table import operator
from convkit.interpreters.tensorflow.transposed import plain

_MOST_UNROLLED = 2000
"""Nodes that a loop may become by unrolling; a longer one stays a loop."""

_MOST_UNROLLED_LISTS = 50_000
"""The same for a loop that carries a sequence, which no loop of TensorFlow can."""


def _known(value):
    """The number of a one-element value, None where only the data tell."""
    if isinstance(value, ir.Value):
        value = Host.of(np.asarray(value.const_value.numpy()))
    if not isinstance(value, Host) or value.is_symbolic:
        return None
    return value.array.reshape(-1)[0].item()


@operator("If")
def if_(condition: Value, *, then_branch, else_branch):
    known = _known(condition)
    if known is not None:
        return tuple((then_branch if known else else_branch)())
    if _only_squeezes(then_branch.graph) and _only_hands_on(else_branch.graph):
        # torch's `squeeze(axis)`: with another size than 1 the number of axes would change, and what follows not fit.
        return tuple(then_branch())
    predicate = tf.reshape(then_branch.interpreter.tensor(condition), [])
    # An identity, because a branch may return what it captures, or one value twice.
    branches = [lambda body=body: [tf.identity(_tensor(body, v)) for v in body()] for body in (then_branch, else_branch)]
    results = tf.cond(predicate, *branches)
    if any(result.shape.rank is None for result in results):
        raise UnsupportedError("the branches of a condition on data return different numbers of axes")
    return tuple(results)


def _only_squeezes(graph):
    return [node.op_type for node in graph] == ["Squeeze"]


def _only_hands_on(graph):
    return all(node.op_type == "Identity" for node in graph)


def _tensor(body, value):
    """A value that control flow on data returns or carries on, which must be a tensor."""
    if isinstance(value, list) or value is None:
        raise UnsupportedError("control flow on data with a sequence or an optional")
    return plain(body.interpreter.tensor(value))


@operator("Loop")
def loop(trips: Value = None, condition: Value = None, *carried: Value, body):
    most = None if trips is None else _known(trips)
    going = True if condition is None else _known(condition)
    if most is not None and going is not None:
        results = _unrolled(most, going, list(carried), body)
        if results is not None:
            return results
    limit = None if trips is None else tf.reshape(_tensor(body, trips), [])
    first = tf.constant(True) if condition is None else tf.reshape(_tensor(body, condition), [])

    def step(number, state):
        more, *results = body(tf.cast(number, tf.int64), tf.constant(True), *state)
        return tf.reshape(_tensor(body, more), []), results

    def proceeds(number):
        return tf.constant(True) if limit is None else tf.cast(number, tf.int64) < limit

    count = most if most is not None and _always_continues(body.graph) and going else None
    room = most if most is not None and most <= _MOST_UNROLLED else None
    state, rows = _repeated(step, proceeds, first, list(carried), body, count, room)
    return (*state, *rows)


def _always_continues(graph):
    """Whether a body hands its condition on, or returns a constant true one."""
    value = graph.outputs[0]
    while value.producer() is not None and value.producer().op_type == "Identity":
        value = value.producer().inputs[0]
    return value is graph.inputs[1] or (value.const_value is not None and bool(value.const_value.numpy().all()))


def _nodes_of(graph):
    return sum(1 for _ in ir.traversal.RecursiveGraphIterator(graph))


def _fits(rounds, state, body):
    limit = _MOST_UNROLLED_LISTS if any(isinstance(v, list) or v is None for v in state) else _MOST_UNROLLED
    return rounds * _nodes_of(body.graph) <= limit


def _unrolled(rounds, going, state, body):
    """A loop round by round; None where it is too long, or its condition turns out to depend on the data."""
    if not _fits(max(rounds, 0), state, body) and going:
        return None
    count, stacked = len(state), []
    for number in range(rounds if going else 0):
        more, *results = body(Host.of(number), Host.of(np.array(True), np.bool_), *state)
        state, row = results[:count], results[count:]
        stacked.append(row)
        proceeds = _known(more)
        if proceeds is None and number + 1 < rounds:
            return None
        if not proceeds:
            break
    return (*state, *_stacked_rows(stacked, body, 1 + count))


def _stacked_rows(rows, body, skipped):
    if not rows:
        return [_no_rows(output) for output in body.graph.outputs[skipped:]]
    return [tf.stack([_tensor(body, row) for row in column]) for column in zip(*rows, strict=True)]


def _no_rows(output):
    if output.shape is None or not output.shape.is_static() or output.dtype is None:
        raise UnsupportedError("a loop that does not run, with outputs of unknown shape")
    return tf.zeros((0, *output.shape.numpy()), output.dtype.numpy())


def _repeated(step, proceeds, going, state, body, count, room):
    """A loop of TensorFlow: the last state, and the stacked rows.

    Args:
        step: From the round's number and the state to whether it goes on, and the results: the next state, then a row for
            every stacked output.
        proceeds: From the round's number to whether there is such a round.
        going: Whether the first round may start.
        state: What the rounds hand on.
        body: The subgraph.
        count: The number of rounds where it is known: an int or a `Size`.
        room: A number that the rounds do not exceed, where there is one that is small enough to make room for.
    """
    first = [_tensor(body, value) for value in state]
    shapes, rows = _invariants(step, first, body)
    room = count if count is not None else room
    columns = [_Column(shape, dtype, room) for shape, dtype in rows]

    def turn(number, _, *carried):
        now, values = list(carried[: len(first)]), list(carried[len(first) :])
        more, results = step(number, now)
        written = []
        for column, row in zip(columns, results[len(first) :], strict=True):
            held, values = values[: column.width], values[column.width :]
            written += column.written(held, number, _tensor(body, row))
        return (number + 1, more, *(_tensor(body, r) for r in results[: len(first)]), *written)

    initial = [tf.constant(0), going, *first, *(v for column in columns for v in column.initial())]
    invariants = [tf.TensorShape([]), tf.TensorShape([]), *shapes, *(s for column in columns for s in column.shapes())]
    number, _, *results = tf.while_loop(
        lambda number, going, *_: tf.logical_and(going, proceeds(number)), turn, initial, shape_invariants=invariants
    )
    last, results = results[: len(first)], results[len(first) :]
    stacked = []
    for column in columns:
        held, results = results[: column.width], results[column.width :]
        stacked.append(column.stacked(held, number, count))
    return last, stacked


def _invariants(step, first, body):
    """The shapes of the state that hold in every round, and the shape and dtype of the rows: by tracing the step alone."""
    shapes = [t.shape for t in first]
    for _ in range(len(first) + 2):
        specs = [tf.TensorSpec([], tf.int32)] + [tf.TensorSpec(s, t.dtype) for s, t in zip(shapes, first, strict=True)]

        def trial(number, *state):
            more, results = step(number, list(state))
            return [more, *(_tensor(body, r) for r in results)]

        results = tf.function(trial, autograph=False).get_concrete_function(*specs).structured_outputs[1:]
        merged = [_merged(a, r.shape) for a, r in zip(shapes, results, strict=False)]
        if all(a.as_list() == b.as_list() for a, b in zip(merged, shapes, strict=True)):
            return shapes, [(r.shape, r.dtype) for r in results[len(first) :]]
        shapes = merged
    raise UnsupportedError("a loop whose shapes change without an end")


def _merged(one, other):
    if one.rank is None or one.rank != other.rank:
        raise UnsupportedError("a loop that changes the number of axes of what it carries on")
    return tf.TensorShape([a if a == b else None for a, b in zip(one, other, strict=True)])


class _Column:
    """A stacked output of a loop, in tensors that the loop carries on.

    With room for a known number of rows of a known shape it is one tensor whose rows are replaced, else the rows
    so far, flattened, and the shape of the last one.
    """

    def __init__(self, shape, dtype, room) -> None:
        if shape.rank is None:
            raise UnsupportedError("a loop that stacks rows of an unknown number of axes")
        self._shape, self._dtype, self._room = shape, dtype, room
        self._has_room = room is not None and shape.is_fully_defined()
        # LiteRT's SCATTER_ND has no truth values.
        self._held = tf.int32 if dtype == tf.bool else dtype
        self.width = 1 if self._has_room else 2

    def initial(self) -> list[Any]:
        if self._has_room:
            return [tf.zeros([size_tensor(self._room), *self._shape], self._held)]
        return [tf.zeros([0], self._held), tf.constant([d or 0 for d in self._shape], tf.int32, [self._shape.rank])]

    def shapes(self) -> list[Any]:
        if self._has_room:
            length = None if isinstance(self._room, Size) else self._room
            return [tf.TensorShape([length, *self._shape])]
        return [tf.TensorShape([None]), tf.TensorShape([self._shape.rank])]

    def written(self, held, number, row) -> list[Any]:
        row = tf.cast(row, self._held)
        if self._has_room:
            return [tf.tensor_scatter_nd_update(held[0], tf.reshape(number, [1, 1]), tf.expand_dims(row, 0))]
        return [tf.concat([held[0], tf.reshape(row, [-1])], 0), tf.shape(row)]

    def stacked(self, held, number, count) -> Any:
        if self._has_room:
            rows = held[0] if count is not None else held[0][:number]
        else:
            # Known sizes as constants: LiteRT's converter sees only what the graph says, not `set_shape`.
            row = [held[1][axis] if size is None else size for axis, size in enumerate(self._shape)]
            rows = tf.reshape(held[0], tf.stack([number, *row]))
            rows.set_shape([count if isinstance(count, int) else None, *self._shape])
        return tf.cast(rows, self._dtype)


@operator("Scan", since=9)
def scan(
    *inputs: Value,
    body,
    num_scan_inputs,
    scan_input_axes=None,
    scan_input_directions=None,
    scan_output_axes=None,
    scan_output_directions=None,
):
    count = len(inputs) - num_scan_inputs
    axes, flips = scan_input_axes or [0] * num_scan_inputs, scan_input_directions or [0] * num_scan_inputs
    rows = [_along(_tensor(body, v), a, f) for v, a, f in zip(inputs[count:], axes, flips, strict=True)]
    state, results = _scan(list(inputs[:count]), rows, body)
    axes, flips = scan_output_axes or [0] * len(results), scan_output_directions or [0] * len(results)
    moved = [_back(tf.reverse(r, [0]) if f else r, a) for r, a, f in zip(results, axes, flips, strict=True)]
    return (*state, *moved)


def _along(x, axis, flips):
    rank = x.shape.rank
    axis %= rank
    if axis:
        x = tf.transpose(x, [axis, *(k for k in range(rank) if k != axis)])
    return tf.reverse(x, [0]) if flips else x


def _back(x, axis):
    rank = x.shape.rank
    axis %= rank
    return tf.transpose(x, [*range(1, axis + 1), 0, *range(axis + 1, rank)]) if axis else x


def _scan(state, rows, body):
    """The last state and the stacked results, over the rows' first axis."""
    length, count = sizes_of(rows[0])[0], len(state)
    if isinstance(length, int) and _fits(length, state, body):
        stacked = []
        for parts in zip(*(tf.unstack(r, length) for r in rows), strict=True):
            results = body(*state, *parts)
            state = results[:count]
            stacked.append(results[count:])
        return state, _stacked_rows(stacked, body, count)

    def step(number, now):
        return tf.constant(True), body(*now, *(tf.gather(r, number) for r in rows))

    return _repeated(step, lambda number: number < size_tensor(length), tf.constant(True), state, body, length, None)


@operator("Scan", since=8)
def scan_of_batch(lengths: Value = None, *inputs: Value, body, num_scan_inputs, directions=None):
    """The first form: a batch of sequences, every one scanned on its own."""
    if lengths is not None:
        raise UnsupportedError("sequence lengths")
    tensors = [_tensor(body, v) for v in inputs]
    batch, count = sizes_of(tensors[0])[0], len(tensors) - num_scan_inputs
    if not isinstance(batch, int):
        raise UnsupportedError("a dynamic batch in opset 8; since opset 9 Scan has none")
    flips = directions or [0] * num_scan_inputs
    samples = []
    for index in range(batch):
        rows = [_along(x[index], 0, f) for x, f in zip(tensors[count:], flips, strict=True)]
        state, results = _scan([x[index] for x in tensors[:count]], rows, body)
        samples.append([_tensor(body, v) for v in (*state, *results)])
    return tuple(tf.stack(column) for column in zip(*samples, strict=True))
