"""The TensorFlow runtime on foreign SavedModels, and its errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tensorflow_models import SIGNATURES, artifact, feeds, keras_file, saved_model, signature

from convkit.artifact import Artifact
from convkit.errors import ConversionError, UnreadableModelError
from convkit.formats import Variant
from convkit.loading import tensorflow as loading
from convkit.runtimes import savedmodel as runtime


def test_order_is_the_artifacts_not_tensorflows(tmp_path: Path) -> None:
    session = runtime.load(artifact(Variant.SAVEDMODEL, saved_model("two_branches"), "two_branches"))
    assert session.signature.input_names == ("depth", "image")
    assert list(session.run(feeds(SIGNATURES["two_branches"]))) == ["sum", "first"]


def test_values_are_those_of_keras() -> None:
    import keras

    wanted = SIGNATURES["two_branches"]
    arrays = feeds(wanted, 3)
    model = keras.models.load_model(keras_file("two_branches"))
    expected = model.predict([arrays["depth"], arrays["image"]], verbose=0)
    result = runtime.load(artifact(Variant.KERAS, keras_file("two_branches"), "two_branches")).run(arrays)
    for mine, theirs in zip(result.values(), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_dictionary_inputs_and_outputs(tmp_path: Path) -> None:
    """Keras flattens a dictionary in the order of its keys, which is not the order of the file's layers."""
    import keras

    inputs = {"b": keras.Input((2,), name="b"), "a": keras.Input((2,), name="a")}
    outputs = {"z": inputs["b"] - inputs["a"], "y": inputs["a"] * 3.0}
    keras.Model(inputs, outputs).save(tmp_path / "m.keras")
    wanted = signature(["b[n,2]", "a[n,2]"], ["z[n,2]", "y[n,2]"])
    session = runtime.load(Artifact(Variant.KERAS, tmp_path / "m.keras", wanted))
    arrays = feeds(wanted)
    result = session.run(arrays)
    np.testing.assert_allclose(result["z"], arrays["b"] - arrays["a"], rtol=1e-6)
    np.testing.assert_allclose(result["y"], arrays["a"] * 3, rtol=1e-6)


def test_one_of_several_signatures(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    spec = tf.TensorSpec([None], tf.float32, name="x")
    module.twice = tf.function(lambda x: {"y": x * 2}, input_signature=[spec])
    module.square = tf.function(lambda x: {"y": x * x}, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"twice": module.twice, "square": module.square})
    for key, expected in (("twice", 6.0), ("square", 9.0)):
        wanted = signature(["x[n]"], ["y[n]"])
        wanted = type(wanted)(wanted.inputs, wanted.outputs, key)
        session = runtime.load(Artifact(Variant.SAVEDMODEL, tmp_path / "m", wanted))
        assert session.run({"x": np.array([3.0], np.float32)})["y"].tolist() == [expected]


def test_version_1_savedmodel(tmp_path: Path) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 2], name="px")
        weight = v1.get_variable("w", initializer=tf.constant([[2.0], [3.0]]))
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(tmp_path / "m"), {"x": x}, {"y": tf.matmul(x, weight)})
    wanted = signature(["x[n,2]"], ["y[n,1]"])
    result = runtime.load(Artifact(Variant.SAVEDMODEL, tmp_path / "m", wanted)).run({"x": np.ones((1, 2), np.float32)})
    assert result["y"].tolist() == [[5.0]]


def test_loaded_model_is_shared_until_the_file_changes(tmp_path: Path) -> None:
    import os
    import shutil

    shutil.copytree(saved_model("nchw"), tmp_path / "m")
    first = loading.saved_model(tmp_path / "m")
    assert loading.saved_model(tmp_path / "m") is first
    os.utime(tmp_path / "m" / "saved_model.pb", (1, 1))
    assert loading.saved_model(tmp_path / "m") is not first


def test_errors_say_what_and_where(tmp_path: Path) -> None:
    import tensorflow as tf

    with pytest.raises(UnreadableModelError, match="nothing"):
        runtime.load(Artifact(Variant.SAVEDMODEL, tmp_path / "nothing"))
    (tmp_path / "bad.keras").write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(UnreadableModelError, match=r"bad\.keras"):
        runtime.load(Artifact(Variant.KERAS, tmp_path / "bad.keras"))
    tf.saved_model.save(tf.Module(), str(tmp_path / "bare"))
    with pytest.raises(ConversionError, match="no signatures"):
        runtime.load(Artifact(Variant.SAVEDMODEL, tmp_path / "bare"))
    session = runtime.load(artifact(Variant.SAVEDMODEL, saved_model("nchw"), "nchw"))
    with pytest.raises(ConversionError, match="image"):
        session.run({})
    with pytest.raises(ConversionError, match="failed to run"):
        session.run({"image": np.zeros((1, 9, 9, 9), np.float32)})
