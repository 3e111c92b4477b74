"""A graph as the statements of a function."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from convkit.emitters.python import operators
from convkit.emitters.python.arguments import attribute_of
from convkit.emitters.python.expressions import (
    Expression,
    Group,
    Text,
    call,
    flat,
    literal,
    operation,
    sequence,
    statement,
    unary,
    unpacking,
)
from convkit.emitters.python.names import Names
from convkit.errors import ConversionError
from convkit.legalization.exported_program import operator_name, place_of
from convkit.reports.terminal import printable

__all__ = ["FunctionWriter", "changes"]

_LARGE = 1 << 20
"""Bytes from which a value is let go of as soon as it is not needed any more, as the program itself does with all."""
_UNPACKED = 6
"""Results up to which they are unpacked into names; more are picked by number."""

_ARITHMETIC = {
    getattr(operator, name): text
    for name, text in (
        *(("add", "+"), ("sub", "-"), ("mul", "*"), ("truediv", "/"), ("floordiv", "//"), ("mod", "%"), ("pow", "**")),
        *(("and_", "&"), ("or_", "|"), ("xor", "^")),
        *(("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="), ("eq", "=="), ("ne", "!=")),
    )
}


@dataclass(frozen=True)
class _Statement:
    """What one node is written as.

    Attributes:
        place: Where the node is from, "" where that is not known.
        lines: Without indentation of their own block.
        reads: The variables in it, as the nodes that they are the values of.
        functions: Whether they begin with functions.
        leaves: Whether it is the return.
    """

    place: str
    lines: list[str]
    reads: frozenset[torch.fx.Node]
    functions: bool = False
    leaves: bool = False


class FunctionWriter:
    """Writes the body of one function.

    Args:
        module: The graph.
        known: An expression for every placeholder.
        names: Gives out names; those of the placeholders are taken.
        wanted: Names for values, where the graph's own say less.
        device: An expression for the device of new tensors, "" where nothing tells.
        literally: Write operators as `torch.ops.…`, all of them.
    """

    def __init__(
        self,
        module: torch.fx.GraphModule,
        known: Mapping[torch.fx.Node, Expression],
        names: Names,
        wanted: Mapping[torch.fx.Node, str],
        device: str = "",
        *,
        literally: bool = False,
    ) -> None:
        self._module = module
        self._names = names
        self._device = device
        self._literally = literally
        self._live = _live(module.graph)
        self._changes = any(map(changes, self._live))
        self._results = _results(self._live)
        # The names that people know come first; the others get out of their way.
        self._wanted = {node: names.fresh(name) for node, name in wanted.items() if node in self._live}
        self._code: dict[torch.fx.Node, Expression] = dict(known)
        self._variables: dict[torch.fx.Node, str] = {}
        self._reads: dict[torch.fx.Node, frozenset[torch.fx.Node]] = {}

    def body(self, indent: int, leave: Callable[[Sequence[Any]], list[tuple[str, Expression]]]) -> list[str]:
        """The lines of the body.

        Args:
            indent: Columns.
            leave: The last statements (what stands before an expression, and that), of the graph's outputs.
        """
        statements = [s for node in self._module.graph.nodes if (s := self._statement(node, indent, leave)) is not None]
        last = {node: index for index, s in enumerate(statements) for node in s.reads}
        lines: list[str] = []
        block = ""
        gone: list[str] = []
        for index, written in enumerate(statements):
            begins = bool(written.place) and written.place != block
            if written.leaves:
                gone = []  # as everything is
            if begins or (gone and not block):
                lines.extend(_deletion(gone, indent))
                gone = []
            if lines and (begins or (written.leaves and block)):
                lines.append("")
            if begins:
                block = written.place
                lines.append(f"{' ' * indent}# {block}")
            elif written.functions and lines and lines[-1]:
                lines.append("")
            lines.extend(written.lines)
            ended = (n for n in written.reads if last[n] == index and n in self._variables and _bytes(n) >= _LARGE)
            gone.extend(sorted(self._variables[n] for n in ended))
        return lines

    def _statement(
        self, node: torch.fx.Node, indent: int, leave: Callable[[Sequence[Any]], list[tuple[str, Expression]]]
    ) -> _Statement | None:
        """A node's statement; None where it is written into those that use it, or not at all."""
        reads = frozenset[torch.fx.Node]().union(*(self._reads.get(i, ()) for i in node.all_input_nodes))
        if node.op == "output":
            lines = [line for before, value in leave(node.args[0]) for line in statement(before, value, indent)]
            return _Statement("", lines, reads, leaves=True)
        if node.op != "call_function" or node not in self._live or operators.is_dead_weight(node.target):
            return None
        self._reads[node] = reads
        if node.target is operator.getitem:
            if node not in self._variables:
                source, index = node.args
                self._code[node] = Text(f"{flat(self.code(source))}[{flat(self.code(index))}]")
            else:
                self._reads[node] = frozenset((node,))
            return None
        functions = [line for inner in _graphs(node) for line in (*self._nested(inner, indent), "")]
        expression = self._expression(node)
        if self._is_inlined(node, expression):
            self._code[node] = expression
            return None
        return _Statement(_told(node), [*functions, *self._assignment(node, expression, indent)], reads, bool(functions))

    def _assignment(self, node: torch.fx.Node, expression: Expression, indent: int) -> list[str]:
        """A node's expression with the names that its results get before it."""
        results = self._results.get(node)
        if results is not None:
            picked = {int(g.args[1]): g for g in node.users if g in self._live}
            alone = len(picked) == 1
            names = [
                "_" if (user := picked.get(i)) is None else self._named(user, node.name if alone else f"{node.name}_{i}")
                for i in range(results)
            ]
            return unpacking(names, expression, indent)
        if not any(user in self._live for user in node.users):
            return statement("", expression, indent)
        self._reads[node] = frozenset((node,))
        name = "constant" if _is_constant(node) else node.name
        return statement(f"{self._named(node, name)} = ", expression, indent)

    def _named(self, node: torch.fx.Node, name: str) -> str:
        name = self._wanted.get(node) or self._names.fresh(name)
        self._variables[node] = name
        self._code[node] = Text(name)
        return name

    def _expression(self, node: torch.fx.Node) -> Expression:
        target = node.target
        if isinstance(target, torch._ops.OpOverload):
            if str(target).startswith("aten.sym_"):
                return self._size(node)
            if _is_constant(node) and self._is_as_good(node):
                return self.code(node.args[0])
            _check_name(str(target))
            return operators.spelled(node, self.code, self._device, literally=self._literally)
        if isinstance(target, torch._ops.HigherOrderOperator):
            # As the program calls it: torch.cond compiles its branches first, and the others are not public.
            keywords = {name: self.code(value) for name, value in node.kwargs.items()}
            return call(f"torch.ops.higher_order.{target.name()}", map(self.code, node.args), **keywords)
        return self._arithmetic(node)

    def _is_as_good(self, node: torch.fx.Node) -> bool:
        """Whether what tracing makes of `torch.tensor(…)`, a copy in case that it is changed, may be the constant itself."""
        if str(node.target) == "aten.detach_.default":
            return True
        written_out = isinstance(self.code(node.args[0]), Group)
        return written_out or not (self._changes or any(user.op == "output" for user in node.users))

    def _size(self, node: torch.fx.Node) -> Expression:
        name = str(node.target).removeprefix("aten.sym_").partition(".")[0]
        tensor = attribute_of(self.code(node.args[0]))
        if name == "size":
            return Text(f"{tensor}.shape[{flat(self.code(node.args[1]))}]")
        if name in ("stride", "numel", "storage_offset"):
            return call(f"{tensor}.{name}", map(self.code, node.args[1:]))
        return operators.spelled(node, self.code)

    def _arithmetic(self, node: torch.fx.Node) -> Expression:
        """What Python and torch compute with sizes."""
        arguments = [self.code(a) for a in node.args]
        if node.target in _ARITHMETIC and len(arguments) == 2:
            return operation(_ARITHMETIC[node.target], *arguments)
        if node.target is operator.neg:
            return unary("-", *arguments)
        name = getattr(node.target, "__name__", "")
        public = name.removeprefix("_")
        if public.startswith("sym_") and hasattr(torch, public):
            return call(f"torch.{public}", arguments)
        if node.target in (round, abs, int, float, bool):
            return call(name, arguments)
        module = getattr(node.target, "__module__", "")
        if module == "math":
            return call(f"math.{name}", arguments)
        raise ConversionError(f"{operator_name(node.target)} has no spelling in Python", stage="emit", component="python")

    def _is_inlined(self, node: torch.fx.Node, expression: Expression) -> bool:
        """Whether an expression goes where it is used: other names of values, and sizes that are read or used once."""
        first = node.args[0] if node.args else None
        if isinstance(first, torch.fx.Node) and expression is self._code.get(first):
            # A constant that is written out: a number goes where it is used, unless it may be changed there.
            value = node.meta.get("val")
            number = isinstance(value, torch.Tensor) and value.dim() == 0 and not self._changes
            return not isinstance(expression, Group) or number
        if not _is_size(node):
            return False
        return isinstance(node.target, torch._ops.OpOverload) or sum(user in self._live for user in node.users) == 1

    def _nested(self, inner: torch.fx.Node, indent: int) -> list[str]:
        """A branch or a loop's body as a function of its own; all that it reads is among its parameters."""
        module = self._module.get_submodule(inner.target)
        name = self._names.fresh(inner.target)
        self._code[inner] = Text(name)
        names = self._names.nested()
        parameters = [n for n in module.graph.nodes if n.op == "placeholder"]
        known = {node: Text(names.fresh(node.name)) for node in parameters}
        tensors = (known[n].text for n in parameters if isinstance(n.meta.get("val"), torch.Tensor))
        device = next((f"{tensor}.device" for tensor in tensors), "")
        writer = FunctionWriter(module, known, names, {}, device, literally=self._literally)
        header = Group(f"def {name}(", tuple(("", p) for p in known.values()), ")")
        return [
            *statement("", header, indent, ":"),
            *writer.body(indent + 4, lambda results: [("return ", writer.code(results))]),
        ]

    def code(self, value: Any) -> Expression:
        """A value of the graph as an expression."""
        if isinstance(value, torch.fx.Node):
            return self._code[value]
        if isinstance(value, tuple):
            return sequence(tuple(map(self.code, value)), "()")
        if isinstance(value, list):
            return sequence(tuple(map(self.code, value)))
        try:
            return literal(value)
        except TypeError as error:
            raise ConversionError(f"{error} in Python", stage="emit", component="python") from error


