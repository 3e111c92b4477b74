"""Whether a graph computes in half precision, whatever the dtypes of its inputs and outputs: mixed precision rounds inside."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["half_metadata"]

_COARSEST_FIRST = ("bfloat16", "float16")


def half_metadata(dtypes: Iterable[str]) -> dict[str, str]:
    """`computes_in`, the coarsest half precision that operators compute in; nothing where none does.

    Args:
        dtypes: Numpy names of the dtypes that operators compute in; weights that are only stored in one do not count.
    """
    found = set(dtypes)
    return next(({"computes_in": dtype} for dtype in _COARSEST_FIRST if dtype in found), {})
