"""Runs a TF.js graph under `tf.function`: plain nodes are imported, loops and branches become TensorFlow's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convkit.loading.tfjs_control_flow import Choice, ControlFlow, Loop, inner, sources_of

__all__ = ["trace"]


def trace(flow: ControlFlow, library: Any, feeds: Mapping[str, Any], tensors: Sequence[str]) -> list[Any]:
    """The TensorFlow tensors for those of a graph, computed in the default graph.

    Args:
        flow: The graph.
        library: A GraphDef with the functions that its nodes call, and the versions.
        feeds: TensorFlow tensors for some of the graph's.
        tensors: Which to compute.
    """
    return _Scope(flow, library, feeds).values(tensors)


class _Scope:
    """The nodes that have been imported into one TensorFlow graph: the model's, or that of a loop or branch."""

    def __init__(self, flow: ControlFlow, library: Any, feeds: Mapping[str, Any]) -> None:
        self._flow, self._library = flow, library
        self._values = dict(feeds)
        self._operations: dict[str, Any] = {}

    def values(self, tensors: Sequence[str]) -> list[Any]:
        """The tensors, whose nodes are imported now where they are not yet."""
        wanted = [self._flow.resolved(t) for t in tensors]
        while structures := self._import(wanted):
            for tensor in structures:
                if tensor not in self._values:
                    self._compute(tensor)
        return [self._known(t) for t in wanted]

    def _known(self, tensor: str) -> Any:
        if tensor in self._values:
            return self._values[tensor]
        name, _, index = tensor.partition(":")
        return self._operations[name].outputs[int(index)]

    def _import(self, wanted: Sequence[str]) -> list[str]:
        """Imports the nodes behind tensors; where loops or choices come first, returns what these give and does nothing."""
        segment: dict[str, Any] = {}
        edge: dict[str, None] = {}
        structures: dict[str, None] = {}
        pending = list(wanted)
        while pending:
            tensor = pending.pop()
            name = tensor.partition(":")[0]
            if tensor in self._values or name in self._operations:
                edge[tensor] = None
            elif tensor in self._flow.made:
                structures[tensor] = None
            elif name not in segment:
                node = segment[name] = self._flow.node(tensor)
                pending += self._flow.inputs(node)
        if structures or not segment:
            return list(structures)
        self._import_segment(segment, edge)
        return []

    def _import_segment(self, segment: Mapping[str, Any], edge: Mapping[str, None]) -> None:
        import tensorflow as tf

        graph = type(self._library)()
        graph.CopyFrom(self._library)
        taken = set()
        for node in segment.values():
            copy = graph.node.add()
            copy.CopyFrom(node)
            copy.input[:] = self._flow.inputs(node)
            taken.update(copy.input)
        feeds = {tensor: self._known(tensor) for tensor in edge if tensor in taken}
        operations = tf.graph_util.import_graph_def(graph, feeds, list(segment), name="model")
        self._operations.update(zip(segment, operations, strict=True))

    def _compute(self, tensor: str) -> None:
        made = self._flow.made[tensor]
        # Everything that it takes from here must be here before its own graphs are traced.
        self.values([s for s in sources_of(tensor, self._flow) if not self._is_constant(s)])
        if isinstance(made, Loop):
            self._loop(made)
        else:
            self._values[tensor] = self._choice(made)

    def _is_constant(self, tensor: str) -> bool:
        """Constants stand in the loop or branch that takes them, so that shapes are known there."""
        node = self._flow.nodes.get(tensor.partition(":")[0])
        return node is not None and node.op == "Const"

    def _inside(self, tensors: Sequence[str], fed: Mapping[str, Any]) -> list[Any]:
        """Tensors in the graph of a loop or branch, which is the default one now; outer tensors become its captures."""
        import tensorflow as tf

        _, outside = inner(tensors, fed, self._flow)
        graph = tf.compat.v1.get_default_graph()
        captured = {t: graph.capture(self._known(t)) for t in outside if t not in fed and not self._is_constant(t)}
        return _Scope(self._flow, self._library, {**captured, **fed}).values(tensors)

    def _loop(self, loop: Loop) -> None:
        import tensorflow as tf

        initial = self.values(loop.initial)

        def condition(*variables: Any) -> Any:
            return self._inside([loop.condition], dict(zip(loop.variables, variables, strict=True)))[0]

        def body(*variables: Any) -> list[Any]:
            return self._inside(loop.following, dict(zip(loop.variables, variables, strict=True)))

        try:
            results = tf.while_loop(condition, body, initial)
        except ValueError as error:
            if "shape invariant" not in str(error):
                raise
            anything = [tf.TensorShape([None] * x.shape.rank) if x.shape.rank else tf.TensorShape(None) for x in initial]
            results = tf.while_loop(condition, body, initial, shape_invariants=anything)
        for tensor, place in loop.results.items():
            self._values[tensor] = results[place]

    def _choice(self, choice: Choice) -> Any:
        import tensorflow as tf

        (predicate,) = self.values([choice.predicate])

        def branch(tensor: str) -> Any:
            graph = tf.compat.v1.get_default_graph()
            known = {entry: self._flow.resolved(outer) for entry, outer in choice.entries.items()}
            fed = {entry: graph.capture(self._known(outer)) for entry, outer in known.items() if not self._is_constant(outer)}
            fed |= {e: self._constant(outer) for e, outer in known.items() if e not in fed}
            return tf.identity(self._inside([tensor], fed)[0])

        return tf.cond(predicate, lambda: branch(choice.if_true), lambda: branch(choice.if_false))

    def _constant(self, tensor: str) -> Any:
        return _Scope(self._flow, self._library, {}).values([tensor])[0]
