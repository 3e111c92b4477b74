"""The corpus of onnx's node tests: what is baked in, and how outputs are judged."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from benchmarks import onnx_node_corpus as corpus
from benchmarks.onnx_node_corpus import Case

CASE = Case("test_case", ("Add",), 1e-3, 1e-4)


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    return {case.name: case for case in corpus.load()}


def test_weights_axes_and_shapes_are_parameters_and_data_is_not():
    floats, integers = np.ones(3, np.float32), np.ones(3, np.int64)
    assert corpus.is_parameter("Conv", 1, floats)
    assert not corpus.is_parameter("Conv", 0, floats)
    assert corpus.is_parameter("Reshape", 1, integers)
    assert not corpus.is_parameter("Add", 1, floats)
    assert not corpus.is_parameter("Gather", 1, integers)


def test_the_files_hold_what_is_fed_and_what_is_not(cases):
    case = cases["test_unsqueeze_two_axes"]
    model = onnx.load(case.model)
    assert [v.name for v in model.graph.input] == list(case.inputs()) == ["x"]
    assert [i.name for i in model.graph.initializer] == ["axes"]
    assert list(case.expected()) == ["y"]
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == list(case.inputs()["x"].shape)


def test_every_case_is_there_with_what_it_needs(cases):
    assert len(cases) > 1500
    for case in list(cases.values())[::50]:
        graph = onnx.load(case.model).graph
        assert [v.name for v in graph.input] == list(case.inputs())
        assert [v.name for v in graph.output] == list(case.expected())


def test_a_narrower_dtype_agrees_and_a_wrong_number_or_shape_does_not():
    wide = np.array([1.0, np.nan, 3.0])
    assert corpus.differs(CASE, [wide], [wide.astype(np.float32)]) is None
    assert "differs by 1" in str(corpus.differs(CASE, [wide], [np.array([2.0, np.nan, 3.0])]))
    assert "shape [1, 3]" in str(corpus.differs(CASE, [wide], [wide[None]]))
    assert "0 outputs" in str(corpus.differs(CASE, [wide], []))
    assert "truth" in str(corpus.differs(CASE, [np.array([True])], [np.array([False])]))
