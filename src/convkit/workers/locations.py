"""Where convkit keeps what outlives a call: toolchains and logs, below one cache directory."""

from __future__ import annotations

import os
import time
from pathlib import Path

from convkit.errors import UsageError

__all__ = ["cache_directory", "log_file", "made"]

_KEPT_LOGS = 60


def cache_directory() -> Path:
    """`$CONVKIT_CACHE`, else `$XDG_CACHE_HOME/convkit`, else `~/.cache/convkit`; not necessarily there yet."""
    if own := os.environ.get("CONVKIT_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "convkit"


def made(directory: Path) -> Path:
    """A directory below the cache, made if it is not there.

    Raises:
        UsageError: It cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make {directory}: {error.strerror}", hint="set CONVKIT_CACHE to a directory of yours") from None
    return directory


def log_file(group: str) -> Path:
    """A path for the log of a new worker; the oldest logs beyond a fixed number are removed.

    Raises:
        UsageError: There can be no such directory.
    """
    directory = made(cache_directory() / "logs")
    for old in sorted(directory.glob("*.log"))[:-_KEPT_LOGS]:
        old.unlink(missing_ok=True)
    return directory / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{group}.log"
