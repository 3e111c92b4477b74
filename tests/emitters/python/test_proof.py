"""What is written is run, and compared; a difference is an error."""

from __future__ import annotations

import pytest
import torch

from convkit.artifact import Artifact
from convkit.components import EmissionRequest
from convkit.emitters import python
from convkit.emitters.python import operators
from convkit.emitters.python.proof import prove
from convkit.errors import ConversionError
from convkit.formats import Variant
from tests.emitters.python_sources import ORIGIN, written

X = torch.rand((3, 4), generator=torch.Generator().manual_seed(0))


def sine(tmp_path):
    return written(lambda x: torch.sin(x), X, tmp_path=tmp_path)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("torch.cos(x)", "differs: by"),
        ("torch.sin(x).double()", "is float64"),
        ("torch.sin(x)[:1]", r"is float32\[1, 4\]"),
        ("torch.sin(x), x", "gives 2 outputs"),
        ("torch.sine(x)", "does not run: AttributeError"),
        ("torch.sin(x", "does not load: SyntaxError"),
        ("torch.sin(x) + float('nan')", "differs"),
    ],
)
def test_every_difference_is_found(wrong, said, tmp_path):
    found = sine(tmp_path)
    found.file.write_text(found.text.replace("torch.sin(x)", wrong))
    with pytest.raises(ConversionError, match=said) as caught:
        prove(found.program, found.file, found.signature, [tmp_path / "inputs.npz"])
    assert caught.value.stage == "emit"


def test_a_last_bit_is_told_and_not_an_error(tmp_path):
    found = sine(tmp_path)
    found.file.write_text(found.text.replace("torch.sin(x)", "torch.sin(x) * (1 + 2**-22)"))
    assert "of scale" in prove(found.program, found.file, found.signature, [tmp_path / "inputs.npz"])


def test_nothing_is_left_beside_the_output(tmp_path):
    sine(tmp_path)
    assert not [p for p in tmp_path.rglob("*") if "pycache" in p.name]


def test_operators_are_written_literally_where_people_s_way_is_not_exact(tmp_path, monkeypatch):
    found = sine(tmp_path)

    def off(arguments):
        return operators.call("torch.cos", [arguments.code(arguments["self"])])

    monkeypatch.setitem(operators.FORMS, "sin.default", off)
    path = tmp_path / "net.pt2"
    request = EmissionRequest(Artifact(Variant.EXPORTED_PROGRAM, path, found.signature), ORIGIN, (tmp_path / "inputs.npz",))
    notes = python.emit(request).notes
    assert "torch.ops" in notes[0]
    assert "bit by bit" in notes[1]
    assert "torch.ops.aten.sin.default(x)" in found.file.read_text()


def test_files_are_named_so_that_they_can_be_imported(tmp_path):
    names = [tuple(p.name for p in python.files(tmp_path / n)) for n in ("a.pt2", "a-b.traced.pt2", "torch.pt2")]
    assert names == [
        ("a.py", "a.safetensors"),
        ("a_b_traced.py", "a_b_traced.safetensors"),
        ("torch_model.py", "torch_model.safetensors"),
    ]
