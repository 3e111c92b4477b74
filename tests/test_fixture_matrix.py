"""Every shipped model over every route: a sample in the default run, all of them in the slow one."""

from __future__ import annotations

import sys

import pytest

from benchmarks import fixture_matrix


def run(monkeypatch, capsys, *arguments) -> list[str]:
    monkeypatch.setattr(sys, "argv", ["fixture_matrix", *arguments])
    code = fixture_matrix.main()
    lines = capsys.readouterr().out.splitlines()
    assert code == 0, "\n".join(line for line in lines if line.startswith("FAIL"))
    return lines


def test_a_sample_of_the_matrix(monkeypatch, capsys):
    assert len(run(monkeypatch, capsys, "--every", "13")) > 10


@pytest.mark.parametrize("route", ["pt2 litert-torch → tf2onnx-tflite", "scripted.pt ts2ep → torch-onnx"])
def test_routes_that_were_hard_to_get_right(route, monkeypatch, capsys):
    """The first loses a bias, an embedding and stale constants in the bare libraries, the second a dynamic batch."""
    variant, _, chain = route.partition(" ")
    lines = run(monkeypatch, capsys, "--variant", variant, "--route", chain)
    assert len(lines) == 4


@pytest.mark.slow
def test_the_whole_matrix(monkeypatch, capsys):
    assert len(run(monkeypatch, capsys)) > 150
