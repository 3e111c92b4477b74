"""Walks an ONNX graph and computes every node with a framework's operators.

Values are the framework's tensors, `Host` values (known while tracing), lists of those for sequences, and None for an
empty optional. A node all of whose inputs are known is computed at once; every other one by its handler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from convkit.errors import ConversionError
from convkit.interpreters.host import DataDependentError, Host, evaluate, is_shape_like
from convkit.interpreters.operators import Handler, Operators, UnsupportedError, normal_domain

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["Backend", "Interpreter", "NodeError", "Subgraph", "place"]


class Backend(Protocol):
    """What the interpreter needs to know of a framework."""

    operators: Operators

    def constant(self, value: ir.Value) -> Any:
        """The tensor of an initializer."""

    def tensor(self, host: Host) -> Any:
        """A tensor of a host value, symbolic elements included."""

    def shape(self, tensor: Any) -> list[Any]:
        """A tensor's sizes: ints, and the framework's symbolic ints where they are dynamic."""

    def cast(self, tensor: Any, dtype: ir.DataType) -> Any:
        """The tensor in the dtype that the graph declares, where its own is another."""

    def place(self, name: str) -> AbstractContextManager[Any]:
        """Marks what is traced inside as made of the node of that name, so that later reports can say where it is."""

    def wrap(self, handler: Handler, arguments: list[Any], attributes: dict[str, Any]) -> Any:
        """Calls a handler; the place to widen dtypes that the framework has no kernels for."""


class NodeError(ConversionError):
    """A node that cannot be computed.

    Attributes:
        operator: The node's operator.
        place: Its name in the user's file.
        reason: Why.
    """

    def __init__(self, node: ir.Node, reason: str, framework: str) -> None:
        super().__init__(f"{node.op_type} ({place(node)}): {reason}", component=f"onnx-{framework.lower()}")
        self.operator, self.place, self.reason = node.op_type, place(node), reason


def place(node: ir.Node) -> str:
    """Where a node is, in the words of the user's own file: its name, or its first output's."""
    return node.name or next((str(o.name) for o in node.outputs if o.name), "unnamed")


@dataclass(frozen=True)
class Subgraph:
    """The body of If, Loop or Scan, ready to be called with the values of its inputs.

    Attributes:
        graph: The body.
        interpreter: Of the graph around it.
        outer: The values that the body may refer to, by IR value.
    """

    graph: ir.Graph
    interpreter: Interpreter
    outer: Mapping[Any, Any]

    def __call__(self, *inputs: Any) -> list[Any]:
        return self.interpreter.run(self.graph, inputs, self.outer)

    def captures(self) -> list[Any]:
        """The outer values (not constants) that the body uses, nested bodies included, as IR values in order of use."""
        import onnx_ir as ir

        found: dict[Any, None] = {}
        for node in ir.traversal.RecursiveGraphIterator(self.graph):
            found.update(dict.fromkeys(v for v in node.inputs if v is not None and v in self.outer))
        found.update(dict.fromkeys(v for v in self.graph.outputs if v in self.outer))
        return list(found)

    def with_outer(self, values: Mapping[Any, Any]) -> Subgraph:
        """The same body with other values for what it captures."""
        return Subgraph(self.graph, self.interpreter, {**self.outer, **values})


class Interpreter:
    """Computes graphs over one framework.

    Args:
        opsets: The opset version of every domain.
        backend: The framework.
    """

    def __init__(self, opsets: Mapping[str, int], backend: Backend) -> None:
        self.opsets = {normal_domain(domain): version for domain, version in opsets.items()}
        self.backend = backend

    def run(self, graph: ir.Graph, inputs: Sequence[Any], outer: Mapping[Any, Any] | None = None) -> list[Any]:
        """Computes a graph.

        Args:
            graph: The graph; what its nodes refer to outside is in `outer`.
            inputs: One value per graph input.

        Returns:
            One value per graph output.

        Raises:
            NodeError: A node has no counterpart.
        """
        values: dict[Any, Any] = dict(outer or {})
        values.update(zip(graph.inputs, inputs, strict=True))
        last = _last_uses(graph)
        for position, node in enumerate(graph):
            results = self._compute(node, [None if v is None else self._value(v, values) for v in node.inputs], values)
            values.update(zip(node.outputs, results, strict=False))
            for value in last.get(position, ()):
                values.pop(value, None)
        return [self._value(v, values) for v in graph.outputs]

    def tensor(self, value: Any) -> Any:
        """A value as a tensor of the framework."""
        import onnx_ir as ir

        if isinstance(value, Host):
            return self.backend.tensor(value)
        if isinstance(value, ir.Value):
            return self.backend.constant(value)
        return value

    def _value(self, value: ir.Value, values: Mapping[Any, Any]) -> Any:
        """What a name stands for: a computed value, or the IR value itself of an initializer."""
        if value in values:
            return values[value]
        if value.const_value is not None:
            return value
        raise ConversionError(f"the value '{value.name}' is used before it is computed")

    def _compute(self, node: ir.Node, inputs: list[Any], values: Mapping[Any, Any]) -> Sequence[Any]:
        framework = self.backend.operators.name
        opset = self.opsets.get(normal_domain(node.domain), 1)
        try:
            known = self._at_once(node, opset, inputs)
            if known is not None:
                return known
            refusal = self.backend.operators.refusal(node, opset)
            if refusal is not None:
                raise UnsupportedError(refusal)
            handler = self.backend.operators.find(node.domain, node.op_type, opset)
            assert handler is not None
            with self.backend.place(place(node)):
                result = self.backend.wrap(handler, self._arguments(handler, inputs), self._attributes(handler, node, values))
        except NodeError:
            raise
        except UnsupportedError as error:
            raise NodeError(node, str(error), framework) from error
        except DataDependentError as error:
            raise NodeError(node, error.reason, framework) from error
        except Exception as error:
            text = " ".join(str(error).split())[:300]
            raise NodeError(node, f"{type(error).__name__}: {text}", framework) from error
        results = list(result) if isinstance(result, tuple) else [result]
        return [self._declared(r, output) for r, output in zip(results, node.outputs, strict=False)]

    def _declared(self, result: Any, output: ir.Value) -> Any:
        if result is None or output.dtype is None or isinstance(result, (list, Host)):
            return result
        return self.backend.cast(result, output.dtype)

    def _at_once(self, node: ir.Node, opset: int, inputs: list[Any]) -> list[Host] | None:
        """The results of shape arithmetic, None for work on data."""
        if normal_domain(node.domain) == "" and node.op_type in ("Shape", "Size"):
            return self._shape(node, inputs[0])
        if not inputs and node.op_type != "Constant":
            return None
        hosts = []
        for value in inputs:
            host = _as_host(value)
            if value is not None and host is None:
                return None
            hosts.append(host)
        try:
            return evaluate(node, opset, hosts)
        except DataDependentError:
            return None  # the framework's tensors can do it where shape arithmetic cannot

    def _shape(self, node: ir.Node, value: Any) -> list[Host]:
        sizes = list(value.shape) if _is_constant(value) else self._sizes(value)
        if node.op_type == "Size":
            total: Any = 1
            for size in sizes:
                total = total * size
            return [Host.of(total)]
        start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(sizes))
        return [Host.of(sizes[slice(start, end)])]

    def _sizes(self, value: Any) -> list[Any]:
        return list(value.array.shape) if isinstance(value, Host) else self.backend.shape(value)

    def _arguments(self, handler: Handler, inputs: list[Any]) -> list[Any]:
        arguments = []
        for position, value in enumerate(inputs):
            kind = handler.kind(position)
            if value is None or kind == "Value":
                arguments.append(value)
            elif kind in ("Sizes", "Known"):
                host = _as_host(value, any_size=True)
                if host is None:
                    raise DataDependentError(f"input {position} is computed from the model's inputs")
                arguments.append(host.sizes() if kind == "Sizes" else host.known())
            elif kind == "Either":
                host = _as_host(value)
                arguments.append(self.tensor(value) if host is None or host.is_symbolic else host.array)
            else:
                arguments.append(self.tensor(value))
        return arguments

    def _attributes(self, handler: Handler, node: ir.Node, values: Mapping[Any, Any]) -> dict[str, Any]:
        import onnx_ir as ir

        attributes: dict[str, Any] = {}
        for name, attribute in node.attributes.items():
            if attribute.type is ir.AttributeType.GRAPH:
                attributes[name] = Subgraph(attribute.as_graph(), self, values)
            elif attribute.type is ir.AttributeType.TENSOR:
                attributes[name] = attribute.as_tensor().numpy()
            else:
                attributes[name] = attribute.value
        if handler.takes_node:
            attributes["node"] = node
        return attributes


def _is_constant(value: Any) -> bool:
    import onnx_ir as ir

    return isinstance(value, ir.Value)


def _as_host(value: Any, any_size: bool = False) -> Host | None:
    """A value that is known while tracing; None for tensors, sequences, and weights too large for shape arithmetic."""
    if isinstance(value, Host):
        return value
    if value is None or not _is_constant(value):
        return None
    if not any_size and value.shape is not None and not (value.shape.is_static() and np.prod(value.shape.numpy()) <= 4096):
        return None
    array = np.asarray(value.const_value.numpy())
    return Host(array, array.dtype) if any_size or is_shape_like(array) else None


def _last_uses(graph: ir.Graph) -> dict[int, list[Any]]:
    """After which node each value is not needed any more, so that a large graph's intermediates can be freed."""
    import onnx_ir as ir

    last: dict[Any, int] = {}
    own = set(graph.inputs)
    for position, node in enumerate(graph):
        own.update(node.outputs)
        used = list(node.inputs)
        for attribute in node.attributes.values():
            if attribute.type is ir.AttributeType.GRAPH:
                body = attribute.as_graph()
                used += [v for inner in ir.traversal.RecursiveGraphIterator(body) for v in inner.inputs]
                used += list(body.outputs)
        last.update({v: position for v in used if v is not None})
    kept = set(graph.outputs)
    found: dict[int, list[Any]] = {}
    for value, position in last.items():
        if value in own and value not in kept:
            found.setdefault(position, []).append(value)
    return found
