"""`validate` looks inside real models of different formats: it finds a fault, and none where there is none."""

from __future__ import annotations

import onnx
import pytest
from onnx import helper

from convkit import api
from convkit.cli.main import run


@pytest.mark.parametrize("target", ["litert", "executorch", "tfjs"])
def test_a_sound_conversion_has_no_suspects(model, tmp_path, target):
    source = model("digits_transformer", "onnx")
    converted = api.convert(source, target, output=tmp_path / f"model.{target}", validate=False).artifact.path
    report = api.validate(source, converted, locate=True)
    assert report.verdict.value == "proved"
    assert report.drift.suspects == [] and report.drift.compared == len(report.drift.operators) > 50
    hidden = [note for note in report.drift.notes if "looked into through" in note]
    assert bool(hidden) == (target == "executorch")


@pytest.fixture(scope="module")
def faulty(fixtures, tmp_path_factory):
    """A transformer, one of whose softmaxes runs over another axis, as a `.tflite`."""
    directory = tmp_path_factory.mktemp("faulty")
    proto = onnx.load(fixtures / "digits_transformer" / "digits_transformer.onnx")
    softmax = [n for n in proto.graph.node if n.op_type == "Softmax"][1]
    del softmax.attribute[:]
    softmax.attribute.append(helper.make_attribute("axis", -2))
    del proto.graph.value_info[:]
    onnx.save(proto, directory / "faulty.onnx")
    return softmax.name, api.convert(directory / "faulty.onnx", "litert", output=directory / "faulty.tflite").artifact.path


def test_the_operator_and_the_cause_are_named(model, faulty, capsys):
    name, path = faulty
    report = api.validate(model("digits_transformer", "onnx"), path)
    first = report.drift.suspects[0]
    assert (first.name, first.code) == (name, "wrong-axis") and first.error_in < 1e-5 < first.error
    assert first.picture is not None and first.picture.sample and first.picture.heat
    assert run(["validate", str(model("digits_transformer", "onnx")), str(path)]) == 1
    out = capsys.readouterr().out
    assert f"Softmax {name}" in out and "it runs over axis" in out and "▁" in out


def test_it_is_not_looked_into_when_nobody_wants_that(model, faulty):
    report = api.validate(model("digits_transformer", "onnx"), faulty[1], locate=False)
    assert report.verdict.value == "drift" and report.drift is None


def test_a_user_s_tolerance_is_that_of_operators_too(model, faulty):
    report = api.validate(model("digits_transformer", "onnx"), faulty[1], tolerance=100.0, locate=True)
    assert report.verdict.value == "proved" and report.drift.tolerated == 100.0 and not report.drift.suspects
