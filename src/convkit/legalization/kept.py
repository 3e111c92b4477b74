"""What is made of a program once, and kept as long as the program is. Worker side."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import torch

__all__ = ["kept"]


def kept(
    rewrite: Callable[[torch.export.ExportedProgram], torch.export.ExportedProgram],
) -> Callable[[torch.export.ExportedProgram], torch.export.ExportedProgram]:
    """Calls a function of a program once for every program.

    That it gives the program itself is remembered without it: a value that holds its key would be kept for ever.
    """
    made: WeakKeyDictionary[torch.export.ExportedProgram, torch.export.ExportedProgram | None] = WeakKeyDictionary()

    @functools.wraps(rewrite)
    def call(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
        if program not in made:
            result = rewrite(program)
            made[program] = None if result is program else result
        found = made[program]
        return program if found is None else found

    return call
