"""The files beside a model that it names: external data, weight shards. The names are not to be trusted."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from convkit.errors import UnreadableModelError

__all__ = ["companion"]


def companion(model: Path, location: str, owner: str) -> Path:
    """The file that `model` names by `location`; `owner` says what for ("tensor 'w'").

    Raises:
        UnreadableModelError: for a location that leaves the model's directory (by itself or through a link), is a URL, or
            where no file is.
    """
    root = model.resolve().parent
    paths = (PurePosixPath(location), PureWindowsPath(location))
    escapes = any(p.is_absolute() or p.drive or p.root or ".." in p.parts for p in paths)
    if not location or "\0" in location or "://" in location or escapes:
        raise UnreadableModelError(
            f"{owner} of {model} keeps its data at {location!r}, outside of the model's directory",
            hint="do not load this file unless you know its origin; save it again with its data beside it",
        )
    file = root / location
    if not file.resolve().is_relative_to(root):
        raise UnreadableModelError(
            f"{owner} of {model} keeps its data at {location!r}, a link that leaves the model's directory",
            hint="put the data itself beside the model",
        )
    if not file.is_file():
        raise UnreadableModelError(
            f"{owner} of {model} keeps its data in {location!r}, which is not there",
            hint=f"put that file beside the model, in {root}",
        )
    return file
