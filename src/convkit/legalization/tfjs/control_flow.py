"""Loops and branches, traced anew: TF.js runs `While` and `If` with functions, as TensorFlow 2 writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from convkit.legalization.tfjs.nodes import Handle, Known, RefusedError, Value

if TYPE_CHECKING:
    from convkit.legalization.tfjs.retracing import Retracer

__all__ = ["CONTROL_FLOW"]

_PASSED = frozenset(("Identity", "StopGradient"))


def _while(retracer: Retracer, operation: Any, inputs: list[Value]) -> list[Value]:
    """A loop; what its body hands on unchanged and is known stays a constant inside."""
    import tensorflow as tf

    condition, body = (_function(operation, key) for key in ("cond", "body"))
    fixed = {
        position: value
        for position, value in enumerate(inputs)
        if isinstance(value, Known | Handle) and _origin(body.outputs[position]) is body.inputs[position]
    }
    carried = [position for position in range(len(inputs)) if position not in fixed]
    if any(isinstance(inputs[position], Handle) for position in carried):
        raise RefusedError("it changes which variable it uses from round to round")

    def values(graph: Any, tensors: Sequence[Any]) -> dict[int, Value]:
        known = {id(graph.inputs[position]): value for position, value in fixed.items()}
        return known | {id(graph.inputs[p]): t for p, t in zip(carried, tensors, strict=True)}

    def one_round(*tensors: Any) -> list[Any]:
        results = retracer.run(body, values(body, tensors), [body.outputs[p] for p in carried])
        return [retracer.tensor(value) for value in results]

    results = tf.while_loop(
        lambda *tensors: retracer.tensor(retracer.run(condition, values(condition, tensors), condition.outputs)[0]),
        one_round,
        [retracer.tensor(inputs[position]) for position in carried],
        shape_invariants=[operation.outputs[position].shape for position in carried],
    )
    outputs: list[Value] = [fixed.get(position) for position in range(len(inputs))]
    for position, result in zip(carried, results, strict=True):
        outputs[position] = result
    return outputs


def _origin(tensor: Any) -> Any:
    while tensor.op.type in _PASSED:
        tensor = tensor.op.inputs[0]
    return tensor


def _function(operation: Any, attribute: str) -> Any:
    from tensorflow.python.ops import control_flow_util_v2

    shapes = [tensor.shape for tensor in operation.outputs]
    return control_flow_util_v2.get_func_graph(operation, shapes, operation.get_attr(attribute).name)


def _if(retracer: Retracer, operation: Any, inputs: list[Value]) -> list[Value]:
    """A branch; only the one that is taken where the condition is known."""
    names = [operation.get_attr(key).name for key in ("then_branch", "else_branch")]
    if isinstance(inputs[0], Known):
        return retracer.call(operation, names[0 if _truth(inputs[0]) else 1], inputs[1:])
    return _branch(retracer, operation, _truth_of(inputs[0]), names, inputs[1:])


def _case(retracer: Retracer, operation: Any, inputs: list[Value]) -> list[Value]:
    """A choice between any number of branches as a chain of choices between two; the last is taken for other numbers too."""
    import tensorflow as tf

    names = [function.name for function in operation.get_attr("branches")]
    if isinstance(inputs[0], Known):
        chosen = int(inputs[0].array)
        return retracer.call(operation, names[chosen if 0 <= chosen < len(names) else -1], inputs[1:])
    index = inputs[0]

    def choose(position: int) -> list[Any]:
        if position == len(names) - 1:
            return _results(retracer, operation, names[position], inputs[1:])
        rest = partial(choose, position + 1)
        first = partial(_results, retracer, operation, names[position], inputs[1:])
        return list(tf.cond(tf.equal(index, position), first, rest))

    return list(choose(0))


def _branch(retracer: Retracer, operation: Any, condition: Any, names: Sequence[str], inputs: Sequence[Value]) -> list[Value]:
    import tensorflow as tf

    branches = [partial(_results, retracer, operation, name, inputs) for name in names]
    return list(tf.cond(condition, *branches))


def _results(retracer: Retracer, operation: Any, name: str, inputs: Sequence[Value]) -> list[Any]:
    """The results of a branch, each a tensor of its own."""
    import tensorflow as tf

    return [tf.identity(retracer.tensor(value)) for value in retracer.call(operation, name, inputs)]


def _truth(value: Known) -> bool:
    return bool(value.array) if value.array.ndim == 0 else value.array.size > 0


def _truth_of(tensor: Any) -> Any:
    """TensorFlow's truth of a tensor: of a number whether it is not 0, of a list whether it has elements."""
    import tensorflow as tf

    if tensor.shape.rank != 0:
        return tf.size(tensor) > 0
    if tensor.dtype == tf.string:
        raise RefusedError("its condition is a text")
    return tensor if tensor.dtype == tf.bool else tf.not_equal(tensor, tf.zeros((), tensor.dtype))


CONTROL_FLOW: dict[str, Callable[[Retracer, Any, list[Value]], list[Value]]] = {
    "While": _while,
    "StatelessWhile": _while,
    "If": _if,
    "StatelessIf": _if,
    "Case": _case,
    "StatelessCase": _case,
}
