"""The table that the operator families register in: `from convkit.interpreters.pytorch.table import operator`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from convkit.interpreters.operators import Operators

__all__ = ["operator", "operators"]

operator = Operators("PyTorch")


@cache
def operators() -> Operators:
    """The table, with every family registered."""
    package = importlib.import_module("convkit.interpreters.pytorch.operators")
    for info in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{info.name}")
    return operator
