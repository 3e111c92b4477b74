"""What the body of a Loop tells before it runs: which values it only hands on, and how many rounds a counter makes.

Exporters write `for` as `while`: the condition that a body returns compares a counter that it increments with a bound that stays
(tf2onnx's recurrent layers, torch.jit's loops).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from convkit.interpreters.host import maximum, minimum

if TYPE_CHECKING:
    import onnx_ir as ir

    from convkit.interpreters.interpreter import Subgraph

__all__ = ["always_continues", "constants", "rounds"]

_OUTPUTS = 1  # of a body before its state: the condition
_INPUTS = 2  # of a body before its state: the round's number and the condition


def constants(graph: ir.Graph, count: int) -> set[int]:
    """Which of a loop's `count` state values its body only hands on."""
    return {k for k in range(count) if _source(graph.outputs[_OUTPUTS + k]) is graph.inputs[_INPUTS + k]}


def always_continues(graph: ir.Graph) -> bool:
    """Whether a body hands its condition on, or returns a constant true one."""
    value = _source(graph.outputs[0])
    return value is graph.inputs[1] or (value.const_value is not None and bool(value.const_value.numpy().all()))


def rounds(body: Subgraph, state: Sequence[Any], known: Callable[[Any], Any]) -> Any | None:
    """How many rounds a loop makes, if its condition was true before the first one; None where a counter does not tell.

    Args:
        body: The body.
        state: What the loop starts with.
        known: The number (or symbolic int) that a value is, None where only the data tell.
    """
    least = None
    for counter, bound in _comparisons(body.graph.outputs[0]):
        start, step = _counted(body.graph, counter, state, known)
        last = _bound(body, bound, state, known)
        if start is None or last is None:
            return None
        made = maximum((last - start + step - 1) // step, 1)
        least = made if least is None else minimum(least, made)
    return least


def _source(value: ir.Value, through: tuple[str, ...] = ("Identity",)) -> ir.Value:
    producer = value.producer()
    while producer is not None and producer.op_type in through and producer.inputs[0] is not None:
        value = producer.inputs[0]
        producer = value.producer()
    return value


def _number(value: ir.Value) -> ir.Value:
    """Behind casts too: exporters compare whole numbers as floats."""
    return _source(value, ("Identity", "Cast"))


def _comparisons(condition: ir.Value) -> Iterator[tuple[ir.Value | None, ir.Value | None]]:
    """(smaller, larger) of what a condition compares; (None, None) for what is no comparison."""
    producer = _source(condition).producer()
    name = None if producer is None else producer.op_type
    if producer is None or name not in ("And", "Less", "Greater"):
        yield None, None
    elif name == "And":
        for side in producer.inputs:
            assert side is not None
            yield from _comparisons(side)
    else:
        first, second = producer.inputs
        yield (first, second) if name == "Less" else (second, first)


def _counted(graph: ir.Graph, counter: ir.Value | None, state: Sequence[Any], known: Callable[[Any], Any]) -> tuple[Any, int]:
    """What a counter was before its first addition, and by how much it grows; (None, 1) where it is none.

    The condition of a round may compare it after the addition, as the next round finds it, or before: one round later, then.
    """
    if counter is None:
        return None, 1
    value = _number(counter)
    if value is graph.inputs[0]:
        return -1, 1
    for k, given in enumerate(state):
        step = _step(graph, k)
        if step is None:
            continue
        begin = known(given)
        if value is _number(graph.outputs[_OUTPUTS + k]):
            return begin, step
        if value is graph.inputs[_INPUTS + k]:
            return None if begin is None else begin - step, step
    # The number of the next round.
    return (0, 1) if _addend(value, graph.inputs[0]) == 1 else (None, 1)


def _step(graph: ir.Graph, position: int) -> int | None:
    """By how much a state value grows in every round; None where it is no counter."""
    step = _addend(_number(graph.outputs[_OUTPUTS + position]), graph.inputs[_INPUTS + position])
    return step if step is not None and step > 0 else None


def _addend(total: ir.Value, before: ir.Value) -> int | None:
    """The constant that is added to a value, None where the total is something else."""
    producer = total.producer()
    if producer is None or producer.op_type != "Add":
        return None
    terms = [_number(v) for v in producer.inputs if v is not None]
    for one, by in (terms, terms[::-1]):
        if one is before and by.const_value is not None:
            return int(by.const_value.numpy().reshape(-1)[0])
    return None


def _bound(body: Subgraph, bound: ir.Value | None, state: Sequence[Any], known: Callable[[Any], Any]) -> Any | None:
    if bound is None:
        return None
    value = _number(bound)
    for k in constants(body.graph, len(state)):
        if value is body.graph.inputs[_INPUTS + k]:
            return known(state[k])
    return known(body.outer.get(value, value if value.const_value is not None else None))
