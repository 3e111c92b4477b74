"""What an observer of a conversion is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Event", "Observer", "ignore"]


@dataclass(frozen=True)
class Event:
    """Something happened: `stage` is the label of the terminal's line, `detail` what it says or shows."""

    stage: str
    detail: object
    running: bool = False


Observer = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The observer of those who only want the result."""
