"""From a module to an exported program: names, dynamic dimensions, and what cannot be captured."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convkit import inspect
from convkit.arrays import save_arrays
from convkit.errors import ConversionError, InputSpecError
from convkit.loading import pytorch_capture
from convkit.options import InputOptions
from convkit.signature import Signature, parse_spec


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.dropout = nn.Dropout(0.5)

    def forward(self, image, weight=None, bias=None):
        hidden = self.dropout(self.linear(image))
        return {"logits": hidden if bias is None else hidden + bias, "aux": (image, None)}


def options(*specs: str, **others) -> InputOptions:
    return InputOptions(tuple(parse_spec(s) for s in specs), **others)


def captured(module: nn.Module, given: InputOptions, directory: Path) -> Path:
    pytorch_capture.capture_module(module.eval(), given, directory / "m.pt2")
    return directory / "m.pt2"


def test_the_file_has_the_names_and_the_dynamic_dimensions(tmp_path):
    path = captured(TwoHeads(), options("image:float32[batch,4]"), tmp_path)
    assert str(inspect(path).signature) == "image: float32[batch,4] → logits: float32[batch,3], aux_0: float32[batch,4]"
    with zipfile.ZipFile(path) as archive:
        extra = next(n for n in archive.namelist() if n.endswith("convkit.json"))
        assert [o["name"] for o in json.loads(archive.read(extra))["outputs"]] == ["logits", "aux_0"]


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_program_computes_what_the_module_does_at_other_sizes(batch, tmp_path):
    module = TwoHeads().eval()
    program = torch.export.load(captured(module, options("image:float32[batch,4]"), tmp_path))
    image = torch.randn(batch, 4)
    assert torch.equal(program.module()(image)[0], module(image)["logits"])


def test_optional_inputs_are_captured_under_their_own_names(tmp_path):
    module = TwoHeads().eval()
    path = captured(module, options("bias:float32[3]", "image:float32[batch,4]"), tmp_path)
    assert inspect(path).signature.input_names == ("image", "bias")
    image, bias = torch.randn(2, 4), torch.randn(3)
    assert torch.equal(torch.export.load(path).module()(image, bias)[0], module(image, bias=bias)["logits"])


def test_arrays_and_output_names_and_dynamic(tmp_path):
    save_arrays(tmp_path / "x.npz", {"image": np.zeros((1, 4), "float32")})
    given = options(arrays=tmp_path / "x.npz", dynamic={"image": {0: "n"}}, output_names=("a", "b"))
    assert str(inspect(captured(TwoHeads(), given, tmp_path)).signature) == (
        "image: float32[n,4] → a: float32[n,3], b: float32[n,4]"
    )


@pytest.mark.parametrize("names", [["in", "for"], ["a.b", "a_b"], ["größe", "x y"]])
def test_any_input_name_survives(names, tmp_path):
    class Sum(nn.Module):
        def forward(self, *inputs):
            return inputs[0] - inputs[1]

    path = captured(Sum(), options(*(f"{n}:float32[batch,2]" for n in names)), tmp_path)
    assert list(inspect(path).signature.input_names) == names


def test_a_dimension_that_the_module_fixes_is_an_error_with_a_way_out(tmp_path):
    class Fixed(nn.Module):
        def forward(self, x):
            return x * 2 if x.shape[0] > 2 else x

    with pytest.raises(ConversionError, match=r"torch\.export cannot capture") as caught:
        captured(Fixed(), options("x:float32[batch,2]"), tmp_path)
    assert "static" in caught.value.hint
    assert not (tmp_path / "m.pt2").exists()
    assert captured(Fixed(), options("x:float32[3,2]"), tmp_path).exists()


def test_control_flow_over_values_is_an_error(tmp_path):
    class Branch(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ConversionError, match=r"torch\.export cannot capture"):
        captured(Branch(), options("x:float32[2]"), tmp_path)


def test_inputs_that_do_not_fit_are_an_error(tmp_path):
    with pytest.raises(InputSpecError, match="does not run on"):
        captured(TwoHeads(), options("image:float32[batch,5]"), tmp_path)


class Positions(nn.Module):
    """Token and position embeddings: the table of positions limits the length."""

    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(9, 4), nn.Parameter(torch.randn(1, 40, 4))

    def forward(self, ids):
        return self.tokens(ids) + self.positions[:, : ids.shape[1]]


def test_a_limit_of_the_model_is_kept_and_said(tmp_path):
    spec = parse_spec("ids:int64[batch,length]")
    signature = Signature((spec,), (parse_spec("output:float32[batch,length,4]"),))
    module = Positions().eval()
    program = pytorch_capture.export(module, signature, {"ids": np.zeros((2, 16), "int64")})
    assert pytorch_capture.limits(program, signature) == ("dimension length takes sizes up to 40, the model's own limit",)
    for length in (3, 40):
        ids = torch.zeros(1, length, dtype=torch.int64)
        assert torch.equal(program.module()(ids)[0], module(ids))


class Thinned(nn.Module):
    """Of a slice torch.export wants to know whether one element is left."""

    def forward(self, x):
        return x[:, ::2] + x[:, 1:-1].sum()


def test_slices_of_a_dynamic_axis_do_not_limit_it(tmp_path):
    signature = Signature((parse_spec("x:float32[batch,length]"),), (parse_spec("output:float32[batch,half]"),))
    module = Thinned().eval()
    program = pytorch_capture.export(module, signature, {"x": np.zeros((2, 9), "float32")})
    assert pytorch_capture.limits(program, signature) == ()
    for length in (1, 2, 3, 20):
        x = torch.randn(3, length)
        assert torch.equal(program.module()(x)[0], module(x))
