"""If, Loop and Scan.

A condition or a trip count that is known while tracing leaves no control flow; what only the data tell becomes torch's `cond`,
`scan` and `while_loop`, called as operators, so that `torch.export` captures them without compiling the bodies as Python.
"""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import onnx_ir as ir
import torch
from torch._guards import detect_fake_mode
from torch._higher_order_ops.cond import cond_op
from torch._higher_order_ops.scan import scan_op
from torch._higher_order_ops.while_loop import while_loop_op
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing
from torch.fx.experimental.symbolic_shapes import statically_known_true

from convkit.interpreters.host import Host, minimum
from convkit.interpreters.loops import always_continues, constants, rounds
from convkit.interpreters.operators import UnsupportedError, Value
from convkit.interpreters.pytorch.bodies import closed, nodes_of, owned
from convkit.interpreters.pytorch.table import operator

_MOST_UNROLLED = 2500
"""Nodes that a loop may become by unrolling; a longer one stays a loop."""

_ENDLESS = np.iinfo(np.int64).max


def _known(value):
    """The number (or symbol) of a one-element value, None where only the data tell."""
    array = value.const_value.numpy() if isinstance(value, ir.Value) else value.array if isinstance(value, Host) else None
    if array is None:
        return None
    element = array.reshape(-1)[0]
    return element.item() if isinstance(element, np.generic) else element


@operator("If")
def if_(condition: Value, *, then_branch, else_branch):
    known = _known(condition)
    if isinstance(known, torch.SymBool):
        known = _decided(known, then_branch, else_branch)
    if known is not None and not isinstance(known, torch.SymBool):
        return tuple((then_branch if known else else_branch)())
    if reason := _unequal(then_branch.graph, else_branch.graph):
        raise UnsupportedError(f"the branches of a condition on data {reason}")
    operands, functions = closed([then_branch, else_branch])
    axes = _common_axes(functions, operands)
    branches = [lambda *given, call=call: tuple(owned(_of_axes(call((), given), axes), given)) for call in functions]
    predicate = condition.reshape(()) if known is None else known
    return tuple(cond_op(predicate, *branches, tuple(operands)))


def _common_axes(functions, operands):
    """How many axes every result gets, for torch's conditional wants the same of both branches.

    A single element gets those of the other branch's: its value is the same. What the graphs declare is not always so.
    """
    mode = detect_fake_mode(operands)
    symbols = nullcontext() if mode is None or mode.shape_env is None else mode.shape_env.ignore_fresh_unbacked_symbols()
    with disable_proxy_modes_tracing(), symbols:
        pairs = list(zip(*(call((), operands) for call in functions), strict=True))
    for one, other in pairs:
        if one.dim() != other.dim() and not (_is_single(one) and _is_single(other)):
            raise UnsupportedError(f"the branches of a condition on data return {one.dim()} and {other.dim()} axes")
    return [max(one.dim(), other.dim()) for one, other in pairs]


def _is_single(tensor):
    return all(isinstance(size, int) and size == 1 for size in tensor.shape)


def _of_axes(results, axes):
    return [r.reshape([1] * count) if r.dim() != count else r for r, count in zip(results, axes, strict=True)]


def _decided(condition, then_branch, else_branch):
    """A comparison of sizes, where the ranges of the sizes decide it.

    Between branches that one operator cannot hold the example decides, which torch records as a limit of the dimension.
    """
    if statically_known_true(condition):
        return True
    if statically_known_true(torch.sym_not(condition)):
        return False
    return bool(condition) if _unequal(then_branch.graph, else_branch.graph) else condition


def _unequal(first, second):
    """How the outputs of two branches differ so that one operator cannot return both; None where they do not."""
    for one, other in zip(first.outputs, second.outputs, strict=True):
        if one.type is not None and not isinstance(one.type, ir.TensorType):
            return "return a sequence or an optional"
        if one.shape is not None and other.shape is not None and len(one.shape) != len(other.shape):
            return f"return {len(one.shape)} and {len(other.shape)} axes"
    return None


