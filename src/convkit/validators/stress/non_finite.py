"""NaN and infinity in one place of one input: where they come out, and whether they do."""

from __future__ import annotations

from collections.abc import Iterator

from convkit.validators.stress.recipes import Purpose, Setting, StressSet, recipe

_INPUTS = 3
"""Up to how many inputs are tried, each alone."""


@recipe
def nan(setting: Setting) -> Iterator[StressSet]:
    """A NaN, which comparisons drop and which comes out of everything else."""
    yield from _planted(setting, "NaN", float("nan"))


@recipe
def infinity(setting: Setting) -> Iterator[StressSet]:
    """An infinity, which makes NaN of differences and 0 of quotients."""
    yield from _planted(setting, "infinity", float("inf"))


@recipe
def minus_infinity(setting: Setting) -> Iterator[StressSet]:
    """A negative infinity, which ends as 0 behind a softmax or a ReLU."""
    yield from _planted(setting, "-infinity", float("-inf"))


def _planted(setting: Setting, title: str, value: float) -> Iterator[StressSet]:
    """One value in the first sample: the others of a batch are to stay what they were."""
    for spec in setting.floats[:_INPUTS]:
        arrays = setting.drawn()
        array = arrays[spec.name].copy()
        if array.size:
            first = array.reshape(array.shape[0], -1)[0] if array.ndim else array.reshape(1)
            first[first.size // 2] = value
            yield setting.made(f"{title} in '{spec.name}'", {**arrays, spec.name: array}, Purpose.NON_FINITE, spec.name)
