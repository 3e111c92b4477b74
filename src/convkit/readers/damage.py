"""One error for every way in which a damaged file makes a parser stumble."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from pathlib import Path

from convkit.errors import UnreadableModelError

__all__ = ["PARSER_ERRORS", "DamagedFileError", "damaged"]


class DamagedFileError(ValueError):
    """A parser found something that the format does not allow. The message says what and where."""


# What the standard library's parsers and plain indexing raise on bytes that break a format. A reader that walks hostile
# JSON meets AttributeError, LookupError and TypeError as well as ValueError; zipfile raises RuntimeError
# (encrypted member) and NotImplementedError (unknown compression).
PARSER_ERRORS = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def damaged(path: Path, kind: str, error: BaseException) -> UnreadableModelError:
    """The user's error for a parser's error on a file of that kind ("" where it is not known yet)."""
    what = str(error) if isinstance(error, DamagedFileError) else f"{type(error).__name__}: {error}"
    file = f"{kind} file" if kind else "file"
    return UnreadableModelError(
        f"{path} is a truncated or corrupt {file} ({what})",
        hint="compare its size and checksum with the original, and download or save it again",
    )
