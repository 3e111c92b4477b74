"""Keras models and TensorFlow's loops: SavedModel → TF.js, run in Node on both backends, and back to a SavedModel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tfjs_graphs import saved

from convkit import readers
from convkit.artifact import Artifact
from convkit.components import ConversionRequest
from convkit.converters import savedmodel_to_tfjs, tfjs_to_savedmodel
from convkit.formats import Variant
from convkit.runtimes import savedmodel, tfjs
from convkit.workers import toolchains

_APPLICATIONS = ["MobileNetV2", "EfficientNetB0", "ResNet50", "ConvNeXtTiny"]
_SIDE = 64
_BATCH_NORMALIZATION = {"moving_mean": (0.0, 0.1), "moving_variance": (1.0, 0.2), "gamma": (1.0, 0.1), "beta": (0.0, 0.1)}


@pytest.fixture(scope="module", autouse=True)
def toolchain():
    toolchains.ensure("tfjs", auto=True)


def _assert_round_trip(source: Artifact, directory: Path, *feeds: dict[str, np.ndarray]) -> None:
    """TF.js on cpu and wasm, and TensorFlow after the way back, compute what the source computes."""
    signature, reference = source.signature, savedmodel.load(source)
    there = Artifact(Variant.TFJS_GRAPH, directory / "m.tfjs", signature)
    back = Artifact(Variant.SAVEDMODEL, directory / "back.savedmodel", signature)
    savedmodel_to_tfjs.convert(ConversionRequest(source, there.path, signature))
    assert readers.inspect(there.path).signature == signature
    tfjs_to_savedmodel.convert(ConversionRequest(there, back.path, signature))
    sessions = {backend: tfjs.load(there, backend) for backend in tfjs.BACKENDS} | {"back": savedmodel.load(back)}
    for arrays in feeds:
        expected = reference.run(arrays)
        for name, session in sessions.items():
            got = session.run(arrays)
            assert list(got) == list(expected)
            for output, want in expected.items():
                scale = float(np.abs(want).max())
                assert scale > 0 and got[output].shape == want.shape
                np.testing.assert_allclose(got[output], want, rtol=0, atol=1e-5 * scale, err_msg=f"{name}: {output}")


def _random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", _APPLICATIONS)
def test_keras_applications(name: str, tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None, input_shape=(_SIDE, _SIDE, 3), classes=10)
    generator = np.random.default_rng(0)
    for weight in model.weights:
        if weight.name in _BATCH_NORMALIZATION:  # fresh ones do nothing
            weight.assign(
                generator.normal(*_BATCH_NORMALIZATION[weight.name], weight.shape).clip(0.3 if weight.name != "beta" else None)
            )
    source = saved(tmp_path, lambda x: model(x, training=False), f"x[n,{_SIDE},{_SIDE},3]", tracked=model)
    _assert_round_trip(source, tmp_path, {"x": _random(2, _SIDE, _SIDE, 3) * 64 + 127})


def _recurrent(layer: str) -> Any:
    import keras

    layers = [getattr(keras.layers, layer)(6, return_sequences=True), getattr(keras.layers, layer)(5), keras.layers.Dense(3)]
    return keras.Sequential([keras.Input((None, 4)), *layers])


def _attention() -> Any:
    import keras

    x = inputs = keras.Input((None, 8))
    for _ in range(2):
        attended = keras.layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)
        x = keras.layers.LayerNormalization()(x + attended)
        x = x + keras.layers.Dense(8)(keras.layers.Dense(16, activation="gelu")(x))
    return keras.Model(inputs, keras.layers.Dense(5, activation="softmax")(x))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "attention"])
def test_sequences_of_any_length(kind: str, tmp_path: Path) -> None:
    model = _attention() if kind == "attention" else _recurrent(kind)
    features = model.input_shape[-1]
    source = saved(tmp_path, lambda x: model(x, training=False), f"x[n,t,{features}]", tracked=model)
    _assert_round_trip(source, tmp_path, {"x": _random(1, 3, features)}, {"x": _random(2, 7, features)})


def _loop(x: Any, limit: Any) -> Any:
    """Newton's square root, until it is close enough or was tried often enough: the number of rounds depends on the data."""
    import tensorflow as tf

    def far(i: Any, root: Any) -> Any:
        return tf.logical_and(i < limit, tf.reduce_max(tf.abs(root * root - x)) > 1e-3)

    return tf.while_loop(far, lambda i, root: (i + 1, (root + x / root) * 0.5), [0, tf.ones_like(x)])


def _condition(x: Any, limit: Any) -> Any:
    import tensorflow as tf

    small = tf.reduce_sum(x) < tf.cast(limit, tf.float32)
    return tf.cond(small, lambda: [x + 1.0, tf.size(x)], lambda: [tf.reverse(x, [0]) * 2.0, tf.constant(7)])


@pytest.mark.parametrize("call", [_loop, _condition])
def test_control_flow(call: Callable[..., Any], tmp_path: Path) -> None:
    source = saved(tmp_path, call, "x[n]", "limit:int32[]")
    x = np.float32([0.3, 2.0, 90.0])
    _assert_round_trip(source, tmp_path, *({"x": x, "limit": np.array(n, np.int32)} for n in (1, 4, 200)))
