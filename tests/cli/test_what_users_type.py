"""Command lines as people type them: typing errors, traces, weights, terminals without ×, `kill`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from convkit.cli.main import run


@pytest.fixture
def convkit_command(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments):
        code = run([str(a) for a in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return invoke


def test_a_trace_is_converted_at_its_own_shapes_and_says_how_to_free_the_batch(convkit_command, model, tmp_path):
    code, out, err = convkit_command("convert", model("digits_cnn", "traced.pt"), "--to", "onnx", "--no-validate")
    assert code == 0, err
    assert "image: float32[2,1,8,8] → logits: float32[2,10]" in out
    assert "from the example inputs that the traced file keeps" in out
    assert "--dynamic image:0=batch" in out
    dynamic = ("--dynamic", "image:0=batch", "-o", "b.onnx", "--no-validate")
    code, out, err = convkit_command("convert", model("digits_cnn", "traced.pt"), *dynamic)
    assert code == 0, err
    assert "image: float32[batch,1,8,8] → logits: float32[batch,10]" in out


def test_weights_and_code_in_the_working_directory(convkit_command, model, tmp_path, fixtures):
    (tmp_path / "models.py").write_text((fixtures / "models.py").read_text())
    (tmp_path / "w.pt").write_bytes(model("digits_cnn", "state_dict.pt").read_bytes())
    for factory, weights in (("models.py:build_digits_cnn", ["w.pt"]), ("models:DigitsCNN", ["--weights", "w.pt"])):
        code, out, err = convkit_command("convert", *weights, "--model", factory, "--to", "onnx", "--force")
        assert code == 0, err
        assert "assumed image: float32[batch,1,8,8]" in out
        assert (tmp_path / "w.onnx").exists()


def test_random_weights_agree_with_themselves(convkit_command, fixtures, tmp_path):
    """Source and target are run by different loads of a module without weights."""
    factory = f"{fixtures / 'models.py'}:build_digits_cnn"
    code, _, err = convkit_command("convert", "--model", factory, "--to", "onnx")
    assert code == 0, err
    assert (tmp_path / "build_digits_cnn.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "said", "hint"),
    [
        (["convert", "{onnx}", "--to", "litert", "--option", "statik=1"], "statik", "static: pin"),
        (["convert", "{onnx}", "--to", "litert", "--option", "static"], "NAME=VALUE", ""),
        (["convert", "{onnx}", "--to", "litert", "--tolerance", "scores=1e-3"], "scores", "logits"),
        (["convert", "{onnx}", "--to", "litert", "--tolerance", "-1"], "positive", ""),
        (["convert", "{onnx}", "--to", "litert", "--tolerance", "nan"], "positive", ""),
        (["convert", "{onnx}", "--to", "litert", "--timeout", "0"], "range", ""),
        (["convert", "{onnx}", "--to", "litert", "--seeds", "0"], "range", ""),
        (["convert", "{onnx}", "--to", "litert", "--dynamic", "image:0=batch"], "records its shapes", "export"),
        (["convert", "{onnx}", "--to", "litert", "--dynamic", "image=batch"], "NAME:AXIS=SYMBOL", ""),
        (["convert", "{onnx}", "--to", "litert", "--input", "image:float32[1,1,8,8]"], "does not fit", "--input"),
        (["convert", "{onnx}", "--to", "litert", "--input", "img:float32[1,1,8,8]"], "no input 'img'", "image"),
        (["convert", "{onnx}", "--to", "litert", "--input", "image"], "input specification", "name:dtype"),
        (["convert", "{onnx}", "--to", "litert", "--output-names", "a,b"], "outputs are logits", "--output-names"),
        (["convert", "{tflite}", "--to", "onnx", "--output-names", "a"], "names its outputs itself", "--output-names"),
        (["convert", "{traced.pt}", "--to", "onnx", "--output-names", "a,b"], "outputs are logits", "--output-names"),
        (["convert", "{traced.pt}", "--to", "onnx", "--dynamic", "x:0=batch"], "names no input: x", "image"),
        (["convert", "{onnx}", "--to", "litert", "--route", "tf2onnx"], "no route tf2onnx", "onnx2tf"),
        (["convert", "{onnx}", "--to", "litert", "--weights", "w.pt"], "--weights needs --model", "--model"),
        (["convert", "{onnx}", "--to", "litert", "--model", "m.py:build"], "not a file of weights", "--model"),
        (["convert", "{safetensors}", "--to", "onnx", "--model", "m.py:build"], "m.py", "path"),
        (["convert", "{safetensors}", "--to", "onnx", "--model", "build"], "cannot read --model", "file.py:function"),
        (["convert", "{onnx}", "--to", "litert", "--inputs", "{keras}"], "cannot read arrays", ".npz"),
        (["convert", "--to", "onnx"], "no model was given", "--model"),
        (["validate", "{onnx}", "{safetensors}"], "weights without a model", "--model"),
        (["validate", "{onnx}", "gone.tflite"], "there is no file", "path"),
        (["check", "gone.onnx", "--to", "litert"], "there is no file", "path"),
        (["plan", "gone.onnx", "--to", "litert"], "there is no file", "path"),
        (["inspect", "gone.onnx"], "there is no file", "path"),
    ],
)
def test_a_slip_is_told_with_the_way_out(arguments, said, hint, convkit_command, fixtures, tmp_path):
    known = fixtures / "digits_cnn"
    resolved = [str(known / f"digits_cnn.{a[1:-1]}") if a.startswith("{") else a for a in arguments]
    code, out, err = convkit_command(*resolved)
    assert code == 2, err
    assert said in err
    assert hint in err[err.find("help: ") :]
    assert "Traceback" not in err + out
    assert list(tmp_path.iterdir()) == []


def test_the_plan_for_weights_is_that_of_their_module(convkit_command, model):
    for suffix in ("safetensors", "state_dict.pt"):
        code, out, err = convkit_command("plan", model("digits_cnn", suffix), "--to", "onnx")
        assert code == 0, err
        assert "torch-export → torch-onnx" in out


def test_control_characters_of_a_file_do_not_reach_the_terminal(convkit_command, tmp_path):
    evil = "\x1b]0;owned\x07\x1b[2J\nverdict   proved"
    nodes = [helper.make_node("Relu", [f"x{evil}"], ["y"]), helper.make_node(f"Op{evil}", ["y"], ["z"], domain="evil")]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in (f"x{evil}", "z")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("evil", 1)]
    onnx.save_model(helper.make_model(graph, opset_imports=opsets), tmp_path / "m.onnx")
    for arguments in (["inspect", "m.onnx"], ["convert", "m.onnx", "--to", "litert"], ["check", "m.onnx", "--to", "litert"]):
        _, out, err = convkit_command(*arguments)
        text = out + err
        assert "\x07" not in text
        assert "\x1b]" not in text
        assert "\nverdict" not in text
    assert "\\x1b" in text


def process(*arguments, cwd, **environment):
    command = [sys.executable, "-m", "convkit.cli.main", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd, env={**os.environ, **environment}, text=True,
        errors="replace", preexec_fn=_interruptible,
    )  # fmt: skip


def _interruptible():
    """What a shell starts in the background ignores Ctrl-C, and so do its children; a user's own command does not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_without_the_characters_is_no_error(encoding, model, tmp_path):
    running = process("inspect", model("digits_cnn", "onnx"), cwd=tmp_path, PYTHONIOENCODING=encoding)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert "image: float32[batch,1,8,8]" in out


