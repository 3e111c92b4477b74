"""The node suite's verdicts, on cases that go through the real pipeline."""

from __future__ import annotations

import pytest

import convkit
from benchmarks import onnx_node_corpus as corpus
from benchmarks.onnx_node_suite import Outcome, Suite, misses, onnx_runtime_passes, table, verdict_on


@pytest.fixture(scope="module")
def cases():
    return {case.name: case for case in corpus.load()}


def test_a_case_that_converts_is_right(cases, pool):
    outcome = Suite("pytorch").outcome(cases["test_leakyrelu"], pool)
    assert (outcome.verdict, outcome.reason, outcome.route) == ("right", "", "onnx-torch")
    assert outcome.check == "legal"


def test_a_case_that_no_check_accepts_is_refused_with_the_operator(cases, pool):
    outcome = Suite("pytorch").outcome(cases["test_tfidfvectorizer_tf_only_bigrams_skip0"], pool)
    if outcome.verdict != "right":
        assert outcome.verdict == "refused"
        assert "TfIdfVectorizer" in outcome.reason


def test_errors_name_verdicts():
    assert verdict_on(convkit.OperatorGapError("no")) == "refused"
    assert verdict_on(convkit.ConversionError("no")) == "missed"
    assert verdict_on(convkit.WorkerCrashError("no")) == "crashed"
    assert verdict_on(convkit.WorkerTimeoutError("no")) == "timed out"


def test_onnx_runtime_passes_most_of_the_corpus(cases):
    passes = onnx_runtime_passes(list(cases.values()))
    assert sum(not why for why in passes.values()) > 1300


def test_the_table_counts_and_the_list_groups():
    found = [
        Outcome("a", "litert", "right", route="x", check="gap"),
        Outcome("b", "litert", "refused", "Foo ×1: no kernel (at n1)"),
        Outcome("c", "litert", "refused though right", "Foo ×1: no kernel (at n2)"),
        Outcome("d", "litert", "wrong", "output 0 differs by 3", "x", check="legal"),
    ]
    assert "| litert | 4 | 1 (25.0%) | 1 | 1 | 0 | 0 | 1 | 0 | 0 | 1 | 1 |" in table(found)
    told = misses(found)
    assert "- `d` wrong (x): output 0 differs by 3" in told
    assert "- 2, 1 of them right when forced: Foo ×1: no kernel (`b`, …)" in told