def changes(node: torch.fx.Node) -> bool:
    """Whether a node changes something in place that is not its own."""
    return isinstance(node.target, torch._ops.OpOverload) and bool(node.target._schema.is_mutable) and not _is_constant(node)


def _check_name(name: str) -> None:
    """Operator names come from the file, and end up in code that is run."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConversionError(f"{printable(name)} is no name of an operator", stage="emit", component="python")


def _deletion(names: Sequence[str], indent: int) -> list[str]:
    return [f"{' ' * indent}del {', '.join(names)}"] if names else []


def _told(node: torch.fx.Node) -> str:
    """Where a node is from, for a comment: names come from files, so nothing in them may end the line."""
    place = place_of(node)
    # The file's name will do: where it lies on the exporter's disk is nobody's business.
    line = "" if place.line.startswith("<") else place.line.replace("\\", "/").rpartition("/")[2]
    return printable(f"{place.module} ({line})" if place.module and line else place.module or line)


def _graphs(node: torch.fx.Node) -> list[torch.fx.Node]:
    return [i for i in node.all_input_nodes if i.op == "get_attr"]


def _is_size(node: torch.fx.Node) -> bool:
    """Whether a node computes with sizes, and not with tensors."""
    if isinstance(node.target, torch._ops.OpOverload):
        return str(node.target).startswith("aten.sym_")
    return node.target is not operator.getitem and not isinstance(node.target, torch._ops.HigherOrderOperator)


def _is_constant(node: torch.fx.Node) -> bool:
    """Whether a node is one of the two that tracing puts around `torch.tensor(…)`."""
    if str(node.target) == "aten.detach_.default":
        return str(node.args[0].target) == "aten.lift_fresh_copy.default"
    return str(node.target) == "aten.lift_fresh_copy.default"


def _live(graph: torch.fx.Graph) -> frozenset[torch.fx.Node]:
    """The nodes that matter for what a function gives back or changes."""
    found: set[torch.fx.Node] = set()
    for node in reversed(graph.nodes):
        if node.op in ("output", "placeholder") or any(user in found for user in node.users) or _has_effect(node):
            found.add(node)
    return frozenset(found)


def _has_effect(node: torch.fx.Node) -> bool:
    if node.op != "call_function" or operators.is_dead_weight(node.target):
        return False
    if isinstance(node.target, torch._ops.OpOverload):
        random = torch.Tag.nondeterministic_seeded in node.target.tags
        return changes(node) or random or node.is_impure()
    return isinstance(node.target, torch._ops.HigherOrderOperator)


def _results(live: Iterable[torch.fx.Node]) -> dict[torch.fx.Node, int]:
    """How many results the nodes have whose results are unpacked."""
    found = {}
    for node in live:
        users = [u for u in node.users if u in live]
        if users and all(u.target is operator.getitem and isinstance(u.args[1], int) for u in users):
            value = node.meta.get("val")
            schema = getattr(node.target, "_schema", None)
            count = len(value) if isinstance(value, tuple | list) else 0 if schema is None else len(schema.returns)
            if max(int(u.args[1]) for u in users) < count <= _UNPACKED:
                found[node] = count
    return found


def _bytes(node: torch.fx.Node) -> int:
    """The size of a value, as far as its dimensions are known."""
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return 0
    return math.prod((value.element_size(), *(dim for dim in value.shape if isinstance(dim, int))))
