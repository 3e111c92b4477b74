"""`verify` and `--baseline`: a record's claims hold again, or what does not is said; a record is a file that may lie."""

from __future__ import annotations

import json
import shutil

import onnx
import pytest
from onnx import numpy_helper

from convkit import api, evidence
from convkit.cli.main import run
from convkit.errors import UnreadableModelError, UsageError
from convkit.reports.schema import NoiseFloor, OutputMetrics, SetResult, Tolerance, ValidationReport


@pytest.fixture(scope="module")
def converted(tmp_path_factory, fixtures):
    """A converted model with its record, beside what it was converted from."""
    directory = tmp_path_factory.mktemp("evidence")
    source = shutil.copy(fixtures / "digits_cnn" / "digits_cnn.onnx", directory)
    return api.convert(source, "litert", output=directory / "cnn.tflite").artifact.path


@pytest.fixture
def copy(converted, tmp_path):
    """The same three files, to be changed."""
    for path in converted.parent.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / converted.name


def other_weights(path):
    model = onnx.load(path)
    weight = next(t for t in model.graph.initializer if len(t.dims) == 4)
    changed = numpy_helper.to_array(weight).copy()
    changed[1] *= 1.5
    weight.CopyFrom(numpy_helper.from_array(changed, weight.name))
    onnx.save(model, path)


def test_a_record_holds(converted, capsys):
    found = api.verify(converted)
    assert found.ok and not found.failures and not found.changed and found.report.verdict.value == "proved"
    assert run(["verify", str(converted), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_another_file_is_not_what_was_proved(copy, capsys):
    other_weights(copy.with_name("digits_cnn.onnx"))
    assert run(["verify", str(copy)]) == 1
    assert "digits_cnn.onnx of the record: its digest is another" in capsys.readouterr().out


def test_a_record_of_files_that_do_not_agree_does_not_hold(copy):
    """Digests can be written anew; the comparison cannot."""
    other_weights(copy.with_name("digits_cnn.onnx"))
    record = copy.with_name(copy.name + ".convkit.json")
    data = json.loads(record.read_text())
    from convkit.artifact import digest_of

    data["source"]["digest"] = digest_of(copy.with_name("digits_cnn.onnx"))
    record.write_text(json.dumps(data))
    found = api.verify(copy)
    assert not found.ok and "the models do not agree" in found.failures[0]
    assert found.report.drift.suspects[0].operator == "Conv"


def test_other_versions_are_told(copy):
    record = copy.with_name(copy.name + ".convkit.json")
    data = json.loads(record.read_text())
    data["versions"]["onnxruntime"] = "1.0"
    record.write_text(json.dumps(data))
    found = api.verify(copy)
    assert found.ok and found.changed["onnxruntime"][0] == "1.0"


def test_without_record_or_source(copy, tmp_path):
    copy.with_name("digits_cnn.onnx").unlink()
    with pytest.raises(UsageError, match=r"there is no file .*digits_cnn\.onnx"):
        api.verify(copy)
    copy.with_name(copy.name + ".convkit.json").unlink()
    with pytest.raises(UsageError, match=r"there is no file .*convkit\.json"):
        api.verify(copy)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"attempts": []}', '{"attempts": [{"validation": 3}], "source": {}}', '{"attempts": 7, "target": null}'],
)
def test_damaged_records(copy, text):
    copy.with_name(copy.name + ".convkit.json").write_text(text)
    with pytest.raises(UnreadableModelError):
        api.verify(copy)


def test_a_source_outside_of_the_directory_is_not_followed(copy):
    record = copy.with_name(copy.name + ".convkit.json")
    data = json.loads(record.read_text())
    data["source"]["path"] = "../../../etc/passwd"
    record.write_text(json.dumps(data))
    with pytest.raises(UsageError, match=r"there is no file .*passwd"):
        api.verify(copy)


def test_a_baseline_gates_what_got_worse(copy, tmp_path, capsys):
    source, base = copy.with_name("digits_cnn.onnx"), tmp_path / "base.json"
    assert run(["validate", str(source), str(copy), "--report", str(base), "-q"]) == 0
    assert run(["validate", str(source), str(copy), "--baseline", str(base), "-q"]) == 0
    other_weights(source)
    assert run(["validate", str(source), str(copy), "--baseline", str(base)]) == 1
    assert "output logits needs" in capsys.readouterr().out


def test_what_is_within_the_source_s_own_noise_is_not_worse():
    loud = NoiseFloor(8e-5, "its weights move by a last bit")
    for required, told in ((7e-5, 0), (9e-5, 1)):
        output = OutputMetrics("y", 1.0, required, required, 0.0, None, None, None, required, 8e-4, True, noise=loud)
        report = ValidationReport("A", "B", {"y": Tolerance(2.5e-5, "")}, [SetResult("seed 0", (output,), 0.1, 0.1)])
        assert len(evidence.worse_than({"y": 1e-6}, report)) == told


def test_worse_is_told_beyond_what_machines_differ_by(converted):
    report = api.verify(converted).report
    needed = max(o.required for s in report.sets for o in s.outputs)
    assert evidence.worse_than({"logits": needed / 1.5}, report) == []
    assert evidence.worse_than({}, report) == ["output logits is not in the baseline"]
    report.sets = [
        type(s)(s.recipe, tuple(type(o)(**{**vars(o), "required": 1e-3}) for o in s.outputs), 0, 0) for s in report.sets
    ]
    assert "it needed" in evidence.worse_than({"logits": needed}, report)[0]


def test_a_baseline_must_be_a_report(tmp_path, copy):
    base = tmp_path / "base.json"
    base.write_text('{"sets": []}')
    assert run(["validate", str(copy), str(copy), "--baseline", str(base)]) == 2
