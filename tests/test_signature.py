"""Signatures: parsing, printing, and what counts as kept."""

from __future__ import annotations

import pytest

from convkit import Signature, TensorSpec, UsageError
from convkit.signature import parse_spec


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image:float32[batch,3,224,224]", TensorSpec("image", "float32", ("batch", 3, 224, 224))),
        ("tokens:int64[2,seq]", TensorSpec("tokens", "int64", (2, "seq"))),
        ("x[4]", TensorSpec("x", "float32", (4,))),
        ("x:float[]", TensorSpec("x", "float32", ())),
        ("x:long[?, 8]", TensorSpec("x", "int64", ("batch", 8))),
        ("x:half[2,-1]", TensorSpec("x", "float16", (2, "x_dim1"))),
    ],
)
def test_specifications_parse(text, expected):
    assert parse_spec(text) == expected


@pytest.mark.parametrize("text", ["", "x", "x:float32", "x:nonsense[2]", "x:float32[2,a b]", "x:float32[2", ":float32[2]"])
def test_nonsense_is_refused_with_an_example(text):
    with pytest.raises(UsageError) as caught:
        parse_spec(text)
    assert caught.value.hint


def signature(**changes) -> Signature:
    parts = {"name": "x", "dtype": "float32", "shape": ("batch", 3), "output": "y"} | changes
    return Signature(
        (TensorSpec(parts["name"], parts["dtype"], parts["shape"]), TensorSpec("mask", "bool", ("batch",))),
        (TensorSpec(parts["output"], "float32", ("batch", 10)),),
    )


def test_a_signature_survives_json():
    assert Signature.from_json(signature().to_json()) == signature()


def test_the_spelling_of_a_dynamic_dimension_does_not_count():
    assert signature().differences(signature(shape=("n", 3))) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "z"}, "names of the inputs changed"),
        ({"dtype": "float16"}, "float16"),
        ({"shape": (1, 3)}, "has shape [1,3]"),
        ({"shape": (3, "batch")}, "has shape"),
        ({"shape": ("batch", 3, 1)}, "has shape"),
        ({"output": "logits"}, "names of the outputs changed"),
    ],
)
def test_every_departure_is_said(changes, said):
    differences = signature().differences(signature(**changes))
    assert len(differences) >= 1
    assert said in " ".join(differences)


def test_a_changed_order_is_told_from_changed_names():
    swapped = Signature(tuple(reversed(signature().inputs)), signature().outputs)
    assert "order of the inputs changed" in " ".join(signature().differences(swapped))


def test_a_missing_output_is_said():
    assert signature().differences(Signature(signature().inputs, ())) == ["0 outputs where the source has 1"]


def test_tied_dimensions_have_one_symbol_per_axis():
    tokens, mask = TensorSpec("tokens", "int64", ("batch", "tokens_dim1")), TensorSpec("mask", "bool", ("rows", "mask_dim1", 4))
    tags = TensorSpec("tags", "float32", ("rows", "mask_dim1", "other"))
    tied = Signature((tokens, mask), (tags,)).tied()
    assert tied.inputs[1].shape == ("batch", "tokens_dim1", 4)
    assert tied.outputs[0].shape == ("batch", "tokens_dim1", "other")
    assert tied.tied() == tied
