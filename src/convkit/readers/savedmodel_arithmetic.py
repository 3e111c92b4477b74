"""What the graph of a SavedModel does with its inputs first, in the words of `input_domains` and `index_bounds`.

The functions that a signature calls are laid out where they are called, so that a value can be followed into them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from convkit.readers.index_bounds import Lookup, Node, index_bounds
from convkit.readers.input_domains import (
    MOST_CONSTANTS,
    Affine,
    Choice,
    Logarithm,
    Moved,
    Operand,
    Step,
    Truth,
    arithmetic,
    input_domains,
)
from convkit.signature import Signature

__all__ = ["domain_metadata"]

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_MOVES = frozenset(
    (
        *("BroadcastTo", "Cast", "ClipByValue", "ExpandDims", "Gather", "Identity", "LogicalAnd", "LogicalNot", "LogicalOr"),
        *("MirrorPad", "Pad", "PadV2", "Reshape", "ResizeBilinear", "ResizeNearestNeighbor", "ReverseV2", "Slice", "Squeeze"),
        *("StridedSlice", "Tile", "Transpose"),
    )
)
_ARITHMETIC = {"Add": "add", "AddV2": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "RealDiv": "div"}
# What passes a table on.
_READS = ("ReadVariableOp", "Identity", "Cast")
_KINDS = {1: "f", 2: "d", 3: "i", 9: "q"}
_BOOL = 10
_MOST_NODES = 50_000
_MOST_NESTED = 16


@dataclass(frozen=True)
class _Placed:
    """A node of a laid-out graph, with the names that values have there."""

    node: Any
    inputs: tuple[str, ...]
    output: str


def domain_metadata(
    nodes: Mapping[str, Any], functions: Mapping[str, Any], definition: Any, signature: Signature
) -> dict[str, Any]:
    """`index_bounds` and `input_domains`, as far as a graph tells them.

    Args:
        nodes: Of the graph, by name.
        functions: Of its library, by name.
        definition: The SignatureDef, which says which tensor each input is.
        signature: Its inputs.
    """
    tensors = {spec.name: _node_of(definition.inputs[spec.name].name) for spec in signature.inputs}
    graph = _Layout(list(_laid_out(nodes.values(), functions, {}, "", 0, [_MOST_NODES])))
    specs = [replace(spec, name=tensors[spec.name]) for spec in signature.inputs]
    names = {tensor: name for name, tensor in tensors.items()}
    bounds = index_bounds(names, graph.lookups())
    domains = input_domains(specs, graph.steps())
    found = {"index_bounds": {names[t]: rows for t, rows in bounds.items()}}
    return {key: value for key, value in (*found.items(), ("input_domains", {names[t]: d for t, d in domains.items()})) if value}


def _node_of(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]


def _laid_out(
    nodes: Iterable[Any], functions: Mapping[str, Any], arguments: Mapping[str, str], prefix: str, depth: int, left: list[int]
) -> Iterator[_Placed]:
    """The nodes of a graph or of a function's body, and of what they call, each behind those that it reads."""
    for node in _ordered(nodes):
        left[0] -= 1
        if left[0] < 0:
            return
        given = [_node_of(name) for name in node.input if not name.startswith("^")]
        inputs = tuple(arguments.get(name, f"{prefix}{name}") for name in given)
        yield _Placed(node, inputs, f"{prefix}{node.name}")
        called = functions.get(node.attr["f"].func.name if node.op in _CALLS else node.op)
        if called is not None and depth < _MOST_NESTED:
            taken = dict(zip((a.name for a in called.signature.input_arg), inputs, strict=False))
            yield from _laid_out(called.node_def, functions, taken, f"{prefix}{node.name}/", depth + 1, left)


def _ordered(nodes: Iterable[Any]) -> list[Any]:
    """Nodes behind those that they read; what is in a cycle stays out."""
    nodes = list(nodes)
    by_name = {node.name: node for node in nodes}
    waiting = {node.name: {s for s in map(_node_of, node.input) if s in by_name} for node in nodes}
    readers: dict[str, list[str]] = {}
    for name, sources in waiting.items():
        for source in sources:
            readers.setdefault(source, []).append(name)
    ready = [name for name, sources in waiting.items() if not sources]
    for name in ready:
        for reader in readers.get(name, ()):
            waiting[reader].discard(name)
            if not waiting[reader]:
                ready.append(reader)
    return [by_name[name] for name in ready]


