"""The record of one conversion. It is filled as the model travels, and written as JSON beside the artifact.

`SCHEMA_VERSION` changes when a field changes its meaning or goes away; new fields do not change it.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from convkit import __version__
from convkit.artifact import Artifact, digest_of, size_of
from convkit.delegation.shares import Shares
from convkit.legalization.target import Finding
from convkit.reports.drift import DriftReport
from convkit.reports.files import replace_text
from convkit.reports.measures import NoiseFloor, OutputMetrics, SetResult, Tolerance, as_json_holds
from convkit.signature import Signature

__all__ = [
    "SCHEMA_VERSION",
    "Attempt",
    "ConversionReport",
    "Cost",
    "Emitted",
    "FailingInputs",
    "NoiseFloor",
    "OutputMetrics",
    "Performance",
    "SetResult",
    "Stage",
    "Tolerance",
    "ValidationReport",
    "Verdict",
]

SCHEMA_VERSION = 1


class Verdict(StrEnum):
    """What a conversion or a validation came to."""

    PROVED = "proved"
    """Loaded and run in the target's runtime; signature kept, numbers agree."""
    DRIFT = "drift"
    """It runs, and its numbers or its signature disagree."""
    UNVALIDATED = "unvalidated"
    """Converted; the user asked for no validation."""
    GAP = "gap"
    """Refused before the work: operators that the route does not accept."""
    FAILED = "failed"
    """A converter or a runtime failed."""


@dataclass(frozen=True)
class FailingInputs:
    """Inputs on which two models differ, made as small as a bounded search could.

    Attributes:
        path: The `.npz`; `convkit validate SOURCE TARGET --inputs PATH` runs them again.
        recipe: The input set that they come from.
        inputs: Every input's dtype, shape and number of values that are not zero, in words.
        required: The smallest relative tolerance that would pass on them.
        runs: How many comparisons the search took.
        seconds: How long it took.
    """

    path: Path
    recipe: str
    inputs: dict[str, str]
    required: float
    runs: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path)}


@dataclass(frozen=True)
class Cost:
    """What one side of a comparison costs.

    Attributes:
        seconds: Of a run, the median of runs in a warm worker.
        runs: How many these were.
        size: Bytes of its file or files; None for a module that a function makes.
    """

    seconds: float
    runs: int
    size: int | None


@dataclass(frozen=True)
class Performance:
    """What both sides cost on one input set, timed one after the other in their own runtimes."""

    recipe: str
    source: Cost
    target: Cost


@dataclass
class ValidationReport:
    """The comparison of two artifacts in their own runtimes.

    Attributes:
        source_runtime, target_runtime: Names with versions.
        tolerances: Per output.
        sets: One result per input set.
        signature_differences: How the target's signature departs from the source's; empty when it is kept.
        notes: Input sets that were dropped, outputs that prove little, ….
        source, target: The paths of the two models; empty inside a conversion's report, which names them itself.
        drift: Where the difference starts, if that was looked for.
        domains: What values inputs were taken to have and why, by input; those of which nothing is known are left out.
        failing: The smallest inputs found on which they differ, if they do and that was looked for.
        performance: The time of a run and the size of both sides, if that was measured.
        input_files: Recipe → the `.npz` that a set was run on, for as long as the comparison lasts; not part of the record.
    """

    source_runtime: str
    target_runtime: str
    tolerances: dict[str, Tolerance] = field(default_factory=dict)
    sets: list[SetResult] = field(default_factory=list)
    signature_differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    source: str = ""
    target: str = ""
    drift: DriftReport | None = None
    domains: dict[str, str] = field(default_factory=dict)
    failing: FailingInputs | None = None
    performance: Performance | None = None
    input_files: dict[str, Path] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        kept = not self.signature_differences and bool(self.sets)
        return Verdict.PROVED if kept and all(s.passed for s in self.sets) else Verdict.DRIFT

    @property
    def worst(self) -> SetResult | None:
        """The set on which the target differs most: a failed one if there is any, zeros only where nothing else differs.

        Zeros make tensors alike that are not.
        """
        return max(
            self.sets,
            key=lambda s: (not s.passed, not s.recipe.startswith("zeros"), max((o.required for o in s.outputs), default=0.0)),
            default=None,
        )

    @property
    def max_abs(self) -> float:
        """max |Δ| over all outputs, and all sets but stressing ones: inputs of 1e30 make it large and say nothing."""
        return max((o.max_abs for s in self.sets if not s.stress for o in s.outputs), default=0.0)

    @property
    def required(self) -> float:
        """The smallest relative tolerance that would have passed everywhere."""
        return max((o.required for s in self.sets for o in s.outputs), default=0.0)

    @property
    def times_noise(self) -> float | None:
        """The largest difference in multiples of its output's noise floor; None where no floor is known."""
        return max((t for s in self.sets for o in s.outputs if (t := o.times_noise) is not None), default=None)

    @property
    def cosine(self) -> float | None:
        """The lowest cosine similarity of any float output."""
        return min((o.cosine for s in self.sets for o in s.outputs if o.cosine is not None), default=None)

    @property
    def top1(self) -> float | None:
        """The lowest top-1 agreement of any output that is a table of scores."""
        return min((o.top1 for s in self.sets for o in s.outputs if o.top1 is not None), default=None)

    def to_json(self) -> dict[str, Any]:
        record = asdict(self)
        del record["input_files"]
        record |= {
            "sets": [s.to_json() for s in self.sets],
            "drift": None if self.drift is None else self.drift.to_json(),
            "failing": None if self.failing is None else self.failing.to_json(),
        }
        summary = {
            "max_abs": self.max_abs,
            "required_tolerance": self.required,
            "times_noise": self.times_noise,
            "cosine": self.cosine,
            "top1": self.top1,
        }
        told = {"schema_version": SCHEMA_VERSION, "verdict": self.verdict.value, **record, "summary": summary}
        return dict(as_json_holds(told))


