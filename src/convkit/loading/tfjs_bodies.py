"""The nodes of a graph or of a function, with references to tensors spelled one way while they are rewritten.

In a GraphDef a tensor is "node:1", the first "node". In a function's body it is "node:output_name:0", and an argument
"name". Here it is `node:index` and `argument` in both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from convkit.readers.damage import DamagedFileError

__all__ = ["Argument", "Body", "arguments", "new_node"]


@dataclass(frozen=True)
class Argument:
    """One tensor that a node takes or gives: the argument of its OpDef, the place within it, and its DataType."""

    name: str
    index: int
    dtype: int


def arguments(node: Any, defined: Iterable[Any]) -> list[Argument]:
    """The tensors of a node, for the `input_arg` or `output_arg` of its OpDef, in order."""
    found = []
    for argument in defined:
        if argument.type_list_attr:
            dtypes = list(node.attr[argument.type_list_attr].list.type)
        else:
            count = node.attr[argument.number_attr].i if argument.number_attr else 1
            dtypes = [argument.type or node.attr[argument.type_attr].type] * count
        found += [Argument(argument.name, index, dtype) for index, dtype in enumerate(dtypes)]
    return found


def new_node(name: str, operator: str, inputs: Sequence[str], like: Any = None, keep: Iterable[str] = ()) -> Any:
    """A node, with the attributes `keep` of another."""
    from tensorflow.core.framework import node_def_pb2

    node = node_def_pb2.NodeDef(name=name, op=operator, input=inputs)
    for attribute in keep:
        if attribute in like.attr:
            node.attr[attribute].CopyFrom(like.attr[attribute])
    return node


@dataclass
class Body:
    """Nodes by name, in order.

    Attributes:
        nodes: Their inputs are spelled `node:index`, arguments and control inputs (`^node`) as in the file.
        parameters: The names of a function's arguments.
        results: A function's results: its output's name to the tensor that it returns.
        redirected: Tensors that have moved, old to new.
    """

    nodes: dict[str, Any]
    parameters: frozenset[str] = frozenset()
    results: dict[str, str] = field(default_factory=dict)
    redirected: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_graph(cls, graph: Any) -> Body:
        return cls(_by_name(graph.node))._normalised()

    @classmethod
    def of_function(cls, function: Any) -> Body:
        parameters = frozenset(argument.name for argument in function.signature.input_arg)
        return cls(_by_name(function.node_def), parameters, dict(function.ret))._normalised()

    def replace(self, name: str, nodes: Sequence[Any]) -> None:
        """Puts nodes in the place of one; the last of them has its name."""
        assert nodes[-1].name == name
        for node in nodes:
            self.nodes[node.name] = node

    def redirect(self, old: str, new: str) -> None:
        """Lets everything that takes the tensor `old` take `new` from now on."""
        self.redirected[old] = new

    def free_name(self, wanted: str) -> str:
        """A name that no node has."""
        name, count = wanted, 0
        while name in self.nodes or name in self.parameters:
            count += 1
            name = f"{wanted}_{count}"
        return name

    def resolved(self, reference: str) -> str:
        """The tensor, `node:index`, that a name of the file stands for by now.

        Raises:
            DamagedFileError: There is no such node.
        """
        tensor = self._normal(reference)
        if tensor.partition(":")[0] not in self.nodes:
            raise DamagedFileError(f"it names the tensor {reference!r}, which no node of its graph gives")
        return self._current(tensor)

    def dtype(self, tensor: str) -> int:
        """The DataType of a tensor, `node:index`."""
        from tensorflow.python.framework import op_def_registry

        name, _, index = tensor.partition(":")
        node = self.nodes[name]
        return arguments(node, op_def_registry.get(node.op).output_arg)[int(index)].dtype

    def refuse_missing_inputs(self) -> None:
        """Raises DamagedFileError for an input that no node gives."""
        for node in self.nodes.values():
            for reference in node.input:
                source = reference.lstrip("^").partition(":")[0]
                if source not in self.nodes and source not in self.parameters:
                    raise DamagedFileError(f"its node {node.name!r} takes {source!r}, which no node of its graph gives")

    def settle(self) -> None:
        """Lets every node take the tensors that its inputs have been redirected to."""
        for node in self.nodes.values():
            node.input[:] = [self._current(reference, node.name) for reference in node.input]

    def write_to(self, function: Any) -> None:
        """Puts the nodes and results, spelled as in a function's body, into a FunctionDef."""
        for node in self.nodes.values():
            node.input[:] = [self._spelled(reference) for reference in node.input]
        del function.node_def[:]
        function.node_def.extend(self.nodes.values())
        for name, reference in self.results.items():
            function.ret[name] = self._spelled(self._current(reference))

    def _current(self, tensor: str, taker: str = "") -> str:
        """Where a tensor has moved; the node that gives it its new place still takes the old one."""
        moved = self.redirected.get(tensor, tensor)
        return tensor if moved.partition(":")[0] == taker else moved

    def _normalised(self) -> Body:
        for node in self.nodes.values():
            node.input[:] = [r if r.startswith("^") else self._normal(r) for r in node.input]
        self.results = {name: self._normal(reference) for name, reference in self.results.items()}
        return self

    def _normal(self, reference: str) -> str:
        node, *rest = reference.split(":")
        if not rest:
            return node if node in self.parameters else f"{node}:0"
        if len(rest) == 1 or node not in self.nodes:
            return f"{node}:{rest[-1]}"
        return f"{node}:{self._position(self.nodes[node], rest[0], int(rest[1]))}"

    @staticmethod
    def _position(node: Any, argument: str, index: int) -> int:
        """Where a named output stands among a node's outputs; those that only TF.js has give one."""
        from tensorflow.python.framework import op_def_registry

        definition = op_def_registry.get(node.op)
        if definition is None:
            return index
        outputs = [(a.name, a.index) for a in arguments(node, definition.output_arg)]
        return outputs.index((argument, index)) if (argument, index) in outputs else index

    def _spelled(self, reference: str) -> str:
        """A tensor as a function's body names it."""
        from tensorflow.python.framework import op_def_registry

        name, colon, index = reference.partition(":")
        if not colon:
            return reference
        node = self.nodes[name]
        argument = arguments(node, op_def_registry.get(node.op).output_arg)[int(index)]
        return f"{name}:{argument.name}:{argument.index}"


def _by_name(nodes: Iterable[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for node in nodes:
        if not node.name or node.name in found:
            raise DamagedFileError(f"it has two nodes called {node.name!r}" if node.name else "a node has no name")
        found[node.name] = node
    return found
