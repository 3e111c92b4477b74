"""Zeller's and Hildebrandt's ddmin, with an end to its patience."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence

__all__ = ["minimized"]


def minimized(items: Sequence[int], fails: Callable[[Sequence[int]], bool], deadline: float) -> list[int]:
    """A small part of `items` that still fails: 1-minimal, unless the time is over first.

    Args:
        items: What fails as a whole, in order; neighbours are kept together as long as possible.
        fails: Whether a part fails.
        deadline: In `time.monotonic()`'s seconds.
    """
    kept, pieces = list(items), 2
    while len(kept) > 1 and time.monotonic() < deadline:
        chunks = _split(kept, pieces)
        smaller = next((c for c in chunks if time.monotonic() < deadline and fails(c)), None)
        if smaller is not None:
            kept, pieces = smaller, 2
            continue
        rests = [[k for k in kept if k not in set(c)] for c in chunks] if pieces > 2 else []
        smaller = next((r for r in rests if time.monotonic() < deadline and fails(r)), None)
        if smaller is not None:
            kept, pieces = smaller, max(pieces - 1, 2)
        elif pieces >= len(kept):
            break
        else:
            pieces = min(2 * pieces, len(kept))
    return kept


def _split(items: Sequence[int], pieces: int) -> list[list[int]]:
    edges = [len(items) * k // pieces for k in range(pieces + 1)]
    return [list(items[a:b]) for a, b in itertools.pairwise(edges) if b > a]
