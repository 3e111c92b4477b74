"""What a stretch of instructions reads and writes, and the conditions among its jumps.

The emitter writes `cond` as: jump over the first branch when the condition is false; first branch; jump over the second branch,
on a constant `False`; second branch. Both branches move their results to the same values. `map` and `scan` jump backwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from convkit.interpreters.executorch.program import Indices, Instruction, JumpFalse, Method, Move, TensorValue

__all__ = ["Access", "Condition", "condition_at", "first_reads", "targets"]

Access = Callable[[Instruction], tuple[Sequence[int], Sequence[int]]]
"""The values that an instruction reads and writes."""


def targets(method: Method, index: int) -> list[int]:
    """A value, or those that it lists."""
    value = method.values[index]
    return [i for item in value.items if item >= 0 for i in targets(method, item)] if isinstance(value, Indices) else [index]


def first_reads(method: Method, instructions: Iterable[Instruction], access: Access, written: Iterable[int] = ()) -> list[int]:
    """The values that instructions read before they write them, or the memory they lie in, in order.

    Args:
        method: The method.
        instructions: In the order of the program.
        access: Says what an instruction reads and writes.
        written: Values that were written before.
    """
    known: set[object] = set()
    for index in written:
        known |= _marks(method, index)
    found: dict[int, None] = {}
    for instruction in instructions:
        reads, writes = access(instruction)
        for index in [i for r in reads for i in targets(method, r)]:
            if not _marks(method, index) & known:
                found[index] = None
        for index in [i for w in writes for i in targets(method, w)]:
            known |= _marks(method, index)
    return list(found)


def _marks(method: Method, index: int) -> set[object]:
    value = method.values[index]
    location = value.location if isinstance(value, TensorValue) else None
    return {index} if location is None else {index, location}


@dataclass(frozen=True)
class Condition:
    """A jump that was a `cond`.

    Attributes:
        branches: The instructions from-to of what runs when the condition is true, and when it is false.
        results: The values that both move their results to.
        end: The instruction after both.
    """

    branches: tuple[range, range]
    results: tuple[int, ...]
    end: int


def condition_at(method: Method, position: int) -> Condition | None:
    """The condition that begins with the jump at a position; None where that is none."""
    jump = method.instructions[position]
    assert isinstance(jump, JumpFalse)
    second = jump.destination
    if not position + 2 <= second <= len(method.instructions):
        return None
    over = method.instructions[second - 1]
    if not isinstance(over, JumpFalse) or method.values[over.condition] is not False or over.destination < second:
        return None
    branches = range(position + 1, second - 1), range(second, over.destination)
    moved = [[i.target for i in (method.instructions[p] for p in branch) if isinstance(i, Move)] for branch in branches]
    return Condition(branches, tuple(t for t in dict.fromkeys(moved[0]) if t in moved[1]), over.destination)
