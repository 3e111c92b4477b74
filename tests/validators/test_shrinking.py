"""Inputs on which two models differ are kept, made small, and run again."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from convkit import api
from convkit.arrays import load_arrays
from convkit.cli.main import run
from convkit.signature import Signature, TensorSpec
from convkit.validators.shrinking import SearchOverError, shrunk

SIGNATURE = Signature((TensorSpec("x", "float32", ("n", "t", 4)), TensorSpec("ids", "int64", ("n",))), ())


def arrays():
    rng = np.random.default_rng(0)
    return {"x": rng.standard_normal((3, 8, 4)).astype(np.float32), "ids": np.array([4, 5, 6])}


def test_one_sample_one_step_one_value_are_left():
    def fails(found):
        return bool((found["x"] > 1.5).any())

    found = shrunk(arrays(), SIGNATURE, fails)
    assert fails(found) and found["x"].shape[0] == 1 and found["ids"].tolist() == [0]
    assert np.count_nonzero(found["x"]) == 1 and found["x"].max() == np.round(found["x"].max())


def test_the_sizes_stay_where_they_matter():
    found = shrunk(arrays(), SIGNATURE, lambda a: a["x"].shape[:2] >= (2, 5) and a["x"].shape[1] >= 5)
    assert found["x"].shape == (2, 8, 4) and not found["x"].any()


def test_nothing_is_changed_when_nothing_else_fails():
    before = arrays()
    after = shrunk(before, SIGNATURE, lambda a: False)
    assert all(after[n] is before[n] for n in before)


def test_a_search_that_is_over_ends_at_once():
    """Of a million values a million can be tried alone: those tries must not be made up once there is no time for them."""
    large, seen = {"x": np.ones((1 << 20,), np.float32)}, []

    def fails(candidate):
        seen.append(candidate)
        if len(seen) > 3:
            raise SearchOverError
        return len(seen) == 2

    found = shrunk(large, Signature((TensorSpec("x", "float32", (1 << 20,)),), ()), fails)
    assert found is seen[1] and len(seen) == 4


@pytest.fixture(scope="module")
def faulty(fixtures, tmp_path_factory) -> Path:
    """The shipped CNN with one wrong weight of its last layer."""
    model = onnx.load(fixtures / "digits_cnn" / "digits_cnn.onnx")
    last = max((t for t in model.graph.initializer if len(t.dims) == 2 and 10 in t.dims), key=lambda t: len(t.raw_data))
    weights = onnx.numpy_helper.to_array(last).copy()
    weights.flat[5] += 0.5
    last.CopyFrom(onnx.numpy_helper.from_array(weights, last.name))
    path = tmp_path_factory.mktemp("faulty") / "faulty.onnx"
    onnx.save(model, path)
    return path


def test_what_is_written_drifts_again_and_is_small(model, faulty, tmp_path, pool):
    source, file = model("digits_cnn", "onnx"), tmp_path / "failing.npz"
    start = time.monotonic()
    report = api.validate(source, faulty, failing=file, locate=False, pool=pool)
    assert time.monotonic() - start < 20
    found = report.failing
    assert found.path == file and found.recipe == report.worst.recipe and 0 < found.runs <= 120
    kept = load_arrays(file)["image"]
    assert kept.shape == (1, 1, 8, 8) and np.count_nonzero(kept) < 32
    assert f"{np.count_nonzero(kept)} of 64 values" in found.inputs["image"]
    again = api.validate(source, faulty, inputs=file, locate=False, shrink=False, pool=pool)
    assert again.verdict.value == "drift" and again.required == pytest.approx(found.required)
    assert json.loads(json.dumps(report.to_json()))["failing"]["path"] == str(file)
    assert [p.name for p in tmp_path.iterdir()] == ["failing.npz"]


def test_the_command_line_puts_it_beside_the_report_and_says_how_to_run_it(model, faulty, tmp_path, capsys):
    source = model("digits_cnn", "onnx")
    assert run(["validate", str(source), str(faulty), "--no-locate", "--report", str(tmp_path / "drift.md")]) == 1
    out = capsys.readouterr().out
    file = tmp_path / "drift.failing.npz"
    command = f"convkit validate {source} {faulty} --inputs {file}"
    assert file.exists() and command in out
    assert run([*command.split()[1:], "--no-shrink", "--no-locate"]) == 1
    assert file.name in (tmp_path / "drift.md").read_text().replace("\\", "")


def test_without_a_report_it_is_below_the_cache_and_the_oldest_go(model, faulty, tmp_path, monkeypatch, pool):
    monkeypatch.setenv("CONVKIT_CACHE", str(tmp_path))
    directory = tmp_path / "failing"
    directory.mkdir()
    for k in range(60):
        (directory / f"{k:02}.npz").touch()
    report = api.validate(model("digits_cnn", "onnx"), faulty, locate=False, pool=pool)
    assert report.failing.path.parent == directory and report.failing.path.exists()
    assert len([*directory.iterdir()]) == 40


def test_nobody_looks_where_nobody_wants_that_or_nothing_drifts(model, faulty, tmp_path, pool):
    source = model("digits_cnn", "onnx")
    assert api.validate(source, faulty, failing=tmp_path / "f.npz", shrink=False, locate=False, pool=pool).failing is None
    assert api.validate(source, source, failing=tmp_path / "f.npz", pool=pool).failing is None
    assert not [*tmp_path.iterdir()]


def test_what_cannot_be_written_is_a_note(model, faulty, tmp_path, pool):
    file = tmp_path / "no" / "such" / "directory.npz"
    report = api.validate(model("digits_cnn", "onnx"), faulty, failing=file, locate=False, pool=pool)
    assert report.failing is None and any("could not be kept" in n for n in report.notes)


def test_a_conversion_that_drifts_keeps_them_too(model, tmp_path, pool):
    import convkit

    with pytest.raises(convkit.DriftError) as caught:
        convkit.convert(
            model("digits_cnn", "onnx"),
            "litert",
            tmp_path / "a.tflite",
            route=["onnx-tflite"],
            tolerance=1e-12,
            failing=tmp_path / "f.npz",
            pool=pool,
        )
    assert caught.value.report.attempts[0].validation.failing.path.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["f.npz"]
