"""Finite values that plain seeds do not have: other scales, ones, the ends of what a dtype holds, denormals."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from convkit.signature import TensorSpec
from convkit.validators.domains import Kind
from convkit.validators.inputs import zeros
from convkit.validators.stress.recipes import Purpose, Setting, StressSet, recipe

_SCALES = (1e-3, 1e3)
_LARGE = {1e5: Purpose.VALUES, 1e30: Purpose.OVERFLOW}
"""Beyond what half precision holds, and where squares leave single precision."""
_RANK_OF_DATA = 2
"""From this rank on integers are data: sizes and axes are numbers or lists."""


@recipe
def scales(setting: Setting) -> Iterator[StressSet]:
    """Small and large values: epsilons matter for the ones, clipping and half precision for the others."""
    for factor in _SCALES:
        if setting.unbounded:
            yield setting.made(f"scale {factor:g}", _scaled(setting, factor))


@recipe
def ones(setting: Setting) -> Iterator[StressSet]:
    """Ones, where sums are largest and differences vanish."""
    arrays = setting.drawn()
    for name, array in arrays.items():
        domain = setting.domains.get(name)
        if array.dtype.kind in "fiub":
            arrays[name] = np.full_like(array, 1 if domain is None or not domain.is_bounded else min(1, domain.high))
    yield setting.made("ones", arrays)


@recipe
def large_floats(setting: Setting) -> Iterator[StressSet]:
    """Values near the end of the range, in the middle of it for single precision."""
    for factor, purpose in _LARGE.items():
        if setting.unbounded:
            yield setting.made(f"large floats ({factor:g})", _scaled(setting, factor), purpose)


@recipe
def ends_of_ranges(setting: Setting) -> Iterator[StressSet]:
    """All inputs that have a domain at its smallest values, and at its largest."""
    bounded = {name: d for name, d in setting.domains.items() if d.is_bounded and d.kind is not Kind.MASK}
    for end in ("smallest", "largest") if bounded else ():
        arrays = setting.drawn()
        for name, domain in bounded.items():
            arrays[name] = np.full_like(arrays[name], domain.low if end == "smallest" else domain.high)
        yield setting.made(f"{end} values of the domains", arrays)


@recipe
def ends_of_integers(setting: Setting) -> Iterator[StressSet]:
    """The smallest and largest integers, beside those near the ends of narrower types: what truncates loses them."""
    free = [t for t in setting.signature.inputs if t.name in setting.limits and t.name not in setting.domains and _is_data(t)]
    for spec in free:
        low, high = setting.limits[spec.name]
        turns = [v for v in (high, low, 127, 128, 255, 256, 32767, 32768, 65536, -129, 1 << 24 | 1) if low <= v <= high]
        arrays = setting.drawn()
        arrays[spec.name] = np.resize(np.array(turns, spec.dtype), arrays[spec.name].shape)
        yield setting.made(f"ends of the integers in '{spec.name}'", arrays, touched=spec.name)
        middling = [v for v in (127, 128, 255, 256, 1000, 4097, -129, -1000) if low <= v <= high]
        arrays = setting.drawn()
        arrays[spec.name] = np.resize(np.array(middling, spec.dtype), arrays[spec.name].shape)
        yield setting.made(f"integers of three digits in '{spec.name}'", arrays, touched=spec.name)


@recipe
def denormals(setting: Setting) -> Iterator[StressSet]:
    """Numbers below the smallest normal one, which processors may take for zero; all other inputs are zeros."""
    floats = [t for t in setting.unbounded if t.dtype in {"float16", "float32", "float64"}]
    if floats:
        arrays = zeros(setting.signature, setting.domains, setting.sizing.small())
        for spec in floats:
            tiny = np.finfo(spec.dtype).tiny
            signs = np.sign(setting.drawn()[spec.name]) * np.random.default_rng(0).uniform(0.1, 0.9, arrays[spec.name].shape)
            arrays[spec.name] = (signs * float(tiny)).astype(spec.dtype)
        yield setting.made("denormals", arrays, Purpose.DENORMALS, floats[0].name)


def _scaled(setting: Setting, factor: float) -> dict[str, np.ndarray]:
    """Random inputs, those without a range multiplied and kept finite."""
    arrays = setting.drawn()
    for spec in setting.unbounded:
        array = arrays[spec.name]
        most = float(np.finfo(array.dtype).max) / 2
        arrays[spec.name] = np.clip(array.astype(np.float64) * factor, -most, most).astype(array.dtype)
    return arrays


def _is_data(spec: TensorSpec) -> bool:
    return len(spec.shape or ()) >= _RANK_OF_DATA
