"""ONNX's own backend node tests through both importers: right, or refused for one of the reasons known here; never wrong.

`python -m benchmarks.onnx_node_suite` runs them to every target through the whole pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnx_nodes as nodes
import pytest

from benchmarks import onnx_node_corpus as corpus
from benchmarks.onnx_node_suite import onnx_runtime_passes
from convkit.interpreters.interpreter import NodeError

REFUSED = {
    "pytorch": {
        "test_affine_grid_2d_expanded",
        "test_affine_grid_2d_align_corners_expanded",
        "test_affine_grid_3d_expanded",
        "test_affine_grid_3d_align_corners_expanded",
        "test_melweightmatrix",
        "test_upsample_nearest",
    },
    "tensorflow": {
        "test_affine_grid_2d_expanded",
        "test_affine_grid_2d_align_corners_expanded",
        "test_affine_grid_3d_expanded",
        "test_affine_grid_3d_align_corners_expanded",
    },
}
"""Sizes and tables that are computed from the model's inputs, and branches of different ranks: no traced graph has them."""

IMPORTERS = {"pytorch": nodes.pytorch, "tensorflow": nodes.tensorflow}


@pytest.fixture(scope="module")
def cases() -> list[corpus.Case]:
    """What ONNX Runtime itself runs right."""
    every = corpus.load()
    verdicts = onnx_runtime_passes(every)
    return [case for case in every if not verdicts[case.name]]


def misses(
    cases: Sequence[corpus.Case], importer: Callable[[onnx.ModelProto, nodes.Feeds], list[np.ndarray]], known: set[str]
) -> dict[str, str]:
    found = {}
    for case in cases:
        feeds = case.inputs()
        try:
            difference = corpus.differs(case, list(case.expected().values()), importer(onnx.load(case.model), feeds))
        except Exception as error:
            chain: list[BaseException | None] = [error, error.__cause__, error.__context__]
            if case.name in known and any(isinstance(e, NodeError) for e in chain):
                continue
            difference = f"{type(error).__name__}: {error}"
        if difference:
            found[case.name] = difference
    return found


@pytest.mark.parametrize("framework", IMPORTERS)
def test_a_sample_is_right(framework: str, cases: list[corpus.Case]) -> None:
    assert misses(cases[::16], IMPORTERS[framework], REFUSED[framework]) == {}


@pytest.mark.slow
@pytest.mark.parametrize("framework", IMPORTERS)
def test_every_case_is_right_or_refused_for_a_known_reason(framework: str, cases: list[corpus.Case]) -> None:
    assert len(cases) > 1300
    assert misses(cases, IMPORTERS[framework], REFUSED[framework]) == {}
