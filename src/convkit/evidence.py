"""Evidence that travels: the record beside a converted model, read back so that its claims can be tested again.

A record comes from a file that anybody may have written: every part of it is checked before it is used.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convkit.artifact import digest_of
from convkit.errors import UnreadableModelError, UsageError
from convkit.reports.schema import ValidationReport

__all__ = ["Evidence", "Verification", "baseline", "load", "other_files", "other_versions", "worse_than"]

_SUFFIX = ".convkit.json"
_LARGEST = 1 << 28
_WORSE = 2.0
"""How much more than before an output may need: numbers differ that much between machines."""


@dataclass(frozen=True)
class Evidence:
    """What a record claims.

    Attributes:
        source, target: The files' names and digests.
        verdict: What the conversion came to.
        required: Per output the smallest tolerance that passed on all inputs.
        seeds: Random input sets of the proof.
        tolerance: The user's own tolerances.
        versions: Of what took part.
        stress: Whether inputs that find bugs were among those of the proof.
    """

    source: tuple[str, str]
    target: tuple[str, str]
    verdict: str
    required: Mapping[str, float]
    seeds: int = 3
    tolerance: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    stress: bool = False


@dataclass(frozen=True)
class Verification:
    """What became of a record's claims.

    Attributes:
        failures: Claims that do not hold: another file, drift, more error than before; empty where all hold.
        changed: Packages whose versions are others now: then and now.
        report: The comparison that was run, None where the files are not those of the record.
    """

    failures: tuple[str, ...]
    changed: Mapping[str, tuple[str, str]]
    report: ValidationReport | None

    @property
    def ok(self) -> bool:
        return not self.failures

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": 1,
            "ok": self.ok,
            "failures": list(self.failures),
            "changed_versions": {name: list(pair) for name, pair in self.changed.items()},
            "validation": None if self.report is None else self.report.to_json(),
        }


def load(converted: Path) -> Evidence:
    """The record beside a converted model.

    Raises:
        UsageError: There is none.
        UnreadableModelError: It is no record of a conversion.
    """
    path = converted.with_name(converted.name + _SUFFIX)
    data = _read(path)
    try:
        validation = data["attempts"][-1]["validation"] or {}
        options = data.get("options") or {}
        tolerance = options.get("tolerance") or {}
        seeds = options.get("seeds", 3)
        return Evidence(
            (str(data["source"]["path"]), str(data["source"]["digest"])),
            (str(data["target"]["path"]), str(data["target"]["digest"])),
            str(data["verdict"]),
            _required(validation),
            seeds if isinstance(seeds, int) and 0 < seeds < 1000 else 3,
            {str(k): float(v) for k, v in tolerance.items()} if isinstance(tolerance, dict) else {},
            {str(k): str(v) for k, v in data["versions"].items()},
            options.get("stress") is True,
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableModelError(
            f"{path} is no record of a conversion: it lacks {error}", hint="convert the model again"
        ) from error


def baseline(path: Path) -> Mapping[str, float]:
    """Per output what an earlier validation or conversion needed, from its JSON.

    Raises:
        UsageError: There is no such file.
        UnreadableModelError: It is no report of one of the two.
    """
    data = _read(path)
    try:
        validation = data["attempts"][-1]["validation"] if "attempts" in data else data
        found = _required(validation)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableModelError(
            f"{path} is no report of a validation: it lacks {error}", hint="make one: convkit validate A B --report base.json"
        ) from error
    if not found:
        raise UnreadableModelError(f"{path} compares no output", hint="make one: convkit validate A B --report base.json")
    return found


def worse_than(before: Mapping[str, float], report: ValidationReport) -> list[str]:
    """The outputs that need more tolerance than an earlier report says, beyond what machines differ by."""
    told = []
    for name in report.tolerances:
        now = max((o.required for s in report.sets for o in s.outputs if o.name == name), default=0.0)
        then = before.get(name)
        if then is None:
            told.append(f"output {name} is not in the baseline")
        elif now > max(_WORSE * then, _floor(report, name)):
            told.append(f"output {name} needs {now:.1e} of its scale; it needed {then:.1e}")
    return told


def _floor(report: ValidationReport, name: str) -> float:
    """A tenth of what is allowed, and the source's own noise: below them a change says nothing."""
    noise = [o.noise.relative for s in report.sets for o in s.outputs if o.name == name and o.noise is not None]
    return max([0.1 * report.tolerances[name].relative, *noise])


def other_files(evidence: Evidence, source: Path, converted: Path) -> list[str]:
    """The files that are not those that a record is about."""
    told = []
    for path, (name, digest) in ((source, evidence.source), (converted, evidence.target)):
        if digest_of(path) != digest:
            told.append(f"{path} is not the {name} of the record: its digest is another")
    return told


def other_versions(evidence: Evidence) -> dict[str, tuple[str, str]]:
    """The packages of a record that are installed here in another version."""
    from convkit.registry import installed_version

    here = {name: installed_version(name) for name in evidence.versions}
    return {name: (then, now) for name, then in evidence.versions.items() if (now := here[name]) and now != then}


def _required(validation: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for chosen in validation.get("sets", ()):
        for output in chosen["outputs"]:
            required = math.inf if output["required"] is None else float(output["required"])
            found[str(output["name"])] = max(found.get(str(output["name"]), 0.0), required)
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST:
            raise UnreadableModelError(f"{path} is too large for a report")
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}", hint="convkit writes it beside what it converts") from None
    except (OSError, ValueError) as error:
        raise UnreadableModelError(f"{path} is no JSON: {error}", hint="convert the model again") from error
    if not isinstance(data, dict):
        raise UnreadableModelError(f"{path} is no report: it is a JSON {type(data).__name__}")
    return data
