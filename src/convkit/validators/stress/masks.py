"""Masks that hide nothing, all but one place, and the beginning."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from convkit.validators.domains import Kind
from convkit.validators.stress.recipes import Purpose, Setting, StressSet, recipe


@recipe
def masks(setting: Setting) -> Iterator[StressSet]:
    """Full masks, masks of one place, and padding on the left, which decoders are given."""
    arrays = setting.drawn()
    names = [t.name for t in setting.of_kind(Kind.MASK) if arrays[t.name].ndim and arrays[t.name].size]
    if not names:
        return
    alone = {name: _first_only(arrays[name]) for name in names}
    yield setting.made("full masks", {**arrays, **{name: np.ones_like(arrays[name]) for name in names}})
    yield setting.made("masks of one place", {**arrays, **alone})
    turned = {name: arrays[name][..., ::-1].copy() for name in names}
    yield setting.made("masks with padding on the left", {**arrays, **turned}, Purpose.PADDING, names[0])


def _first_only(array: np.ndarray) -> np.ndarray:
    made = np.zeros_like(array)
    made[..., 0] = 1
    return made
