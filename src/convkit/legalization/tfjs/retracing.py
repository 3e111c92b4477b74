"""Traces a concrete function anew, operator by operator, as a graph that TF.js can run.

The source graph is interpreted while `tf.function` traces: what does not depend on the inputs is computed at once, in the
source's own dtypes (variables, int64 shape arithmetic, the scale of a batch norm); calls are inlined; dtypes are narrowed;
operators that have a rewrite are replaced; everything else becomes the same operator again. Dynamic dimensions stay dynamic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from convkit.legalization.codes import Reason
from convkit.legalization.target import Finding, Verdict
from convkit.legalization.tfjs import folding, narrowing, rewriting
from convkit.legalization.tfjs.nodes import Handle, Known, Node, RefusedError, Value, at_node

__all__ = ["Retraced", "Retracer", "retrace"]

_PASSED = frozenset(("Identity", "IdentityN", "StopGradient", "PreventGradient", "Snapshot", "CheckNumerics"))
_CALLS = frozenset(("PartitionedCall", "StatefulPartitionedCall"))
_CONTROL_FLOW_V1 = frozenset(("Enter", "Exit", "Merge", "NextIteration", "Switch", "LoopCond"))

# What can leave the range of a small integer.
_OVERFLOWS = frozenset(
    (
        *("Abs", "Add", "AddN", "AddV2", "BatchMatMul", "BatchMatMulV2", "Cumprod", "Cumsum", "MatMul", "Mul", "Neg", "Pow"),
        *("Prod", "Square", "SquaredDifference", "Sub", "Sum", "BiasAdd", "Div", "FloorDiv", "RealDiv", "Einsum"),
    )
)


_STATE = Reason("TF.js keeps no variables that a model changes", "CK109")

_MOST_EMBEDDED = 256 << 20
"""Bytes of constants that a graph holds; what comes after them stays outside: a graph is copied often, and ends at 2 GB."""

_LARGE = 1 << 16
"""Bytes from which a constant may stay outside: what shape arithmetic looks at is smaller."""


@dataclass(frozen=True)
class Retraced:
    """A function traced anew.

    Attributes:
        function: The concrete function: positional inputs, a list of outputs.
        places: Names of operations (or of the scopes that hold them) → the source node's operator and name.
        findings: What became of the source's operators; the gaps are those that tracing shows.
        notes: What the user should know.
        weights: Constants that stay outside of the graph, by the names of the placeholders that stand for them.
    """

    function: Any
    places: dict[str, tuple[str, str]]
    findings: list[Finding]
    notes: tuple[str, ...]
    weights: dict[str, np.ndarray]


def retrace(function: Any, names: Sequence[str]) -> Retraced:
    """Traces a concrete function anew.

    Args:
        function: A concrete function; its variables become constants.
        names: Of the inputs of the result.
    """
    import tensorflow as tf

    retracer = Retracer()
    captured = _captured(function)
    specs = [
        tf.TensorSpec(tensor.shape, narrowing.narrow_dtype(tensor.dtype), name=name)
        for tensor, name in zip(_arguments(function), names, strict=True)
    ]

    def call(*tensors: Any) -> list[Any]:
        retracer.outermost = tf.compat.v1.get_default_graph()
        values = captured | {id(t): v for t, v in zip(_arguments(function), tensors, strict=True)}
        results = retracer.run(function.graph, values, function.outputs)
        return [tf.identity(retracer.tensor(value)) for value in results]

    traced = tf.function(call, input_signature=specs, autograph=False).get_concrete_function()
    return Retraced(traced, retracer.places, retracer.findings(), tuple(dict.fromkeys(retracer.notes)), retracer.weights)


def _arguments(function: Any) -> list[Any]:
    """The inputs of a concrete function without what it captures."""
    return list(function.inputs[: len(function.inputs) - len(function.captured_inputs)])


def _captured(function: Any) -> dict[int, Value]:
    """Variables as handles, other captured tensors as known values; by the identity of their placeholders."""
    import tensorflow as tf

    variables = {id(v.handle): v for v in function.variables}
    values: dict[int, Value] = {}
    for outer, inner in zip(function.captured_inputs, function.inputs[len(_arguments(function)) :], strict=True):
        if id(outer) in variables:
            variable = variables[id(outer)]
            values[id(inner)] = Handle(Known(np.asarray(variable.numpy()), variable.name.partition(":")[0]))
        elif outer.dtype not in (tf.resource, tf.variant):
            values[id(inner)] = Known(np.asarray(outer.numpy()), inner.name.partition(":")[0])
    return values


@dataclass
class Retracer:
    """The state of one tracing; see the module."""

    places: dict[str, tuple[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    outermost: Any = None
    _embedded: int = 0
    _told: dict[tuple[str, Verdict, str], list[str]] = field(default_factory=dict)
    _constants: dict[tuple[int, int], Any] = field(default_factory=dict)
    _alive: list[Any] = field(default_factory=list)

    def run(self, graph: Any, values: dict[int, Value], outputs: Sequence[Any]) -> list[Value]:
        """Traces what the outputs of a source graph need.

        Args:
            graph: A `FuncGraph`.
            values: Of its placeholders, by the identity of their tensors; filled with all others.
            outputs: Tensors of the graph.
        """
        needed = _needed(outputs, values)
        for operation in graph.get_operations():
            if operation.type.startswith("Assign"):
                self._tell(operation.type, Verdict.GAP, _STATE, operation.name)
            if operation in needed:
                for tensor, value in zip(operation.outputs, self._outputs(operation, values), strict=True):
                    values[id(tensor)] = value
        return [values[id(tensor)] for tensor in outputs]

    def tensor(self, value: Value) -> Any:
        """A value as a tensor of the graph that is being traced.

        Raises:
            RefusedError: It is a variable itself.
        """
        import tensorflow as tf

        if isinstance(value, Handle):
            raise RefusedError("it takes a variable, not its value")
        if not isinstance(value, Known):
            return value
        outside = value.array.nbytes >= _LARGE and self._embedded > _MOST_EMBEDDED
        graph = self.outermost if outside else tf.compat.v1.get_default_graph()
        key = id(graph), id(value)
        if key not in self._constants:
            self._alive.append(value)  # an identity must not be used twice
            with graph.as_default():
                self._constants[key] = self._held(value, outside)
        return self._constants[key]

    def _held(self, value: Known, outside: bool) -> Any:
        """A constant, or a placeholder in the outermost graph for one that stays outside."""
        import tensorflow as tf

        array, name = narrowing.narrow_array(value.array), _plain(value.name or "Const")
        if not outside:
            self._embedded += array.nbytes
            return tf.constant(array, name=name)
        placeholder = tf.compat.v1.placeholder(array.dtype, array.shape, name=name)
        self.weights[placeholder.op.name] = array
        return placeholder

    def findings(self) -> list[Finding]:
        """The verdicts so far, gaps first."""
        order = [Verdict.GAP, Verdict.REWRITTEN, Verdict.LEGAL]
        found = [
            Finding(operator, len(places), verdict, reason, () if verdict is Verdict.LEGAL else tuple(dict.fromkeys(places)))
            for (operator, verdict, reason), places in self._told.items()
        ]
        return sorted(found, key=lambda f: (order.index(f.verdict), f.operator))

    def _tell(self, operator: str, verdict: Verdict, reason: str, place: str) -> None:
        self._told.setdefault((operator, verdict, reason), []).append(place)

    def _outputs(self, operation: Any, values: dict[int, Value]) -> list[Value]:
        """The values of an operation; stand-ins where it is refused, so that every gap is found at once."""
        try:
            with at_node(operation.type, operation.name):
                return self._trace(operation, [values[id(tensor)] for tensor in operation.inputs])
        except RefusedError as error:
            self._tell(error.operator, Verdict.GAP, error.reason, error.place)
            return _stand_ins(operation)

    def _trace(self, operation: Any, inputs: list[Value]) -> list[Value]:
        from convkit.legalization.tfjs.control_flow import CONTROL_FLOW

        kind = operation.type
        if kind in _PASSED:
            return inputs
        if kind in _CALLS:
            return self.call(operation, operation.get_attr("f").name, inputs)
        if kind == "ReadVariableOp" and isinstance(inputs[0], Handle):
            return [inputs[0].known]
        if kind == "Const":
            return [Known(folding.constant(operation), operation.name)]
        if kind in CONTROL_FLOW:
            self._tell(kind, Verdict.LEGAL, "", operation.name)
            return CONTROL_FLOW[kind](self, operation, inputs)
        if kind in _CONTROL_FLOW_V1:
            raise RefusedError("TensorFlow 1's control flow; save the model again with TensorFlow 2")
        if kind == "Placeholder":
            raise RefusedError("it is an input that the signature does not name")
        known = folding.folded(operation, inputs)
        if known is not None:
            return known
        return self._rewritten(operation, inputs)

    def call(self, operation: Any, name: str, inputs: Sequence[Value]) -> list[Value]:
        """Inlines a function of the library for an operation that takes it."""
        from tensorflow.python.ops import control_flow_util_v2

        shapes = [
            _shape(value, tensor)
            for value, tensor in zip(inputs, operation.inputs[len(operation.inputs) - len(inputs) :], strict=True)
        ]
        graph = control_flow_util_v2.get_func_graph(operation, shapes, name)
        self._alive.append(graph)
        return self.run(graph, {id(t): v for t, v in zip(graph.inputs, inputs, strict=True)}, graph.outputs)

    def _rewritten(self, operation: Any, inputs: list[Value]) -> list[Value]:
        import tensorflow as tf

        rule = rewriting.find(operation.type)
        node = Node(operation, tuple(inputs), self.notes)
        if rule is not None:
            tensors = [self.tensor(value) for value in inputs]
            with tf.name_scope(_plain(operation.name)) as scope:
                self.places[scope.rstrip("/")] = (operation.type, operation.name)
                results = _building(lambda: rule.function(node, *tensors))
            if results is not None:
                self._tell(operation.type, Verdict.REWRITTEN, rule.reason, operation.name)
                return _statics(results if isinstance(results, list | tuple) else [results])
        return self._same(node)

    def _same(self, node: Node) -> list[Value]:
        """The same operator again, in narrower dtypes."""
        import tensorflow as tf

        self._tell(node.type, Verdict.LEGAL, "", node.name)
        tensors = [self.tensor(value) for value in node.inputs]
        attributes = {k: v for k, v in node.operation.node_def.attr.items() if not k.startswith("_")}
        attributes = narrowing.narrow_attributes(attributes)
        graph = tf.compat.v1.get_default_graph()
        made = _building(lambda: graph.create_op(node.type, tensors, name=_plain(node.name), attrs=attributes))
        self.places[made.name] = (node.type, node.name)
        outputs = list(made.outputs)
        for position, output in enumerate(outputs):
            wanted = narrowing.narrow_dtype(output.dtype)
            if wanted != output.dtype.base_dtype:  # an operator with a dtype of its own: Where counts in int64
                outputs[position] = tf.cast(output, wanted)
            elif node.type in _OVERFLOWS:
                outputs[position] = narrowing.wrapped(output, node.output_dtype(position))
        return _statics(outputs)


def _needed(outputs: Iterable[Any], values: dict[int, Value]) -> set[Any]:
    """The operations that tensors are computed by, those left out whose values are there."""
    needed: set[Any] = set()
    pending = [tensor.op for tensor in outputs if id(tensor) not in values]
    while pending:
        operation = pending.pop()
        if operation not in needed:
            needed.add(operation)
            pending.extend(t.op for t in operation.inputs if id(t) not in values)
    return needed


def _building(build: Callable[[], Any]) -> Any:
    """Builds operators; what TensorFlow says against them is a reason for a refusal."""
    from convkit.loading.tensorflow import first_line

    try:
        return build()
    except (TypeError, ValueError, NotImplementedError) as error:
        raise RefusedError(f"it cannot be built for TF.js: {first_line(error)}") from error


def _plain(name: str) -> str:
    """A name as a scope: without the characters that TensorFlow does not take at its start."""
    return name.lstrip("_/.->") or "node"


def _shape(value: Value, source: Any) -> Any:
    """What is known of a value's shape: the new graph's, for a resource the source graph's."""
    import tensorflow as tf

    if isinstance(value, Known):
        return tf.TensorShape(value.array.shape)
    return source.shape if isinstance(value, Handle) or value.dtype == tf.variant else value.shape


def _statics(tensors: Sequence[Any]) -> list[Value]:
    """Small integers whose values follow from static shapes become known."""
    return [_static(tensor) for tensor in tensors]


def _static(tensor: Any) -> Value:
    import tensorflow as tf

    if not (tensor.dtype.is_integer or tensor.dtype.is_bool) or tensor.shape.rank not in (0, 1):
        return tensor
    value = tf.get_static_value(tensor)
    return tensor if value is None else Known(np.asarray(value), tensor.op.name)


def _stand_ins(operation: Any) -> list[Value]:
    import tensorflow as tf

    return [tf.compat.v1.placeholder(narrowing.narrow_dtype(t.dtype), t.shape) for t in operation.outputs]
