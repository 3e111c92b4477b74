"""The noise floor: how far a model's own outputs move when nothing changes that matters.

No difference between two runtimes means anything below it. It is the largest of what experiments on the *source alone* show,
so that no fault of a target can raise it:

* the inputs move by a last bit; where there is none that could (token ids), the weights do;
* the same inputs once more, on another number of threads where the runtime can be told so: what sums in another order, or
  draws random numbers, shows;
* the same program in float64, whose roundings are negligible: what differs is the error that float32 makes.

The first costs a second run of the source and is always made; the others when an output misses its tolerance, or on demand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from convkit.components import Variation
from convkit.reports.schema import NoiseFloor, Tolerance
from convkit.validators.numerics import compare_output

__all__ = ["INPUTS", "combined", "error_of", "floors_between", "least_floors", "reason_of"]

INPUTS = "its inputs move by a last bit"

_REASONS = {
    Variation.WEIGHTS: "its weights move by a last bit",
    Variation.THREADS: "it runs on another number of threads",
    Variation.REPEAT: "it runs on the same inputs again",
    Variation.FLOAT64: "it computes in float64",
}
_BITS = {"float16": 11, "float32": 24, "float64": 53, "complex64": 24, "complex128": 53, "bfloat16": 8}


def reason_of(variation: Variation) -> str:
    """What a variation changes, as reports say it."""
    return _REASONS[variation]


def least_floors(expected: Mapping[str, np.ndarray]) -> dict[str, NoiseFloor]:
    """What outputs of these dtypes cannot be nearer than: half a last bit; nothing for integers, which are exact."""
    return {
        name: NoiseFloor(2.0 ** -_BITS[array.dtype.name], f"{array.dtype.name} rounds to {_BITS[array.dtype.name]} bits")
        for name, array in expected.items()
        if array.dtype.name in _BITS
    }


def floors_between(
    expected: Mapping[str, np.ndarray], varied: Mapping[str, np.ndarray], reason: str
) -> dict[str, NoiseFloor]:  # fmt: skip
    """What an experiment says of each output.

    Args:
        expected: The source's outputs.
        varied: What it gave in the experiment; an output that is lacking or has another shape tells nothing.
        reason: What was varied.
    """
    errors = {name: error_of(array, varied[name]) for name, array in expected.items() if name in varied}
    return {name: NoiseFloor(error, reason) for name, error in errors.items() if error is not None}


def combined(floors: Iterable[Mapping[str, NoiseFloor]]) -> dict[str, NoiseFloor]:
    """The highest floor of each output."""
    found: dict[str, NoiseFloor] = {}
    for each in floors:
        for name, floor in each.items():
            if name not in found or floor.relative > found[name].relative:
                found[name] = floor
    return found


def error_of(expected: np.ndarray, other: np.ndarray) -> float | None:
    """max |other - expected| as a share of max |expected|; None where they cannot be compared, or have no scale."""
    compared = compare_output("", expected, other, Tolerance(0.0, ""))
    return compared.required if compared.scale > 0 and np.isfinite(compared.required) else None
