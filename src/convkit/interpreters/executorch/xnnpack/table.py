"""The table of XNNPACK's operators: a function takes the node and its values, and gives its result.

The families stand in `operators/`; `@node("Sigmoid")` registers a function. Fields that end in `_id` arrive as values
(`Laid`, None for those that the node does not have); the others are the node's own: `node["flags"]`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import Any

__all__ = ["handlers", "node"]

_handlers: dict[str, Callable[..., Any]] = {}


def node(*kinds: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a function for kinds of nodes."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        _handlers.update(dict.fromkeys(kinds, function))
        return function

    return register


@cache
def handlers() -> dict[str, Callable[..., Any]]:
    """The functions by kind of node, every family loaded."""
    package = importlib.import_module("convkit.interpreters.executorch.xnnpack.operators")
    for info in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{info.name}")
    return _handlers
