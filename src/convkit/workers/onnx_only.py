"""Imported first in a process that asks onnx alone, and never computes: makes it quick to start.

To import this module is to have that done; whoever wants to compute must not.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from convkit.interpreters import placeholders


class _Name:
    """Something of a module that is not imported before it is called or looked into; nothing is an instance of it before."""

    def __init__(self, module: str, name: str) -> None:
        self._place = (module, name)

    def _real(self) -> Any:
        module, name = self._place
        if isinstance(sys.modules.get(module), _Deferred):
            del sys.modules[module]
        return getattr(importlib.import_module(module), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._real()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)

    def __instancecheck__(self, instance: Any) -> bool:
        return not isinstance(sys.modules.get(self._place[0]), _Deferred) and isinstance(instance, self._real())


class _Deferred(ModuleType):
    """A module whose names may be named at import: it is imported when one of them is used.

    (`importlib.util.LazyLoader` loads at the first attribute, and up to Python 3.11 at a second import statement.)
    """

    def __getattr__(self, name: str) -> _Name:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Name(self.__name__, name)


placeholders.install()
# Half a second, which onnx_ir needs for sums of symbolic sizes only.
sys.modules.setdefault("sympy", _Deferred("sympy"))
