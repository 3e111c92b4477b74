"""Atomic output: everything is made beside its final place and moved there when it has passed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from convkit.errors import OutputExistsError, UsageError

__all__ = ["Staging", "staging"]


class Staging:
    """A hidden directory beside the output; `path` is where the last converter writes.

    A directory, and not a file, because one model may be several files (ONNX with external data).
    """

    def __init__(self, directory: Path, output: Path, force: bool) -> None:
        self.directory = directory
        self.output = output
        self._force = force

    @property
    def path(self) -> Path:
        """The staged output, under its final name."""
        return self.directory / "out" / self.output.name

    def scratch(self, name: str) -> Path:
        """A path for an intermediate file."""
        return self.directory / name

    def discard_output(self) -> None:
        """Throws away what a failed route left."""
        shutil.rmtree(self.path.parent, ignore_errors=True)
        self.path.parent.mkdir()

    def commit(self) -> None:
        """Moves the output, and the files that belong to it, to their final place; replaces what is there.

        Raises:
            OutputExistsError: A companion file (`model.onnx.data`) would replace one, and `force` is off.
        """
        for made in self.path.parent.iterdir():
            if not self._force and (self.output.parent / made.name).exists():
                raise _exists(self.output.parent / made.name)
        for made in sorted(self.path.parent.iterdir(), key=lambda p: p == self.path):  # the model itself comes last
            final = self.output.parent / made.name
            old = self.directory / f"old-{made.name}"
            if made.is_dir() or (final.is_dir() and not final.is_symlink()):
                # A directory cannot be replaced in one step, nor replace a file: the old one goes aside first.
                if final.exists():
                    final.rename(old)
                made.rename(final)
            else:
                made.replace(final)


def _exists(path: Path) -> OutputExistsError:
    return OutputExistsError(f"{path} exists", hint="add --force to overwrite it, or choose another --output")


def _clear_abandoned(output: Path) -> None:
    """Removes what a process that was killed (SIGKILL, power) has left of an earlier conversion to the same output."""
    mark = f".{output.name}.convkit-"
    for left in output.parent.iterdir():
        owner = left.name.removeprefix(mark).partition("-")[0]
        if left.name.startswith(mark) and owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def staging(output: Path, force: bool, companions: Sequence[Path] = ()) -> Iterator[Staging]:
    """A staging area for `output`; gone when the block ends, whatever happens.

    Args:
        output: The final place.
        force: Whether what is there may be replaced.
        companions: Further files that are known to come beside it.

    Raises:
        OutputExistsError: The output or a companion exists and `force` is off.
        UsageError: Its directory cannot be written.
    """
    for final in (output, *companions):
        if final.exists() and not force:
            raise _exists(final)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        _clear_abandoned(output)
        directory = Path(tempfile.mkdtemp(prefix=f".{output.name}.convkit-{os.getpid()}-", dir=output.parent))
    except OSError as error:
        raise UsageError(f"cannot write to {output.parent}: {error.strerror}", hint="choose another --output") from error
    area = Staging(directory, output, force)
    area.path.parent.mkdir()
    try:
        yield area
    finally:
        shutil.rmtree(directory, ignore_errors=True)
