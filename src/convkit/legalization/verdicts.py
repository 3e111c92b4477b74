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
        wrong: operator → dtype → rank ("*" for all) → what went wrong; an empty mapping says that all was right.
    """

    target: str
    versions: dict[str, str]
    wrong: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Verdicts:
        data = json.loads(path.read_text(encoding="utf-8"))
        wrong: dict[str, dict[str, dict[str, str]]] = {
            operator: {dtype: {} for dtype in entry["right"]} | {d: _ranks(w) for d, w in entry.get("wrong", {}).items()}
            for operator, entry in data["operators"].items()
        }
        return cls(data["target"], data["versions"], wrong)

    def save(self, path: Path) -> None:
        operators: dict[str, Any] = {}
        for operator, dtypes in sorted(self.wrong.items()):
            entry: dict[str, Any] = {"right": sorted(d for d, ranks in dtypes.items() if not ranks)}
            if wrong := {d: ranks.get("*", ranks) for d, ranks in sorted(dtypes.items()) if ranks}:
                entry["wrong"] = wrong
            operators[operator] = entry
        data = {"target": self.target, "versions": self.versions, "operators": operators}
        path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def reason(self, operator: str, dtype: str, rank: int | None = None) -> str | None:
        """What goes wrong: "" where nothing does, None where it was not measured; at a rank, or (None) at any."""
        ranks = self.wrong.get(operator, {}).get(dtype)
        if not ranks:
            return None if ranks is None else ""
        return next((why for at, why in ranks.items() if at == "*" or rank is None or int(at) == rank), "")


def _ranks(wrong: str | dict[str, str]) -> dict[str, str]:
    return {"*": wrong} if isinstance(wrong, str) else wrong
