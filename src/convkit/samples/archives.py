"""Arrays of a file that anybody may have written: sizes are checked before anything is allocated."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from convkit.arrays import load_arrays
from convkit.errors import InputSpecError, UsageError

__all__ = ["load"]

_MOST_BYTES = 4 << 30
_MOST_MEMBERS = 10_000


def load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` or `.npy`, by name ("" for the latter's one).

    Raises:
        InputSpecError: It is none, is damaged, holds pickled objects, or unpacks to more than it should.
    """
    try:
        with path.open("rb") as stream:
            if stream.read(4)[:2] == b"PK":
                _check_archive(path)
            else:
                stream.seek(0)
                _check_header(path, "", stream, path.stat().st_size)
        return load_arrays(path)
    except FileNotFoundError:
        raise InputSpecError(f"there is no file {path}", hint="--inputs takes files of samples, or a folder of them") from None
    except InputSpecError:
        raise
    except (UsageError, OSError, ValueError, MemoryError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        text = error.message if isinstance(error, UsageError) else f"cannot read arrays from {path}: {error}"
        hint = "--inputs takes .npz and .npy files without pickled objects, .json, and folders of these or of images"
        raise InputSpecError(text, hint=hint) from None


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        total = sum(m.file_size for m in members)
        if total > _MOST_BYTES or len(members) > _MOST_MEMBERS:
            raise InputSpecError(
                f"{path} unpacks to {total} bytes in {len(members)} arrays",
                hint="give samples of 4 GiB at most; a few are enough",
            )
        for member in members:
            if member.filename.endswith(".npy"):
                with archive.open(member) as stream:
                    _check_header(path, member.filename.removesuffix(".npy"), stream, member.file_size)


def _check_header(path: Path, name: str, stream: IO[bytes], size: int) -> None:
    """Refuses an array that claims to be larger than its bytes."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise InputSpecError(
            f"{path}: the array '{name}' holds pickled objects, which are not loaded", hint="save it with a dtype of numbers"
        )
    if math.prod(shape) * dtype.itemsize > size:
        raise InputSpecError(
            f"{path}: the array '{name}' of shape {list(shape)} does not fit into its {size} bytes", hint="the file is damaged"
        )
