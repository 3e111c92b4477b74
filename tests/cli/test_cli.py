"""The command line, as a user meets it: text, exit codes, JSON on stdout and nothing else there."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from convkit.cli.main import _VERBS, run


@pytest.fixture
def convkit_command(capsys):
    def invoke(*arguments):
        code = run([str(a) for a in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return invoke


def test_help_names_every_verb_and_the_exit_codes(convkit_command):
    code, out, _ = convkit_command("--help")
    assert code == 0
    for verb in _VERBS:
        assert verb in out
    assert "130" in out


@pytest.mark.parametrize("verb", [v for v in _VERBS if v != "toolchain"])
def test_every_verb_has_help_with_an_example(verb, convkit_command):
    code, out, _ = convkit_command(verb, "--help")
    assert code == 0
    assert "Example" in out or "Exit code" in out


def test_inspect_prints_text_and_json(convkit_command, model):
    code, out, _ = convkit_command("inspect", model("digits_cnn", "tflite"))
    assert code == 0
    assert "CONV_2D" in out
    assert "image: float32[batch,1,8,8]" in out
    code, out, _ = convkit_command("inspect", model("digits_cnn", "tflite"), "--json")
    assert json.loads(out)["format"] == "litert"


def test_convert_prints_the_story(convkit_command, model, tmp_path):
    code, out, err = convkit_command("convert", model("digits_cnn", "onnx"), "--to", "litert", "-o", tmp_path / "a.tflite")
    assert code == 0, err
    for label in ("source", "route", "check", "convert", "validate", "wrote"):
        assert f"  {label}" in out
    assert "top-1 agreement 100 %" in out


def test_json_is_the_only_thing_on_stdout(convkit_command, model, tmp_path):
    output = tmp_path / "a.tflite"
    code, out, _ = convkit_command("convert", model("digits_cnn", "onnx"), "-o", output, "--json")
    assert code == 0
    assert json.loads(out)["verdict"] == "proved"


def test_drift_exits_with_1(convkit_command, model, tmp_path):
    arguments = ("convert", model("digits_cnn", "onnx"), "-o", tmp_path / "a.tflite", "--tolerance", "1e-12")
    code, _, err = convkit_command(*arguments)
    assert code == 1
    assert "--allow-drift" in err
    code, out, _ = convkit_command(*arguments, "--json")
    assert json.loads(out)["verdict"] in {"drift", "failed"}


def test_validate_compares_two_files(convkit_command, model):
    code, out, _ = convkit_command("validate", model("digits_cnn", "onnx"), model("digits_cnn", "tflite"))
    assert code == 0
    assert "proved" in out
    code, out, _ = convkit_command("validate", model("digits_cnn", "onnx"), model("digits_lstm", "onnx"))
    assert code != 0


def test_plan_and_formats(convkit_command, model):
    code, out, _ = convkit_command("plan", model("digits_cnn", "onnx"), "--to", "litert")
    assert code == 0
    assert "onnx2tf" in out
    code, out, _ = convkit_command("formats", "--matrix", "--json")
    pairs = json.loads(out)
    assert len(pairs) == 30
    assert all(p["status"] == "ready" and p["steps"][-1]["to"] == p["to"] for p in pairs)
    assert "30 of 30 pairs are ready" in convkit_command("formats", "--matrix")[1]
    assert convkit_command("formats")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["convert", "nowhere.onnx", "--to", "litert"], "there is no file"),
        (["convert", "{digits_cnn.onnx}", "--to", "nonsense"], "unknown format"),
        (["convert", "{digits_cnn.onnx}"], "--to"),
        (["convert", "{digits_cnn.safetensors}", "--to", "onnx"], "--model"),
        (["convert", "{digits_cnn.state_dict.pt}", "--to", "onnx"], "--model"),
        (["convert", "{digits_cnn.pickled.pt}", "--to", "onnx"], "--trust-pickle"),
        (["convert", "{digits_cnn.onnx}", "--to", "litert", "--inputs", "no.npz"], "no.npz"),
        (["convert", "{digits_cnn.onnx}", "--to", "litert", "--tolerance", "x"], "tolerance"),
        (["convert", "{digits_cnn.onnx}", "--to", "onnx"], "already"),
        (["nonsense"], "No such command"),
        (["inspect", "{../fixtures.json}"], ""),
    ],
)
def test_bad_input_exits_with_2_and_says_what_to_do(arguments, said, convkit_command, model, fixtures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    resolved = [str(fixtures / "digits_cnn" / a[1:-1]) if a.startswith("{") else a for a in arguments]
    code, out, err = convkit_command(*resolved)
    assert code == 2, err
    assert said in err
    assert "Traceback" not in err + out
    assert list(tmp_path.iterdir()) == []


def test_help_is_quick():
    """No framework, no numpy: the budget itself is a benchmark, the imports are what this can promise."""
    code = (
        "import sys; from convkit.cli.main import run; run(['--help']); "
        "sys.exit(bool({'numpy', 'onnx', 'torch', 'tensorflow', 'rich'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_completion_prints_a_script(convkit_command):
    for shell in ("bash", "zsh", "fish"):
        code, out, _ = convkit_command("completion", shell)
        assert code == 0
        assert "_CONVKIT_COMPLETE" in out


def test_reports_are_written_in_the_face_of_their_suffix(model, tmp_path, capsys):
    files = [tmp_path / "out" / f"report{suffix}" for suffix in (".md", ".html", ".json", ".sarif", ".xml")]
    arguments = [part for file in files for part in ("--report", str(file))]
    assert run(["check", str(model("digits_cnn", "onnx")), "--to", "savedmodel", *arguments]) == 0
    assert all(file.stat().st_size > 100 for file in files)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(f.name for f in files)


def test_a_report_that_no_face_writes_is_refused_before_the_work(model, tmp_path, capsys):
    output = tmp_path / "m.onnx"
    code = run(["convert", str(model("digits_cnn", "pt2")), "--to", "onnx", "-o", str(output), "--report", "report.docx"])
    assert code == 2
    assert ".sarif" in capsys.readouterr().err
    assert not output.exists()


def test_explain(capsys):
    assert run(["explain", "ck105"]) == 0
    assert "depends on data" in capsys.readouterr().out
    assert run(["explain"]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 13
    assert run(["explain", "CK999"]) == 2
