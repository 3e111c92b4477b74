"""The API with objects that the caller holds in memory."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import convkit


class Net(nn.Module):
    """Of this file's own process: no worker could import it."""

    def __init__(self):
        super().__init__()
        self.norm, self.linear = nn.BatchNorm1d(4), nn.Linear(4, 3)

    def forward(self, x, bias=None):
        hidden = self.linear(self.norm(x))
        return {"logits": hidden if bias is None else hidden + bias}


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def convert(pool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(model, to="onnx", output=None, **options):
        result = convkit.convert(model, to, output, pool=pool, **options)
        assert result.ok
        return result

    return call


def test_a_module_with_specifications(net, convert, tmp_path):
    result = convert(net, input_specs=["x:float32[batch,4]"])
    assert str(result.artifact.signature) == "x: float32[batch,4] → logits: float32[batch,3]"
    assert result.artifact.path == tmp_path / "model.onnx"
    assert str(convkit.inspect(result.artifact.path).signature) == str(result.artifact.signature)


def test_a_module_with_inputs_of_any_kind(net, convert, tmp_path):
    x = np.random.default_rng(0).standard_normal((3, 4)).astype("float32")
    tensor = torch.from_numpy(x)
    for index, inputs in enumerate((x, tensor, [x], (tensor,), {"x": tensor}, x.astype("float64"))):
        result = convert(net, output=tmp_path / f"{index}.onnx", inputs=inputs)
        assert str(result.artifact.signature) == "x: float32[3,4] → logits: float32[3,3]"
        assert [s.recipe for s in result.report.validation.sets] == ["given"]


def test_a_module_with_inputs_and_a_dynamic_batch(net, convert):
    result = convert(
        net,
        output="named.onnx",
        inputs={"x": torch.ones(1, 4), "bias": torch.ones(3)},
        dynamic={"x": {0: "n"}},
        output_names=["y"],
    )
    assert str(result.artifact.signature) == "x: float32[n,4], bias: float32[3] → y: float32[n,3]"


def test_a_module_stays_as_it_was(net, convert):
    net.train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    convert(net, input_specs=["x:float32[batch,4]"])
    assert net.training
    assert net.linear.training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_a_frozen_part_of_a_training_module_stays_frozen(net, convert):
    net.train()
    net.norm.eval()
    convert(net, input_specs=["x:float32[batch,4]"])
    assert not net.norm.training
    assert net.linear.training


def test_a_module_without_inputs_is_told_what_to_pass(net, convert):
    with pytest.raises(convkit.InputSpecError) as caught:
        convert(net)
    assert "input_specs=" in caught.value.hint


def test_a_module_to_pytorch_has_nothing_to_convert(net, convert):
    with pytest.raises(convkit.UsageError, match="already") as caught:
        convert(net, "pytorch", input_specs=["x:float32[batch,4]"])
    assert "torch.export.save" in caught.value.hint


def test_an_exported_program(net, convert):
    program = torch.export.export(net, (torch.ones(2, 4),), dynamic_shapes=({0: torch.export.Dim("rows")},))
    result = convert(program)
    assert str(result.artifact.signature) == "x: float32[batch,4] → logits: float32[batch,3]"  # torch keeps no names
    renamed = convert(program, output="renamed.onnx", output_names=["scores"])
    assert renamed.artifact.signature.output_names == ("scores",)


def test_a_script_module_keeps_what_is_said_of_its_inputs(net, convert):
    scripted = torch.jit.script(nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval())
    result = convert(scripted, input_specs=["x:float32[rows,4]"], output_names=["y"])
    assert str(result.artifact.signature) == "x: float32[rows,4] → y: float32[rows,3]"


def test_a_trace_becomes_an_exported_program(net, convert, tmp_path):
    traced = torch.jit.trace(net, torch.ones(2, 4), strict=False)
    result = convert(traced, "pytorch", dynamic={"x": {0: "rows"}})
    assert result.artifact.path == tmp_path / "model.pt2"
    assert str(result.artifact.signature) == "x: float32[rows,4] → logits: float32[rows,3]"


def test_an_onnx_model(model, convert, tmp_path):
    proto = onnx.load(model("digits_cnn", "onnx"))
    result = convert(proto, "litert")
    assert result.artifact.path == tmp_path / "model.tflite"
    renamed = convert(proto, "litert", "renamed.tflite", output_names=["scores"])
    assert str(renamed.artifact.signature) == "image: float32[batch,1,8,8] → scores: float32[batch,10]"


def test_an_object_that_cannot_be_saved_is_an_error(convert):
    class Odd(torch.export.ExportedProgram):
        def __init__(self):
            pass

    with pytest.raises(convkit.ConvkitError) as caught:
        convert(Odd())
    assert caught.value.hint


@pytest.mark.parametrize(
    "thing",
    [3, {"weights": 1}, [nn.Linear(1, 1)], nn.Linear, lambda x: x],
    ids=["number", "dictionary", "list of modules", "class", "function"],
)
def test_anything_else_is_refused(thing, convert):
    with pytest.raises(convkit.UsageError, match="cannot convert a") as caught:
        convert(thing)
    assert "nn.Module" in caught.value.hint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "no model was given"),
        ({"weights": "w.pt"}, "--weights needs --model"),
        ({"model": "m.onnx", "to": ""}, "no target format"),
        ({"model": "m.onnx"}, "there is no file"),
    ],
)
def test_what_is_missing_is_said(arguments, message, pool):
    with pytest.raises(convkit.ConvkitError, match=message):
        convkit.convert(**{"to": "onnx", **arguments}, pool=pool)


