"""What a converter or a runtime accepts, and the verdict on each operator of a model.

The words are MLIR's (https://mlir.llvm.org/docs/DialectConversion/): a *target* says which operators are legal; what is
not legal is rewritten, or is a gap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from convkit.legalization.kinds import kind_of

__all__ = ["Finding", "Target", "Verdict", "check_operators"]


class Verdict(StrEnum):
    """What happens to an operator on the way to a target."""

    LEGAL = "legal"
    REWRITTEN = "rewritten"
    GAP = "gap"


_CODE = {Verdict.LEGAL: "", Verdict.REWRITTEN: "CK201", Verdict.GAP: "CK101"}


@dataclass(frozen=True)
class Finding:
    """The verdict on one operator of a model.

    Attributes:
        operator: Its name, in the source format's spelling.
        count: How often the model has it.
        verdict: Legal, rewritten or gap.
        reason: Why, one clause; empty where it is legal.
        where: Places in the user's own model (module path, source line, node name).
        hint: The way out of a gap.
        code: Its kind, see `convkit.legalization.codes`; by default its reason's, told by its words if by nothing else.
        evidence: What it rests on: "registry" (what the installed versions say of themselves), "trial" (the converter was
            asked to do it) or "probe" (converted, run and compared on its own).
    """

    operator: str
    count: int
    verdict: Verdict
    reason: str = ""
    where: tuple[str, ...] = ()
    hint: str = ""
    code: str = ""
    evidence: str = ""

    def __post_init__(self) -> None:
        if not self.code:
            told = kind_of(self.reason) if self.verdict is Verdict.GAP else ""
            object.__setattr__(self, "code", getattr(self.reason, "code", told or _CODE[self.verdict]))

    def __str__(self) -> str:
        """Operator, count, reason, the first places, and the way out."""
        text = f"{self.operator} ×{self.count}: {self.reason}"
        if self.where:
            text += f" (at {', '.join(self.where[:3])}{', …' if len(self.where) > 3 else ''})"
        return f"{text}; {self.hint}" if self.hint else text

    def to_json(self) -> dict[str, Any]:
        return {
            "operator": self.operator,
            "count": self.count,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "where": list(self.where),
            "hint": self.hint,
            "code": self.code,
            "evidence": self.evidence,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Finding:
        return cls(
            data["operator"],
            data["count"],
            Verdict(data["verdict"]),
            data.get("reason", ""),
            tuple(data.get("where", ())),
            data.get("hint", ""),
            data.get("code", ""),
            data.get("evidence", ""),
        )


@dataclass(frozen=True)
class Target:
    """What a converter, or a runtime, accepts.

    Attributes:
        name: The converter's or runtime's name, for example "tf2onnx".
        version: The version of the library that this was read from.
        accepts: The legal operators: their names, or a predicate on a name.
        rewrites: Operators that convkit turns into legal ones first, with what it does, one clause.
    """

    name: str
    version: str
    accepts: frozenset[str] | Callable[[str], bool]
    rewrites: Mapping[str, str] | None = None

    def is_legal(self, operator: str) -> bool:
        return self.accepts(operator) if callable(self.accepts) else operator in self.accepts


def check_operators(counts: Mapping[str, int], target: Target) -> list[Finding]:
    """The verdict on every operator of a model, gaps first, then by name."""
    findings = []
    for operator, count in counts.items():
        if target.rewrites is not None and operator in target.rewrites:
            findings.append(Finding(operator, count, Verdict.REWRITTEN, target.rewrites[operator]))
        elif target.is_legal(operator):
            findings.append(Finding(operator, count, Verdict.LEGAL))
        else:
            findings.append(
                Finding(
                    operator,
                    count,
                    Verdict.GAP,
                    f"{target.name} {target.version} does not accept it",
                    hint="replace it in the model, or see `convkit plan` for another route",
                )
            )
    order = [Verdict.GAP, Verdict.REWRITTEN, Verdict.LEGAL]
    return sorted(findings, key=lambda f: (order.index(f.verdict), f.operator))
