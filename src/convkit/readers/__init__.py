"""Readers: what a file is and holds, told from its bytes, without a framework and without executing anything.

One module per family of files. A module of this package that defines `matches` is a reader, see `Reader`; it is found
by being there, so a new format is one new file. The other modules are the parsers that readers share.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, cast

from convkit.artifact import ModelInfo
from convkit.errors import UnreadableModelError
from convkit.formats import Variant
from convkit.readers.damage import PARSER_ERRORS, damaged
from convkit.readers.unrecognised import explain

__all__ = ["Reader", "identify", "inspect"]

# Enough for every magic number, and for the text of an HTML error page.
HEAD_BYTES = 4096


class Reader(Protocol):
    """What a reader module defines."""

    def matches(self, path: Path, head: bytes) -> Variant | None:
        """The variant of a file (or of a directory: then `head` is empty) that is this family's, None for others.

        Cheap: a magic number, or the directory of an archive. It may raise UnreadableModelError for a file that is
        this family's but cannot be one of its models.
        """

    def read(self, path: Path, variant: Variant) -> ModelInfo:
        """Reads everything `ModelInfo` documents from a file that `matches` has taken."""


def _readers() -> Iterator[Reader]:
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        if hasattr(module, "matches"):
            yield cast(Reader, module)


def _head(path: Path) -> bytes:
    """The first bytes of a file, b"" for a directory.

    Raises:
        UnreadableModelError: for what is neither, does not exist, or may not be read. Pipes and devices are refused
            before they are opened, because opening one can block.
    """
    try:
        if path.is_dir():
            return b""
        if not path.exists():
            raise UnreadableModelError(f"there is no file {path}", hint="check the path")
        if not path.is_file():
            raise UnreadableModelError(f"{path} is not a regular file", hint="give a model file or directory")
        with path.open("rb") as stream:
            return stream.read(HEAD_BYTES)
    except (OSError, ValueError) as error:
        raise UnreadableModelError(f"{path} cannot be read: {error}", hint="check the path and its permissions") from error


def _find(path: Path) -> tuple[Reader, Variant]:
    head = _head(path)
    try:
        for reader in _readers():
            if variant := reader.matches(path, head):
                return reader, variant
    except PARSER_ERRORS as error:
        raise damaged(path, "", error) from error
    raise explain(path, head)


def identify(path: Path) -> Variant:
    """What a file or directory is, by its content; the suffix plays no part.

    Raises:
        UnreadableModelError: saying what the file looks like instead, and what to do.
    """
    return _find(Path(path))[1]


def inspect(path: Path) -> ModelInfo:
    """Everything that a model file tells about itself.

    Raises:
        UnreadableModelError: when it is no model, truncated, or corrupt.
    """
    path = Path(path)
    reader, variant = _find(path)
    try:
        return reader.read(path, variant)
    except PARSER_ERRORS as error:
        raise damaged(path, variant.title, error) from error
