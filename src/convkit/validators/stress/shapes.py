"""The corners of dynamic dimensions: the least size that the source accepts, one in the middle, and the upper bound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from convkit.validators.bench import Bench
from convkit.validators.inputs import InputSet, named
from convkit.validators.stress.recipes import Setting, StressSet, recipe

__all__ = ["least_sizes"]

_CANDIDATES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_MOST_ELEMENTS = 1 << 22
# Where no bound is known: neither powers of two nor multiples of what kernels take at once.
_MIDDLE = {True: 7, False: 45}
_FAR = {True: 17, False: 71}
"""For a batch (True) and for other dimensions."""


@recipe
def least(setting: Setting) -> Iterator[StressSet]:
    """Every dimension at its least size, each alone and all together."""
    small = setting.sizing.small()
    for dim, size in setting.least.items():
        yield from _at(setting, f"least {dim}", {**small, dim: size})
    if len(setting.least) > 1:
        yield from _at(setting, "least sizes", {**small, **setting.least})


@recipe
def middle(setting: Setting) -> Iterator[StressSet]:
    """Every dimension in the middle of its range."""
    small = setting.sizing.small()
    for dim in small:
        low, high = setting.sizing.ranges.get(dim, (None, None))
        size = _MIDDLE[setting.sizing.leads(dim)] if high is None else ((low or 1) + high) // 2
        yield from _at(setting, f"middle {dim}", {**small, dim: size})


@recipe
def upper(setting: Setting) -> Iterator[StressSet]:
    """Every dimension at its upper bound, or far from the sizes that were tried where it has none."""
    small = setting.sizing.small()
    for dim in small:
        high = setting.sizing.ranges.get(dim, (None, None))[1] or _FAR[setting.sizing.leads(dim)]
        yield from _at(setting, f"large {dim}", {**small, dim: high})


def _at(setting: Setting, title: str, sizes: Mapping[str, int]) -> Iterator[StressSet]:
    for dim, size in sizes.items():
        low, high = setting.sizing.ranges.get(dim, (None, None))
        if not (low or 1) <= size <= (high or size):
            return
    if setting.sizing.elements(sizes) <= _MOST_ELEMENTS:
        yield StressSet(named(title, sizes), setting.drawn(sizes))


def least_sizes(setting: Setting, bench: Bench) -> dict[str, int]:
    """The least size of every dynamic dimension at which the source runs, the others at their first small size.

    A size that does not run is followed by larger ones; two runs of the source per dimension, each over many sets.
    """
    found = {}
    for dim, usual in setting.sizing.small().items():
        low = setting.sizing.ranges.get(dim, (None, None))[0] or 1
        candidates = [size for size in _CANDIDATES if low <= size < usual]
        runs = _runs(setting, bench, dim, candidates)
        accepted = next((size for size, ran in zip(candidates, runs, strict=True) if ran), usual)
        refused = max((size for size in candidates if size < accepted), default=accepted - 1)
        between = [*range(refused + 1, accepted)]
        runs = _runs(setting, bench, dim, between)
        found[dim] = next((size for size, ran in zip(between, runs, strict=True) if ran), accepted)
    return found


def _runs(setting: Setting, bench: Bench, dim: str, sizes: Sequence[int]) -> list[bool]:
    small = setting.sizing.small()
    sets = [InputSet(f"{dim}={size}", setting.drawn({**small, dim: size})) for size in sizes]
    return bench.source_runs(sets) if sets else []
