"""A report's file is there whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["replace_text"]


def replace_text(path: Path, text: str) -> None:
    """Writes a file under another name and renames it; what stood there stays until then.

    Raises:
        OSError: It cannot be written; nothing is left of it.
    """
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        staged.write_text(text, encoding="utf-8", errors="backslashreplace")
        staged.replace(path)
    except OSError:
        staged.unlink(missing_ok=True)
        raise
