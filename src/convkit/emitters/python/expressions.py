"""Python expressions as text, and their layout on lines as `ruff format` (and black) would have it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "ATOM",
    "Expression",
    "Group",
    "Text",
    "call",
    "flat",
    "literal",
    "operation",
    "statement",
    "unary",
    "unpacking",
]

LIMIT = 88
"""Columns: the default of both formatters."""

ATOM = 20
_UNARY = 11
_BINARY = {
    **dict.fromkeys(("<", "<=", ">", ">=", "==", "!="), 4),
    **dict(zip("|^&", (5, 6, 7), strict=True)),
    **dict.fromkeys(("+", "-"), 9),
    **dict.fromkeys(("*", "@", "/", "//", "%"), 10),
    "**": 12,
}


@dataclass(frozen=True)
class Text:
    """An expression that stays on one line.

    Attributes:
        text: The expression.
        rank: How tightly it binds: `ATOM`, or the precedence of its outermost operator.
        parts: What stands on lines of their own where one is not enough: the operands of a chain of operators.
    """

    text: str
    rank: int = ATOM
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Items in brackets: a call, a list, a tuple.

    Attributes:
        opening: Up to and including the bracket: `F.conv2d(`, `[`.
        items: What comes before each item (`padding=`, or nothing), and the item.
        closing: The bracket that closes it.
        tail: What follows the one item of a comprehension: `for _ in range(4)`.
    """

    opening: str
    items: tuple[tuple[str, Expression], ...]
    closing: str
    tail: str = ""


Expression = Text | Group


def flat(expression: Expression) -> str:
    """The expression on one line."""
    if isinstance(expression, Text):
        return expression.text
    inner = ", ".join(prefix + flat(item) for prefix, item in expression.items)
    if expression.tail:
        inner += f" {expression.tail}"
    elif expression.opening == "(" and len(expression.items) == 1:
        inner += ","
    return expression.opening + inner + expression.closing


def call(function: str, positional: Iterable[Expression] = (), **keywords: Expression) -> Group:
    items = [*(("", a) for a in positional), *((f"{name}=", a) for name, a in keywords.items())]
    return Group(f"{function}(", tuple(items), ")")


def operation(operator: str, left: Expression, right: Expression) -> Text:
    """`left operator right`, with the parentheses that it needs."""
    rank = _BINARY[operator]
    if operator == "**":
        base, power = _bracketed(left, rank + 1), _bracketed(right, _UNARY)
        # Both formatters hug the operator between names and numbers.
        hugged = all(re.fullmatch(r"-?[\w.]+", side) for side in (base, power))
        return Text(f"{base}**{power}" if hugged else f"{base} ** {power}", rank)
    compares = rank == _BINARY["<"]
    before, after = _bracketed(left, rank + compares), f"{operator} {_bracketed(right, rank + 1)}"
    chain = left.parts if isinstance(left, Text) and left.rank == rank and not compares else (before,)
    return Text(f"{before} {after}", rank, (*chain, after))


def unary(operator: str, operand: Expression) -> Text:
    return Text(operator + _bracketed(operand, _UNARY), _UNARY)


def _bracketed(expression: Expression, rank: int) -> str:
    text = flat(expression)
    return f"({text})" if isinstance(expression, Text) and expression.rank < rank else text


def literal(value: Any) -> Text:
    """A constant that is no tensor.

    Raises:
        TypeError: It is of no type that has a spelling.
    """
    if isinstance(value, bool) or value is None or value is Ellipsis:
        return Text(repr(value))
    if isinstance(value, int):
        return Text(repr(value), ATOM if value >= 0 else _UNARY)
    if isinstance(value, float):
        return _number(repr(value))
    if isinstance(value, complex):
        real, imaginary = (flat(_number(repr(part))) for part in (value.real, value.imag))
        return Text(f"complex({real}, {imaginary})")
    if isinstance(value, str):
        return Text(_string(value))
    import torch

    if isinstance(value, torch.dtype | torch.memory_format | torch.layout):
        return Text(repr(value))
    if isinstance(value, torch.device):
        return Text(_string(str(value)))
    raise TypeError(f"a {type(value).__name__} has no spelling")


def _number(text: str) -> Text:
    """A float by its digits; infinities and NaN, which have none, by name."""
    if text.lstrip("-")[0].isdigit():
        return Text(text, _UNARY if text.startswith("-") else ATOM)
    return Text(f'float("{text}")')


def _string(value: str) -> str:
    """In double quotes, as formatters have it, unless that means more backslashes."""
    text = repr(value)
    inner = text[1:-1]
    return f'"{inner}"' if text[0] == "'" and '"' not in inner else text


def statement(before: str, expression: Expression, indent: int, after: str = "") -> list[str]:
    """`before`, the expression and `after`, on one line or on several."""
    margin = " " * indent
    whole = margin + before + flat(expression) + after
    if len(whole) <= LIMIT:
        return [whole]
    assigns = before.endswith("= ")
    if isinstance(expression, Text):
        lines = [expression.text]
        if len(expression.text) + indent + 4 * assigns > LIMIT and expression.parts:
            lines = list(expression.parts)
        if not assigns:
            lines[0], lines[-1] = before + lines[0], (before if len(lines) == 1 else "") + lines[-1] + after
            return [margin + line for line in lines]
        return _in_brackets(before, lines, margin, after) if expression.parts else [whole]
    first = margin + before + expression.opening
    if assigns and len(first) > LIMIT >= len(margin + before) + 1 and indent + 4 + len(flat(expression)) <= LIMIT:
        return _in_brackets(before, [flat(expression)], margin, after)
    if not expression.items:
        return [whole]
    return [first, *_inside(expression, indent + 4), margin + expression.closing + after]


def unpacking(names: Sequence[str], expression: Expression, indent: int) -> list[str]:
    """`a, b = expression`."""
    targets = ", ".join(names) if len(names) > 1 else f"({names[0]},)"
    opening = expression.opening if isinstance(expression, Group) else ""
    if indent + len(targets) + len(" = ") + len(opening) <= LIMIT:
        return statement(f"{targets} = ", expression, indent)
    margin = " " * indent
    return [f"{margin}(", *(f"{margin}    {name}," for name in names), *statement(") = ", expression, indent)]


def _in_brackets(before: str, lines: list[str], margin: str, after: str) -> list[str]:
    return [f"{margin}{before}(", *(f"{margin}    {line}" for line in lines), f"{margin}){after}"]


def _inside(group: Group, indent: int) -> list[str]:
    """The items: on one line if the group is a call and they fit, else each on its own."""
    margin = " " * indent
    if group.tail:
        ((prefix, item),) = group.items
        return [*statement(prefix, item, indent), margin + group.tail]
    together = margin + ", ".join(prefix + flat(item) for prefix, item in group.items)
    alone = group.opening.startswith("def ") and len(group.items) == 1
    if len(group.opening) > 1 and len(together) <= LIMIT and not alone:
        return [together]
    return [line for prefix, item in group.items for line in statement(prefix, item, indent, ",")]


def sequence(items: Sequence[Expression], brackets: str = "[]") -> Group:
    """A list, or a tuple with `brackets="()"`."""
    return Group(brackets[0], tuple(("", item) for item in items), brackets[1])
