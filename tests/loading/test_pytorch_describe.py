"""Signatures of PyTorch models that record none: told, given as arrays, kept by a trace, or inferred."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convkit.arrays import load_arrays
from convkit.artifact import Artifact
from convkit.errors import ConversionError, InputSpecError
from convkit.formats import Variant
from convkit.loading import pytorch as loading
from convkit.loading.pytorch_describe import describe_module
from convkit.signature import Signature, parse_spec


class Described:
    """The signature, the notes, and the examples that were written."""

    def __init__(self, signature: Signature, notes: list[str], examples: Path) -> None:
        self.signature = signature
        self.notes = " ".join(notes)
        self.examples = load_arrays(examples)

    def __str__(self) -> str:
        return str(self.signature)


@pytest.fixture
def describe(tmp_path):
    def call(
        module: Any,
        *specs: str,
        arrays: dict[str, np.ndarray] | None = None,
        dynamic: Mapping[str, Mapping[str, str]] | None = None,
        names: list[str] | None = None,
        source: Artifact | None = None,
    ) -> Described:
        examples = tmp_path / "examples.npz"
        module = module.eval()
        signature, notes = describe_module(module, source, [parse_spec(s) for s in specs], arrays, dynamic or {}, names, examples)
        return Described(signature, notes, examples)

    return call


def traced(module: nn.Module, *inputs: torch.Tensor, path: Path) -> tuple[Any, Artifact]:
    torch.jit.save(torch.jit.trace(module.eval(), inputs), path)
    artifact = Artifact(Variant.TORCHSCRIPT, path)
    return loading.model(artifact), artifact


class Plain(nn.Module):
    """Anything of one input."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Two(nn.Module):
    def forward(self, ids, mask):
        return {"sum": (ids * mask).sum(1), "ids": ids}


class Optional(nn.Module):
    def forward(self, ids, mask=None, kinds=None):
        return ids + 10 * (0 if mask is None else mask) + 100 * (0 if kinds is None else kinds)


class Anything(nn.Module):
    def forward(self, *inputs):
        return inputs[0] - inputs[1]


# --- told by --input


def test_a_dimension_that_is_a_name_is_dynamic_in_inputs_and_outputs(describe):
    found = describe(nn.Linear(4, 2), "x:float32[batch,4]")
    assert str(found) == "x: float32[batch,4] → output: float32[batch,2]"
    assert found.examples["x"].shape[0] >= 2


def test_an_anonymous_dimension_gets_a_name(describe):
    assert str(describe(nn.Linear(4, 2), "input:float32[?,*,4]")) == (
        "input: float32[batch,input_dim1,4] → output: float32[batch,input_dim1,2]"
    )


def test_the_users_names_win_by_position_and_the_modules_own_by_name(describe):
    assert describe(Two(), "a:int64[2,8]", "b:int64[2,8]").signature.input_names == ("a", "b")
    assert describe(Two(), "mask:int64[2,8]", "ids:int64[2,8]").signature.input_names == ("ids", "mask")


def test_an_optional_argument_may_be_given_and_others_left_out(describe):
    found = describe(Optional(), "kinds:int64[2]", "ids:int64[2]")
    assert found.signature.input_names == ("ids", "kinds")
    module = Optional()
    ids, kinds = (torch.as_tensor(found.examples[n]) for n in ("ids", "kinds"))
    assert torch.equal(loading.call(module, ["ids", "kinds"], [ids, kinds]), ids + 100 * kinds)


@pytest.mark.parametrize(
    ("specs", "message", "hint"),
    [
        (["ids:int64[2,8]"], "mask was not given", "--input mask:"),
        (["a:int64[2,8]"], "takes 2 inputs", "every input"),
        (["a:int64[2,8]", "b:int64[2,8]", "c:int64[2,8]"], "takes 2 inputs", "every input"),
        (["ids:int64[2,8]", "ids:int64[2,8]"], "given twice", "once"),
        (["ids:int64[2,8]", "mask:int64[2,9]"], "does not run on", "--input"),
    ],
)
def test_specifications_that_do_not_fit_are_refused(specs, message, hint, describe):
    with pytest.raises(InputSpecError, match=message) as caught:
        describe(Two(), *specs)
    assert hint in caught.value.hint


