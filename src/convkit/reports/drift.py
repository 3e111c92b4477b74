"""Where two models begin to differ, as reports show it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["DriftReport", "OperatorDrift", "Picture", "Suspect"]


@dataclass(frozen=True)
class OperatorDrift:
    """One operator of the source, and how far the target is from what it computes.

    Attributes:
        name, operator, place: As the source's format knows them; the place is a module path and source line, or "".
        error: max |Δ| of its output as a share of the output's scale; None where the target has no counterpart.
        error_in: The largest of its inputs' errors; None where none is known.
        counterpart: The target's tensor that was compared, or "".
        layout: How that tensor had to be read, "" where its layout is the source's.
        agrees: Whether it is the same within what is tolerated, or is part of something that is.
    """

    name: str
    operator: str
    place: str
    error: float | None
    error_in: float | None
    counterpart: str
    layout: str
    agrees: bool


@dataclass(frozen=True)
class Picture:
    """What the first output that differs looks like.

    Attributes:
        sample: Pairs of values: the source's, the target's.
        heat: Where on its grid the difference is: the largest |Δ| of each cell as a share of the scale; () without a grid.
    """

    sample: tuple[tuple[float, float], ...]
    heat: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class Suspect:
    """An operator at which the difference starts.

    Attributes:
        name, operator, place: As the source's format knows them.
        error_in: The largest error of its inputs, as a share of their scale.
        error: The error of the first output behind it that has a counterpart.
        observed: That output's name in the source, and `counterpart` in the target; "" where there is none.
        among: The operators that cannot be told apart from outside, this one included; it alone where it is certain.
        cause: What was found to explain the difference, or "".
        code: The cause's code ("epsilon", "padding", …), or "".
        evidence: The experiment behind the cause.
        picture: Of the observed output.
    """

    name: str
    operator: str
    place: str
    error_in: float
    error: float | None
    observed: str
    counterpart: str
    among: tuple[str, ...]
    cause: str = ""
    code: str = ""
    evidence: str = ""
    picture: Picture | None = None


@dataclass
class DriftReport:
    """Where the difference between two models starts.

    Attributes:
        recipe: The inputs that it was looked for on.
        source_tracer, target_tracer: What told the tensors inside.
        tolerated: Up to which error an operator agrees, as a share of its output's scale.
        operators: The source's, in the order in which they ran.
        suspects: The operators to look at, the most likely first; empty where everything inside agrees.
        compared: How many of the source's operators have a counterpart, or are part of something that has.
        notes: What the search could not see, outputs that are permuted or swapped, ….
    """

    recipe: str
    source_tracer: str
    target_tracer: str
    tolerated: float
    operators: list[OperatorDrift] = field(default_factory=list)
    suspects: list[Suspect] = field(default_factory=list)
    compared: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def amplifiers(self) -> list[OperatorDrift]:
        """The operators whose output is ten times further off than their inputs, the worst first."""
        known = [o for o in self.operators if not o.agrees and o.error and o.error_in is not None]
        grown = [o for o in known if (o.error or 0.0) > 10 * (o.error_in or 0.0)]
        return sorted(grown, key=lambda o: -(o.error or 0.0))

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "amplifiers": [o.name for o in self.amplifiers]}
