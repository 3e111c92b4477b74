"""Keeps the inputs on which two models differ most, and makes them small while they still do.

After delta debugging (Zeller and Hildebrandt, 2002): first fewer samples, then smaller dynamic dimensions, then zeros in
place of ever smaller blocks of values, then round values. The number of comparisons and the time are bounded.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from convkit.arrays import load_arrays, save_arrays
from convkit.artifact import Artifact
from convkit.errors import ConvkitError
from convkit.reports.schema import FailingInputs, SetResult, ValidationReport
from convkit.signature import Signature
from convkit.validators.bench import Bench
from convkit.validators.comparison import Comparison
from convkit.validators.inputs import InputSet
from convkit.workers.locations import cache_directory, made
from convkit.workers.pool import WorkerPool

__all__ = ["SearchOverError", "add_failing", "shrunk"]

_SECONDS = 12.0
_RUNS = 120
_KEPT = 40
_SAMPLES = 16
"""Of a batch, up to how many are tried alone."""
_DECIMALS = (0, 1, 2, 3)

_Arrays = dict[str, np.ndarray]


def add_failing(
    comparison: Comparison, target: Artifact, report: ValidationReport, scratch: Path, pool: WorkerPool, path: Path | None = None
) -> None:
    """Writes the inputs on which the outputs differ most, shrunk, and adds them to the report; nothing where none do.

    Args:
        comparison: What was compared.
        target: The other artifact.
        report: What the comparison came to.
        scratch: The comparison's directory.
        pool: Whose workers run both sides; they are warm.
        path: Where to write the `.npz`; by default below the cache directory.
    """
    worst = report.worst
    if worst is None or worst.passed or worst.recipe not in report.input_files:
        return
    arrays = load_arrays(report.input_files[worst.recipe])
    start = time.monotonic()
    search = _Search(comparison.bench(comparison.as_compared(target), scratch, pool), _nature(worst), comparison.progress)
    try:
        small = shrunk(arrays, comparison.signature, search.fails)
        file = _default_path(target) if path is None else path
        partial = file.with_name(f".{file.name}.{os.getpid()}")
        save_arrays(partial, small)
        partial.replace(file)
    except (ConvkitError, OSError) as error:
        report.notes.append(f"the inputs on which they differ could not be kept: {error}")
        return
    required = search.last if search.last is not None else max(o.required for o in worst.outputs)
    seconds = round(time.monotonic() - start, 1)
    report.failing = FailingInputs(file, worst.recipe, _described(small), required, search.runs, seconds)


def _default_path(target: Artifact) -> Path:
    """A new file below the cache directory, where the oldest beyond a fixed number are removed."""
    directory = made(cache_directory() / "failing")
    for old in sorted(directory.glob("*.npz"), key=lambda p: p.stat().st_mtime)[: -_KEPT + 1]:
        old.unlink(missing_ok=True)
    return directory / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{target.path.stem}.npz"


def _described(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    told = {}
    for name, array in arrays.items():
        filled = int(np.count_nonzero(array)) if array.dtype.kind in "fiubc" else array.size
        told[name] = f"{array.dtype}[{','.join(map(str, array.shape))}], {filled} of {array.size} values are not 0"
    return told


def _nature(result: SetResult) -> frozenset[tuple[str, bool, bool]]:
    """In what way which outputs fail: dead or wrong, and whether the source's own output is more than zeros."""
    return frozenset((o.name, "does not run" in o.problem, o.scale > 0) for o in result.outputs if not o.passed)


class SearchOverError(Exception):
    """Nothing more is tried: of a large input there are more ways to make it smaller than can even be counted through."""


@dataclass
class _Search:
    """Asks whether inputs still show the failure, as long as there is time."""

    bench: Bench
    nature: frozenset[tuple[str, bool, bool]]
    progress: Callable[[str], None]
    runs: int = 0
    last: float | None = None
    deadline: float = field(default_factory=lambda: time.monotonic() + _SECONDS)

    def fails(self, arrays: _Arrays) -> bool:
        """Whether an output that failed fails in the same way on these inputs.

        Raises:
            SearchOverError: There is no time left to try.
        """
        if self.runs >= _RUNS or time.monotonic() > self.deadline:
            raise SearchOverError
        self.runs += 1
        self.progress(f"the inputs on which they differ, made smaller ({self.runs} of at most {_RUNS} runs)")
        result = self.bench.on(InputSet("shrunk", arrays)).result
        if result is None or not _nature(result) & self.nature:
            return False
        self.last = max(o.required for o in result.outputs if not o.passed)
        return True


def shrunk(arrays: _Arrays, signature: Signature, fails: Callable[[_Arrays], bool]) -> _Arrays:
    """The smallest inputs found on which `fails` still holds, which it does on `arrays`, until it raises `SearchOverError`."""
    smallest = arrays

    def kept(candidate: _Arrays) -> bool:
        nonlocal smallest
        if found := fails(candidate):
            smallest = candidate
        return found

    with suppress(SearchOverError):
        for dim in signature.dynamic_dims:
            arrays = _smaller(arrays, _axes(signature, dim), kept)
        for name in arrays:
            arrays = _emptied(arrays, name, kept)
        for name in arrays:
            arrays = _rounded(arrays, name, kept)
    return smallest


def _axes(signature: Signature, dim: str) -> dict[str, list[int]]:
    """Input name → the axes that have the size of a dynamic dimension."""
    found = {t.name: [axis for axis, d in enumerate(t.shape or ()) if d == dim] for t in signature.inputs}
    return {name: axes for name, axes in found.items() if axes}


def _smaller(arrays: _Arrays, axes: Mapping[str, list[int]], fails: Callable[[_Arrays], bool]) -> _Arrays:
    """With fewer elements along a dynamic dimension: one of a batch, or the first few."""
    size = min(arrays[name].shape[axis] for name, own in axes.items() for axis in own)

    def cut(start: int, stop: int) -> _Arrays:
        made = dict(arrays)
        for name, own in axes.items():
            for axis in own:
                made[name] = np.take(made[name], np.arange(start, stop), axis)
        return made

    def parts() -> Iterator[tuple[int, int]]:
        if any(0 in own for own in axes.values()):
            yield from ((index, index + 1) for index in range(min(size, _SAMPLES)))
        length = 1
        while length < size:
            yield 0, length
            length *= 2

    for start, stop in parts() if size > 1 else ():
        if fails(made := cut(start, stop)):
            return made
    return arrays


def _emptied(arrays: _Arrays, name: str, fails: Callable[[_Arrays], bool]) -> _Arrays:
    """With zeros in place of as many values as possible: all, halves, quarters, …"""
    if arrays[name].dtype.kind not in "fiubc":
        return arrays
    size = length = arrays[name].size
    while length:
        for start in range(0, size, length):
            values = arrays[name].ravel()
            if values[start : start + length].any():
                made = values.copy()
                made[start : start + length] = 0
                changed = {**arrays, name: made.reshape(arrays[name].shape)}
                if fails(changed):
                    arrays = changed
        length //= 2
    return arrays


def _rounded(arrays: _Arrays, name: str, fails: Callable[[_Arrays], bool]) -> _Arrays:
    """With as few decimals as possible."""
    if arrays[name].dtype.kind != "f":
        return arrays
    for decimals in _DECIMALS:
        made = np.round(arrays[name], decimals)
        if np.array_equal(made, arrays[name], equal_nan=True):
            return arrays
        if made.any() and fails(changed := {**arrays, name: made}):
            return changed
    return arrays