def test_a_dynamic_size_that_the_model_needs_is_found(describe):
    module = nn.Sequential(nn.Conv2d(3, 4, 7, stride=4), nn.MaxPool2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = describe(module, "input:float32[batch,3,height,width]")
    assert str(found) == "input: float32[batch,3,height,width] → output: float32[batch,4]"
    assert found.examples["input"].shape[2] >= 32


def test_forward_with_any_number_of_arguments_needs_names(describe):
    with pytest.raises(InputSpecError, match=r"\*args") as caught:
        describe(Anything())
    assert "--input name:" in caught.value.hint
    found = describe(Anything(), "b:float32[2]", "a:float32[2]")
    assert str(found) == "b: float32[2], a: float32[2] → output: float32[2]"


def test_a_scalar_input(describe):
    assert str(describe(Plain(lambda x: x * 2), "x:float32[]")) == "x: float32[] → output: float32[]"


# --- given as arrays


def test_arrays_by_name_in_any_order_with_others_beside_them(describe):
    arrays = {"label": np.zeros(2), "mask": np.ones((2, 3), "int64"), "ids": np.ones((2, 3), "int64")}
    found = describe(Two(), arrays=arrays)
    assert str(found) == "ids: int64[2,3], mask: int64[2,3] → sum: int64[2], ids: int64[2,3]"


def test_arrays_by_position(describe):
    arrays = {"1": np.ones((2, 3), "int64"), "0": np.zeros((2, 3), "int64")}
    found = describe(Two(), arrays=arrays)
    assert found.examples["ids"].sum() == 0
    assert found.examples["mask"].sum() == 6


def test_a_lone_array_of_an_npy(describe):
    assert str(describe(nn.Linear(4, 2), arrays={"": np.zeros((3, 4), "float32")})) == (
        "input: float32[3,4] → output: float32[3,2]"
    )


def test_arrays_for_any_number_of_arguments_keep_their_names(describe):
    arrays = {"left": np.ones(2, "float32"), "right": np.zeros(2, "float32")}
    assert describe(Anything(), arrays=arrays).signature.input_names == ("left", "right")
    assert describe(Anything(), arrays={"0": np.ones(2), "1": np.ones(2)}).signature.input_names == ("input_0", "input_1")


def test_an_optional_argument_among_the_arrays_is_given(describe):
    found = describe(Optional(), arrays={"kinds": np.array([1, 2]), "ids": np.array([3, 4])})
    assert found.signature.input_names == ("ids", "kinds")


def test_numpys_float64_is_taken_as_the_float32_that_the_model_computes_in(describe):
    found = describe(nn.Linear(4, 2), arrays={"input": np.zeros((3, 4))})
    assert str(found) == "input: float32[3,4] → output: float32[3,2]"
    assert "float64" in found.notes
    assert found.examples["input"].dtype == np.float32
    assert describe(nn.Linear(4, 2).double(), arrays={"input": np.zeros((3, 4))}).signature.inputs[0].dtype == "float64"


def test_specifications_say_which_dimensions_of_the_arrays_are_dynamic(describe):
    found = describe(nn.Linear(4, 2), "input:float32[batch,4]", arrays={"input": np.zeros((3, 4), "float32")})
    assert str(found) == "input: float32[batch,4] → output: float32[batch,2]"
    with pytest.raises(InputSpecError, match="shape"):
        describe(nn.Linear(4, 2), "input:float32[1,4]", arrays={"input": np.zeros((3, 4), "float32")})


@pytest.mark.parametrize(
    "arrays", [{"ids": np.ones(2)}, {"a": np.ones(2), "b": np.ones(2), "c": np.ones(2)}], ids=["too few", "too many"]
)
def test_a_wrong_number_of_arrays_is_refused(arrays, describe):
    with pytest.raises(InputSpecError, match=r"2 inputs|not given") as caught:
        describe(Two(), arrays=arrays)
    assert caught.value.hint


def test_a_fixed_batch_is_said_with_the_flags_that_change_it(describe):
    arrays = {"ids": np.ones((2, 3), "int64"), "mask": np.ones((2, 3), "int64")}
    assert "--dynamic ids:0=batch --dynamic mask:0=batch" in describe(Two(), arrays=arrays).notes
    dynamic = {"ids": {"0": "n"}, "mask": {"0": "n"}}
    found = describe(Two(), arrays=arrays, dynamic=dynamic)
    assert "--dynamic" not in found.notes
    assert str(found) == "ids: int64[n,3], mask: int64[n,3] → sum: int64[n], ids: int64[n,3]"


# --- kept by a trace


def test_a_trace_keeps_its_shapes(describe, fixtures):
    source = Artifact(Variant.TORCHSCRIPT, fixtures / "digits_cnn" / "digits_cnn.traced.pt")
    module = loading.model(source)
    found = describe(module, source=source)
    assert str(found) == "image: float32[2,1,8,8] → logits: float32[2,10]"
    assert "from the example inputs that the traced file keeps" in found.notes
    assert "--dynamic image:0=batch" in found.notes
    assert found.examples["image"].std() > 0.5
    found = describe(module, source=source, dynamic={"image": {"0": "batch"}})
    assert str(found) == "image: float32[batch,1,8,8] → logits: float32[batch,10]"
    assert "--dynamic" not in found.notes


def test_a_trace_of_token_ids_gets_legal_ones(describe, tmp_path):
    module, source = traced(nn.Embedding(2, 3), torch.zeros(1, 5, dtype=torch.int64), path=tmp_path / "m.pt")
    found = describe(module, source=source, dynamic={"input": {"0": "batch"}})
    assert str(found) == "input: int64[batch,5] → output: float32[batch,5,3]"
    assert found.examples["input"].shape == (2, 5)


def test_a_trace_of_several_inputs(describe, tmp_path):
    module, source = traced(Optional(), torch.ones(2, 3).long(), torch.ones(2, 1).long(), path=tmp_path / "m.pt")
    found = describe(module, source=source)
    assert str(found) == "ids: int64[2,3], mask: int64[2,1] → output: int64[2,3]"


def test_a_trace_that_fixed_its_batch_says_so(describe, tmp_path):
    module, source = traced(Plain(lambda x: x.reshape(2, 12) @ torch.ones(12, 2)), torch.ones(2, 3, 4), path=tmp_path / "m.pt")
    with pytest.raises(InputSpecError, match="another size of dimension 'batch'") as caught:
        describe(module, source=source, dynamic={"x": {"0": "batch"}})
    assert "leave out --dynamic" in caught.value.hint


# --- inferred


class FirstRecurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 8, batch_first=True)

    def forward(self, frames):
        return self.lstm(frames)[0][:, -1]


