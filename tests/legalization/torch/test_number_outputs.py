"""Sizes and numbers that a model returns are outputs like others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import convkit
from convkit.legalization.number_outputs import tensors_for_numbers


class _Counts(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        return {"double": x * 2, "length": x.shape[0], "half": 0.5, "sure": True}


@pytest.fixture
def program() -> torch.export.ExportedProgram:
    return torch.export.export(_Counts(), (torch.ones(3, 2),), dynamic_shapes=({0: torch.export.Dim("n")},))


def test_numbers_become_tensors(program: torch.export.ExportedProgram) -> None:
    assert tensors_for_numbers(program) == 3
    assert tensors_for_numbers(program) == 0
    got = program.module()(torch.ones(5, 2))
    assert (got["length"].item(), got["half"].item(), got["sure"].item()) == (5, 0.5, True)


def test_they_are_outputs_of_a_converted_model(program: torch.export.ExportedProgram, tmp_path: Path) -> None:
    torch.export.save(program, tmp_path / "counts.pt2")
    convkit.convert(tmp_path / "counts.pt2", "onnx", tmp_path / "counts.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "counts.onnx")
    assert [o.name for o in session.get_outputs()] == ["double", "length", "half", "sure"]
    assert session.run(["length"], {"x": np.ones((4, 2), np.float32)})[0] == 4
