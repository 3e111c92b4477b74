"""PyTorch as a runtime: every variant gives named arrays, in order, at any size of a dynamic dimension."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from torch import nn

from convkit.artifact import Artifact, PyTorchSource
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.readers import inspect
from convkit.runtimes.pytorch import load
from convkit.signature import Signature, parse_spec


@pytest.fixture
def digits(fixtures):
    """Test images and labels."""
    with np.load(fixtures / "digits_test.npz") as arrays:
        return arrays["image"], arrays["label"]


def artifact_of(path, variant: Variant, fixtures, weights=None) -> Artifact:
    signature = Signature((parse_spec("image:float32[batch,1,8,8]"),), (parse_spec("logits:float32[batch,10]"),))
    factory = f"{fixtures / 'models.py'}:build_digits_cnn"
    return Artifact(variant, path, signature, PyTorchSource(factory, weights, trust_pickle=True))


@pytest.mark.parametrize(
    ("suffix", "variant"),
    [
        ("pt2", Variant.EXPORTED_PROGRAM),
        ("traced.pt", Variant.TORCHSCRIPT),
        ("scripted.pt", Variant.TORCHSCRIPT),
        ("state_dict.pt", Variant.MODULE_FACTORY),
        ("safetensors", Variant.MODULE_FACTORY),
    ],
)
def test_every_variant_classifies_the_digits(suffix, variant, model, fixtures, digits):
    path = model("digits_cnn", suffix)
    weights = path if variant is Variant.MODULE_FACTORY else None
    session = load(artifact_of(path, variant, fixtures, weights))
    for count in (1, 2, 60):
        found = session.run({"image": digits[0][:count]})
        assert list(found) == ["logits"]
        assert found["logits"].shape == (count, 10)
    assert (found["logits"].argmax(1) == digits[1][:60]).mean() > 0.9


def test_outputs_have_the_signatures_names(model, fixtures, digits):
    artifact = artifact_of(model("digits_cnn", "scripted.pt"), Variant.TORCHSCRIPT, fixtures)
    renamed = artifact.with_signature(artifact.signature.renamed(["image"], ["scores"]))
    assert list(load(renamed).run({"image": digits[0][:2]})) == ["scores"]


def test_a_model_without_a_signature_is_refused(model):
    with pytest.raises(ConversionError, match="inputs of"):
        load(Artifact(Variant.TORCHSCRIPT, model("digits_cnn", "scripted.pt")))


class Nested(nn.Module):
    def forward(self, pair, scale: int, *, offset):
        return {"sum": pair["a"] * scale + pair["b"], "shifted": (pair["a"] + offset, None)}


def test_an_exported_program_gets_its_nesting_and_its_constants_back(tmp_path):
    a, b, c = (torch.full((2, 3), float(i)) for i in (1, 2, 3))
    program = torch.export.export(Nested(), ({"a": a, "b": b}, 5), {"offset": c})
    torch.export.save(program, tmp_path / "m.pt2")
    info = inspect(tmp_path / "m.pt2")
    session = load(Artifact(info.variant, info.path, info.signature))
    assert len(session.signature.inputs) == 3
    found = session.run(dict(zip(session.signature.input_names, (a.numpy(), b.numpy(), c.numpy()), strict=True)))
    assert [float(v.mean()) for v in found.values()] == [7, 4]


def test_scalars_and_dtypes_arrive(tmp_path):
    class Mixed(nn.Module):
        def forward(self, x, flag, half):
            return torch.where(flag, x, -x), half * 2, x.sum().to(torch.int64), x.to(torch.bfloat16)

    example = (torch.tensor(3.0), torch.tensor(False), torch.ones(2, dtype=torch.float16))
    torch.export.save(torch.export.export(Mixed(), example), tmp_path / "m.pt2")
    info = inspect(tmp_path / "m.pt2")
    session = load(Artifact(info.variant, info.path, info.signature))
    feeds = dict(zip(session.signature.input_names, (e.numpy() for e in example), strict=True))
    found = list(session.run(feeds).values())
    assert [a.dtype.name for a in found] == ["float32", "float16", "int64", "float32"]
    assert [a.shape for a in found] == [(), (2,), (), ()]
    assert found[0] == -3


def test_optional_arguments_are_given_by_name(tmp_path):
    (tmp_path / "net_with_options.py").write_text(
        "import torch\n\nclass Net(torch.nn.Module):\n"
        "    def forward(self, ids, mask=None, kinds=None):\n"
        "        return ids + (0 if mask is None else 10 * mask) + (0 if kinds is None else 100 * kinds)\n"
    )
    signature = Signature((parse_spec("ids:int64[n]"), parse_spec("kinds:int64[n]")), (parse_spec("output:int64[n]"),))
    path = tmp_path / "net_with_options.py"
    session = load(Artifact(Variant.MODULE_FACTORY, path, signature, PyTorchSource(f"{path}:Net")))
    assert session.run({"ids": np.array([1, 2]), "kinds": np.array([1, 0])})["output"].tolist() == [101, 2]


def test_changed_weights_are_run_although_the_session_is_warm(tmp_path):
    path, weights = tmp_path / "net_of_weights.py", tmp_path / "w.pt"
    path.write_text("import torch\n\ndef build():\n    return torch.nn.Linear(1, 1, bias=False)\n")
    signature = Signature((parse_spec("x:float32[n,1]"),), (parse_spec("output:float32[n,1]"),))
    artifact = Artifact(Variant.MODULE_FACTORY, path, signature, PyTorchSource(f"{path}:build", weights))
    torch.save({"weight": torch.tensor([[2.0]])}, weights)
    session = load(artifact)
    one = {"x": np.ones((1, 1), "float32")}
    assert session.run(one)["output"] == 2
    torch.save({"weight": torch.tensor([[3.0]])}, weights)
    later = weights.stat().st_mtime_ns + 10**9
    os.utime(weights, ns=(later, later))
    assert session.run(one)["output"] == 3
