"""Examines an installation: what is there, what is missing and what that costs, what is broken."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from typing import Any, Literal

from convkit import __version__
from convkit.browser import chromium
from convkit.components import Converter, Runtime
from convkit.errors import ConvkitError, ToolchainError
from convkit.registry import broken_plugins, converters, host_versions, lacking_packages, runtimes
from convkit.workers import toolchains
from convkit.workers.locations import cache_directory
from convkit.workers.pool import fresh_pool

__all__ = ["Finding", "examine"]


@dataclass(frozen=True)
class Finding:
    """One thing that was examined: whether it works, lacks something, or is broken."""

    state: Literal["ok", "missing", "broken"]
    subject: str
    detail: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def examine() -> list[Finding]:
    """Examines everything; starts one worker per group to see that its imports work."""
    found = [Finding("ok", "convkit", f"{__version__}, Python {platform.python_version()}, cache {cache_directory()}")]
    found += [Finding("broken", f"plugin {name}", why) for name, why in broken_plugins().items()]
    found += [_toolchain(t) for t in toolchains.toolchains() if t.needed]
    found.append(_browser())
    seen: set[tuple[str, str]] = set()
    with fresh_pool() as pool:
        components: list[Converter | Runtime] = [*converters(), *runtimes()]
        for component in components:
            host = component.host
            lacking = lacking_packages(host)
            if lacking:
                found.append(Finding("missing", component.name, f"pip install {' '.join(lacking)}"))
                continue
            if host.toolchain != "main" or (host.group, ",".join(host.preload)) in seen:
                continue
            seen.add((host.group, ",".join(host.preload)))
            try:
                failed = pool.worker(host).call(
                    "convkit.workers.host:preload", {"modules": list(host.preload)}, stage="doctor", component=component.name
                )
            except ConvkitError as error:
                found.append(Finding("broken", component.name, error.message))
                continue
            versions = ", ".join(f"{package} {version}" for package, version in host_versions(host).items())
            problem = "; ".join(f"{m}: {why}" for m, why in failed.result.items())
            found.append(Finding("broken" if problem else "ok", component.name, problem or versions))
    return found


def _toolchain(toolchain: toolchains.LockedEnvironment) -> Finding:
    subject = f"toolchain {toolchain.name}"
    if not toolchain.installed():
        return Finding("missing", subject, f"{toolchain.purpose}; convkit toolchain install {toolchain.name}")
    reason = toolchain.health()
    return Finding("broken" if reason else "ok", subject, reason or toolchain.purpose)


def _browser() -> Finding:
    try:
        return Finding("ok", "browser", chromium.version(chromium.executable()))
    except ToolchainError as error:
        return Finding("missing", "browser", f"{error.message}; {error.hint}")
