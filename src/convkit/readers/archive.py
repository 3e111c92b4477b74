"""Zip archives that may be hostile: members are looked at, never extracted."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

from convkit.errors import UnreadableModelError
from convkit.readers.damage import DamagedFileError

__all__ = ["is_zip", "open_archive", "read_json", "read_member"]

_MIB = 1 << 20
# Models are stored or barely compressible; a member of zeros reaches 1000. Small files may be anything.
_RATIO_LIMIT = 200
_RATIO_FREE = 256 * _MIB


def is_zip(head: bytes) -> bool:
    """The magic number of a local file header, or of an archive without members."""
    return head[:4] in {b"PK\x03\x04", b"PK\x05\x06"}


@contextmanager
def open_archive(source: Path | IO[bytes]) -> Iterator[zipfile.ZipFile]:
    """Opens an archive whose directory makes sense.

    Raises:
        UnreadableModelError: for names that would leave a directory when extracted, and for a total size that no model
            compresses to ("zip bomb").
        DamagedFileError: for a truncated archive (its directory is at the end).
    """
    try:
        archive = zipfile.ZipFile(source)
    except zipfile.BadZipFile as error:
        raise DamagedFileError(f"the directory at the end of the zip archive is missing or broken: {error}") from error
    with archive:
        declared = packed = 0
        for info in archive.infolist():
            paths = (PurePosixPath(info.filename), PureWindowsPath(info.filename))
            if any(p.root or p.drive or ".." in p.parts for p in paths):
                raise UnreadableModelError(
                    f"{_name(source)} has a member called {info.filename!r}, which leaves the archive's directory",
                    hint="no library writes such files: do not load it unless you know its origin",
                )
            declared += info.file_size
            packed += info.compress_size
        if declared > _RATIO_FREE and declared > _RATIO_LIMIT * max(packed, 1):
            raise UnreadableModelError(
                f"{_name(source)} unpacks {packed} bytes to {declared}: a zip bomb, not a model",
                hint="do not load it unless you know its origin",
            )
        yield archive


def _name(source: Path | IO[bytes]) -> str:
    return str(source) if isinstance(source, Path) else "an archive in the file"


def read_member(archive: zipfile.ZipFile, name: str, limit: int = 64 * _MIB) -> bytes:
    """A member's content, never more than `limit` bytes of it, whatever its header says.

    Raises:
        DamagedFileError: when it is not there, larger, or its checksum is wrong.
    """
    try:
        with archive.open(name) as stream:
            content = stream.read(limit + 1)
    except KeyError:
        raise DamagedFileError(f"it has no member {name}") from None
    if len(content) > limit:
        raise DamagedFileError(f"its member {name} is larger than {limit // _MIB} MiB")
    return content


def read_json(archive: zipfile.ZipFile, name: str, limit: int = 64 * _MIB) -> Any:
    """A member that is a JSON object."""
    content = json.loads(read_member(archive, name, limit))
    if not isinstance(content, dict):
        raise DamagedFileError(f"its member {name} is no JSON object")
    return content