@operator("Loop")
def loop(trips: Value = None, condition: Value = None, *carried: Value, body, node):
    starts = True if condition is None else _known(condition)
    if isinstance(starts, torch.SymBool):
        starts = statically_known_true(starts) or bool(starts)
    most = _ENDLESS if trips is None else _known(trips)
    if starts is False or (isinstance(most, int) and most <= 0):
        return (*carried, *_no_rows(body.graph, len(carried)))
    count = _rounds(most, list(carried), body) if starts is True else None
    if count is None:
        return _repeated(trips, condition, list(carried), body, _most_rows(most, node.outputs[len(carried) :]))
    if isinstance(count, int) and count == _ENDLESS:
        raise UnsupportedError("a loop that never ends")
    if isinstance(count, int) and count * nodes_of(body.graph) <= _MOST_UNROLLED:
        going = Host.of(np.array(True), np.bool_)
        return _unrolled([[Host.of(k), going] for k in range(count)], list(carried), body, 1)
    return _counted(count, list(carried), body)


def _rounds(most, carried, body):
    """How many rounds a loop makes whose condition is true at first; None where only the data tell."""
    if always_continues(body.graph):
        return most
    count = rounds(body, carried, _known)
    if count is None or most is None or (isinstance(most, int) and most == _ENDLESS):
        return None if most is None else count
    return minimum(count, most)


def _no_rows(graph, carried):
    """The stacked outputs of a loop that does not run."""
    return [
        Host.of(np.zeros((0, *_row(output)), output.dtype.numpy()), output.dtype.numpy())
        for output in graph.outputs[1 + carried :]
    ]


def _row(output):
    if output.shape is None or not output.shape.is_static():
        raise UnsupportedError("a loop of a number of rounds that only the data tell, with outputs of unknown shape")
    return output.shape.numpy()


def _unrolled(rounds, state, body, skipped):
    """Calls a body once per round.

    Args:
        rounds: The inputs of every round that are not its state.
        state: What the rounds hand on.
        body: Takes a round's inputs before the state if it skips an output (Loop), after it if not (Scan).
        skipped: Outputs before the state.
    """
    count, rows = len(state), []
    for inputs in rounds:
        results = body(*inputs, *state) if skipped else body(*state, *inputs)
        state, stacked = results[skipped : skipped + count], results[skipped + count :]
        rows.append([body.interpreter.tensor(r) for r in stacked])
    return (*state, *(torch.stack(column) for column in zip(*rows, strict=True)))


def _counted(count, state, body):
    """A loop of a known or symbolic number of rounds, as a scan over their numbers."""
    going = Host.of(np.array(True), np.bool_)
    fixed, varying = _parted(state, body)
    first = [torch.zeros((), dtype=torch.int64), going, *(_tracked(body, v) for v in state)]
    operands, (call,) = closed([body], first, bound={body.graph.inputs[2 + k]: v for k, v in fixed.items()})

    def step(values, rows, given):
        results = call([rows[0], going, *_joined(fixed, values)], given)[1:]
        return [r for k, r in enumerate(results) if k not in fixed]

    results = _scanned(step, varying, [torch.arange(count)], operands, body)
    return (*_joined(fixed, results[: len(varying)]), *results[len(varying) :])


def _parted(state, body):
    """The values that a loop's body only hands on, by position, and the others."""
    fixed = {k: state[k] for k in sorted(constants(body.graph, len(state)))}
    return fixed, [v for k, v in enumerate(state) if k not in fixed]


def _joined(fixed, varying):
    rest = iter(varying)
    return [fixed[k] if k in fixed else next(rest) for k in range(len(fixed) + len(varying))]


def _scanned(step, state, rows, operands, body):
    """torch's scan: the last state, then the stacked results of all steps."""
    tensors = [_carried(body, value) for value in state] or [torch.zeros(())]  # it wants a state
    count = len(tensors)

    def combine(*values):
        results = step(values[: len(state)], values[count : count + len(rows)], values[count + len(rows) :])
        return owned(results if state else [values[0], *results], values)

    results = tuple(scan_op(combine, tensors, [r.contiguous() for r in rows], tuple(operands)))
    return results if state else results[1:]


def _tracked(body, value):
    return value if isinstance(value, list) else body.interpreter.tensor(value)


def _carried(body, value):
    """A copy of a value that a loop carries on, which must be a tensor where it is not unrolled.

    A copy, as torch takes two operands that are one object for one operand, and the state would never change.
    """
    tensor = body.interpreter.tensor(value)
    if not isinstance(tensor, torch.Tensor):
        raise UnsupportedError("a loop that is not unrolled carries a sequence or an optional")
    return tensor.clone(memory_format=torch.contiguous_format)


