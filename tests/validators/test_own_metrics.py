"""The user's own metrics: how they are asked for, what they measure, and that their faults are told as theirs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from convkit import api
from convkit.cli.main import run
from convkit.errors import InputSpecError, UsageError, WorkerCrashError
from convkit.validators.own_metrics import MetricRequest, parse

METRICS = """
import os
import numpy as np

print("imported")  # a worker's stdout is not the user's

def worst(expected, got):
    return float(np.abs(expected - got).max())

def several(expected, got):
    return {"mean": np.float32(0.5), "count": np.int64(expected.shape[0])}

def nothing(expected, got):
    return None

def broken(expected, got):
    return 1 / 0

def text(expected, got):
    return "good"

def array(expected, got):
    return expected - got

def undefined(expected, got):
    return float("nan")

def quits(expected, got):
    raise SystemExit(3)

def dies(expected, got):
    os._exit(7)

value = 3
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A file of metrics in the working directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.py"
    path.write_text(METRICS)
    return path


@pytest.fixture
def pair(model):
    return model("digits_cnn", "onnx"), model("digits_cnn", "tflite")


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("iou", MetricRequest("iou")),
        ("masks=iou>=0.99", MetricRequest("iou", "masks", ">=", 0.99)),
        ("Identity:0=package.metrics:dice < 1e-3", MetricRequest("package.metrics:dice", "Identity:0", "<", 1e-3)),
        ("package:f>0", MetricRequest("package:f", "", ">", 0.0)),
    ],
)
def test_a_request_is_read(text, request_):
    assert parse([text]) == parse((text,)) == (request_,)
    assert parse(str(request_)) == (request_,)


def test_a_file_is_the_one_of_the_working_directory(file):
    (request,) = parse("y=mine.py:worst<=0.1")
    assert request == MetricRequest(f"{file}:worst", "y", "<=", 0.1)
    assert request.name == "worst"


def test_functions_and_mappings_are_taken(file):
    def mine(expected, got):
        return 1.0

    assert parse(None) == ()
    assert parse(mine) == (MetricRequest(mine),)
    assert parse({"y": [mine, "iou>0.5"]}) == (MetricRequest(mine, "y"), MetricRequest("iou", "y", ">", 0.5))
    assert str(parse({"y": mine})[0]) == "y=mine"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("no-such-metric", "there is no metric 'no-such-metric'"),
        ("nowhere.py:f", "there is no file nowhere.py"),
        ("iou>=many", "cannot read the bound 'many'"),
        ("=iou", "cannot read the metric"),
        ("", "cannot read the metric"),
        (3, "a metric cannot be a int"),
    ],
)
def test_what_cannot_be_read_is_said(asked, said):
    with pytest.raises(UsageError, match=said) as caught:
        parse(asked)
    assert caught.value.hint


def test_bounds_hold_for_every_value_and_for_no_undefined_one():
    request = parse("y=iou>=0.5")[0]
    assert request.broken_by({"a": 0.5, "b": 0.4, "c": float("nan")}) == ["b is 0.4, not >= 0.5", "c is nan, not >= 0.5"]
    assert parse("iou")[0].broken_by({"a": float("nan")}) == []


def test_a_file_s_function_measures_every_input_set(file, pair, capsys):
    arguments = ["validate", *map(str, pair), "--metric", "logits=mine.py:worst<=1e-3", "--metric", "mine.py:several"]
    assert run(arguments) == 0
    out = capsys.readouterr().out
    assert "worst " in out and "mean 0.5" in out and "imported" not in out
    assert run([*arguments, "--json"]) == 0
    for result in json.loads(capsys.readouterr().out)["sets"]:
        (output,) = result["outputs"]
        assert 0 < output["metrics"]["worst"] == pytest.approx(output["max_abs"])
        assert output["metrics"]["mean"] == 0.5 and output["metrics"]["top-1 agreement"] == 1.0
        assert output["kind"].startswith("class scores")


