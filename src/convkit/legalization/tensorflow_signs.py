"""Sign bits of TensorFlow graphs as comparisons: no format but TensorFlow's own takes a float's bits for an integer.

Keras reads the sign of a zero from its bits, and does so in every `argmax` and `argmin` of floats (keras 3.10 and later).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["with_compared_signs"]

_PASSED = frozenset(("Identity", "StopGradient", "PreventGradient", "Snapshot"))
_SIGN_BIT = -(1 << 31)
_RENAMED = "_compared"


def with_compared_signs(function: Any) -> Any:
    """The function, or where it reads sign bits of float32 tensors one that compares instead: x < 0, or 1/x < 0 for -0.

    Args:
        function: A concrete function whose captured variables can be made constants.

    Returns:
        A concrete function with the same inputs and outputs, in the same order. Signs of NaN are not kept.
    """
    if not any(map(_signs, _node_lists(function.graph.as_graph_def()))):
        return function
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2_as_graph

    frozen, graph_def = convert_variables_to_constants_v2_as_graph(function, lower_control_flow=False)
    for nodes in _node_lists(graph_def):
        _compare(nodes)
    _rename_functions(graph_def)
    imported = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph_def, name=""), [])
    edges = [[imported.graph.as_graph_element(t.name) for t in tensors] for tensors in (frozen.inputs, frozen.outputs)]
    return imported.prune(*edges)


def _node_lists(graph_def: Any) -> Iterator[Any]:
    """The nodes of the graph, and of every function in it."""
    yield graph_def.node
    for function in graph_def.library.function:
        yield function.node_def


def _rename_functions(graph_def: Any) -> None:
    """Gives all functions other names: TensorFlow knows those of the source by theirs, for as long as the process lives."""
    for function in graph_def.library.function:
        function.signature.name += _RENAMED
    for nodes in _node_lists(graph_def):
        for attribute in (a for node in nodes for a in node.attr.values()):
            called = [attribute.func] if attribute.HasField("func") else attribute.list.func
            for each in called:
                each.name += _RENAMED


class _Nodes:
    """The nodes of one graph or function by name, behind what passes values on."""

    def __init__(self, nodes: Any) -> None:
        self._by_name: Mapping[str, Any] = {node.name: node for node in nodes}

    def behind(self, reference: str) -> Any:
        """The node that computes a tensor; None for an argument of the function."""
        node = self._by_name.get(reference.partition(":")[0])
        while node is not None and node.op in _PASSED:
            node = self._by_name.get(node.input[0].partition(":")[0])
        return node

    def number(self, reference: str) -> Any:
        """The value of a constant of one element, None of anything else."""
        import tensorflow as tf

        node = self.behind(reference)
        if node is None or node.op != "Const" or node.attr["dtype"].type != tf.int32.as_datatype_enum:
            return None
        value = tf.make_ndarray(node.attr["value"].tensor)
        return int(value.ravel()[0]) if value.size == 1 and value.ndim == 0 else None


def _signs(nodes: Any) -> list[tuple[Any, str]]:
    """The nodes of one graph or function that tell a sign by its bit, each with the tensor whose sign it is."""
    known = _Nodes(nodes)
    return [(node, x) for node in nodes if node.op == "Less" and (x := _signed(node, known)) is not None]


def _signed(node: Any, known: _Nodes) -> str | None:
    """The float32 tensor whose sign a `Less` tells: `bitcast(x) & sign bit < 0`, or `bitcast(x) < 0`."""
    import tensorflow as tf

    if known.number(node.input[1]) != 0:
        return None
    bits = known.behind(node.input[0])
    if bits is not None and bits.op == "BitwiseAnd":
        masked = [reference for reference in bits.input if known.number(reference) != _SIGN_BIT]
        bits = known.behind(masked[0]) if len(masked) == 1 else None
    if bits is None or bits.op != "Bitcast" or bits.attr["T"].type != tf.float32.as_datatype_enum:
        return None
    return str(bits.input[0]) if bits.attr["type"].type == tf.int32.as_datatype_enum else None


def _compare(nodes: Any) -> None:
    """Rewrites the sign bits of one graph or function in place; what only they needed stays, unused."""
    import tensorflow as tf

    suffix = "" if any(node.op == "Placeholder" for node in nodes) else ":z:0"
    for node, x in _signs(nodes):
        made = tf.Graph()
        with made.as_default():
            given = tf.compat.v1.placeholder(tf.float32, name="x")
            zero = tf.constant(0.0, name="zero")
            below = tf.raw_ops.Less(x=given, y=zero, name="below")
            inverse = tf.raw_ops.RealDiv(x=tf.constant(1.0, name="one"), y=given, name="inverse")
            tf.raw_ops.LogicalOr(x=below, y=tf.raw_ops.Less(x=inverse, y=zero, name="inverse_below"), name="negative")
        for new in made.as_graph_def().node:
            if new.op == "Placeholder":
                continue
            copy = node if new.name == "negative" else nodes.add()
            inputs = [x if i == "x" else f"{node.name}/{i}{_output(i, suffix)}" for i in new.input]
            own = node.name if new.name == "negative" else f"{node.name}/{new.name}"
            copy.CopyFrom(new)
            copy.name = own
            del copy.input[:]
            copy.input.extend(inputs)


def _output(name: str, suffix: str) -> str:
    """How a function names the output of one of the new nodes: by the operator's own name of it."""
    return suffix if not suffix or name not in ("zero", "one") else ":output:0"
