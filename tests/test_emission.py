"""Emitted files are part of a conversion: proved, staged, reported, and refused where they do not belong."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
import torch

import convkit
from convkit.cli.main import run


@pytest.fixture
def lstm(fixtures, pool):
    """Converts the shipped LSTM's weights to PyTorch, with further arguments."""

    def convert(output, **more):
        return convkit.convert(
            fixtures / "digits_lstm" / "digits_lstm.safetensors",
            "pytorch",
            output,
            model_factory=f"{fixtures / 'models.py'}:build_digits_lstm",
            input_specs=["rows:float32[batch,8,8]"],
            pool=pool,
            **more,
        )

    return convert


def names(directory):
    return sorted(p.name for p in directory.iterdir())


def loaded(path):
    spec = importlib.util.spec_from_file_location("emitted", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load()


@pytest.mark.parametrize("name", ["digits_cnn", "digits_lstm", "digits_transformer"])
def test_a_shipped_model_as_python(name, model, fixtures, tmp_path, pool):
    result = convkit.convert(model(name, "traced.pt"), "pytorch", tmp_path / "net.pt2", emit=["python"], pool=pool)
    assert result.ok
    assert [p.name for p in result.emitted] == ["net.py", "net.safetensors"]
    source = result.artifact.signature.inputs[0]
    with np.load(fixtures / "digits_test.npz") as data:
        given = torch.from_numpy(data[source.name][:2].astype(source.dtype))
    with torch.inference_mode():
        mine = loaded(tmp_path / "net.py")(given)
        theirs = torch.export.load(tmp_path / "net.pt2").module()(given)
    mine = mine if isinstance(mine, tuple) else (mine,)
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    assert f"def forward(self, {source.name}: torch.Tensor)" in (tmp_path / "net.py").read_text()


def test_the_report_tells_of_the_files(lstm, tmp_path):
    result = lstm(tmp_path / "net.pt2", emit="python")
    assert names(tmp_path) == ["net.pt2", "net.pt2.convkit.json", "net.py", "net.safetensors"]
    report = json.loads((tmp_path / "net.pt2.convkit.json").read_text())
    assert [(e["emitter"], e["path"]) for e in report["emitted"]] == [("python", "net.py"), ("python", "net.safetensors")]
    assert all(e["digest"].startswith("sha256:") and e["size"] > 0 for e in report["emitted"])
    assert report["options"]["emit"] == ["python"]
    stage = report["attempts"][-1]["stages"][-1]
    assert (stage["name"], stage["component"]) == ("emit", "python")
    assert "bit by bit on 4 input sets" in stage["notes"][0]
    text = (tmp_path / "net.py").read_text()
    assert "digits_lstm.safetensors" in text
    assert "sha256:" in text
    assert result.report.emitted[0].path == tmp_path / "net.py"


def test_sizes_stay_dynamic(lstm, tmp_path):
    lstm(tmp_path / "net.pt2", emit=["python"])
    module = loaded(tmp_path / "net.py")
    assert [module(torch.rand(batch, 8, 8)).shape[0] for batch in (1, 2, 7)] == [1, 2, 7]


@pytest.mark.parametrize("taken", ["net.py", "net.safetensors"])
def test_what_is_there_is_kept_without_force(taken, lstm, tmp_path):
    (tmp_path / taken).write_text("precious")
    with pytest.raises(convkit.OutputExistsError, match=taken):
        lstm(tmp_path / "net.pt2", emit=["python"])
    assert names(tmp_path) == [taken]
    assert (tmp_path / taken).read_text() == "precious"
    lstm(tmp_path / "net.pt2", emit=["python"], force=True, validate=False)
    assert (tmp_path / taken).read_bytes() != b"precious"


def test_without_proof_of_the_model_the_source_is_proved_all_the_same(lstm, tmp_path):
    result = lstm(tmp_path / "net.pt2", emit=["python"], validate=False)
    assert result.verdict == "unvalidated"
    assert "bit by bit" in result.report.attempts[-1].stages[-1].notes[0]


def test_a_failed_emission_leaves_nothing(lstm, tmp_path, monkeypatch):
    """The worker's answer is an error: of the whole conversion, which would else not be what was asked for."""
    from convkit import emission

    def fail(*arguments):
        raise convkit.ConversionError("it differs", stage="emit", component="python")

    monkeypatch.setattr(emission, "emit", fail)
    with pytest.raises(convkit.ConversionError, match="it differs"):
        lstm(tmp_path / "net.pt2", emit=["python"])
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "litert", "--emit", "python"], "goes with --to pytorch"),
        (["--to", "pytorch", "--emit", "rust"], "python: a Python module"),
        (["--to", "pytorch", "--emit", "python", "-o", "net.py"], "would replace a file of the model"),
    ],
)
def test_what_cannot_be_emitted_is_a_usage_error(arguments, said, model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["convert", str(model("digits_cnn", "traced.pt")), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert names(tmp_path) == []


def test_neither_weights_nor_code_of_the_model_are_replaced(fixtures, tmp_path, pool):
    """The emitted names are those of the files that such a model comes in."""
    weights = tmp_path / "net.safetensors"
    weights.write_bytes((fixtures / "digits_lstm" / "digits_lstm.safetensors").read_bytes())
    before = weights.read_bytes()
    for output in ("net.pt2", "models.pt2"):
        code = tmp_path / "models.py"
        code.write_text((fixtures / "models.py").read_text())
        with pytest.raises(convkit.UsageError, match="would replace a file of the model"):
            convkit.convert(
                weights,
                "pytorch",
                tmp_path / output,
                model_factory=f"{code}:build_digits_lstm",
                input_specs=["rows:float32[batch,8,8]"],
                emit=["python"],
                force=True,
                pool=pool,
            )
    assert weights.read_bytes() == before
    assert names(tmp_path) == ["models.py", "net.safetensors"]


def test_the_command_line_says_what_it_wrote(model, tmp_path, capsys):
    output = tmp_path / "net.pt2"
    assert run(["convert", str(model("digits_cnn", "traced.pt")), "-o", str(output), "--to", "pytorch", "--emit", "python"]) == 0
    out = capsys.readouterr().out
    assert "  emit " in out
    assert "bit by bit" in out
    assert "net.py (" in out
    assert "net.safetensors (" in out


def test_the_shell_completes_names_of_emitters():
    from convkit.cli import convert

    assert convert._complete_emitters(None, None, "py") == ["python"]
    assert convert._complete_emitters(None, None, "x") == []
