"""What changed between two checks or surveys, as their JSON tells: a gate for continuous integration."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convkit.errors import UnreadableModelError
from convkit.legalization.target import Finding, Verdict

__all__ = ["Difference", "Gap", "compare", "load"]


@dataclass(frozen=True, order=True)
class Gap:
    """A gap of one model on the way to one target; two reports' gaps are one when these are equal."""

    model: str
    target: str
    operator: str
    code: str

    def __str__(self) -> str:
        return f"{self.operator} ({self.code}) keeps {self.model} from {self.target}"


@dataclass(frozen=True)
class Difference:
    """The gaps that only one of two reports has.

    Attributes:
        new: Gaps that the second has and the first has not.
        fixed: The other way round.
        kept: How many both have.
    """

    new: tuple[Gap, ...]
    fixed: tuple[Gap, ...]
    kept: int

    @property
    def ok(self) -> bool:
        return not self.new

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": 1,
            "ok": self.ok,
            "new": [vars(g) for g in self.new],
            "fixed": [vars(g) for g in self.fixed],
            "kept": self.kept,
        }


def load(path: Path) -> Mapping[str, Any]:
    """The JSON that `convkit check` printed or wrote.

    Raises:
        UnreadableModelError: It is none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableModelError(
            f"{path} cannot be read: {error.strerror or error}", hint="convkit check … --report old.json"
        ) from error
    except (ValueError, RecursionError) as error:
        raise _no_report(path) from error
    if not isinstance(found, dict) or found.get("schema_version") != 1 or not ({"routes", "checks"} & set(found)):
        raise _no_report(path)
    return found


def _no_report(path: Path) -> UnreadableModelError:
    return UnreadableModelError(
        f"{path} is no report of a check", hint="convkit check MODEL --to FORMAT --report old.json writes one"
    )


def compare(old: Path, new: Path) -> Difference:
    """The difference of two files; a model is known by its file's name, because directories differ between machines.

    Raises:
        UnreadableModelError: One of them is no report of a check.
    """
    before, after = ({*_gaps(path)} for path in (old, new))
    return Difference(tuple(sorted(after - before)), tuple(sorted(before - after)), len(after & before))


def _gaps(path: Path) -> Iterator[Gap]:
    record = load(path)
    try:
        checks = record["checks"] if "checks" in record else [{**record, "model": record["source"]}]
        for check in checks:
            if not check.get("ok", True) and check.get("routes"):
                for finding in map(Finding.from_json, check["routes"][0]["findings"] or []):
                    if finding.verdict is Verdict.GAP:
                        yield Gap(Path(check["model"]).name, check["target"], finding.operator, finding.code)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _no_report(path) from error
