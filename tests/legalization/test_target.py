"""Verdicts on operators."""

from __future__ import annotations

import json
import pickle

import pytest

from convkit.legalization.codes import Reason
from convkit.legalization.target import Finding, Target, Verdict, check_operators


@pytest.mark.parametrize("accepts", [frozenset({"Add", "Relu"}), lambda operator: operator in {"Add", "Relu"}])
def test_gaps_come_first_and_carry_a_way_out(accepts: object) -> None:
    target = Target("library", "1.2", accepts, {"Erfc": "1 - Erf"})  # type: ignore[arg-type]
    findings = check_operators({"Relu": 2, "Erfc": 1, "Zeta": 4, "Add": 3, "Igamma": 1}, target)
    assert [(f.operator, f.count, f.verdict) for f in findings] == [
        ("Igamma", 1, Verdict.GAP),
        ("Zeta", 4, Verdict.GAP),
        ("Erfc", 1, Verdict.REWRITTEN),
        ("Add", 3, Verdict.LEGAL),
        ("Relu", 2, Verdict.LEGAL),
    ]
    assert "library 1.2" in findings[0].reason
    assert findings[0].hint
    assert findings[2].reason == "1 - Erf"


def test_a_finding_survives_json() -> None:
    finding = Finding("Erfc", 2, Verdict.REWRITTEN, "1 - Erf", ("model.py:12",), "none")
    assert Finding.from_json(json.loads(json.dumps(finding.to_json()))) == finding


def test_a_reason_keeps_its_code_on_the_way_to_its_finding():
    reason = Reason("its size depends on the data", "CK105")
    longer = Reason.like(pickle.loads(pickle.dumps(reason)), f"it decomposes into x: {reason}")
    finding = Finding("aten.nonzero.default", 1, Verdict.GAP, longer)
    assert finding.code == "CK105"
    assert Finding.from_json(json.loads(json.dumps(finding.to_json()))) == finding
    assert Finding("Conv", 1, Verdict.GAP, Reason.like("plain", "text")).code == "CK101"
    assert Finding("Conv", 1, Verdict.REWRITTEN).code == "CK201"
    assert Finding("Conv", 1, Verdict.LEGAL).code == ""
