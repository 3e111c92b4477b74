"""What probes have found, kept from one call to the next."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from convkit import __version__
from convkit.errors import UsageError
from convkit.formats import Format, Variant
from convkit.legalization.target import Finding
from convkit.planner import Route
from convkit.registry import host_versions
from convkit.routing import hosts
from convkit.workers.locations import cache_directory, made

__all__ = ["Cache", "identity"]


@dataclass(frozen=True)
class Cache:
    """The verdicts of one route, in one directory of the user's cache.

    Attributes:
        directory: One small JSON file per signature; None where the cache cannot be written to.
    """

    directory: Path | None

    @classmethod
    def of(cls, identity: str) -> Cache:
        """The cache of those with this identity (see `identity`)."""
        try:
            return cls(made(cache_directory() / "probes" / identity))
        except UsageError:  # a probe's verdict is worth telling although it cannot be kept
            return cls(None)

    def get(self, digest: str) -> dict[str, Any] | None:
        """What was kept; None where nothing was, or where it is damaged."""
        if self.directory is None:
            return None
        try:
            found = json.loads((self.directory / f"{digest}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def put(self, digest: str, data: Mapping[str, Any]) -> None:
        """Keeps something; written beside and renamed, as other processes may read it at the same moment."""
        if self.directory is None:
            return
        beside = self.directory / f"{digest}.{os.getpid()}"
        with suppress(OSError):
            beside.write_text(json.dumps(dict(data)), encoding="utf-8")
            beside.replace(self.directory / f"{digest}.json")

    def findings(self, key: str, ask: Callable[[], list[Finding] | None]) -> list[Finding] | None:
        """Findings under a key: kept ones, else those that are asked for now, which are kept."""
        kept = self.get(key)
        try:
            if kept is not None:
                return None if kept["findings"] is None else [Finding.from_json(f) for f in kept["findings"]]
        except (LookupError, TypeError, ValueError):  # damaged
            pass
        found = ask()
        self.put(key, {"findings": None if found is None else [f.to_json() for f in found]})
        return found


def identity(source: Variant, route: Route, target: Format) -> str:
    """A digest of all that a verdict depends on beside the signature: the route, its packages' versions, convkit itself."""
    versions = [sorted(host_versions(host).items()) for host in hosts(route, source, target.default_variant)]
    told = json.dumps([source.value, route.names, target.value, versions, _own_state()])
    return hashlib.sha256(told.encode()).hexdigest()[:20]


@cache
def _own_state() -> str:
    """Convkit's version and, as a checkout changes under one version, what its files' names, sizes and times come to."""
    import convkit

    home = Path(convkit.__file__).parent
    state = hashlib.sha256(__version__.encode())
    for path in sorted(p for suffix in ("py", "json", "mjs") for p in home.rglob(f"*.{suffix}")):
        status = path.stat()
        state.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return state.hexdigest()
