"""What `convkit doctor` says of an installation, and the verbs that manage it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from convkit import doctor
from convkit.cli.main import run
from convkit.registry import converters, runtimes


def convkit_in_a_process(*arguments, **environment):
    command = [sys.executable, "-m", "convkit.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment}, timeout=200)


@pytest.mark.slow
def test_this_installation_works(capsys):
    """Starts a worker for every group, which imports what its group needs."""
    found = doctor.examine()
    assert [f for f in found if f.state == "broken"] == []
    assert found[0].subject == "convkit"
    # One worker per group, named after the first component that runs in it.
    groups = {c.host.group for c in (*converters(), *runtimes()) if c.host.toolchain == "main"}
    of_group = {c.name: c.host.group for c in (*converters(), *runtimes())}
    assert {of_group[f.subject] for f in found if f.subject in of_group} >= groups
    assert all(f.detail for f in found)


@pytest.mark.slow
def test_a_package_that_does_not_import_is_broken(tmp_path):
    """A module that shadows a library stands for a broken one."""
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('libonnxruntime.so: cannot open shared object file')\n")
    done = convkit_in_a_process("doctor", "--json", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    findings = {f["subject"]: f for f in json.loads(done.stdout)["findings"]}
    broken = [f for f in findings.values() if f["state"] == "broken"]
    assert broken
    assert all("cannot open shared object file" in f["detail"] for f in broken)


def test_missing_packages_come_with_the_command(monkeypatch):
    """The registry's own versions with everything gone: no worker is started at all."""
    monkeypatch.setattr("convkit.registry.installed_version", lambda name: None)
    found = doctor.examine()
    missing = {f.subject: f.detail for f in found if f.state == "missing"}
    local = [c for c in (*converters(), *runtimes()) if c.host.toolchain == "main" and c.host.packages]
    assert len(local) >= 8
    for component in local:
        assert missing[component.name] == f"pip install {' '.join(component.host.packages)}"


def test_toolchains_are_listed_with_what_they_are_for(capsys):
    assert run(["toolchain", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"onnx2tf"} <= {t["name"] for t in listed}
    assert all(t["purpose"] for t in listed)
    assert run(["toolchain", "list"]) == 0
    out = capsys.readouterr().out
    for toolchain in listed:
        assert toolchain["name"] in out


def test_an_empty_cache_has_no_toolchains(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CONVKIT_CACHE", str(tmp_path))
    assert run(["toolchain", "list", "--json"]) == 0
    assert not any(t["installed"] for t in json.loads(capsys.readouterr().out))


@pytest.mark.parametrize("verb", ["install", "remove", "download"])
def test_an_unknown_toolchain_is_an_error_with_the_names(verb, capsys, tmp_path):
    extra = ["--to", str(tmp_path)] if verb == "download" else []
    assert run(["toolchain", verb, "nonsense", *extra]) == 2
    err = capsys.readouterr().err
    assert "nonsense" in err
    assert "onnx2tf" in err


def test_a_cache_that_cannot_be_written_is_an_error_with_a_hint(tmp_path, model):
    (tmp_path / "file").write_text("")
    done = convkit_in_a_process(
        "convert", str(model("digits_cnn", "onnx")), "--to", "litert", "-o", str(tmp_path / "a.tflite"),
        CONVKIT_CACHE=str(tmp_path / "file" / "cache"),
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "CONVKIT_CACHE" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_that_the_shell_accepts(shell, capsys, tmp_path):
    assert run(["completion", shell]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    checked = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_completion_completes_verbs_and_options():
    done = convkit_in_a_process(_CONVKIT_COMPLETE="bash_complete", COMP_WORDS="convkit con", COMP_CWORD="1")
    assert done.stdout.split(",")[-1].split() == ["convert"]
    done = convkit_in_a_process(_CONVKIT_COMPLETE="bash_complete", COMP_WORDS="convkit convert --trust", COMP_CWORD="2")
    assert "--trust-pickle" in done.stdout


def test_an_unknown_shell_is_refused(capsys):
    assert run(["completion", "powershell"]) == 2
    assert "bash" in capsys.readouterr().err
