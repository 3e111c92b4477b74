"""Unrolls TensorFlow loops whose number of rounds is known: recurrent layers become straight-line code.

Keras writes an LSTM as a `While` over TensorLists. TFLiteConverter lowers these only when the batch is static, and TF.js
has no kernel for them. Here the graph is interpreted while `tf.function` traces: loop counters, shapes and TensorLists
are Python values, everything else becomes an operator of the new graph, so that dynamic dimensions stay dynamic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["CannotUnrollError", "has_tensor_lists", "unrolled"]

# Beyond this the file grows past what anybody wants to load.
_MOST_ROUNDS = 512


class CannotUnrollError(Exception):
    """The graph has a loop or a branch that depends on the input's values."""


def has_tensor_lists(graph_def: Any) -> bool:
    """Whether a graph, or a function in it, uses TensorLists."""
    nodes = [*graph_def.node, *(node for function in graph_def.library.function for node in function.node_def)]
    return any(node.op.startswith("TensorList") for node in nodes)


def unrolled(function: Any) -> tuple[Any, int]:
    """Traces a concrete function again, without loops.

    Args:
        function: A concrete function whose captured variables can be made constants.

    Returns:
        A concrete function with the same inputs, outputs and order; the number of rounds that were unrolled.

    Raises:
        CannotUnrollError: when a loop's condition, a branch or a list's length depends on values of the input.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2_as_graph

    frozen, graph_def = convert_variables_to_constants_v2_as_graph(function, lower_control_flow=False)
    inputs = [t.name.partition(":")[0] for t in frozen.inputs]
    outputs = [t.name for t in frozen.outputs]
    interpreter = _Interpreter(graph_def)

    def call(*tensors: Any) -> list[Any]:
        values = interpreter.run_graph(dict(zip(inputs, tensors, strict=True)), outputs)
        return [tf.identity(_tensor(value)) for value in values]

    specs = [tf.TensorSpec(t.shape, t.dtype, name=name) for t, name in zip(frozen.inputs, inputs, strict=True)]
    return tf.function(call, input_signature=specs, autograph=False).get_concrete_function(), interpreter.rounds


# A value is a tensor of the new graph, a numpy array (known while tracing) or a list of tensors (a TensorList).
_Value = Any


def _known(value: _Value) -> bool:
    return isinstance(value, np.ndarray)


def _tensor(value: _Value) -> Any:
    import tensorflow as tf

    if isinstance(value, list):
        raise CannotUnrollError("a TensorList leaves the loop in a way that is not understood")
    return tf.constant(value) if _known(value) else value


def _integer(value: _Value, what: str) -> int:
    if not _known(value):
        raise CannotUnrollError(f"{what} depends on the input")
    return int(value)


class _Interpreter:
    """Runs the nodes of one graph; see the module."""

    def __init__(self, graph_def: Any) -> None:
        self.rounds = 0
        self._graph = graph_def
        self._functions = {f.signature.name: f for f in graph_def.library.function}
        self._constants: dict[str, np.ndarray] = {}

    def run_graph(self, arguments: Mapping[str, _Value], outputs: Sequence[str]) -> list[_Value]:
        """Runs the main graph; `outputs` are tensor names ("node:0")."""
        nodes = {node.name: node for node in self._graph.node}
        env: dict[str, list[_Value]] = {name: [value] for name, value in arguments.items()}
        return [self._value(name, nodes, env, "") for name in outputs]

    def _call(self, name: str, arguments: Sequence[_Value]) -> list[_Value]:
        function = self._functions[name]
        nodes = {node.name: node for node in function.node_def}
        names = [a.name for a in function.signature.input_arg]
        env: dict[str, list[_Value]] = {n: [v] for n, v in zip(names, arguments, strict=True)}
        return [self._value(function.ret[a.name], nodes, env, name) for a in function.signature.output_arg]

    def _value(self, reference: str, nodes: Mapping[str, Any], env: dict[str, list[_Value]], scope: str) -> _Value:
        """The value of "node:1" (graphs) or "node:argument:0" (functions). Iterative: graphs are deeper than the stack."""
        pending = [reference.partition(":")[0]]
        while pending:
            name = pending[-1]
            if name in env:
                pending.pop()
                continue
            node = nodes[name]
            needed = [i.partition(":")[0] for i in node.input if not i.startswith("^")]
            if missing := [n for n in needed if n not in env]:
                pending.extend(missing)
                continue
            inputs = [_pick(i, nodes, env) for i in node.input if not i.startswith("^")]
            env[name] = self._run(node, inputs, scope)
            pending.pop()
        return _pick(reference, nodes, env)

    def _run(self, node: Any, inputs: list[_Value], scope: str) -> list[_Value]:
        if node.op == "Const":
            return [self._constant(node, scope)]
        if node.op in ("While", "StatelessWhile"):
            return self._loop(node, inputs)
        if node.op in ("If", "StatelessIf"):
            chosen = "then_branch" if _integer(inputs[0], "a branch") else "else_branch"
            return self._call(node.attr[chosen].func.name, inputs[1:])
        if node.op in ("PartitionedCall", "StatefulPartitionedCall"):
            return self._call(node.attr["f"].func.name, inputs)
        if node.op in ("Identity", "StopGradient", "PreventGradient", "Snapshot"):
            return inputs
        if node.op == "IdentityN":
            return inputs
        if node.op in _LIST_OPERATORS:
            return [_LIST_OPERATORS[node.op](*inputs)]
        if node.op in _KNOWN_OPERATORS and all(map(_known, inputs)) and sum(i.size for i in inputs) < 1000:
            return [np.asarray(_KNOWN_OPERATORS[node.op](*inputs))]
        if any(isinstance(i, list) for i in inputs):
            raise CannotUnrollError(f"{node.op} takes a TensorList")
        return _traced(node, inputs)

    def _constant(self, node: Any, scope: str) -> np.ndarray:
        import tensorflow as tf

        key = f"{scope}/{node.name}"
        if key not in self._constants:
            self._constants[key] = np.asarray(tf.make_ndarray(node.attr["value"].tensor))
        return self._constants[key]

    def _loop(self, node: Any, values: list[_Value]) -> list[_Value]:
        condition, body = node.attr["cond"].func.name, node.attr["body"].func.name
        rounds = 0
        while _integer(self._call(condition, values)[0], "a loop's condition"):
            values = self._call(body, values)
            rounds += 1
            if rounds > _MOST_ROUNDS:
                raise CannotUnrollError(f"a loop has more than {_MOST_ROUNDS} rounds")
        self.rounds += rounds
        return values


def _pick(reference: str, nodes: Mapping[str, Any], env: Mapping[str, list[_Value]]) -> _Value:
    name, *rest = reference.split(":")
    if len(rest) < 2:
        return env[name][int(rest[0]) if rest else 0]
    from tensorflow.python.framework import op_def_registry

    # "node:argument:index": the argument's outputs come after those of the arguments before it.
    node, position = nodes[name], 0
    for argument in op_def_registry.get(node.op).output_arg:
        if argument.name == rest[0]:
            break
        if argument.number_attr:
            position += node.attr[argument.number_attr].i
        elif argument.type_list_attr:
            position += len(node.attr[argument.type_list_attr].list.type)
        else:
            position += 1
    return env[name][position + int(rest[1])]


def _traced(node: Any, inputs: Sequence[_Value]) -> list[_Value]:
    """Adds one operator to the graph that is being traced."""
    import tensorflow as tf

    adds_axes = node.op == "StridedSlice" and node.attr["new_axis_mask"].i and not node.attr["ellipsis_mask"].i
    if adds_axes and all(map(_known, inputs[1:])):
        return [_with_new_axes(node, *inputs)]
    attributes = {key: value for key, value in node.attr.items() if not key.startswith("_")}
    operation = tf.compat.v1.get_default_graph().create_op(
        node.op, [_tensor(value) for value in inputs], name=node.name.rpartition("/")[2] or "op", attrs=attributes
    )
    return [_static(tensor) for tensor in operation.outputs]


def _with_new_axes(node: Any, x: _Value, begin: np.ndarray, end: np.ndarray, strides: np.ndarray) -> _Value:
    """A slice that also adds axes, as a slice and additions of axes: TFLiteConverter wants static sizes for both in one."""
    import tensorflow as tf

    def has(mask: str, position: int) -> bool:
        return bool(node.attr[mask].i >> position & 1)

    parts: list[Any] = []
    added: list[int] = []
    kept = 0
    for position, (first, last, step) in enumerate(zip(begin.tolist(), end.tolist(), strides.tolist(), strict=True)):
        if has("new_axis_mask", position):
            added.append(kept + len(added))
        elif has("shrink_axis_mask", position):
            parts.append(first)
        else:
            parts.append(slice(None if has("begin_mask", position) else first, None if has("end_mask", position) else last, step))
            kept += 1
    result = _tensor(x)[tuple(parts)] if any(part != slice(None, None, 1) for part in parts) else _tensor(x)
    for position in added:
        result = tf.expand_dims(result, position)
    return result


def _static(tensor: Any) -> _Value:
    """A small integer whose value follows from static shapes, as a numpy array."""
    import tensorflow as tf

    if not (tensor.dtype.is_integer or tensor.dtype.is_bool) or tensor.shape.rank not in (0, 1):
        return tensor
    value = tf.get_static_value(tensor)
    return tensor if value is None else np.asarray(value)


def _from_tensor(tensor: _Value, _shape: _Value) -> list[_Value]:
    import tensorflow as tf

    tensor = _tensor(tensor)
    if tensor.shape.rank is None or tensor.shape[0] is None:
        raise CannotUnrollError("the number of steps is dynamic")
    return list(tf.unstack(tensor, axis=0))


def _reserve(_shape: _Value, length: _Value) -> list[_Value]:
    return [None] * _integer(length, "the length of a TensorList")


def _get(values: list[_Value], index: _Value, _shape: _Value) -> _Value:
    value = values[_integer(index, "an index into a TensorList")]
    if value is None:
        raise CannotUnrollError("an element of a TensorList is read before it is set")
    return value


def _set(values: list[_Value], index: _Value, value: _Value) -> list[_Value]:
    position = _integer(index, "an index into a TensorList")
    return [*values[:position], value, *values[position + 1 :]]


def _stack(values: list[_Value], _shape: _Value) -> _Value:
    import tensorflow as tf

    if any(value is None for value in values):
        raise CannotUnrollError("an element of a TensorList is never set")
    return tf.stack([_tensor(value) for value in values])


_LIST_OPERATORS: dict[str, Callable[..., _Value]] = {
    "TensorListFromTensor": _from_tensor,
    "TensorListReserve": _reserve,
    "TensorListGetItem": _get,
    "TensorListSetItem": _set,
    "TensorListStack": _stack,
    "TensorListLength": lambda values: np.asarray(len(values), np.int32),
}

# What loop counters and their conditions are made of.
_KNOWN_OPERATORS: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "AddV2": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "FloorDiv": np.floor_divide,
    "FloorMod": np.mod,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Less": np.less,
    "LessEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterEqual": np.greater_equal,
    "Equal": np.equal,
    "NotEqual": np.not_equal,
    "LogicalAnd": np.logical_and,
    "LogicalOr": np.logical_or,
    "LogicalNot": np.logical_not,
    "Range": lambda start, limit, delta: np.arange(int(start), int(limit), int(delta)).astype(start.dtype),
    "Max": lambda values, axes: values if axes.size == 0 else values.max(tuple(np.atleast_1d(axes))),
}
