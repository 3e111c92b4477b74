"""How far outputs may differ, and why.

Tolerances are relative to the *scale* of an output (its largest magnitude), so that an untrained head with outputs of 1e-9
cannot pass by being small, and a box regressor with outputs of 640 does not fail for being large.
"""

from __future__ import annotations

import math

from convkit.reports.schema import NoiseFloor, Tolerance

__all__ = ["FAR_OFF", "ILL_CONDITIONED", "NOISE_FACTOR", "above_noise", "default_tolerance", "explained"]

_FLOAT32 = 1e-5
_FLOAT32_CEILING = 1e-4
_OPERATORS_AT_BASE = 64
NOISE_FACTOR = 10
"""How far above the source's own noise a difference may lie: other orders of summation move more than one last bit."""
ILL_CONDITIONED = 1e-3
"""No output passes that is further off, whatever the noise: from this share of the scale on, it drowns what could be shown."""
FAR_OFF = 10 * ILL_CONDITIONED
"""Beyond this share of the scale no experiment that takes seconds is made to see whether rounding explains a difference."""
_HALF = {"float16": 1e-2, "bfloat16": 4e-2}
_BITS = {"float16": 11, "bfloat16": 8}


def default_tolerance(dtype: str, operators: int, quantized: bool = False, computed: str = "") -> Tolerance:
    """The tolerance for an output of that dtype.

    float32: rounding differs because runtimes sum in other orders. Healthy conversions measure 1e-7 to 2e-6 of the scale;
    a chain of operators adds its errors up, so 1e-5 holds up to 64 operators and grows with their number, never beyond
    1e-4, from where differences mean something. Half precision has 11 (float16) or 8 (bfloat16) bits of mantissa.
    Integers and booleans are exact.

    Args:
        dtype: Of the output, as a numpy name.
        operators: Operators in the source model, 0 if unknown.
        quantized: Whether the model computes in 8-bit integers.
        computed: The half precision that the source computes in, whatever its outputs are; "" for none.
    """
    if quantized and dtype.startswith(("float", "int8", "uint8")):
        return Tolerance(2e-2, "quantized to 8 bits: runtimes round requantization differently by a step or two")
    if dtype in _HALF:
        return Tolerance(_HALF[dtype], f"{dtype} keeps {_BITS[dtype]} bits of mantissa")
    if dtype.startswith(("float", "complex")):
        if computed in _HALF:
            return Tolerance(_HALF[computed], f"the model computes in {computed}, which keeps {_BITS[computed]} bits of mantissa")
        grown = _FLOAT32 * max(1.0, operators / _OPERATORS_AT_BASE)
        if grown <= _FLOAT32:
            return Tolerance(_FLOAT32, "float32: another order of summation")
        relative = float(f"{min(grown, _FLOAT32_CEILING):.1e}")
        return Tolerance(relative, f"float32: another order of summation, over {operators} operators")
    return Tolerance(0.0, f"{dtype} is exact")


def explained(required: float, noise: NoiseFloor) -> bool:
    """Whether a difference may be the source's own noise: it is within ten times the floor."""
    # An output of zeros has no scale: what it moves by is no share of it.
    return math.isfinite(noise.relative) and required <= NOISE_FACTOR * noise.relative


def above_noise(tolerance: Tolerance, noise: NoiseFloor) -> Tolerance:
    """The tolerance where the source itself moves by more than a tenth of it: ten times that, as long as that shows something."""
    floor = min(NOISE_FACTOR * noise.relative, ILL_CONDITIONED)
    if floor <= tolerance.relative or not math.isfinite(noise.relative):
        return tolerance
    return Tolerance(float(f"{floor:.1e}"), f"{NOISE_FACTOR} × the noise floor: what the source moves by when {noise.reason}")