class _Layout:
    """A laid-out graph, with its small constants and its tables."""

    def __init__(self, placed: Sequence[_Placed]) -> None:
        self._placed = placed
        self._constants: dict[str, tuple[float, ...]] = {}
        self._tables: dict[str, list[int]] = {}
        for place in placed:
            node = place.node
            if node.op == "Const":
                tensor = node.attr["value"].tensor
                self._tables[place.output] = [d.size for d in tensor.tensor_shape.dim]
                if (values := _values(tensor)) is not None:
                    self._constants[place.output] = values
            elif node.op == "VarHandleOp":
                self._tables[place.output] = [d.size for d in node.attr["shape"].shape.dim]
            elif node.op in _READS and place.inputs and place.inputs[0] in self._tables:
                self._tables[place.output] = self._tables[place.inputs[0]]
                if place.inputs[0] in self._constants:
                    self._constants[place.output] = self._constants[place.inputs[0]]

    def lookups(self) -> Iterator[Lookup | Node]:
        for place in self._placed:
            given = place.inputs
            if place.node.op in _MOVES and given:
                yield Node(given[0], (place.output,))
            elif place.node.op == "SelectV2" and len(given) == 3:
                # Keras counts negative indices from the end: where(index < 0, index + rows, index).
                yield Node(given[2], (place.output,))
            elif place.node.op in ("GatherV2", "ResourceGather") and len(given) >= 2 and given[0] in self._tables:
                axis = int((self._constants.get(given[2]) or (0.0,))[0]) if len(given) > 2 else 0
                shape = self._tables[given[0]]
                if -len(shape) <= axis < len(shape):
                    yield Lookup(given[1], shape[axis])

    def steps(self) -> Iterator[Step]:
        for place in self._placed:
            given, output, operator = place.inputs, place.output, place.node.op
            if not given:
                continue
            if operator == "Cast" and place.node.attr["DstT"].type == _BOOL:
                yield Truth(given[0], output)
            elif operator in _MOVES:
                for source in given if operator in {"LogicalAnd", "LogicalOr"} else given[:1]:
                    yield Moved(source, (output,))
            elif operator in _ARITHMETIC and len(given) == 2:
                yield from arithmetic(_ARITHMETIC[operator], self._operand(given[0]), self._operand(given[1]), output)
            elif operator == "Neg":
                yield Affine(given[0], output, (-1.0,))
            elif operator in {"Equal", "NotEqual"} and len(given) == 2:
                pairs = (given, given[::-1])
                yield from (Truth(a, output) for a, b in pairs if self._constants.get(b) in ((0.0,), (1.0,)))
            elif operator in {"Select", "SelectV2"} and len(given) == 3:
                known = [value for name in given[1:] for value in self._constants.get(name, ())]
                yield Choice(given[0], min(known, default=None))
            elif operator == "Log":
                yield Logarithm(given[0])

    def _operand(self, name: str) -> Operand:
        return name, self._constants.get(name)


def _values(tensor: Any) -> tuple[float, ...] | None:
    """The elements of a small tensor of numbers; None for anything else."""
    sizes = [d.size for d in tensor.tensor_shape.dim]
    count = math.prod(sizes)
    kind = _KINDS.get(tensor.dtype)
    if kind is None or min(sizes, default=1) < 1 or count > MOST_CONSTANTS:
        return None
    if tensor.tensor_content:
        fits = len(tensor.tensor_content) == count * struct.calcsize(f"<{kind}")
        return tuple(map(float, struct.unpack(f"<{count}{kind}", tensor.tensor_content))) if fits else None
    listed = list({"f": tensor.float_val, "i": tensor.int_val, "q": tensor.int64_val}.get(kind, ()))
    # The last value stands for all that follow.
    return tuple(map(float, (listed + listed[-1:] * count)[:count])) if listed else None
