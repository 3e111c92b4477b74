"""StridedSlice's masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from convkit.interpreters.operators import UnsupportedError

__all__ = ["numpy_slices"]


def numpy_slices(
    begin: Sequence[Any], end: Sequence[Any], strides: Sequence[int], rank: int, options: Mapping[str, Any]
) -> tuple[Any, ...]:
    """What numpy indexes with for a StridedSlice: one slice, int, None (a new axis) or Ellipsis per entry.

    Args:
        begin: Per entry; ints, may be symbolic.
        end: Per entry; ints, may be symbolic.
        strides: Per entry.
        rank: Of what is sliced.
        options: The operator's, with the masks (https://www.tensorflow.org/api_docs/python/tf/strided_slice).
    """
    masks = {name: int(options.get(f"{name}_mask", 0)) for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    found: list[Any] = []
    for position, (first, last, step) in enumerate(zip(begin, end, strides, strict=True)):
        bit = 1 << position
        if step == 0:
            raise UnsupportedError("a slice with a step of 0")
        if masks["ellipsis"] & bit:
            found.append(Ellipsis)
        elif masks["new_axis"] & bit:
            found.append(None)
        elif masks["shrink_axis"] & bit:
            found.append(first)
        else:
            start = None if masks["begin"] & bit else first
            stop = None if masks["end"] & bit else last
            if options.get("offset", False) and stop is not None and start is not None:
                stop = start + stop
            # What lies before the first element, going backwards, numpy spells None.
            if step < 0 and isinstance(stop, (int, np.integer)) and stop < 0 and stop < -(1 << 30):
                stop = None
            found.append(slice(start, stop, step))
    if Ellipsis not in found and sum(entry is not None for entry in found) > rank:
        raise UnsupportedError(f"{len(found)} slices of a tensor of rank {rank}")
    return tuple(found)