@pytest.mark.parametrize(
    ("module", "signature"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), "input: float32[batch,3,224,224]"),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 26 * 26, 2)), "input: float32[batch,1,28,28]"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.AdaptiveAvgPool2d(1)), "input: float32[batch,4,224,224]"),
        (nn.Sequential(nn.Conv1d(2, 4, 3), nn.AdaptiveAvgPool1d(1)), "input: float32[batch,2,16]"),
        (nn.Sequential(nn.Linear(6, 4), nn.ReLU()), "input: float32[batch,6]"),
        (nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 4)), "input: float32[batch,784]"),
        (nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 2)), "input: int64[batch,16]"),
        (FirstRecurrent(), "frames: float32[batch,16,5]"),
    ],
    ids=["images", "fixed images", "grouped", "sequences", "features", "flattened", "tokens", "frames"],
)
def test_one_input_is_inferred_from_the_first_layer_and_said(module, signature, describe):
    found = describe(module)
    assert str(found.signature.inputs[0]) == signature
    assert f"assumed {signature}" in found.notes
    assert found.signature.outputs[0].dynamic_dims[:1] == ("batch",)


def test_what_a_scripted_module_takes_is_inferred_too(describe, fixtures):
    source = Artifact(Variant.TORCHSCRIPT, fixtures / "digits_cnn" / "digits_cnn.scripted.pt")
    found = describe(loading.model(source), source=source)
    assert str(found) == "image: float32[batch,1,8,8] → logits: float32[batch,10]"


