"""Measures outputs by metrics: those of an output's kind, and those that the user asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from convkit.errors import UsageError
from convkit.registry import metrics
from convkit.reports.schema import OutputMetrics
from convkit.validators.kinds import inferred

__all__ = ["applied", "metered"]


def metered(output: OutputMetrics, expected: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray]) -> OutputMetrics:
    """The output with its kind, and the metrics of that kind where both sides have numbers in one shape.

    Args:
        output: What was compared.
        expected: The source's outputs.
        got: The target's.

    Raises:
        UsageError: A metric of somebody's own fails.
    """
    mine, theirs = expected[output.name], got.get(output.name)
    kind = inferred(output.name, mine)
    found: dict[str, float] = {}
    if theirs is not None and theirs.shape == mine.shape and mine.size and theirs.dtype.kind in "biuf":
        for metric in metrics().values():
            if kind.kind in metric.kinds:
                found |= applied(metric.name, metric.compute, output.name, mine, theirs)
    return replace(output, kind=str(kind), metrics=found)


def applied(
    name: str, function: Callable[..., Any], output: str, expected: np.ndarray, got: np.ndarray
) -> dict[str, float]:  # fmt: skip
    """What a metric says of two arrays, by name: a number under the metric's own; nothing where it says None.

    Raises:
        UsageError: It fails, or returns something else; with the line where.
    """
    try:
        result = function(expected, got)
        if result is None:
            return {}
        values = result if isinstance(result, Mapping) else {name: result}
        return {str(part): _number(value) for part, value in values.items()}
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"the metric {name} failed on output '{output}': {type(error).__name__}: {' '.join(str(error).split())[:300]}",
            hint=_place(error)
            or "a metric takes the source's array and the target's, and returns a number or a mapping of numbers",
        ) from error


def _number(value: object) -> float:
    if isinstance(value, str | bytes) or np.ndim(value) != 0:  # type: ignore[arg-type]
        raise TypeError(f"it returned a {type(value).__name__}, not a number")
    return float(value)  # type: ignore[arg-type]


def _place(error: BaseException) -> str:
    """The line of the user's own code that raised."""
    trace, places = error.__traceback__, []
    while trace is not None:
        places.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    own = [f"see line {line} of {file}" for file, line in places if file != __file__]
    return own[-1] if own else ""
