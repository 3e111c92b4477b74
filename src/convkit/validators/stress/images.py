"""Images that show what noise hides: of one colour, and with one bright pixel."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from convkit.signature import TensorSpec
from convkit.validators.domains import Kind, channel_axis
from convkit.validators.stress.recipes import Setting, StressSet, recipe

_RANGE = (-2.0, 2.0)
"""Of normalised pixels, where the range is not known."""


@recipe
def constant_images(setting: Setting) -> Iterator[StressSet]:
    """Of one value: behind a convolution only the padding makes the borders differ."""
    for spec in setting.of_kind(Kind.IMAGE):
        low, high = _range(setting, spec)
        arrays = setting.drawn()
        for title, value in (("dark", low), ("grey", (low + high) / 2), ("bright", high)):
            filled = np.full_like(arrays[spec.name], value)
            yield setting.made(f"{title} images in '{spec.name}'", {**arrays, spec.name: filled}, touched=spec.name)


@recipe
def one_hot_images(setting: Setting) -> Iterator[StressSet]:
    """One bright pixel in one channel: shifts by one, swapped channels and axes, and borders that are cut off move it."""
    for spec in setting.of_kind(Kind.IMAGE):
        low, high = _range(setting, spec)
        axis = channel_axis(spec)
        arrays = setting.drawn()
        for corner, place in (("first", 0), ("last", -1)):
            dark = np.full_like(arrays[spec.name], low)
            rows = np.moveaxis(dark, axis, 1) if axis is not None else dark
            if dark.size:
                rows[:, place, place, place] = high
                made = {**arrays, spec.name: dark}
                yield setting.made(f"one-hot images in '{spec.name}' ({corner} pixel)", made, touched=spec.name)


def _range(setting: Setting, spec: TensorSpec) -> tuple[float, float]:
    domain = setting.domains[spec.name]
    return (domain.low, domain.high) if domain.is_bounded else _RANGE
