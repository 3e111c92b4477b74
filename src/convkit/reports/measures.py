"""How the outputs of two models compare, as reports record it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["NoiseFloor", "OutputMetrics", "SetResult", "Tolerance", "as_json_holds"]


def as_json_holds(record: Any) -> Any:
    """A record with null in place of infinities and NaN, which JSON has not (RFC 8259, section 6): nothing would have passed."""
    if isinstance(record, float):
        return record if math.isfinite(record) else None
    if isinstance(record, Mapping):
        return {name: as_json_holds(value) for name, value in record.items()}
    return [as_json_holds(value) for value in record] if isinstance(record, list | tuple) else record


@dataclass(frozen=True)
class Tolerance:
    """The largest difference that passes, as a share of the output's largest magnitude, and why it is that."""

    relative: float
    reason: str


@dataclass(frozen=True)
class NoiseFloor:
    """How far an output of the source moves by itself.

    Attributes:
        relative: max |Δ| as a share of the output's largest magnitude.
        reason: In which experiment: "its inputs move by a last bit", ….
    """

    relative: float
    reason: str


@dataclass(frozen=True)
class OutputMetrics:
    """How one output of the target compares with the source's, over one input set.

    Attributes:
        name: The output.
        scale: max |reference| over finite values.
        max_abs: max |Δ|.
        max_rel: max |Δ| / |reference| over elements above a thousandth of the scale.
        rmse: Root of the mean squared Δ.
        cosine: Cosine similarity of the flattened tensors; None for non-float outputs and zero vectors.
        sqnr_db: Signal to quantization-noise ratio in dB; None where they are equal, or the reference is zero.
        top1: Share of rows whose argmax over the last axis agrees; None where the output is no table of scores.
        required: The smallest relative tolerance that would have passed.
        allowed: The relative tolerance that it was held to; above the default where the source itself is noisier.
        passed: Whether it is within the tolerance.
        problem: What is wrong beyond numbers (shape, NaN pattern, …), or "".
        noise: The source's own noise floor; None where nothing is known of it.
        source_error, target_error: How far the two sides are from float64, as shares of its scale; None where that is not known.
        kind: What the output was taken for, and the sign of it.
        metrics: What the metrics of that kind, and the user's own, say.
    """

    name: str
    scale: float
    max_abs: float
    max_rel: float
    rmse: float
    cosine: float | None
    sqnr_db: float | None
    top1: float | None
    required: float
    allowed: float
    passed: bool
    problem: str = ""
    noise: NoiseFloor | None = None
    source_error: float | None = None
    target_error: float | None = None
    kind: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def times_noise(self) -> float | None:
        """What would have passed, in multiples of the noise floor; None where the source has none."""
        return None if self.noise is None or self.noise.relative == 0 else self.required / self.noise.relative

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "times_noise": self.times_noise}


@dataclass(frozen=True)
class SetResult:
    """One input set: its recipe, the outputs' metrics and the seconds that each side took (cold).

    `stress` says that it is one of the inputs that find bugs, whose values are what no user gives.
    """

    recipe: str
    outputs: tuple[OutputMetrics, ...]
    source_seconds: float
    target_seconds: float
    stress: bool = False

    @property
    def passed(self) -> bool:
        return all(o.passed for o in self.outputs)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "outputs": [o.to_json() for o in self.outputs]}
