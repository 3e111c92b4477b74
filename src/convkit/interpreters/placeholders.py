"""The tables of operators without their framework: for those who only ask what is registered, and what is refused.

An operator's function needs its framework when it is called; to register it, and to ask `accepts` about a node, needs its names
only. In a process that never computes (a static check), modules that hold nothing but names stand in, so that two seconds of
import are not spent on a question of a table.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

__all__ = ["install"]

_FRAMEWORKS = ("torch", "tensorflow")


class _Placeholder(ModuleType):
    """A name of a framework, and all names below it. It can be named, called at import, and written in annotations."""

    __path__: list[str] = []  # noqa: RUF012 - as ModuleType declares it

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = _Placeholder(f"{self.__name__}.{name}")
        setattr(self, name, found)
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> _Placeholder:
        return _Placeholder(f"{self.__name__}()")

    def __getitem__(self, key: Any) -> _Placeholder:
        return _Placeholder(f"{self.__name__}[]")

    def __or__(self, other: Any) -> Any:
        return Any

    __ror__ = __or__


class _Finder:
    """Finds a placeholder for every module of a framework."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: Any = None) -> Any:
        if name.partition(".")[0] not in _FRAMEWORKS:
            return None
        return importlib.machinery.ModuleSpec(name, _Loader(), is_package=True)  # type: ignore[arg-type]


class _Loader:
    @staticmethod
    def create_module(spec: Any) -> ModuleType:
        return _Placeholder(spec.name)

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """There is nothing to run."""


def install() -> None:
    """Has this process import placeholders for the frameworks from now on. It can compute nothing with them.

    Raises:
        RuntimeError: A framework is there already: the process is one that computes.
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    if present := [name for name in _FRAMEWORKS if name in sys.modules]:
        raise RuntimeError(f"{', '.join(present)} has been imported: this process computes")
    sys.meta_path.insert(0, _Finder())
