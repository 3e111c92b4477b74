"""Which made-up inputs a comparison counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import convkit
from convkit.workers.pool import WorkerPool


@pytest.fixture
def reduction(tmp_path: Path) -> Path:
    """A sum along an axis that is an input; what it declares of the result holds for axis 1 alone."""
    inputs = [helper.make_tensor_value_info("x", 1, [3, 4, 2]), helper.make_tensor_value_info("axes", TensorProto.INT64, [1])]
    outputs = [helper.make_tensor_value_info("y", 1, [3, 1, 2])]
    graph = helper.make_graph([helper.make_node("ReduceSum", ["x", "axes"], ["y"])], "g", inputs, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_inputs_on_which_a_source_departs_from_what_it_declares_do_not_count(reduction: Path, tmp_path: Path, pool: WorkerPool):
    result = convkit.convert(reduction, "savedmodel", tmp_path / "out", pool=pool)
    validation = result.report.attempts[-1].validation
    assert validation is not None and result.verdict == "proved"
    assert any("it declares y as [3, 1, 2] and gives [1, 4, 2]" in note for note in validation.notes)
    assert "zeros" not in {s.recipe for s in validation.sets}


def test_the_users_own_inputs_count_always(reduction: Path, tmp_path: Path, pool: WorkerPool):
    samples = {"x": np.ones((3, 4, 2), np.float32), "axes": np.array([0])}
    compared = convkit.validate(reduction, reduction, inputs=samples, pool=pool)
    assert len(compared.sets) == 1 and compared.verdict == "proved"
