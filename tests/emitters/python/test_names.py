"""Names that Python takes, each for one thing."""

from __future__ import annotations

import pytest

from convkit.emitters.python.names import Names, class_name, identifier, module_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("image", "image"),
        ("input.1", "input_1"),
        ("1x", "_1x"),
        ("", "_"),
        ("for", "_for"),
        ("größe", "gr_e"),
        ("a b\nc", "a_b_c"),
    ],
)
def test_any_text_becomes_an_identifier(text, name):
    assert identifier(text) == name
    assert name.isidentifier()


def test_names_hide_nothing_and_come_once():
    names = Names()
    assert [names.fresh(n) for n in ("x", "x", "torch", "max", "self", "input", "F")] == [
        *("x", "x_2", "torch_2", "max_2", "self_2", "input", "F_2"),
    ]
    inner = names.nested()
    assert inner.fresh("x") == "x_3"
    assert names.fresh("x") == "x_3"


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("digits_cnn", "DigitsCnn"),
        ("model", "Model"),
        ("3d-net", "3dNet"),
        ("weights", "ModelWeights"),
        ("torch", "Torch"),
        ("___", "Model"),
    ],
)
def test_a_class_is_named_after_its_file(stem, name):
    found = class_name(stem)
    assert found.isidentifier()
    assert found == (name if name.isidentifier() else f"Model{name}")


@pytest.mark.parametrize(
    ("stem", "name"),
    [("digits_cnn", "digits_cnn"), ("a-b.c", "a_b_c"), ("torch", "torch_model"), ("json", "json_model"), ("1", "_1")],
)
def test_a_module_can_be_imported_and_hides_no_other(stem, name):
    assert module_name(stem) == name
