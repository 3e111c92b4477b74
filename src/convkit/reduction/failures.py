"""What went wrong with a model, so that two failures can be told to be the same."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from convkit.errors import ConversionError, ConvkitError, DriftError, OperatorGapError
from convkit.legalization.target import Verdict

__all__ = ["Failure"]

_SAME = 0.6
"""How alike two messages must be when names, numbers and paths are left out."""


@dataclass(frozen=True)
class Failure:
    """One failure.

    Attributes:
        kind: "gap", "not converted", "does not run" or "drift".
        component: Who failed.
        message: What it says.
        places: The operators that it names, and where they are.
    """

    kind: str
    component: str
    message: str
    places: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def of(cls, error: ConvkitError) -> Failure | None:
        """None for what is no failure of a conversion (inputs that do not fit, a broken file)."""
        found = error.report.attempts[-1].findings if error.report is not None and error.report.attempts else []
        gaps = [f for f in found if f.verdict is Verdict.GAP]
        places = frozenset((f.operator, place) for f in gaps for place in f.where)
        if isinstance(error, OperatorGapError):
            return cls("gap", "", "; ".join(dict.fromkeys(f.reason for f in gaps)) or error.message, places)
        if isinstance(error, DriftError):
            return cls("drift", "", error.message)
        if isinstance(error, ConversionError):
            return cls("does not run" if error.stage == "validate" else "not converted", error.component, error.message, places)
        return None

    def is_same(self, other: Failure | None) -> bool:
        """Whether it is the same failure; of a drift the size does not count, of a message not the names in it."""
        if other is None or other.kind != self.kind or other.component != self.component:
            return False
        if self.kind == "drift":
            return True
        return difflib.SequenceMatcher(None, _words(self.message), _words(other.message)).ratio() >= _SAME


def _words(message: str) -> list[str]:
    """The words that do not depend on the model."""
    plain = re.sub(r"'[^']*'|\"[^\"]*\"|\S*/\S*|\S*\d\S*", " ", message)
    return re.findall(r"[A-Za-z_.]{2,}", plain)[:80]
