"""Python toolchains: virtual environments for libraries that do not fit beside the others."""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from convkit.errors import ToolchainError
from convkit.workers.environments import LockedEnvironment, root

__all__ = ["PythonEnvironment"]

# The lock names every package, so pip resolves nothing; what a package says of its dependencies and of Python is not
# asked.
_PIP_OPTIONS = ("--no-deps", "--ignore-requires-python", "--disable-pip-version-check", "--no-input")
# Of the user's settings pip keeps where to find packages, and loses where to put them.
_REDIRECTIONS = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PIP_PYTHON", "PIP_DRY_RUN")


@dataclass(frozen=True)
class PythonEnvironment(LockedEnvironment):
    """A virtual environment; its lock is a requirements file in which every package is pinned with `==`.

    Attributes:
        modules: What must import for the environment to be healthy.
    """

    modules: tuple[str, ...]

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return _python_of(self.directory)

    def environment(self) -> dict[str, str]:
        """What a process in the environment gets on top of its parent's variables: its commands come first on `PATH`."""
        path = os.environ.get("PATH")
        binaries = str(self.python.parent)
        return {
            "PATH": binaries if not path else f"{binaries}{os.pathsep}{path}",
            "PYTHONNOUSERSITE": "1",
            "VIRTUAL_ENV": str(self.directory),
        }

    def version(self, package: str) -> str | None:
        return self._versions.get(_normalized(package))

    @property
    def offline_hint(self) -> str:
        return "without a network, set PIP_NO_INDEX=1 and PIP_FIND_LINKS=<wheelhouse>"

    def _context(self) -> str:
        return f"{platform.python_implementation()} {platform.python_version()}"

    @cached_property
    def _versions(self) -> dict[str, str]:
        found = {}
        for line in self.lock.read_text(encoding="utf-8").splitlines():
            requirement = line.partition("#")[0].strip()
            if requirement:
                name, separator, version = requirement.partition("==")
                if not separator:
                    raise ToolchainError(f"{self.lock.name}: '{requirement}' is not pinned with ==")
                found[_normalized(name)] = version.strip()
        return found

    def _failure(self) -> str | None:
        if not self.python.exists():
            return "its interpreter is gone"
        script = "; ".join(f"import {module}" for module in self.modules) or "pass"
        return self._probe([str(self.python), "-I", "-c", script], self.environment())

    def _build(self, say: Callable[[str], None], wheelhouse: Path | None) -> None:
        self._make_environment(self.directory)
        sources = () if wheelhouse is None else ("--no-index", "--find-links", str(wheelhouse.absolute()))
        self._pip(self.python, "install", *_PIP_OPTIONS, "--no-warn-script-location", *sources, "-r", str(self.lock))

    def download(self, directory: Path) -> None:
        """Fills a wheelhouse; the wheels are those of this platform and this Python.

        Raises:
            ToolchainError: A package cannot be had.
        """
        directory.mkdir(parents=True, exist_ok=True)
        root().mkdir(parents=True, exist_ok=True)
        arguments = ("wheel", *_PIP_OPTIONS, "-w", str(directory.absolute()), "-r", str(self.lock))
        if self.installed():
            self._pip(self.python, *arguments)
            return
        with tempfile.TemporaryDirectory(prefix="convkit-") as scratch:
            self._make_environment(Path(scratch))
            self._pip(_python_of(Path(scratch)), *arguments)

    def _make_environment(self, directory: Path) -> None:
        # By the command, not by `venv.create`: it makes an environment of the interpreter even when convkit is
        # embedded in another.
        self._python([sys.executable, "-I", "-m", "venv", str(directory)], "no virtual environment can be made")

    def _pip(self, python: Path, *arguments: str) -> None:
        self._python([str(python), "-I", "-m", "pip", *arguments], f"pip cannot {arguments[0]} its packages")

    def _python(self, command: Sequence[str], failure: str) -> None:
        self._run(command, failure, {k: v for k, v in os.environ.items() if k not in _REDIRECTIONS})


def _python_of(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _normalized(distribution: str) -> str:
    """The name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).strip().lower()