def _most_rows(trips, stacked):
    """How many rows a loop stacks at most: its known trip count, or what the graph declares."""
    declared = [o.shape[0] for o in stacked if o.shape is not None]
    known = [n for n in [trips, *declared] if isinstance(n, int) and n != _ENDLESS]
    return min(known) if known else None


def _repeated(trips, condition, state, body, most):
    """A loop that ends when the data say so; rows are written into a buffer for `most` rounds."""
    stacked = body.graph.outputs[1 + len(state) :]
    if stacked and most is None:
        raise UnsupportedError("a loop stacks a number of rows that only the data tell")
    buffers = [torch.zeros((most, *_row(o)), dtype=torch.from_numpy(np.zeros((), o.dtype.numpy())).dtype) for o in stacked]
    going = torch.ones((), dtype=torch.bool) if condition is None else body.interpreter.tensor(condition).reshape(())
    limit = torch.full((), _ENDLESS) if trips is None else body.interpreter.tensor(trips).reshape(())
    fixed, varying = _parted(state, body)
    index = torch.zeros((), dtype=torch.int64)
    first = [index, going, *(_tracked(body, v) for v in state)]
    operands, (call,) = closed([body], first, bound={body.graph.inputs[2 + k]: v for k, v in fixed.items()})
    width, height = len(varying), len(buffers)

    def proceeds(index, going, *rest):
        return going & (index < rest[-1])

    def turn(index, going, *rest):
        more, *results = call([index, going, *_joined(fixed, rest[:width])], rest[width + height : -1])
        values = [r for k, r in enumerate(results[: len(state)]) if k not in fixed]
        rows = zip(rest[width : width + height], results[len(state) :], strict=True)
        written = [buffer.index_copy(0, index.reshape(1), row.unsqueeze(0)) for buffer, row in rows]
        return tuple(owned([index + 1, more.reshape(()), *values, *written], [index, going, *rest]))

    carried = [index, going.clone(), *(_carried(body, v) for v in varying), *buffers]
    made, _, *results = while_loop_op(proceeds, turn, tuple(carried), (*operands, limit))
    return (*_joined(fixed, results[:width]), *(_first(buffer, made, most) for buffer in results[width:]))


def _first(buffer, rounds, most):
    """The rows that were written."""
    length = rounds.item()
    torch._check(length >= 0)
    torch._check(length <= most)
    return buffer.narrow(0, 0, length)


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
    rows = [_along(body.interpreter.tensor(v), a, f) for v, a, f in zip(inputs[count:], axes, flips, strict=True)]
    state, results = _scan(list(inputs[:count]), rows, body)
    axes, flips = scan_output_axes or [0] * len(results), scan_output_directions or [0] * len(results)
    moved = [(r.flip(0) if f else r).movedim(0, a) for r, a, f in zip(results, axes, flips, strict=True)]
    return (*state, *moved)


def _along(x, axis, flips):
    x = x.movedim(axis, 0)
    return x.flip(0) if flips else x


def _scan(state, rows, body):
    """The last state and the stacked results, over the rows' first axis."""
    length = rows[0].shape[0]
    if isinstance(length, int) and length * nodes_of(body.graph) <= _MOST_UNROLLED:
        results = _unrolled([[r[k] for r in rows] for k in range(length)], state, body, 0)
    else:
        operands, (call,) = closed([body], [*(_tracked(body, v) for v in state), *(r[0] for r in rows)])
        results = _scanned(lambda state, rows, given: call([*state, *rows], given), state, rows, operands, body)
    return results[: len(state)], results[len(state) :]


@operator("Scan", since=8)
def scan_8(lengths: Value = None, *inputs: Value, body, num_scan_inputs, directions=None):
    """The first form: a batch of sequences, every one scanned on its own."""
    if lengths is not None:
        raise UnsupportedError("sequence lengths")
    tensors = [body.interpreter.tensor(v) for v in inputs]
    batch, count = tensors[0].shape[0], len(tensors) - num_scan_inputs
    if not isinstance(batch, int):
        raise UnsupportedError("a dynamic batch in opset 8; since opset 9 Scan has none")
    flips = directions or [0] * num_scan_inputs
    samples = []
    for index in range(batch):
        rows = [_along(x[index], 0, f) for x, f in zip(tensors[count:], flips, strict=True)]
        state, results = _scan([x[index] for x in tensors[:count]], rows, body)
        samples.append([body.interpreter.tensor(v) for v in (*state, *results)])
    return tuple(torch.stack(column) for column in zip(*samples, strict=True))
