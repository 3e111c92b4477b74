"""Toolchains: locked virtual environments of their own for libraries that do not fit beside the others.

The life cycle is pre-commit's (https://github.com/pre-commit/pre-commit, `repository.py` and `lang_base.py`): the
directory is named after the hash of what goes into it, an installation starts by wiping leftovers, and a marker that
is written last, by a rename, says that it is whole. A file lock makes two processes that provision at once take turns.

Everything stays below the cache directory; the environment that convkit runs in is never touched.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from convkit.errors import ToolchainError, UsageError
from convkit.workers.locations import cache_directory, made

__all__ = ["Toolchain", "ensure", "get", "toolchains"]

_LOCKS = Path(__file__).with_name("locks")
_MARKER = "installed.json"
# The lock names every package, so pip resolves nothing; what a package says of its dependencies and of Python is not
# asked.
_PIP_OPTIONS = ("--no-deps", "--ignore-requires-python", "--disable-pip-version-check", "--no-input")
# Of the user's settings pip keeps where to find packages, and loses where to put them.
_REDIRECTIONS = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PIP_PYTHON", "PIP_DRY_RUN")


@dataclass(frozen=True)
class Toolchain:
    """A virtual environment with exactly the packages of a lock file.

    Attributes:
        name: What users call it.
        purpose: What it is for, one clause.
        lock: A requirements file in which every package is pinned with `==`.
        modules: What must import for the environment to be healthy.
    """

    name: str
    purpose: str
    lock: Path
    modules: tuple[str, ...]

    @cached_property
    def identity(self) -> str:
        """`name-hash`: another lock or another Python is another environment."""
        text = f"{self.lock.read_text(encoding='utf-8')}\0{platform.python_implementation()} {platform.python_version()}"
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def directory(self) -> Path:
        """Where the environment is, or will be."""
        return _root() / self.identity

    @property
    def log(self) -> Path:
        """What pip said when it was installed last."""
        return _root() / f"{self.identity}.log"

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

    def installed(self) -> bool:
        """Whether an installation was completed; `health` says whether it still works."""
        return (self.directory / _MARKER).is_file()

    def version(self, distribution: str) -> str | None:
        """The version of a distribution as the lock has it, None where it is not in it; nothing is started."""
        return self._versions.get(_normalized(distribution))

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

    def health(self) -> str | None:
        """Why the environment does not work, None when it does. Starts its interpreter and imports the key modules."""
        if not self.installed():
            return "it is not installed"
        return self._import_failure()

    def _import_failure(self) -> str | None:
        if not self.python.exists():
            return "its interpreter is gone"
        script = "; ".join(f"import {module}" for module in self.modules) or "pass"
        try:
            done = subprocess.run(
                [str(self.python), "-I", "-c", script],
                env={**os.environ, **self.environment()},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=300,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"its interpreter does not run: {error}"
        if done.returncode == 0:
            return None
        lines = done.stderr.strip().splitlines()
        return f"its packages do not import: {lines[-1] if lines else f'exit status {done.returncode}'}"

    def install(
        self,
        progress: Callable[[str], None] | None = None,
        upgrade: bool = False,
        wheelhouse: Path | None = None,
    ) -> None:
        """Makes the environment, unless it is there and healthy.

        Args:
            progress: Called with a line at each step.
            upgrade: Build it anew even so, and remove what older locks have left.
            wheelhouse: A directory of wheels (see `download`) to install from, without any network.

        Raises:
            ToolchainError: It cannot be built, or what was built does not import.
        """
        say = progress or _silent
        with self._locked(say):
            if not upgrade and self.installed() and self._import_failure() is None:
                return
            shutil.rmtree(self.directory, ignore_errors=True)
            try:
                self._build(say, wheelhouse)
            except BaseException:
                shutil.rmtree(self.directory, ignore_errors=True)
                raise
            if upgrade:
                for old in self._directories():
                    if old != self.directory:
                        shutil.rmtree(old, ignore_errors=True)

    def _build(self, say: Callable[[str], None], wheelhouse: Path | None) -> None:
        start = time.monotonic()
        say(f"installing the toolchain '{self.name}' ({len(self._versions)} packages); this is done once")
        self._make_environment(self.directory)
        sources = () if wheelhouse is None else ("--no-index", "--find-links", str(wheelhouse.absolute()))
        self._pip(self.python, "install", *_PIP_OPTIONS, "--no-warn-script-location", *sources, "-r", str(self.lock))
        say("checking that its packages import")
        if reason := self._import_failure():
            raise ToolchainError(f"the toolchain '{self.name}' was installed, but {reason}", hint=self._hint(), log=self.log)
        facts = {
            "name": self.name,
            "python": platform.python_version(),
            "packages": self._versions,
            "seconds": round(time.monotonic() - start, 1),
        }
        staged = self.directory / f"{_MARKER}.staged"
        staged.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        staged.replace(self.directory / _MARKER)
        say(f"installed in {facts['seconds']} s")

    def remove(self) -> None:
        """Removes the environment, those of older locks, and the logs."""
        with self._locked(_silent):
            for directory in self._directories():
                # The marker goes first: what is half removed is not installed.
                (directory / _MARKER).unlink(missing_ok=True)
                shutil.rmtree(directory, ignore_errors=True)
                directory.with_name(f"{directory.name}.log").unlink(missing_ok=True)

    def download(self, directory: Path) -> None:
        """Fills a wheelhouse with the packages of the lock, for `install(wheelhouse=…)` on a machine without a network.

        The wheels are those of this platform and this Python.

        Raises:
            ToolchainError: A package cannot be had.
        """
        directory.mkdir(parents=True, exist_ok=True)
        _root().mkdir(parents=True, exist_ok=True)
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
        self._run([sys.executable, "-I", "-m", "venv", str(directory)], "no virtual environment can be made")

    def _pip(self, python: Path, *arguments: str) -> None:
        self._run([str(python), "-I", "-m", "pip", *arguments], f"pip cannot {arguments[0]} its packages")

    def _run(self, command: Sequence[str], failure: str) -> None:
        environment = {k: v for k, v in os.environ.items() if k not in _REDIRECTIONS}
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a", encoding="utf-8") as log:
            print("$", *command, file=log, flush=True)
            status = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log).returncode
        if status:
            raise ToolchainError(f"the toolchain '{self.name}': {failure}", hint=self._hint(), log=self.log)

    def _hint(self) -> str:
        return (
            f"see {self.log}, then run: convkit toolchain install {self.name}; without a network, set PIP_NO_INDEX=1 "
            "and PIP_FIND_LINKS=<wheelhouse>"
        )

    def _directories(self) -> list[Path]:
        """The environments of this name, of any lock."""
        pattern = re.compile(rf"{re.escape(self.name)}-[0-9a-f]{{12}}")
        return [p for p in _root().glob(f"{self.name}-*") if pattern.fullmatch(p.name) and p.is_dir()]

    @contextmanager
    def _locked(self, say: Callable[[str], None]) -> Iterator[None]:
        import fcntl  # not on Windows, where nobody has run convkit yet

        made(_root())
        with (_root() / f"{self.name}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"waiting for another process that works on the toolchain '{self.name}'")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield  # closing the file gives the lock back


def _root() -> Path:
    return cache_directory() / "toolchains"


def _python_of(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _normalized(distribution: str) -> str:
    """The name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).strip().lower()


