"""Output appears when it is complete, and only then."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

import pytest

from convkit import OutputExistsError, UsageError
from convkit.staging import staging


def write(area, kind, content="new"):
    if kind == "file":
        area.path.write_text(content)
    else:
        area.path.mkdir()
        (area.path / "inner").write_text(content)


@pytest.mark.parametrize("kind", ["file", "directory"])
@pytest.mark.parametrize("before", ["nothing", "file", "directory"])
def test_commit_replaces_whatever_was_there(kind, before, tmp_path):
    output = tmp_path / "model"
    if before == "file":
        output.write_text("old")
    elif before == "directory":
        output.mkdir()
        (output / "old").write_text("old")
    with staging(output, force=True) as area:
        write(area, kind)
        area.commit()
    assert (output if kind == "file" else output / "inner").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_companion_files_move_with_the_model(tmp_path):
    with staging(tmp_path / "a.onnx", force=False) as area:
        write(area, "file")
        (area.path.parent / "a.onnx.data").write_text("weights")
        area.commit()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.onnx", "a.onnx.data"]


def test_a_companion_file_that_is_there_needs_force_too(tmp_path):
    (tmp_path / "a.onnx.data").write_text("of another model")
    for force in (False, True):
        with contextlib.suppress(OutputExistsError), staging(tmp_path / "a.onnx", force=force) as area:
            write(area, "file")
            (area.path.parent / "a.onnx.data").write_text("weights")
            area.commit()
        assert (tmp_path / "a.onnx").exists() is force
    assert (tmp_path / "a.onnx.data").read_text() == "weights"


def test_without_commit_nothing_is_left(tmp_path):
    output = tmp_path / "model"
    output.write_text("old")
    with pytest.raises(RuntimeError), staging(output, force=True) as area:
        write(area, "file")
        raise RuntimeError
    assert output.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_an_existing_output_needs_force(tmp_path):
    (tmp_path / "model").write_text("old")
    with pytest.raises(OutputExistsError), staging(tmp_path / "model", force=False):
        pytest.fail("must not start")


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"), staging(tmp_path / "file" / "model", force=False):
        pytest.fail("must not start")


def test_what_a_killed_process_left_is_cleared(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait()
    abandoned = tmp_path / f".model.convkit-{ended.pid}-abc"
    in_use = tmp_path / f".model.convkit-{os.getpid()}-abc"
    other = tmp_path / f".other.convkit-{ended.pid}-abc"
    for directory in (abandoned, in_use, other):
        directory.mkdir()
    with staging(tmp_path / "model", force=False):
        assert not abandoned.exists()
    assert in_use.exists()
    assert other.exists()