def test_a_reader_that_has_seen_enough_is_no_error(model, tmp_path):
    running = process("inspect", model("digits_transformer", "onnx"), "--json", cwd=tmp_path)
    assert running.stdout is not None and running.stderr is not None
    running.stdout.close()
    err = running.stderr.read()
    running.stderr.close()
    assert running.wait(60) == 0, err
    assert "BrokenPipe" not in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_conversion_leaves_nothing(number, code, tmp_path):
    """The module takes for ever to build: the conversion is under way for certain."""
    (tmp_path / "net.py").write_text(
        "import pathlib, time\n\ndef build():\n    pathlib.Path('started').write_text('')\n    time.sleep(600)\n"
    )
    running = process("convert", "--model", "net.py:build", "--to", "onnx", "-o", "out/m.onnx", cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(number)
    _, err = running.communicate(timeout=30)
    assert running.returncode == code, err
    assert "Traceback" not in err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_bug_is_called_one(convkit_command, monkeypatch, model):
    """Not that there is one: a failure inside of convkit itself is made here."""
    from convkit import api

    def broken(*_):
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(api, "inspect", broken)
    code, _, err = convkit_command("inspect", model("digits_cnn", "onnx"))
    assert code == 70
    assert "a bug in convkit" in err
    log = err.rpartition("log: ")[2].strip()
    assert "on purpose" in Path(log).read_text()


def test_the_json_of_drift_is_json(convkit_command, model):
    """NaN and Infinity, which a drift may well have, are no JSON."""
    import json

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    arguments = ("convert", model("digits_cnn", "onnx"), "-o", "a.tflite", "--tolerance", "1e-12", "--json", "--allow-drift")
    _, out, _ = convkit_command(*arguments)
    assert json.loads(out, parse_constant=refuse)["verdict"] == "drift"
    np.savez("nan.npz", image=np.full((2, 1, 8, 8), np.inf, "float32"))
    _, out, _ = convkit_command(*arguments[:-1], "--inputs", "nan.npz", "-f")
    json.loads(out, parse_constant=refuse)
