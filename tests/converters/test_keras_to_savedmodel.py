"""Keras → SavedModel: names, order and values, read back by TensorFlow itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow_models import FIXTURES, SIGNATURES, artifact, assert_agree, feeds, keras_file, saved_model, signature

import convkit
from convkit.artifact import Artifact
from convkit.components import ConversionRequest
from convkit.converters import keras_to_savedmodel
from convkit.errors import UnreadableModelError
from convkit.formats import Variant
from convkit.legalization.target import Verdict
from convkit.loading.savedmodel_writer import SIGNATURE_FILE, write_saved_model
from convkit.runtimes import savedmodel as runtime
from convkit.signature import Signature
from convkit.workers.pool import WorkerPool


@pytest.mark.parametrize("name", SIGNATURES)
@pytest.mark.parametrize("batch", [1, 3])
def test_values_and_signature_are_kept(name: str, batch: int) -> None:
    source = runtime.load(artifact(Variant.KERAS, keras_file(name), name))
    result = runtime.load(artifact(Variant.SAVEDMODEL, saved_model(name), name))
    assert SIGNATURES[name].differences(result.signature) == []
    arrays = feeds(SIGNATURES[name], batch)
    assert_agree(source.run(arrays), result.run(arrays), 1e-6)


def test_order_is_written_beside_the_graph() -> None:
    written = json.loads((saved_model("two_branches") / SIGNATURE_FILE).read_text())
    assert Signature.from_json(written["serving_default"]) == SIGNATURES["two_branches"]


@pytest.mark.parametrize("model", ["digits_cnn", "digits_lstm", "digits_transformer"])
def test_h5_file_of_a_trained_model(model: str, tmp_path: Path) -> None:
    """Keras writes `keras.ops` operations into `.h5` files that it then fails to load; digits_transformer has some."""
    session = runtime.load(Artifact(Variant.KERAS_H5, FIXTURES / model / f"{model}.h5"))
    source = Artifact(Variant.KERAS_H5, FIXTURES / model / f"{model}.h5", session.signature)
    keras_to_savedmodel.convert(ConversionRequest(source, tmp_path / "out", session.signature))
    arrays = feeds(session.signature)
    assert_agree(session.run(arrays), runtime.load(Artifact(Variant.SAVEDMODEL, tmp_path / "out", session.signature)).run(arrays))


def test_lambda_layer_is_refused(tmp_path: Path) -> None:
    import keras

    inputs = keras.Input((3,), name="x")
    for suffix, variant in ((".keras", Variant.KERAS), (".h5", Variant.KERAS_H5)):
        file = tmp_path / f"model{suffix}"
        keras.Model(inputs, keras.layers.Lambda(lambda t: t * 2.0)(inputs)).save(file)
        request = ConversionRequest(Artifact(variant, file), tmp_path / "out", None)
        assert [(f.operator, f.verdict) for f in keras_to_savedmodel.check(request)] == [("Lambda layer", Verdict.GAP)]
        with pytest.raises(UnreadableModelError, match="Lambda") as caught:
            keras_to_savedmodel.convert(request)
        assert "model.export" in caught.value.hint
        assert not (tmp_path / "out").exists()


def test_names_that_tensorflow_refuses(tmp_path: Path) -> None:
    import tensorflow as tf

    plain = signature(["x[n,3]", "y[n,3]", "z[n,3]"], ["u[n,3]", "v[n,3]"])
    wanted = plain.renamed(["in 2", "a/b", "serving_default_x:0"], ["out:0", "a b"])
    write_saved_model(tmp_path / "m", wanted, lambda t: [t[0] - 2 * t[1], t[2]])
    loaded = tf.saved_model.load(str(tmp_path / "m")).signatures["serving_default"]
    arrays = feeds(wanted)
    result = {k: v.numpy() for k, v in loaded(**{k: tf.constant(v) for k, v in arrays.items()}).items()}
    np.testing.assert_array_equal(result["out:0"], arrays["in 2"] - 2 * arrays["a/b"])
    np.testing.assert_array_equal(result["a b"], arrays["serving_default_x:0"])
    session = runtime.load(Artifact(Variant.SAVEDMODEL, tmp_path / "m", wanted))
    assert wanted.differences(session.signature) == []
    assert_agree({k: result[k] for k in wanted.output_names}, session.run(arrays))


@pytest.mark.parametrize("version", ["2.11.0", "3.15.1"])
def test_the_hard_sigmoid_is_that_of_the_version_that_wrote_the_file(version: str, tmp_path: Path) -> None:
    """x/5 + 1/2 in Keras 2, in activations and in gates; x/6 + 1/2 in Keras 3."""
    import h5py
    import keras

    file = tmp_path / "model.h5"
    x = keras.Input((4, 3), name="x")
    gated = keras.layers.LSTM(2, recurrent_activation="hard_sigmoid", name="gated")(x)
    plain = keras.layers.Activation("hard_sigmoid", name="plain")(x)
    keras.Model(x, [gated, plain]).save(file)
    with h5py.File(file, "r+") as content:
        content.attrs["keras_version"] = version
    session = runtime.load(Artifact(Variant.KERAS_H5, file))
    keras_to_savedmodel.convert(
        ConversionRequest(Artifact(Variant.KERAS_H5, file, session.signature), tmp_path / "out", session.signature)
    )
    array = np.random.default_rng(0).standard_normal((2, 4, 3)).astype(np.float32)
    results = runtime.load(Artifact(Variant.SAVEDMODEL, tmp_path / "out", session.signature)).run({"x": array})
    slope = 5 if version.startswith("2") else 6
    np.testing.assert_allclose(results["plain"], np.clip(array / slope + 0.5, 0, 1), atol=1e-6)
    np.testing.assert_allclose(results["gated"], _lstm(array, keras.models.load_model(file).get_layer("gated"), slope), atol=1e-6)


def _lstm(x: np.ndarray, layer: Any, slope: int) -> np.ndarray:
    """An LSTM's last output by its definition; gates in Keras's order: input, forget, cell, output."""
    kernel, recurrent, bias = layer.get_weights()
    hidden = cell = np.zeros((len(x), layer.units), np.float32)
    for step in np.swapaxes(x, 0, 1):
        parts = np.split(step @ kernel + hidden @ recurrent + bias, 4, axis=1)
        gates = [np.clip(p / slope + 0.5, 0, 1) for p in parts]
        cell = gates[1] * cell + gates[0] * np.tanh(parts[2])
        hidden = gates[3] * np.tanh(cell)
    return hidden


def _video() -> Any:
    """Frames through a CNN, their features through an LSTM: as many frames as there are."""
    import keras

    frames = keras.Input((None, 12, 12, 3))
    cnn = keras.Sequential([keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.BatchNormalization()])
    features = keras.layers.TimeDistributed(cnn)(frames)
    pooled = keras.layers.TimeDistributed(keras.layers.GlobalAveragePooling2D())(features)
    return keras.Model(frames, keras.layers.LSTM(5)(pooled))


def _document() -> Any:
    """Words of sentences, of which some are padding, as many sentences as there are."""
    import keras

    words = keras.Input((None, 6), dtype="int32")
    embedded = keras.layers.Embedding(9, 4, mask_zero=True)(words)
    return keras.Model(words, keras.layers.TimeDistributed(keras.layers.LSTM(5))(embedded))


@pytest.mark.parametrize("build", [_video, _document])
@pytest.mark.parametrize("target", ["onnx", "litert", "tfjs"])
def test_any_number_of_steps_is_distributed(build: Any, target: str, tmp_path: Path, pool: WorkerPool) -> None:
    build().save(tmp_path / "m.keras")
    result = convkit.convert(tmp_path / "m.keras", target, tmp_path / "out", pool=pool)
    assert result.verdict == "proved"
    assert isinstance(result.report.signature.inputs[0].shape[1], str)
