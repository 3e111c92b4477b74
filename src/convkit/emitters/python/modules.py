"""A program's parameters and buffers as the tree of submodules that their names describe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch

from convkit.emitters.python.expressions import Expression, Group, Text, call, literal, sequence, statement
from convkit.emitters.python.names import identifier

__all__ = ["Tree", "assignment"]

Maker = Callable[[torch.Tensor], Expression]


@dataclass
class Tree:
    """One module: its tensors and its submodules, by name, in order."""

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    children: dict[str, Tree] = field(default_factory=dict)

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], others: Mapping[str, str]) -> Tree:
        """The tree of dotted names.

        Args:
            tensors: The tensors.
            others: Further names, of tensors that are made elsewhere; their modules are made.
        """
        root = cls()
        for name, tensor in tensors.items():
            *path, leaf = name.split(".")
            root._at(path).tensors[leaf] = tensor
        for name in others:
            root._at(name.split(".")[:-1])
        return root

    def _at(self, path: list[str]) -> Tree:
        node = self
        for part in path:
            node = node.children.setdefault(part, Tree())
        return node

    @property
    def is_list(self) -> bool:
        """Whether it is what `nn.ModuleList` holds."""
        return bool(self.children) and not self.tensors and list(self.children) == [str(i) for i in range(len(self.children))]

    @property
    def is_numbered(self) -> bool:
        """Whether its children are numbered, with gaps where an `nn.Sequential` has layers without weights."""
        return bool(self.children) and not self.tensors and all(name.isdigit() for name in self.children)

    def expression(self, maker: Maker) -> Expression:
        """What makes the module; `maker` makes a tensor."""
        members = self._members(maker)
        if self.is_list:
            items = [item for _, item in members]
            if len(items) > 1 and all(item == items[0] for item in items):
                return Group("nn.ModuleList(", (("", items[0]),), ")", tail=f"for _ in range({len(items)})")
            return call("nn.ModuleList", [sequence(items)])
        if self.is_numbered:
            return call("nn.ModuleDict", [_dictionary(members)])
        plain = tuple((f"{name}=", item) for name, item in members if _is_plain(name))
        other = [(name, item) for name, item in members if not _is_plain(name)]
        return Group("Weights(", (*plain, *((("**", _dictionary(other)),) if other else ())), ")")

    def assignments(self, maker: Maker, indent: int) -> Iterator[str]:
        """The statements that make the members of the root, called `self`."""
        for name, item in self._members(maker):
            yield from assignment("self", name, item, indent)

    def _members(self, maker: Maker) -> list[tuple[str, Expression]]:
        tensors = [(name, maker(tensor)) for name, tensor in self.tensors.items()]
        return [*tensors, *((name, child.expression(maker)) for name, child in self.children.items())]

    def holder(self, name: str) -> tuple[str, str]:
        """The expression for the module that holds a tensor below the root, and what it is called there."""
        text, node = "self", self
        *path, leaf = name.split(".")
        for part in path:
            if node.is_list and node is not self:
                text += f"[{int(part)}]"
            elif node.is_numbered and node is not self:
                text += f"[{_quoted(part)}]"
            else:
                text = _attribute(text, part)
            node = node.children[part]
        return text, leaf

    def access(self, name: str) -> str:
        """The expression for a tensor below the root."""
        return _attribute(*self.holder(name))


def assignment(holder: str, name: str, value: Expression, indent: int) -> list[str]:
    """`holder.name = value`, also where the name is no identifier."""
    if _is_plain(name):
        return statement(f"{holder}.{name} = ", value, indent)
    return statement("", call("setattr", [Text(holder), Text(_quoted(name)), value]), indent)


def _attribute(holder: str, name: str) -> str:
    return f"{holder}.{name}" if _is_plain(name) else f"getattr({holder}, {_quoted(name)})"


def _is_plain(name: str) -> bool:
    return name == identifier(name)


def _quoted(name: str) -> str:
    return literal(name).text


def _dictionary(members: list[tuple[str, Expression]]) -> Group:
    return Group("{", tuple((f"{_quoted(name)}: ", item) for name, item in members), "}")
