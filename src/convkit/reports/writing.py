"""Writes a report in the face that its file's suffix names."""

from __future__ import annotations

from pathlib import Path

from convkit.components import Face
from convkit.errors import UsageError
from convkit.registry import faces
from convkit.reports.document import Document
from convkit.reports.files import replace_text

__all__ = ["face_of", "write"]


def face_of(path: Path) -> Face:
    """The face for a file.

    Raises:
        UsageError: No face has its suffix.
    """
    known = faces()
    name = path.name.lower()
    suffix = max((s for s in known if name.endswith(s)), key=len, default="")  # `.nodedata.json` is no `.json`
    if not suffix:
        raise UsageError(f"no face of a report is written as {path.name!r}", hint=f"end its name in {', '.join(known)}")
    return known[suffix]


def write(document: Document, path: Path) -> None:
    """Writes `path`, whole or not at all; a report that is there is replaced.

    Raises:
        UsageError: No face has its suffix, or it cannot be written there.
    """
    text = face_of(path).render(document)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, text)
    except OSError as error:
        raise UsageError(
            f"the report {path} cannot be written: {error.strerror or error}", hint="name a place that you may write to"
        ) from error
