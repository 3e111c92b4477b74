"""Which operators, in which dtypes and ranks, a target computes as it should: measured, and kept as data.

`benchmarks/probing.py` measures it (CONTRIBUTING.md: "When a library's new version comes").
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Verdicts"]


@dataclass
class Verdicts:
    """What was measured.

    Attributes:
        target: The converter's name.
        versions: Of the distributions that took part.
        wrong: operator → dtype → rank → what went wrong; an empty mapping says that all was right.
    """

    target: str
    versions: dict[str, str]
    wrong: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Verdicts:
        data = json.loads(path.read_text(encoding="utf-8"))
        wrong = {
            operator: {**{d: {} for d in entry["right"]}, **entry.get("wrong", {})}
            for operator, entry in data["operators"].items()
        }
        return cls(data["target"], data["versions"], wrong)

    def save(self, path: Path) -> None:
        operators: dict[str, Any] = {}
        for operator, dtypes in sorted(self.wrong.items()):
            entry: dict[str, Any] = {"right": sorted(d for d, ranks in dtypes.items() if not ranks)}
            if wrong := {d: ranks for d, ranks in sorted(dtypes.items()) if ranks}:
                entry["wrong"] = wrong
            operators[operator] = entry
        data = {"target": self.target, "versions": self.versions, "operators": operators}
        path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def is_right(self, operator: str, dtype: str, rank: int | None = None) -> bool | None:
        """Whether an operator computes a dtype as it should, at a rank or (None) at every rank; None where it was not measured."""
        ranks = self.wrong.get(operator, {}).get(dtype)
        if ranks is None:
            return None
        return not ranks if rank is None else not any(int(r) == rank for r in ranks)