def test_inputs_that_are_no_arrays_are_refused(net, convert):
    with pytest.raises(convkit.InputSpecError, match="no array"):
        convert(net, inputs=[object()])


def test_check_and_validate_take_live_models(net, pool, convert):
    result = convert(net, input_specs=["x:float32[batch,4]"])
    assert convkit.check(net, "litert", input_specs=["x:float32[batch,4]"], pool=pool).ok
    report = convkit.validate(net, result.artifact.path, input_specs=["x:float32[batch,4]"], pool=pool)
    assert report.verdict == "proved"


_KERAS = """
import json, os, sys
os.environ["KERAS_BACKEND"] = "tensorflow"
import keras
import convkit
model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, name="y")])
result = convkit.convert(model, "onnx")
print(json.dumps([result.verdict, str(result.artifact.signature), result.artifact.path.name]))
"""


@pytest.mark.slow
def test_a_keras_model(tmp_path):
    """In a process of its own: TensorFlow stays out of the tests'."""
    done = subprocess.run([sys.executable, "-c", _KERAS], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    verdict, signature, name = json.loads(done.stdout.splitlines()[-1])
    assert (verdict, name) == ("proved", "model.onnx")
    assert signature.startswith("x: float32[batch,4] → ")


_OWN_CLASSES = """
import json, os
os.environ["KERAS_BACKEND"] = "tensorflow"
import keras, numpy
import convkit

class Doubled(keras.layers.Layer):
    def call(self, x):
        return x * 2

class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3)

    def call(self, x):
        return self.dense(x)

given = keras.Input((4,), name="x")
layered = keras.Model(given, keras.layers.Lambda(lambda x: x + 1)(Doubled()(given)))
own = Own()
own(numpy.ones((2, 4), numpy.float32))
results = [convkit.convert(model, "onnx", name + ".onnx") for name, model in (("layered", layered), ("own", own))]
print(json.dumps([[r.verdict, [str(t) for t in r.artifact.signature.inputs]] for r in results]))
"""


@pytest.mark.slow
def test_a_keras_model_of_the_callers_own_classes(tmp_path):
    """No other process could load them, so what is saved is their graph."""
    done = subprocess.run([sys.executable, "-c", _OWN_CLASSES], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    layered, own = json.loads(done.stdout.splitlines()[-1])
    assert layered == ["proved", ["x: float32[batch,4]"]]
    assert own[0] == "proved"
