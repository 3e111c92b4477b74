"""The corpus of torch's operator database: what a case holds, and that it goes through the real pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing._internal import common_methods_invocations

from benchmarks import torch_operators as operators
from benchmarks.onnx_node_suite import Suite


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, operators.OperatorCase]:
    """The cases of three operators; torch saves no program whose result is a named tuple."""
    chosen = [o for o in common_methods_invocations.op_db if o.name in ("lgamma", "fmax", "kthvalue")]
    monkeypatch.setattr(common_methods_invocations, "op_db", chosen)
    monkeypatch.setattr(operators, "ROOT", tmp_path)
    return {case.name: case for case in operators.load()}


def test_cases_hold_what_torch_computes(corpus: dict[str, operators.OperatorCase]) -> None:
    assert sorted(corpus) == ["fmax_0", "fmax_1", "lgamma_0"]
    (x,), (wanted,) = corpus["lgamma_0"].inputs().values(), corpus["lgamma_0"].expected().values()
    np.testing.assert_allclose(torch.lgamma(torch.from_numpy(x)).numpy(), wanted, rtol=1e-6)
    assert "aten.lgamma.default" in corpus["lgamma_0"].operators


def test_a_case_is_right(corpus: dict[str, operators.OperatorCase], pool) -> None:
    outcome = Suite("onnx").outcome(corpus["lgamma_0"], pool)
    assert (outcome.verdict, outcome.reason, outcome.route) == ("right", "", "torch-onnx")
