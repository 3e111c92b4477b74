"""Upper bounds of dynamic dimensions: ExecuTorch plans its memory ahead of time. Worker side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convkit.legalization import exported_program as programs

if TYPE_CHECKING:
    import torch

__all__ = ["bound", "fixed_dimensions", "isolated"]


@dataclass(frozen=True)
class _Room:
    """How large a dimension may become: a number of times the example's size, and a size that it may have in any case."""

    least: int
    times: int

    def of(self, example: int) -> int:
        return max(self.least, self.times * example)


_ROOMS = (_Room(64, 4), _Room(16, 4), _Room(64, 2), _Room(16, 2), _Room(64, 1))
"""From the roomiest to what no program is denied."""

_FROM_DATA = "a size that the data tell"

_BEYOND_MEMORY = 1 << 26
"""A size that no memory is planned for."""
_AMPLE = 1 << 26
"""Bytes of a program's largest tensor up to which room beyond the example's sizes is worth its memory."""


@contextmanager
def isolated(program: torch.export.ExportedProgram) -> Iterator[None]:
    """Puts back what is known of the program's dimensions, which its copies and its source share, after a lowering."""
    environment = _shape_environment(program)
    if environment is None:
        yield
        return
    tables = [environment.var_to_range, environment.replacements]
    before = [dict(table) for table in tables]
    try:
        yield
    finally:
        for table, saved in zip(tables, before, strict=True):
            table.clear()
            table.update(saved)
        environment._update_version_counter()


def bound(
    program: torch.export.ExportedProgram, names: Mapping[str, str], limit: int | None, sizes: Mapping[str, int]
) -> tuple[str, ...]:
    """Gives every unbounded dimension of the program an upper bound.

    To be called in `isolated`.

    Args:
        names: The program's symbols → the signature's.
        limit: The bound; None for several times the example's size, as far as memory goes.
        sizes: The signature's symbols → sizes in the user's examples.

    Returns:
        What was assumed, one sentence per dimension.
    """
    environment = _shape_environment(program)
    if environment is None:
        return ()
    free = {symbol: allowed for symbol, allowed in _ranges(program).items() if _is_to_bound(allowed, limit)}
    titles = {symbol: names.get(str(symbol), _FROM_DATA) for symbol in free}
    examples = {symbol: max(_example_size(environment, symbol), sizes.get(titles[symbol], 0)) for symbol in free}
    for room in _ROOMS if limit is None else [_Room(limit, 0)]:
        for symbol, allowed in free.items():
            program._range_constraints[symbol] = environment.var_to_range[symbol] = _cut(allowed, room.of(examples[symbol]))
        environment._update_version_counter()
        if _largest(program, environment) <= _AMPLE:
            break
    bounds = program._range_constraints
    notes = (
        f"{title}: at most {bounds[symbol].upper}, memory is planned ahead; --option upper_bound=N for another"
        for symbol, title in titles.items()
    )
    return tuple(dict.fromkeys(notes))


def _is_to_bound(allowed: Any, limit: int | None) -> bool:
    """Whether a dimension has no bound of its own, or the user wants another; what may be negative is computed, and no size.

    torch bounds dimensions while it exports, at numbers like 999,999,999, which nobody meant.
    """
    from torch.utils._sympy.numbers import int_oo

    is_bounded = allowed.upper is not int_oo and int(allowed.upper) < _BEYOND_MEMORY
    return not (is_bounded and limit is None) and allowed.lower != -int_oo


def _cut(allowed: Any, highest: int) -> Any:
    """A range with another upper end, within what it was."""
    from torch.utils._sympy.value_ranges import ValueRanges

    return ValueRanges(allowed.lower, min(max(int(allowed.lower), highest), allowed.upper))


def _largest(program: torch.export.ExportedProgram, environment: Any) -> float:
    """Bytes of the largest tensor that is computed, at the upper bounds of all dimensions."""
    import torch

    values = [node.meta.get("val") for node in programs.calls(program)]
    tensors = [t for v in values for t in (v if isinstance(v, (list, tuple)) else [v]) if isinstance(t, torch.Tensor)]
    shapes = {(t.element_size(), *(s if isinstance(s, int) else s.node.expr for s in t.shape)) for t in tensors}
    known: dict[Any, float] = {}

    def highest(size: Any) -> float:
        if size not in known:
            known[size] = float(size if isinstance(size, int) else environment.bound_sympy(size).upper)
        return known[size]

    return max((math.prod(map(highest, shape)) for shape in shapes), default=0)


def fixed_dimensions(program: torch.export.ExportedProgram, names: Mapping[str, str]) -> list[str]:
    """The dynamic dimensions that the compiler has replaced by a number since the program was copied.

    Its own verifier does so: it runs operators with example sizes (exir/verification/arg_validator.py), and
    `split_with_sizes_copy` makes a symbol an integer. Nothing is said, and the file then takes that one size only.
    """
    environment = _shape_environment(program)
    if environment is None:
        return []
    return [
        names.get(str(symbol), str(symbol))
        for symbol in _ranges(program)
        if getattr(environment.replacements.get(symbol), "is_number", False)
    ]


def _ranges(program: Any) -> dict[Any, Any]:
    return {s: r for s, r in program._range_constraints.items() if getattr(s, "is_Symbol", False)}


def _shape_environment(program: Any) -> Any:
    import torch

    for node in program.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            for size in value.shape:
                if isinstance(size, torch.SymInt):
                    return size.node.shape_env
    return None


def _example_size(environment: Any, symbol: Any) -> int:
    sizes = getattr(environment, "backed_var_to_val", None) or getattr(environment, "var_to_val", {})
    try:
        return int(sizes.get(symbol, 0))
    except (TypeError, ValueError):
        return 0
