"""Applies the user's own metric to outputs, inside a worker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from convkit.arrays import load_arrays
from convkit.errors import UsageError
from convkit.loading import module_factories
from convkit.validators.metering import applied

__all__ = ["measure"]


def measure(function: str, name: str, directory: str, pairs: Sequence[Sequence[str]]) -> list[dict[str, float]]:
    """What a metric says of pairs of outputs, by the names of its values.

    Args:
        function: `file.py:function` or `package.module:function`.
        name: What a lone number is called.
        directory: Where a package is looked for, besides the installed ones.
        pairs: An output, an `.npz` with the source's outputs and one with the target's.

    Raises:
        UsageError: The function cannot be imported, fails, or returns no number.
    """
    found = module_factories.imported(function, Path(directory), "--metric")
    if not callable(found):
        raise UsageError(f"{function} is a {type(found).__name__}", hint="write file.py:function")
    return [applied(name, found, output, load_arrays(Path(a))[output], load_arrays(Path(b))[output]) for output, a, b in pairs]
