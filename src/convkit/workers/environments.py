"""Locked environments: the life cycle that Python's and Node's toolchains share.

It is pre-commit's (https://github.com/pre-commit/pre-commit, `repository.py` and `lang_base.py`): the directory is named
after the hash of what goes into it, an installation starts by wiping leftovers, and a marker that is written last, by a
rename, says that it is whole. A file lock makes two processes that provision at once take turns.

Everything stays below the cache directory; the environment that convkit runs in is never touched.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from convkit.errors import ToolchainError
from convkit.workers.locations import cache_directory, made

__all__ = ["LOCKS", "LockedEnvironment", "root"]

LOCKS = Path(__file__).with_name("locks")
_MARKER = "installed.json"


def root() -> Path:
    """The directory of all environments."""
    return cache_directory() / "toolchains"


@dataclass(frozen=True)
class LockedEnvironment(ABC):
    """A directory with exactly the packages of a lock file.

    Attributes:
        name: What users call it.
        purpose: What it is for, one clause.
        lock: The file in which every package is pinned.
    """

    name: str
    purpose: str
    lock: Path

    @property
    def needed(self) -> bool:
        """Whether `convkit toolchain install` without names includes it."""
        return True

    @cached_property
    def identity(self) -> str:
        """`name-hash`: another lock, or another of what the packages depend on, is another environment."""
        text = f"{self.lock.read_text(encoding='utf-8')}\0{self._context()}"
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def directory(self) -> Path:
        """Where the environment is, or will be."""
        return root() / self.identity

    @property
    def log(self) -> Path:
        """What the package manager said when it was installed last."""
        return root() / f"{self.identity}.log"

    def installed(self) -> bool:
        """Whether an installation was completed; `health` says whether it still works."""
        return (self.directory / _MARKER).is_file()

    @abstractmethod
    def version(self, package: str) -> str | None:
        """The version of a package as the lock has it, None where it is not in it; nothing is started."""

    def health(self) -> str | None:
        """Why the environment does not work, None when it does. Loads the key packages in a process of their own."""
        return self._failure() if self.installed() else "it is not installed"

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
            wheelhouse: A directory of packages (see `download`) to install from, without any network.

        Raises:
            ToolchainError: It cannot be built, or what was built does not load.
        """
        say = progress or _silent
        with self._locked(say):
            if not upgrade and self.installed() and self._failure() is None:
                return
            shutil.rmtree(self.directory, ignore_errors=True)
            try:
                self._install_whole(say, wheelhouse)
            except BaseException:
                shutil.rmtree(self.directory, ignore_errors=True)
                raise
            if upgrade:
                for old in self._directories():
                    if old != self.directory:
                        shutil.rmtree(old, ignore_errors=True)

    def _install_whole(self, say: Callable[[str], None], wheelhouse: Path | None) -> None:
        start = time.monotonic()
        say(f"installing the toolchain '{self.name}' ({len(self._versions)} packages); this is done once")
        self._build(say, wheelhouse)
        say("checking that its packages load")
        if reason := self._failure():
            raise ToolchainError(f"the toolchain '{self.name}' was installed, but {reason}", hint=self._hint(), log=self.log)
        facts = {
            "name": self.name,
            "for": self._context(),
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

    @abstractmethod
    def download(self, directory: Path) -> None:
        """Fills a wheelhouse with the packages of the lock, for `install(wheelhouse=…)` on a machine without a network.

        Raises:
            ToolchainError: A package cannot be had.
        """

    @property
    @abstractmethod
    def offline_hint(self) -> str:
        """How to install without a network, one clause."""

    @abstractmethod
    def _context(self) -> str:
        """What the environment depends on beside its lock."""

    @property
    @abstractmethod
    def _versions(self) -> Mapping[str, str]:
        """Package → version, as the lock has them."""

    @abstractmethod
    def _build(self, say: Callable[[str], None], wheelhouse: Path | None) -> None:
        """Puts the packages of the lock into `directory`, which is not there yet."""

    @abstractmethod
    def _failure(self) -> str | None:
        """Why the packages in `directory` do not load, None when they do."""

    def _hint(self) -> str:
        return f"see {self.log}, then run: convkit toolchain install {self.name}; {self.offline_hint}"

    def _run(self, command: Sequence[str], failure: str, environment: Mapping[str, str], folder: Path | None = None) -> None:
        """Runs a package manager; what it says goes to the log.

        Raises:
            ToolchainError: with `failure`, when it fails.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a", encoding="utf-8") as log:
            print("$", *command, file=log, flush=True)
            try:
                status = subprocess.run(
                    command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                ).returncode
            except OSError as error:
                print(error, file=log)
                status = 1
        if status:
            raise ToolchainError(f"the toolchain '{self.name}': {failure}", hint=self._hint(), log=self.log)

    def _probe(self, command: Sequence[str], environment: Mapping[str, str]) -> str | None:
        """Why a command that loads the packages fails, None when it does not."""
        try:
            done = subprocess.run(
                command,
                env={**os.environ, **environment},
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
        return f"its packages do not load: {self._reason(done.stderr) or f'exit status {done.returncode}'}"

    @staticmethod
    def _reason(complaint: str) -> str:
        """The one line of an interpreter's complaint that says what is wrong."""
        lines = complaint.strip().splitlines()
        return lines[-1] if lines else ""

    def _directories(self) -> list[Path]:
        """The environments of this name, of any lock."""
        pattern = re.compile(rf"{re.escape(self.name)}-[0-9a-f]{{12}}")
        return [p for p in root().glob(f"{self.name}-*") if pattern.fullmatch(p.name) and p.is_dir()]

    @contextmanager
    def _locked(self, say: Callable[[str], None]) -> Iterator[None]:
        import fcntl  # not on Windows, where nobody has run convkit yet

        made(root())
        with (root() / f"{self.name}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"waiting for another process that works on the toolchain '{self.name}'")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield  # closing the file gives the lock back


def _silent(_: str) -> None:
    pass
