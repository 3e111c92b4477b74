"""Compares two models on all stressing sets, and adds what comes of it to the report of the plain ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from convkit.arrays import save_arrays
from convkit.errors import ConvkitError
from convkit.reports.schema import ValidationReport
from convkit.validators.bench import Bench
from convkit.validators.inputs import Arrays, InputSet, named, zeros
from convkit.validators.stress.recipes import Purpose, Setting, StressSet, stress_sets
from convkit.validators.stress.shapes import least_sizes
from convkit.validators.stress.verdicts import judged

__all__ = ["add_stress"]


def add_stress(
    bench: Bench,
    setting: Setting,
    report: ValidationReport,
    count_non_finite: bool,
    progress: Callable[[str], None] = lambda text: None,
) -> None:
    """Runs every recipe.

    Args:
        bench: The two models.
        setting: What recipes know of them.
        report: Gets a result per set that counts, and a note per finding that does not.
        count_non_finite: Whether differences in how NaN and infinity spread count.
        progress: Is told what is being tried.
    """
    progress("the least sizes that the source accepts")
    setting = replace(setting, least=least_sizes(setting, bench))
    told: list[str] = []
    tried = refused = 0
    for chosen in stress_sets(setting):
        progress(chosen.recipe)
        outcome = bench.on(chosen)
        refused += not outcome.expected
        on_zeros = _on_zeros(bench, setting) if chosen.purpose is Purpose.DENORMALS and outcome.drifts else None
        judgement = judged(chosen, outcome, on_zeros, count_non_finite)
        tried += 1
        told += judgement.notes
        if judgement.counts and outcome.result is not None:
            report.sets.append(replace(outcome.result, stress=True))
            report.input_files[chosen.recipe] = _kept(bench.scratch, tried, chosen)
    report.notes += [_summary(setting, tried, refused), *dict.fromkeys(told)]


def _kept(scratch: Path, number: int, chosen: StressSet) -> Path:
    """The inputs in a file that later runs leave alone."""
    file = scratch / f"stress-{number}.npz"
    save_arrays(file, chosen.arrays)
    return file


def _on_zeros(bench: Bench, setting: Setting) -> Arrays | None:
    sizes = setting.sizing.small()
    made = InputSet(named("zeros", sizes), zeros(setting.signature, setting.domains, sizes))
    try:
        return bench.on(made).got or None
    except ConvkitError:
        return None


def _summary(setting: Setting, tried: int, refused: int) -> str:
    told = f"stress: {tried} further input sets"
    told += f", of which the source does not run on {refused}" if refused else ""
    at = ", ".join(f"{dim}={size}" for dim, size in setting.least.items())
    return told + (f"; the source accepts sizes from {at}" if at else "")
