"""Which operators have been proved to convert, in which forms: measured, and kept as data.

`benchmarks/proved_operators.py` writes it (CONTRIBUTING.md: "When a library's new version comes"). A check trusts its tables for
a model of proved operators, and makes a trial for others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from convkit.formats import Format

__all__ = ["Form", "ProvedOperators"]

Form = frozenset[str]
"""What tells one use of an operator from another, in parts: "< float32,int64" are the dtypes of inputs, each once where several
in a row are the same; "> float32" those of outputs; "mode=linear" is an argument that is a word or a flag."""


@dataclass(frozen=True)
class ProvedOperators:
    """What was measured.

    Attributes:
        versions: Of the distributions that took part.
        targets: Format → operator → the parts of the forms in which a model of it came out right.
    """

    versions: Mapping[str, str]
    targets: Mapping[str, Mapping[str, Form]]

    @classmethod
    @cache
    def load(cls, path: Path) -> ProvedOperators:
        data = json.loads(path.read_text("utf-8"))
        targets = {t: {name: frozenset(parts) for name, parts in found.items()} for t, found in data["targets"].items()}
        return cls(data["versions"], targets)

    def save(self, path: Path) -> None:
        targets = {t: {name: sorted(parts) for name, parts in sorted(found.items())} for t, found in self.targets.items()}
        data = {"versions": dict(self.versions), "targets": targets}
        path.write_text(json.dumps(data, indent=0, ensure_ascii=False) + "\n", "utf-8")

    def covers(self, target: Format, operator: str, form: Form) -> bool:
        """Whether every part of an operator's form has been proved on the way to a target."""
        return form <= self.targets.get(target.value, {}).get(operator, _NOTHING)


_NOTHING: Form = frozenset()
