"""Tiny TensorFlow models with what goes wrong in conversions, and how their outputs are compared."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from convkit.artifact import Artifact
from convkit.components import ConversionRequest
from convkit.converters import keras_to_savedmodel
from convkit.formats import Variant
from convkit.signature import Signature, parse_spec

# As in the workers, and before anything imports TensorFlow.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


def signature(inputs: list[str], outputs: list[str]) -> Signature:
    return Signature(tuple(map(parse_spec, inputs)), tuple(map(parse_spec, outputs)))


SIGNATURES = {
    # Same shapes, and an order that is neither alphabetical nor Keras's; one branch transposes, one does not.
    "two_branches": signature(["depth:float32[n,4,4,2]", "image:float32[n,4,4,2]"], ["sum:float32[n,5]", "first:float32[n,4]"]),
    "nchw": signature(["image:float32[n,2,6,6]"], ["scores:float32[n,3]"]),
    "recurrent": signature(["rows:float32[n,5,4]"], ["scores:float32[n,3]"]),
    "attention": signature(["tokens:int64[n,7]"], ["scores:float32[n,3]"]),
}


def keras_models() -> dict[str, Callable[[], Any]]:
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(7)  # the weights are random, the same for every run

    def two_branches() -> Any:
        image, depth = keras.Input((4, 4, 2), name="image"), keras.Input((4, 4, 2), name="depth")
        first = layers.Flatten()(layers.Conv2D(1, 3, padding="valid", activation="relu")(image))
        second = layers.Flatten()(layers.Conv2D(2, 3, strides=2, padding="same", activation="gelu")(depth))
        both = layers.Concatenate()([first, second])
        outputs = [layers.Dense(5, name="sum")(both), layers.Activation("tanh", name="first")(first)]
        return keras.Model([depth, image], outputs)

    def nchw() -> Any:
        image = keras.Input((2, 6, 6), name="image")
        x = layers.Conv2D(4, 3, padding="same")(layers.Permute((2, 3, 1))(image))
        x = layers.MaxPooling2D(2)(layers.ReLU()(layers.BatchNormalization()(x)))
        return keras.Model(image, layers.Dense(3, name="scores")(layers.Flatten()(layers.Permute((3, 1, 2))(x))))

    def recurrent() -> Any:
        rows = keras.Input((5, 4), name="rows")
        return keras.Model(rows, layers.Dense(3, name="scores")(layers.LSTM(6)(rows)))

    def attention() -> Any:
        tokens = keras.Input((7,), dtype="int64", name="tokens")
        x = layers.Embedding(16, 8)(tokens)
        x = layers.LayerNormalization()(layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x)]))
        x = layers.GlobalAveragePooling1D()(layers.Dense(16, activation="gelu")(x))
        return keras.Model(tokens, layers.Dense(3, name="scores")(x))

    return {"two_branches": two_branches, "nchw": nchw, "recurrent": recurrent, "attention": attention}


@cache
def _directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="convkit-tests-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


@cache
def keras_file(name: str) -> Path:
    """The `.keras` file of one of the models, made once per session."""
    file = _directory() / f"{name}.keras"
    keras_models()[name]().save(file)
    return file


@cache
def saved_model(name: str) -> Path:
    """The same model as a SavedModel, written by our own converter."""
    output = _directory() / name
    source = artifact(Variant.KERAS, keras_file(name), name)
    keras_to_savedmodel.convert(ConversionRequest(source, output, SIGNATURES[name]))
    return output


def artifact(variant: Variant, path: Path, name: str) -> Artifact:
    return Artifact(variant, path, SIGNATURES[name])


def feeds(of: Signature, batch: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs; integers from 0 to 15, which every embedding here holds."""
    generator = np.random.default_rng(seed)
    arrays = {}
    for spec in of.inputs:
        shape = spec.concrete({}, batch)
        integral = "int" in spec.dtype
        drawn = generator.integers(0, 16, shape) if integral else generator.standard_normal(shape)
        arrays[spec.name] = np.asarray(drawn).astype(spec.dtype)
    return arrays


def assert_agree(reference: Mapping[str, np.ndarray], result: Mapping[str, np.ndarray], tolerance: float = 1e-5) -> None:
    """Equal names in equal order, shapes and dtypes; numbers within `tolerance` of the largest reference value."""
    assert list(result) == list(reference)
    for name, expected in reference.items():
        actual = result[name]
        assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
        scale = np.abs(expected.astype(np.float64)).max()
        assert scale > 1e-3, f"{name} is all zeros: the comparison would say nothing"
        difference = np.abs(actual.astype(np.float64) - expected.astype(np.float64)).max()
        assert difference <= tolerance * scale, f"{name} is off by {difference / scale:.2g}"
