"""The life cycle of a toolchain, with a real virtual environment and a wheel made on the spot: no network."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from convkit.errors import ToolchainError, UsageError
from convkit.workers import toolchains
from convkit.workers.toolchains import PythonEnvironment


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory):
    """A directory with one wheel, `tiny-tool` 1.0, whose module is `tinytool`."""
    directory = tmp_path_factory.mktemp("wheelhouse")
    info = "tiny_tool-1.0.dist-info"
    files = {
        "tinytool.py": "ANSWER = 42\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny-tool\nVersion: 1.0\nRequires-Python: >=4\n"
        "Requires-Dist: nothing-like-it\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(directory / "tiny_tool-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return directory


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CONVKIT_OFFLINE", raising=False)
    return tmp_path / "cache"


def tiny(
    directory: Path, modules: tuple[str, ...] = ("tinytool",), text: str = "# a lock\ntiny_tool==1.0\n"
) -> PythonEnvironment:
    lock = directory / "tiny.txt"
    lock.write_text(text)
    return PythonEnvironment("tiny", "a test", lock, modules)


def test_life_cycle(tmp_path, wheelhouse):
    toolchain = tiny(tmp_path)
    assert not toolchain.installed()
    assert toolchain.health() == "it is not installed"
    lines = []
    toolchain.install(lines.append, wheelhouse=wheelhouse)
    assert toolchain.installed()
    assert toolchain.health() is None
    assert lines[0].startswith("installing the toolchain 'tiny' (1 packages)")
    facts = json.loads((toolchain.directory / "installed.json").read_text())
    assert facts["packages"] == {"tiny-tool": "1.0"}

    # The package is in the toolchain, not here.
    done = subprocess.run(
        [toolchain.python, "-I", "-c", "import tinytool; print(tinytool.ANSWER)"], capture_output=True, text=True
    )
    assert done.stdout == "42\n"
    with pytest.raises(ModuleNotFoundError):
        __import__("tinytool")
    first = toolchain.environment()["PATH"].split(":")[0]
    assert Path(first) == toolchain.python.parent

    # A whole one is left alone, a broken one is built anew.
    marker = toolchain.directory / "installed.json"
    written = marker.stat().st_mtime_ns
    toolchain.install(wheelhouse=wheelhouse)
    assert marker.stat().st_mtime_ns == written
    next(toolchain.directory.rglob("tinytool.py")).unlink()
    for cached in toolchain.directory.rglob("tinytool*.pyc"):
        cached.unlink()
    assert "No module named 'tinytool'" in toolchain.health()
    toolchain.install(wheelhouse=wheelhouse)
    assert toolchain.health() is None
    assert marker.stat().st_mtime_ns != written

    toolchain.remove()
    assert not toolchain.installed()
    assert not toolchain.directory.exists()


def test_an_unfinished_installation_counts_for_nothing(tmp_path, wheelhouse):
    toolchain = tiny(tmp_path, modules=("no_such_module",))
    with pytest.raises(ToolchainError, match="No module named 'no_such_module'") as caught:
        toolchain.install(wheelhouse=wheelhouse)
    assert not toolchain.installed()
    assert not toolchain.directory.exists()
    assert caught.value.log == toolchain.log
    assert "tiny" in toolchain.log.read_text()


def test_two_processes_install_once(tmp_path, wheelhouse, cache):
    tiny(tmp_path)
    script = (
        "import sys; from pathlib import Path; from convkit.workers.toolchains import PythonEnvironment\n"
        f"t = PythonEnvironment('tiny', '', Path({str(tmp_path / 'tiny.txt')!r}), ('tinytool',))\n"
        f"t.install(print, wheelhouse=Path({str(wheelhouse)!r})); print(t.health())\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [p.communicate(timeout=120)[0] for p in processes]
    assert [p.returncode for p in processes] == [0, 0]
    assert all(text.endswith("None\n") for text in outputs)
    assert sum("installed in" in text for text in outputs) == 1
    assert sum("waiting for another process" in text for text in outputs) == 1


def test_a_package_that_cannot_be_had(tmp_path, wheelhouse):
    toolchain = tiny(tmp_path, text="tiny-tool==2.0\n")
    with pytest.raises(ToolchainError, match="pip cannot install") as caught:
        toolchain.install(wheelhouse=wheelhouse)
    assert "tiny-tool==2.0" in caught.value.log.read_text()
    assert "PIP_NO_INDEX=1" in caught.value.hint
    assert "convkit toolchain install tiny" in caught.value.hint
    assert not toolchain.directory.exists()


def test_a_wheelhouse_is_filled_and_used(tmp_path, wheelhouse, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheelhouse))
    toolchain = tiny(tmp_path)
    toolchain.download(tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["tiny_tool-1.0-py3-none-any.whl"]
    assert not toolchain.installed()


def test_identity_follows_the_lock(tmp_path):
    one = tiny(tmp_path).identity
    assert one.startswith("tiny-")
    assert len(one) == len("tiny-") + 12
    assert tiny(tmp_path).identity == one
    assert tiny(tmp_path, text="tiny-tool==1.1\n").identity != one


def test_versions_come_from_the_lock(tmp_path):
    toolchain = tiny(tmp_path, text="# comment\nTiny_Tool==1.0  # why\n\nother.package==2.1\n")
    assert toolchain.version("tiny-tool") == "1.0"
    assert toolchain.version("Other-Package") == "2.1"
    assert toolchain.version("numpy") is None
    with pytest.raises(ToolchainError, match="not pinned"):
        tiny(tmp_path, text="numpy>=2\n").version("numpy")


@pytest.mark.parametrize("offline", ["1", None])
def test_nothing_is_installed_unasked(monkeypatch, offline):
    if offline:
        monkeypatch.setenv("CONVKIT_OFFLINE", offline)
    with pytest.raises(ToolchainError, match=r"'onnx2tf' .* is not installed") as caught:
        toolchains.ensure("onnx2tf", auto=offline is not None)
    assert "convkit toolchain install onnx2tf" in caught.value.hint
    assert not toolchains.get("onnx2tf").directory.exists()


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(UsageError) as caught:
        toolchains.get("onnx3tf")
    assert "onnx2tf" in caught.value.hint
