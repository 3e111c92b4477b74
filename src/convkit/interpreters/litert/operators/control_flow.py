"""Calls of other subgraphs: branches, loops, composites.

A branch or a loop whose condition is known while tracing is decided then, round by round; else torch's own operators take the
subgraphs as functions of their operands.
"""

from __future__ import annotations

from torch._higher_order_ops.cond import cond_op
from torch._higher_order_ops.while_loop import while_loop_op

from convkit.interpreters.litert.bodies import bodies
from convkit.interpreters.litert.table import operator
from convkit.interpreters.operators import UnsupportedError, Value

_MOST_ROUNDS = 2048


@operator("CALL_ONCE", foldable=False)
def call_once(*, init_subgraph_index=0):
    return ()  # has been run when the variables got their first values


@operator("CALL", foldable=False)
def call(*inputs: Value, subgraph=0, node):
    return node.call(subgraph, inputs)


@operator("STABLEHLO_COMPOSITE", foldable=False)
def composite(
    *inputs: Value, name="", decomposition_subgraph_index=0, composite_attributes=None, composite_attributes_format=0,
    version=0, node,
):  # fmt: skip
    return node.call(decomposition_subgraph_index, inputs)


@operator("IF", foldable=False)
def branch(condition: Value, *inputs: Value, then_subgraph_index=0, else_subgraph_index=0, node):
    chosen = _known(node, condition)
    if chosen is not None:
        return node.call(then_subgraph_index if chosen else else_subgraph_index, inputs)
    interpreter = node.interpreter
    then, otherwise = (interpreter.model.subgraphs[k] for k in (then_subgraph_index, else_subgraph_index))
    outputs = node.operator.outputs
    carried, operands, functions = bodies(interpreter, [(then, outputs), (otherwise, outputs)], inputs)
    results = cond_op(node.tensor(condition).reshape(()), *functions, (*carried, *operands))
    return [interpreter.from_edge(r, t) for r, t in zip(results, outputs, strict=True)]


@operator("WHILE", "STABLEHLO_WHILE", foldable=False)
def loop(*inputs: Value, cond_subgraph_index=0, body_subgraph_index=0, node):
    state = list(inputs)
    for _ in range(_MOST_ROUNDS):
        (verdict,) = node.call(cond_subgraph_index, state)
        goes_on = _known(node, verdict)
        if goes_on is None:
            return _data_dependent_loop(node, state, cond_subgraph_index, body_subgraph_index)
        if not goes_on:
            return state
        state = node.call(body_subgraph_index, state)
    raise UnsupportedError(f"a loop of more than {_MOST_ROUNDS} rounds")


def _known(node, condition):
    """A condition's value where it is known while tracing."""
    known = node.interpreter.known(condition)
    return None if known is None or known.is_symbolic else bool(known.array.reshape(-1)[0])


def _data_dependent_loop(node, state, cond_index, body_index):
    interpreter = node.interpreter
    condition, body = (interpreter.model.subgraphs[k] for k in (cond_index, body_index))
    if len(body.outputs) != len(body.inputs):
        raise UnsupportedError("a body that does not return what it takes")
    carried, operands, (stays, moves) = bodies(interpreter, [(condition, condition.outputs), (body, body.inputs)], state)
    results = while_loop_op(lambda *given: stays(*given)[0].reshape(()), moves, tuple(carried), tuple(operands))
    return [interpreter.from_edge(r, t) for r, t in zip(results, node.operator.outputs, strict=True)]
