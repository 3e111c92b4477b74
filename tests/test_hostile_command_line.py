"""Broken and malicious files through the whole command line: exit code 2, a clear text, and nothing else happens."""

from __future__ import annotations

import tempfile
from pathlib import Path

import hostile_files
import pytest
from hostile_files import FIXTURES, MARKER, HostileFile

from convkit.cli.main import run
from convkit.errors import ConvkitError
from convkit.readers import identify


def names() -> list[str]:
    """The names are needed before there is a directory to write to."""
    with tempfile.TemporaryDirectory() as scratch:
        return [file.name for file in hostile_files.make(Path(scratch))]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def files(directory: Path) -> dict[str, HostileFile]:
    return {file.name: file for file in hostile_files.make(directory)}


@pytest.fixture
def convkit_command(capfd):
    """Runs a command line; capfd, because frameworks write past sys.stderr."""

    def invoke(*arguments):
        code = run([str(a) for a in arguments])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return invoke


def contents(directory: Path) -> set[tuple[str, int, int]]:
    return {(str(p), p.lstat().st_size, p.lstat().st_mtime_ns) for p in directory.rglob("*")}


def other_format(path: Path) -> str:
    """A format that the file is not of, so that it is the file that is refused and not the request."""
    try:
        return "litert" if identify(path).format.value == "onnx" else "onnx"
    except ConvkitError:
        return "onnx"


@pytest.mark.parametrize("name", names())
def test_a_hostile_file_exits_with_2_and_leaves_nothing(name, files, directory, convkit_command, tmp_path, monkeypatch):
    file = files[name]
    before = contents(directory)
    monkeypatch.chdir(tmp_path)

    code, out, err = convkit_command("inspect", file.path)
    assert code == (0 if file.error is None else 2), err
    if file.error is not None:
        assert file.says in err
        assert out == ""
    code, out, err = convkit_command("convert", file.path, "--to", other_format(file.path), "-o", tmp_path / "model.out")
    assert code == 2, err
    assert err.startswith("error: ")
    assert "help: " in err
    assert "Traceback" not in err + out

    assert list(tmp_path.iterdir()) == []
    assert contents(directory) == before
    assert not (directory / MARKER).exists()


@pytest.mark.parametrize("name", ["command_inside.pt", "command_legacy.pt", "hash_bomb.pt", "negative.safetensors"])
def test_hostile_weights_of_a_factory_are_not_executed(name, files, directory, convkit_command, tmp_path):
    net = tmp_path / "net.py"
    net.write_text("import torch\n\ndef build():\n    return torch.nn.Linear(4, 2)\n")
    arguments = ("--model", f"{net}:build", "--input", "input:float32[1,4]", "--to", "onnx", "-o", tmp_path / "out" / "m.onnx")
    code, _, err = convkit_command("convert", files[name].path, *arguments)
    assert code == 2, err
    assert "Traceback" not in err
    assert not (directory / MARKER).exists()
    assert not (tmp_path / "out" / "m.onnx").exists()


@pytest.mark.parametrize("name", ["arrays.pt", "noise.pt", "cut_at_50.safetensors", "bomb.keras", "page.onnx"])
def test_hostile_files_as_inputs(name, files, convkit_command, tmp_path, model):
    path = files[name].path
    arguments = ("--to", "litert", "-o", tmp_path / "m.tflite", "--inputs", path)
    code, _, err = convkit_command("convert", model("digits_cnn", "onnx"), *arguments)
    assert code == 2, err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["onnx", "tflite", "scripted.pt", "pt2", "keras", "h5"])
def test_random_damage_never_ends_in_a_bug(suffix, convkit_command, tmp_path):
    """What passes the reader fails in its framework, in a worker, or is a different but sound model."""
    content = (FIXTURES / f"{FIXTURES.name}.{suffix}").read_bytes()
    path = tmp_path / f"model.{suffix}"
    target = "litert" if suffix == "onnx" else "onnx"
    codes = set()
    for data in hostile_files.mutations(content, 12, seed=7):
        path.write_bytes(data)
        code, out, err = convkit_command("convert", path, "--to", target, "-o", tmp_path / "out", "--timeout", 60, "-f")
        assert code in {0, 1, 2, 3}, err
        assert "Traceback" not in err + out
        codes.add(code)
    assert 2 in codes


def test_the_caller_survives_a_model_that_kills_its_runtime(convkit_command, tmp_path):
    """The caller's process is this one; its workers are others."""
    content = bytearray((FIXTURES / f"{FIXTURES.name}.tflite").read_bytes())
    # Operators' input indices far outside of the tensors.
    for position in range(len(content) // 2, len(content) - 4, 97):
        content[position] ^= 0xFF
    (tmp_path / "m.tflite").write_bytes(content)
    code, out, err = convkit_command("convert", tmp_path / "m.tflite", "--to", "onnx", "-o", tmp_path / "m.onnx")
    assert code in {1, 2, 3}, err
    assert "Traceback" not in err + out
    assert not (tmp_path / "m.onnx").exists()