def test_of_optional_inputs_the_first_is_inferred(describe):
    class AllOptional(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(7, 3)

        def forward(self, input_ids=None, mask=None):
            return self.embedding(input_ids)

    assert str(describe(AllOptional())) == "input_ids: int64[batch,16] → output: float32[batch,16,3]"


def test_several_inputs_are_not_guessed_and_the_flags_are_told(describe):
    with pytest.raises(InputSpecError, match="takes 2 inputs") as caught:
        describe(Two())
    assert "--input ids:float32[…] --input mask:float32[…]" in caught.value.hint


def test_a_module_that_tells_nothing_asks_for_its_input(describe):
    with pytest.raises(InputSpecError, match="first layers do not tell") as caught:
        describe(Plain(torch.relu))
    assert "--input x:" in caught.value.hint


# --- dynamic dimensions


@pytest.mark.parametrize(
    ("dynamic", "message"),
    [({"nobody": {"0": "n"}}, "names no input: nobody"), ({"x": {"5": "n"}}, "no axis 5")],
)
def test_dynamic_must_name_a_dimension_that_is_there(dynamic, message, describe):
    with pytest.raises(InputSpecError, match=message):
        describe(nn.Linear(4, 2), "x:float32[3,4]", dynamic=dynamic)


def test_a_dynamic_dimension_without_a_symbol_gets_one(describe):
    found = describe(nn.Linear(4, 2), "x:float32[3,5,4]", dynamic={"x": {"0": "", "1": ""}})
    assert str(found) == "x: float32[batch,x_dim1,4] → output: float32[batch,x_dim1,2]"


@pytest.mark.parametrize(
    ("function", "output"),
    [
        (lambda x: x.flatten(0, 1), "output: float32[output_dim0,4]"),
        (lambda x: x.flatten(), "output: float32[output_dim0]"),
        (lambda x: torch.cat([x, x], 2), "output: float32[batch,length,8]"),
        (lambda x: torch.cat([x, x], 1), "output: float32[batch,output_dim1,4]"),
        (lambda x: x.mean((0, 1)), "output: float32[4]"),
        (lambda x: x @ x.transpose(1, 2), "output: float32[batch,length,length]"),
        (lambda x: x[:, 1:], "output: float32[batch,output_dim1,4]"),
    ],
    ids=["merged", "flat", "static", "doubled", "reduced", "twice", "shorter"],
)
def test_output_dimensions_that_move_with_an_input_are_dynamic(function, output, describe):
    assert str(describe(Plain(function), "x:float32[batch,length,4]").signature.outputs[0]) == output


def test_a_rank_that_depends_on_a_size_is_refused(describe):
    with pytest.raises(ConversionError, match="rank of output 'output'"):
        describe(Plain(lambda x: x if x.shape[0] == 2 else x.sum()), "x:float32[batch,4]")


def test_a_size_that_is_checked_by_the_model_is_told(describe):
    def picky(x):
        assert x.shape[0] == 2, "batch must be two"
        return x

    with pytest.raises(InputSpecError, match="batch must be two") as caught:
        describe(Plain(picky), "x:float32[batch,4]")
    assert "static" in caught.value.hint


# --- outputs


def test_output_names_of_the_user(describe):
    assert describe(Two(), "a:int64[2,3]", "b:int64[2,3]", names=["p", "q"]).signature.output_names == ("p", "q")


@pytest.mark.parametrize("names", [["p"], ["p", "q", "r"], ["p", "p"]])
def test_output_names_must_fit(names, describe):
    with pytest.raises(InputSpecError, match="outputs are sum, ids") as caught:
        describe(Two(), "a:int64[2,3]", "b:int64[2,3]", names=names)
    assert "--output-names" in caught.value.hint


def test_a_size_that_a_stride_hides_at_one_more_element_is_dynamic(describe):
    found = describe(nn.Conv1d(2, 3, 4, stride=4), "x:float32[batch,2,time]")
    assert found.signature.outputs[0].shape == ("batch", 3, "output_dim2")


def test_outputs_that_are_none_are_left_out(describe):
    found = describe(Plain(lambda x: {"y": x, "cache": None, "states": (x, None)}), "x:float32[n]")
    assert str(found) == "x: float32[n] → y: float32[n], states_0: float32[n]"


def test_a_model_without_tensors_to_give_is_refused(describe):
    with pytest.raises(ConversionError, match="no tensor"):
        describe(Plain(lambda x: None), "x:float32[2]")
