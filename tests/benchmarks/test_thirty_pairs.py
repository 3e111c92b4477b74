"""The thirty pairs: a few of them in the default run, all of them in the slow one."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks import thirty_pairs
from benchmarks.thirty_pairs import MARKS, ROOT, Row, table, write_readme


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["thirty_pairs", *arguments])
    code = thirty_pairs.main()
    told = capsys.readouterr().out
    assert code == 0, "\n".join(line for line in told.splitlines() if line.startswith("FAIL"))
    return told


def test_a_dynamic_batch_and_length_survive_what_cannot_name_them(monkeypatch, capsys, tmp_path) -> None:
    pairs = ("litert-pytorch", "savedmodel-onnx", "onnx-tfjs")
    arguments = [part for pair in pairs for part in ("--only", pair)]
    told = run(monkeypatch, capsys, "--model", "tagger", "--json", str(tmp_path / "rows.json"), *arguments)
    assert "6 passed, 0 failed" in told
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert {r["kind"] for r in rows} == {"pair", "back"}


@pytest.mark.slow
def test_every_pair_of_every_model(monkeypatch, capsys) -> None:
    assert "300 passed, 0 failed" in run(monkeypatch, capsys)


def test_a_failure_shows_in_the_table() -> None:
    rows = [
        Row("a", "onnx", "litert", "pair", True, 1.0, "x", 1e-6),
        Row("b", "onnx", "litert", "pair", False, 1.0, why="no"),
        Row("a", "litert", "onnx", "back", True, 1.0, "y", 0.0),
    ]
    (line,) = [line for line in table(rows).splitlines() if line.startswith("| **ONNX**")]
    assert "1/2, back 1/2 (1e-06)" in line


def test_the_table_goes_between_its_marks_and_nowhere_else(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(thirty_pairs, "ROOT", tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n")
    write_readme("| new |")
    assert readme.read_text() == f"before\n{MARKS[0]}\n| new |\n{MARKS[1]}\nafter\n"
    readme.write_text("no marks")
    with pytest.raises(ValueError, match="0 places"):
        write_readme("| new |")


def test_the_readme_has_the_marks() -> None:
    assert all((ROOT / "README.md").read_text().count(mark) == 1 for mark in MARKS)
