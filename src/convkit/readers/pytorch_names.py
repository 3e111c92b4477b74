"""The names that tensors and dynamic dimensions of an exported program have in a `Signature`.

Pure functions on what the program itself records, with no torch import: the reader of `.pt2` files calls them with what
stands in the archive, the PyTorch runtime with what a live program says, and so both name alike.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from convkit.signature import Dim, dynamic_dim

__all__ = ["dimension_names", "name_of_path", "named_shape", "output_names", "readable_expression"]

_SYMBOL = re.compile(r"\b[A-Za-z_]\w*\b(?!\()")
_BARE_SYMBOL = re.compile(r"[A-Za-z_]\w*")
_INFIX = {"Add": " + ", "Mul": "*", "FloorDiv": "//", "Mod": " % ", "PythonMod": " % ", "Pow": "**"}
# Longer expressions come from no model that anybody has seen, and parsing them costs stack.
_EXPRESSION_LIMIT = 4096


def output_names(out_spec: str | None, count: int, fields: Mapping[str, Sequence[str]] | None = None) -> tuple[str, ...]:
    """One name per leaf of what `forward` returns.

    Args:
        out_spec: The output's pytree as `torch.utils._pytree.treespec_dumps` writes it, None where it is not known.
        count: How many outputs the graph has; a spec that disagrees is not used.
        fields: The field names of the NamedTuple classes in the spec, by the class's qualified name.

    Returns:
        Keys of dicts and fields of named tuples and dataclasses; "output" for one bare tensor and "output_0", "output_1",
        … in a tuple. Nested containers join their parts: `{"a": (x, y)}` gives "a_0", "a_1".
    """
    if out_spec is not None:
        try:
            names = [_joined(path) for path in _leaves(json.loads(out_spec)[1], fields or {}, ())]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            names = []
        if len(names) == count and len(set(names)) == count:
            return tuple(names)
    return ("output",) if count == 1 else tuple(f"output_{index}" for index in range(count))


def name_of_path(path: Sequence[str | int]) -> str:
    """The name of an output by the keys that lead to it, as `torch.utils._pytree.tree_flatten_with_path` lists them."""
    return _joined(tuple(map(str, path)))


def _joined(path: tuple[str, ...]) -> str:
    name = re.sub(r"\W", "_", "_".join(path))
    return f"output_{name}" if path and path[0].isdigit() else name or "output"


def _leaves(spec: Any, fields: Mapping[str, Sequence[str]], path: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    if spec["type"] is None:
        yield path
        return
    children = spec["children_spec"]
    keys = _keys(spec, fields)
    if keys is None or len(keys) != len(children):
        keys = [str(index) for index in range(len(children))]
    # A tuple of one tensor is an output without a name, not the first of several.
    single = len(children) == 1 and not path and keys == ["0"]
    for key, child in zip(keys, children, strict=True):
        yield from _leaves(child, fields, path if single else (*path, str(key)))


def _keys(spec: Any, fields: Mapping[str, Sequence[str]]) -> list[str] | None:
    """What a container calls its children: dict keys, fields of a named tuple or of a dataclass."""
    context = spec["context"]
    if context in fields:
        return list(fields[context])
    context = json.loads(context) if isinstance(context, str) else context
    # A default dict has [factory, keys], a dataclass [present fields, absent fields].
    while isinstance(context, list) and context and isinstance(context[-1], list):
        context = next((part for part in context if isinstance(part, list) and part), [])
    return [str(key) for key in context] if isinstance(context, list) and context else None


def readable_expression(text: str) -> str:
    """A dimension's expression in infix notation: `Mul(Integer(2), Symbol('s77', …))` becomes `2*s77`."""
    if len(text) > _EXPRESSION_LIMIT:
        return "unknown"
    try:
        return _infix(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "unknown"


def _infix(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ast.unparse(node)
    function = ast.unparse(node.func)
    if function == "Symbol" and isinstance(node.args[0], ast.Constant):
        return str(node.args[0].value)
    if function == "Integer":
        return ast.unparse(node.args[0])
    parts = [_infix(arg) for arg in node.args]
    if function not in _INFIX:
        return f"{function}({', '.join(parts)})"
    if function != "Add":
        parts = [part if re.fullmatch(r"[\w*]+", part) else f"({part})" for part in parts]
    return _INFIX[function].join(parts)


def dimension_names(inputs: Iterable[tuple[str, Sequence[int | str]]]) -> dict[str, str]:
    """What each symbol of the program is called: "batch" for the first axis 0, else after its first tensor and axis.

    Args:
        inputs: Name and shape of each input, in order; a dynamic dimension is its symbol ("s77") or expression.
    """
    places = [
        (dim, tensor, axis)
        for tensor, shape in inputs
        for axis, dim in enumerate(shape)
        if isinstance(dim, str) and _BARE_SYMBOL.fullmatch(dim)
    ]
    first = next((place for place in places if place[2] == 0), None)
    names = {} if first is None else {first[0]: dynamic_dim(first[1], 0)}
    for dim, tensor, axis in places:
        # Inputs can have first dimensions that are independent of each other: only one of them is the batch.
        names.setdefault(dim, dynamic_dim(tensor, axis) if axis else re.sub(r"\W", "_", f"{tensor}_dim0"))
    return names


def named_shape(shape: Iterable[int | str], names: Mapping[str, str]) -> tuple[Dim, ...]:
    """A shape with every symbol replaced by its name, inside of expressions too."""
    return tuple(d if isinstance(d, int) else _SYMBOL.sub(lambda m: names.get(m[0], m[0]), d) for d in shape)
