"""Python expressions: precedence, constants, and the layout of formatters."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from convkit.emitters.python.expressions import Text, call, flat, literal, operation, sequence, statement, unary, unpacking

A, B, C = Text("a"), Text("b"), Text("c")


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (operation("*", operation("+", A, B), C), "(a + b) * c"),
        (operation("+", operation("*", A, B), C), "a * b + c"),
        (operation("-", A, operation("-", B, C)), "a - (b - c)"),
        (operation("-", operation("-", A, B), C), "a - b - c"),
        (operation("**", unary("-", A), literal(2)), "(-a) ** 2"),
        (operation("**", A, literal(-2)), "a**-2"),
        (operation("**", Text("x.shape[0]"), literal(2)), "x.shape[0] ** 2"),
        (operation("==", operation("==", A, B), C), "(a == b) == c"),
        (operation("*", A, literal(-1.5)), "a * -1.5"),
        (sequence([A], "()"), "(a,)"),
        (sequence([A, B], "()"), "(a, b)"),
        (call("f", [A], k=sequence([])), "f(a, k=[])"),
    ],
)
def test_only_the_parentheses_that_are_needed(expression, text):
    assert flat(expression) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("inf"), 'float("inf")'),
        (float("-inf"), 'float("-inf")'),
        (float("nan"), 'float("nan")'),
        (-0.0, "-0.0"),
        (1e-05, "1e-05"),
        (True, "True"),
        (None, "None"),
        (complex(1, float("inf")), 'complex(1.0, float("inf"))'),
        ("a'b", '"a\'b"'),
        ('a"b', "'a\"b'"),
        ("a\nb", '"a\\nb"'),
        (torch.bfloat16, "torch.bfloat16"),
        (torch.channels_last, "torch.channels_last"),
        (torch.strided, "torch.strided"),
        (torch.device("cpu"), '"cpu"'),
    ],
)
def test_constants_evaluate_to_themselves(value, text):
    assert literal(value).text == text
    again = eval(text, {"torch": torch})
    assert repr(again) == repr(value) or torch.device(again) == value


def test_what_has_no_spelling_is_refused():
    with pytest.raises(TypeError, match="object has no spelling"):
        literal(object())


def many(count):
    return [Text(f"argument_{i}") for i in range(count)]


@pytest.mark.parametrize(
    "lines",
    [
        statement("x = ", call("f", many(3)), 4),
        statement("x = ", call("f", many(6)), 4),
        statement("x = ", call("f", many(12)), 4),
        statement("x = ", sequence(many(7)), 4),
        statement("x = ", call("f", [sequence(many(9)), A], key=call("g", many(8))), 4),
        statement("x = ", operation("+", *many(2)), 4),
        statement("x = ", operation("+", Text("a" * 40), Text("b" * 45)), 4),
        statement("x = ", operation("+", operation("+", Text("a" * 40), Text("b" * 40)), C), 4),
        statement("return ", sequence(many(9), "()"), 4),
        statement(f"self.{'a' * 80} = ", call("f", [A]), 4),
        statement("assert ", call("f", [operation("==", Text("a" * 45), Text("b" * 45)), A]), 4),
        unpacking(["a"], call("f", [A]), 4),
        unpacking([f"result_{'a' * 20}_{i}" for i in range(4)], call("f", [A]), 4),
    ],
)
def test_the_layout_is_the_formatters_own(lines):
    text = "def function():\n" + "\n".join(lines) + "\n"
    formatted = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--isolated", "-"], input=text, capture_output=True, text=True, check=True
    )
    assert formatted.stdout == text
