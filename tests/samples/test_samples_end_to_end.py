"""Samples of every kind through the command line, in real runtimes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import convkit
from convkit.cli.main import run


@pytest.fixture
def photos(tmp_path):
    directory = tmp_path / "photos"
    directory.mkdir()
    for k in range(2):
        pixels = np.random.default_rng(k).integers(0, 255, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(directory / f"{k}.png")
    return directory


def test_token_ids_as_json_lines(model, tmp_path, capsys):
    source = model("digits_transformer", "onnx")
    tokens = [{"tokens": [k] * 64, "label": k} for k in range(3)]
    (tmp_path / "tokens.jsonl").write_text("\n".join(map(json.dumps, tokens)))
    assert run(["validate", str(source), str(source), "--inputs", str(tmp_path / "tokens.jsonl")]) == 0
    out = capsys.readouterr().out
    assert "3 input sets" in out and "tokens.jsonl, sample 0" in out


def test_photos_with_the_users_normalisation(model, photos, capsys):
    models = str(model("digits_cnn", "onnx")), str(model("digits_cnn", "tflite"))
    assert run(["validate", *models, "--inputs", str(photos), "--image-mean", "0.5", "--image-std", "0.25"]) == 0
    assert "2 input sets" in capsys.readouterr().out
    assert run(["validate", *models, "--inputs", str(photos)]) == 2
    assert "0.png become its input 'image'" in capsys.readouterr().err
    assert run(["validate", *models, "--inputs", str(photos), "--image-mean", "a"]) == 2
    assert run(["validate", *models, "--inputs", str(photos), "--image-std", "0"]) == 2


def test_what_is_inferred_is_told_and_is_in_the_record(model, capsys):
    source = str(model("digits_transformer", "onnx"))
    assert run(["validate", source, source]) == 0
    assert "tokens: indices in [0, 16]: it indexes a table of 17 rows" in capsys.readouterr().out
    assert convkit.validate(source, source).to_json()["domains"] == {
        "tokens": "indices in [0, 16]: it indexes a table of 17 rows"
    }


def test_a_conversion_is_proved_on_samples_and_under_stress(model, photos, tmp_path, pool):
    result = convkit.convert(
        model("digits_cnn", "onnx"), "litert", tmp_path / "a.tflite", inputs=photos, image_mean=0, stress=True, pool=pool
    )
    sets = result.report.validation.sets
    assert [s.recipe for s in sets if not s.stress] == ["0.png", "1.png"] and sum(s.stress for s in sets) > 10
    record = json.loads((tmp_path / "a.tflite.convkit.json").read_text())
    assert record["options"]["stress"] is True and "input_files" not in record["attempts"][-1]["validation"]


@pytest.mark.slow
def test_a_module_without_shapes_takes_samples_where_its_inputs_are_given(photos, tmp_path, pool, fixtures):
    arguments = {"model_factory": f"{fixtures / 'models.py'}:build_digits_cnn", "inputs": photos, "image_std": 0.5, "pool": pool}
    with pytest.raises(convkit.InputSpecError, match="records no inputs"):
        convkit.convert(None, "onnx", tmp_path / "a.onnx", **arguments)
    result = convkit.convert(None, "onnx", tmp_path / "a.onnx", input_specs=["image:float32[batch,1,8,8]"], **arguments)
    assert [s.recipe for s in result.report.validation.sets] == ["0.png", "1.png"]
