"""The naming rules of exported programs, on specs as `torch.utils._pytree.treespec_dumps` writes them."""

import json
from typing import Any

import pytest

from convkit.readers.pytorch_names import (
    dimension_names,
    name_of_path,
    named_shape,
    output_names,
    readable_expression,
)

LEAF = {"type": None, "context": None, "children_spec": []}


def spec(kind: str, context: Any, *children: Any) -> Any:
    text = context if kind.endswith("namedtuple") else json.dumps(context)
    return {"type": kind, "context": text, "children_spec": list(children)}


def dumped(root: Any) -> str:
    return json.dumps([1, root])


@pytest.mark.parametrize(
    ("root", "names"),
    [
        (LEAF, ("output",)),
        (spec("builtins.tuple", None, LEAF), ("output",)),
        (spec("builtins.tuple", None, LEAF, LEAF), ("output_0", "output_1")),
        (spec("builtins.dict", ["logits", "embedding"], LEAF, LEAF), ("logits", "embedding")),
        (spec("builtins.dict", ["b", "a"], LEAF, spec("builtins.tuple", None, LEAF, LEAF)), ("b", "a_0", "a_1")),
        (spec("builtins.list", None, LEAF, spec("builtins.dict", ["k"], LEAF)), ("output_0", "output_1_k")),
        (spec("my.Output", [["u", "w"], ["v"]], LEAF, LEAF), ("u", "w")),
        (spec("collections.namedtuple", "my.Pair", LEAF, LEAF), ("q", "p")),
    ],
)
def test_outputs_are_named_by_their_place(root: Any, names: tuple[str, ...]) -> None:
    assert output_names(dumped(root), len(names), {"my.Pair": ["q", "p"]}) == names


@pytest.mark.parametrize("text", [None, "not json", "[1]", "[1, {}]", dumped(spec("builtins.dict", ["only"], LEAF))])
def test_a_spec_that_does_not_fit_gives_numbers(text: str | None) -> None:
    assert output_names(text, 2) == ("output_0", "output_1")


def test_live_paths_give_the_same_names() -> None:
    assert [name_of_path(path) for path in ([], ["a", 0], [1], [1, "k"])] == ["output", "a_0", "output_1", "output_1_k"]


def test_the_same_symbol_has_the_same_name_everywhere() -> None:
    names = dimension_names([("mask", [1, "s5"]), ("x", ["s7", "s5", 3]), ("y", ["s9", "s7"])])
    assert names == {"s7": "batch", "s5": "mask_dim1", "s9": "y_dim0"}
    assert named_shape(["s7", 4, "2*s5 + 1"], names) == ("batch", 4, "2*mask_dim1 + 1")


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        ("Symbol('s77', positive=True, integer=True)", "s77"),
        ("Mul(Integer(2), Symbol('s77', positive=True, integer=True))", "2*s77"),
        ("Add(Symbol('s1', integer=True), Integer(-1))", "s1 + -1"),
        ("Mul(Integer(2), Add(Symbol('s1'), Integer(3)))", "2*(s1 + 3)"),
        ("FloorDiv(Symbol('s1'), Integer(2))", "s1//2"),
        ("Max(Integer(1), Symbol('u0'))", "Max(1, u0)"),
        ("2*s77", "2 * s77"),
        ("(" * 3000, "unknown"),
        ("__import__('os').abort()", "__import__('os').abort()"),
    ],
)
def test_expressions_are_printed_not_evaluated(stored: str, text: str) -> None:
    assert readable_expression(stored) == text