def test_a_bound_that_is_broken_is_drift_and_every_report_says_so(file, pair, tmp_path, capsys):
    reports = [tmp_path / f"out.{suffix}" for suffix in ("html", "md", "xml", "json")]
    options = [text for path in reports for text in ("--report", str(path))]
    arguments = ["validate", *map(str, pair), "--no-locate", "--no-shrink", "--metric", "logits=mine.py:worst<=1e-12"]
    assert run([*arguments, *options]) == 1
    assert "not <= 1e-12" in capsys.readouterr().out
    for path in reports:
        assert "1e-12" in path.read_text(), path


def test_convert_measures_too_and_records_what_was_asked(file, model, tmp_path):
    result = api.convert(model("digits_cnn", "onnx"), "litert", tmp_path / "m.tflite", metrics=["mine.py:worst<1"])
    record = json.loads((tmp_path / "m.tflite.convkit.json").read_text())
    assert record["options"]["metrics"] == [f"{file}:worst<1"]
    assert all(0 < o.metrics["worst"] < 1 for s in result.report.validation.sets for o in s.outputs)


def test_a_record_s_metrics_are_never_run(file, model, tmp_path):
    """They name a file, and the record may be anybody's."""
    source = tmp_path / "digits_cnn.onnx"
    source.write_bytes(model("digits_cnn", "onnx").read_bytes())
    api.convert(source, "litert", tmp_path / "m.tflite", metrics=["mine.py:worst<1"])
    file.write_text("import pathlib; pathlib.Path('ran').write_text('')\n" + METRICS)
    assert api.verify(tmp_path / "m.tflite").ok
    assert not (tmp_path / "ran").exists()


def test_a_function_of_the_caller_is_called_as_it_is(pair):
    seen = []

    def mine(expected, got):
        seen.append(expected.shape)
        return np.float32(len(seen))

    report = api.validate(*pair, metrics={"logits": mine})
    assert len(seen) == len(report.sets) == len({o.metrics["mine"] for s in report.sets for o in s.outputs})


def test_a_registered_metric_is_computed_for_whom_asks(pair):
    report = api.validate(*pair, metrics="logits=label-agreement>=2", locate=False, shrink=False)
    assert report.verdict.value == "drift"
    assert all("not >= 2" in o.problem for s in report.sets for o in s.outputs)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("broken", "the metric broken failed on output 'logits': ZeroDivisionError"),
        ("text", "it returned a str, not a number"),
        ("array", "it returned a ndarray, not a number"),
        ("quits", "the metric quits failed on output 'logits': SystemExit"),
        ("missing", "has no 'missing'"),
        ("value", "is a int"),
    ],
)
def test_its_faults_are_told_without_a_traceback(file, pair, capsys, function, said):
    assert run(["validate", *map(str, pair), "--metric", f"mine.py:{function}"]) == 2
    out, error = capsys.readouterr()
    assert said in error and "Traceback" not in error + out
    if function == "broken":
        line = next(n for n, text in enumerate(METRICS.splitlines(), 1) if "1 / 0" in text)
        assert f"see line {line} of {file}" in error


def test_its_end_is_not_the_caller_s(file, pair):
    with pytest.raises(WorkerCrashError, match="the metric dies"):
        api.validate(*pair, metrics="mine.py:dies")


def test_what_is_not_defined_is_null_in_json(file, pair):
    report = api.validate(*pair, metrics=["mine.py:undefined", "mine.py:nothing"])
    assert report.verdict.value == "proved"
    told = report.to_json()["sets"][0]["outputs"][0]["metrics"]
    assert told["undefined"] is None and "nothing" not in told


def test_a_metric_for_no_output_is_refused_before_the_work(pair):
    with pytest.raises(InputSpecError, match="a metric was given for masks"):
        api.validate(*pair, metrics="masks=iou")


def test_a_browser_s_comparison_takes_none(pair, capsys):
    assert run(["validate", *map(str, pair), "--browser", "--metric", "iou"]) == 2
    assert "--metric and --float64" in capsys.readouterr().err
