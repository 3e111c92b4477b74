"""What the API returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convkit.artifact import Artifact

if TYPE_CHECKING:
    from convkit.delegation.shares import Shares
    from convkit.legalization.target import Finding
    from convkit.planner import Route
    from convkit.reports.schema import ConversionReport, Verdict

__all__ = ["CheckResult", "ConversionResult"]


@dataclass(frozen=True)
class ConversionResult:
    """What a conversion came to.

    Attributes:
        artifact: The converted model: `.path`, `.format`, `.signature`.
        verdict: "proved", "drift" (with `allow_drift`) or "unvalidated" (with `validate=False`).
        report: The full record, also written to `<output>.convkit.json`.
        emitted: The files that `emit` asked for.
    """

    artifact: Artifact
    verdict: Verdict
    report: ConversionReport
    emitted: tuple[Path, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the conversion is proved."""
        return self.verdict.value == "proved"


@dataclass(frozen=True)
class CheckResult:
    """What the routes say of a model's operators, before any conversion.

    Attributes:
        routes: Per runnable route its findings; None where its first converter cannot tell in advance.
        source, target: The model's name, and the format's.
        delegation: With probes: what XNNPACK has of the operators, each alone.
    """

    routes: list[tuple[Route, list[Finding] | None]] = field(default_factory=list)
    source: str = ""
    target: str = ""
    delegation: Shares | None = None

    @property
    def gaps(self) -> list[Finding]:
        """The gaps of the best route: of that with the fewest."""
        return _gaps_of(self.best)

    @property
    def best(self) -> list[Finding]:
        """The findings of the route that has the fewest gaps, the first of several."""
        told = (found for _, found in self.routes if found is not None)
        return min(told, key=lambda found: len(_gaps_of(found)), default=[])

    @property
    def ok(self) -> bool:
        """Whether some route has no gap."""
        return any(not _gaps_of(found or []) for _, found in self.routes)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": 1,
            "ok": self.ok,
            "source": self.source,
            "target": self.target,
            "delegation": None if self.delegation is None else self.delegation.to_json(),
            "routes": [
                {"route": r.names, "findings": None if found is None else [f.to_json() for f in found]}
                for r, found in self.routes
            ],
        }


def _gaps_of(findings: list[Finding]) -> list[Finding]:
    from convkit.legalization.target import Verdict as Legality

    return [f for f in findings if f.verdict is Legality.GAP]