@dataclass
class Stage:
    """One stage of an attempt: what ran, for how long (seconds), and its worker's peak memory so far (bytes)."""

    name: str
    component: str
    seconds: float
    peak_memory: int | None = None
    notes: list[str] = field(default_factory=list)


@dataclass
class Attempt:
    """What happened on one route."""

    route: list[str]
    stages: list[Stage] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    validation: ValidationReport | None = None
    verdict: Verdict = Verdict.FAILED
    error: dict[str, Any] | None = None
    delegation: Shares | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "route": self.route,
            "verdict": self.verdict.value,
            "stages": [asdict(s) for s in self.stages],
            "findings": [f.to_json() for f in self.findings],
            "validation": None if self.validation is None else self.validation.to_json(),
            "error": self.error,
            "delegation": None if self.delegation is None else self.delegation.to_json(),
        }


@dataclass(frozen=True)
class Emitted:
    """A file that an emitter wrote beside the model."""

    emitter: str
    path: Path

    def to_json(self) -> dict[str, Any]:
        return {"emitter": self.emitter, "path": self.path.name, "digest": digest_of(self.path), "size": size_of(self.path)}


@dataclass
class ConversionReport:
    """Everything about one conversion; `to_json` is what is written beside the artifact."""

    source: Artifact
    target: str
    signature: Signature | None = None
    artifact: Artifact | None = None
    emitted: list[Emitted] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    created: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))

    @property
    def verdict(self) -> Verdict:
        """That of the last route; where none led to a file, drift on any of them says more than why the others ended early."""
        verdicts = [a.verdict for a in self.attempts]
        if self.artifact is None and Verdict.DRIFT in verdicts and Verdict.PROVED not in verdicts[-1:]:
            return Verdict.DRIFT
        return verdicts[-1] if verdicts else Verdict.FAILED

    @property
    def validation(self) -> ValidationReport | None:
        """The validation of the route that was taken."""
        return self.attempts[-1].validation if self.attempts else None

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "convkit": __version__,
            "created": self.created,
            "verdict": self.verdict.value,
            "source": _artifact_json(self.source),
            "target": None if self.artifact is None else _artifact_json(self.artifact),
            "target_format": self.target,
            "emitted": [e.to_json() for e in self.emitted],
            "signature": None if self.signature is None else self.signature.to_json(),
            "attempts": [a.to_json() for a in self.attempts],
            "options": self.options,
            "notes": self.notes,
            "versions": dict(sorted(self.versions.items())),
            "environment": _environment(),
        }

    def write(self, path: Path) -> None:
        """Writes the report atomically."""
        replace_text(path, json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n")


def _artifact_json(artifact: Artifact) -> dict[str, Any]:
    described: dict[str, Any] = {
        "path": artifact.path.name,
        "format": artifact.format.value,
        "variant": artifact.variant.value,
        "signature": None if artifact.signature is None else artifact.signature.to_json(),
    }
    if artifact.path.exists() and artifact.path != Path.cwd():
        described |= {"digest": digest_of(artifact.path), "size": size_of(artifact.path)}
    if artifact.pytorch is not None:
        described["loading"] = artifact.pytorch.to_json()
    return described


def _environment() -> Mapping[str, Any]:
    return {
        "python": platform.python_version(),
        "platform": f"{sys.platform}-{platform.machine()}",
        "cpus": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }
