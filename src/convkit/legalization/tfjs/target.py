"""What TF.js runs of TensorFlow's operators, and on which of its backends.

The lists are read from the npm packages and kept as data (`OPERATORS`; `python -m benchmarks.tfjs_operators` makes it anew).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["OPERATORS", "TensorFlowJs", "target"]

OPERATORS = Path(__file__).with_name("operators.json")


@dataclass(frozen=True)
class TensorFlowJs:
    """TF.js at one version.

    Attributes:
        versions: Of the npm packages.
        kernels: Operator that the executor knows → the kernels that it runs.
        backends: Backend → its kernels.
        broken: Operators whose executor does not find its parameters.
        empty: Backend (of those measured) → operators whose results of no elements are wrong.
        wrong: Backend (of those measured) → operator → dtype → rank ("*" for all) → what goes wrong.
    """

    versions: Mapping[str, str]
    kernels: Mapping[str, tuple[str, ...]]
    backends: Mapping[str, frozenset[str]]
    broken: frozenset[str]
    empty: Mapping[str, frozenset[str]]
    wrong: Mapping[str, Mapping[str, Mapping[str, Mapping[str, str]]]]

    def knows(self, operator: str) -> bool:
        """Whether the executor has an operator, and its reference backend (cpu) every kernel."""
        return operator in self.kernels and operator not in self.broken and "cpu" not in self.lacking(operator)

    def trouble(self, backend: str, operator: str, dtype: str, rank: int | None) -> str:
        """What was measured to go wrong on a backend; empty where nothing was."""
        ranks = self.wrong.get(backend, {}).get(operator, {}).get(dtype, {})
        return next((why for at, why in ranks.items() if at == "*" or (rank is not None and int(at) == rank)), "")

    def lacking(self, operator: str) -> tuple[str, ...]:
        """The backends that lack a kernel for an operator."""
        needed = self.kernels.get(operator, ())
        return tuple(name for name, kernels in self.backends.items() if not kernels.issuperset(needed))


@cache
def target() -> TensorFlowJs:
    data: dict[str, Any] = json.loads(OPERATORS.read_text(encoding="utf-8"))
    return TensorFlowJs(
        data["versions"],
        {operator: tuple(kernels) for operator, kernels in data["operators"].items()},
        {backend: frozenset(kernels) for backend, kernels in data["backends"].items()},
        frozenset(data["broken"]),
        {backend: frozenset(operators) for backend, operators in data["empty"].items()},
        data["wrong"],
    )
