"""The register of rewrites: functions over TensorFlow operators, asked for by the name of the operator that they replace."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, TypeVar

__all__ = ["Rewrite", "find", "rewrite"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Rewrite:
    """A rewrite of one operator.

    Attributes:
        function: Called with the `Node` and its inputs as tensors; returns the outputs (one, or a list), or None where the
            operator is fine as it is. What it builds is checked like everything else, but not rewritten again.
        reason: What it does, one clause.
    """

    function: Callable[..., Any]
    reason: str


_REWRITES: dict[str, Rewrite] = {}


def rewrite(*operators: str, reason: str) -> Callable[[_Function], _Function]:
    """Registers a function as the rewrite of TensorFlow operators."""

    def register(function: _Function) -> _Function:
        for operator in operators:
            assert operator not in _REWRITES, f"{operator} has two rewrites"
            _REWRITES[operator] = Rewrite(function, reason)
        return function

    return register


@cache
def _load() -> None:
    from convkit.legalization.tfjs import rewrites

    for module in pkgutil.iter_modules(rewrites.__path__):
        import_module(f"{rewrites.__name__}.{module.name}")


def find(operator: str) -> Rewrite | None:
    """The rewrite of an operator, None where there is none."""
    _load()
    return _REWRITES.get(operator)
