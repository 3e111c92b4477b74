"""What the terminal says of a comparison: a line where it went well, the failures where it did not."""

from __future__ import annotations

import numpy as np

from convkit.reports import terminal
from convkit.reports.schema import SetResult, Tolerance, ValidationReport
from convkit.validators.numerics import compare_outputs

_TOLERANCE = {"scores": Tolerance(1e-5, "float32")}


def compared(*errors: float) -> ValidationReport:
    report = ValidationReport("A", "B")
    report.tolerances = dict(_TOLERANCE)
    expected = {"scores": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)}
    for seed, error in enumerate(errors):
        metrics = compare_outputs(expected, {"scores": expected["scores"] + np.float32(error)}, _TOLERANCE)
        report.sets.append(SetResult(f"seed {seed}", metrics, 0.0, 0.0))
    return report


def test_outputs_that_agree_have_a_line_each_for_their_worst_set():
    ((label, text),) = terminal.output_lines(compared(1e-7, 4e-6, 0.0))
    assert label == "ok" and text.startswith("scores: 4.")
    assert text.endswith("e-06 of scale 1 (seed 1; the 2 others are no worse)")


def test_failures_are_told_one_by_one_up_to_a_number():
    lines = terminal.output_lines(compared(0.1, 1e-7, 0.2))
    assert [label for label, _ in lines] == ["DRIFT", "DRIFT"]
    assert "scores (seed 0): max |Δ| 1.00e-01" in lines[0][1] and "(seed 2)" in lines[1][1]
    many = terminal.output_lines(compared(*[0.1] * 11))
    assert many[-1] == ("", "3 more, see --report or --json") and len(many) == 9