def _silent(_: str) -> None:
    pass


_TOOLCHAINS = (
    Toolchain(
        "onnx2tf",
        "ONNX → LiteRT by onnx2tf, without TensorFlow",
        _LOCKS / "onnx2tf.txt",
        ("onnx2tf.tflite_builder", "onnxsim", "ai_edge_litert.interpreter"),
    ),
)


def toolchains() -> tuple[Toolchain, ...]:
    """All toolchains, installed or not."""
    return _TOOLCHAINS


def get(name: str) -> Toolchain:
    """The toolchain of that name.

    Raises:
        UsageError: listing the names.
    """
    for toolchain in _TOOLCHAINS:
        if toolchain.name == name:
            return toolchain
    raise UsageError(f"there is no toolchain {name!r}", hint="the toolchains are " + ", ".join(t.name for t in _TOOLCHAINS))


def ensure(name: str, auto: bool, progress: Callable[[str], None] | None = None) -> Toolchain:
    """The toolchain, installed.

    Args:
        name: Which.
        auto: Whether it may be installed now if it is not; `CONVKIT_OFFLINE=1` says no as well.
        progress: Called with a line at each step of an installation.

    Raises:
        ToolchainError: It is not installed and may not be, or cannot be.
    """
    toolchain = get(name)
    if toolchain.installed():
        return toolchain
    offline = os.environ.get("CONVKIT_OFFLINE", "") not in {"", "0"}
    if offline or not auto:
        why = ", and CONVKIT_OFFLINE is set" if offline else ""
        raise ToolchainError(
            f"the toolchain '{name}' ({toolchain.purpose}) is not installed{why}",
            hint=f"run: convkit toolchain install {name}; without a network, set PIP_NO_INDEX=1 and PIP_FIND_LINKS=<wheelhouse>",
        )
    toolchain.install(progress)
    return toolchain
