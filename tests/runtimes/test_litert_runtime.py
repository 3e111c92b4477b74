"""The LiteRT runtime: names, sizes, dtypes, several signatures, files without any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tensorflow_models import FIXTURES, feeds, signature

from convkit.artifact import Artifact
from convkit.errors import ConversionError, InputSpecError
from convkit.formats import Variant
from convkit.runtimes import litert
from convkit.signature import Signature


def written(path: Path, functions: list[object]) -> Path:
    import tensorflow as tf

    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions(functions).convert())
    return path


@pytest.fixture(scope="module")
def unnamed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file without SignatureDef: two same-shaped inputs, two outputs, a dynamic first dimension."""
    import tensorflow as tf

    specs = [tf.TensorSpec([None, 3], tf.float32, name=name) for name in ("right", "left")]
    traced = tf.function(lambda a, b: (a - 2 * b, tf.reduce_sum(b, 1)), input_signature=specs)
    path = tmp_path_factory.mktemp("lite") / "m.tflite"
    return written(path, [traced.get_concrete_function()])


def test_tensor_names_serve_where_there_is_no_signature_def(unnamed: Path) -> None:
    session = litert.load(Artifact(Variant.TFLITE, unnamed))
    assert session.signature.input_names == ("right", "left")
    assert [t.shape for t in session.signature.inputs] == [("batch", 3), ("batch", 3)]
    for batch in (1, 4, 2):
        arrays = feeds(session.signature, batch)
        first, second = session.run(arrays).values()
        np.testing.assert_allclose(first, arrays["right"] - 2 * arrays["left"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(second, arrays["left"].sum(1), rtol=1e-5, atol=1e-6)


def test_names_count_before_positions(unnamed: Path) -> None:
    swapped = signature(["left[n,3]", "right[n,3]"], ["difference[n,3]", "total[n]"])
    session = litert.load(Artifact(Variant.TFLITE, unnamed, swapped))
    arrays = feeds(swapped)
    result = session.run(arrays)
    assert list(result) == ["difference", "total"]
    np.testing.assert_allclose(result["difference"], arrays["right"] - 2 * arrays["left"], rtol=1e-5, atol=1e-6)


def test_several_signatures(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    spec = tf.TensorSpec([2], tf.float32, name="x")
    module.twice = tf.function(lambda x: {"y": x * 2}, input_signature=[spec])
    module.square = tf.function(lambda x: {"y": x * x}, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"twice": module.twice, "square": module.square})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "m"), signature_keys=["twice", "square"])
    (tmp_path / "m.tflite").write_bytes(converter.convert())
    arrays = {"x": np.array([3.0, 4.0], np.float32)}
    for key, expected in (("twice", [6.0, 8.0]), ("square", [9.0, 16.0])):
        one = signature(["x[2]"], ["y[2]"])
        session = litert.load(Artifact(Variant.TFLITE, tmp_path / "m.tflite", Signature(one.inputs, one.outputs, key)))
        assert session.signature.name == key
        assert session.run(arrays)["y"].tolist() == expected


def test_int64_input_of_a_trained_model() -> None:
    session = litert.load(Artifact(Variant.TFLITE, FIXTURES / "digits_transformer" / "digits_transformer.tflite"))
    assert [(t.name, t.dtype) for t in session.signature.inputs] == [("tokens", "int64")]
    alone = [session.run(feeds(session.signature, 1, seed)) for seed in (0, 1)]
    both = {"tokens": np.concatenate([feeds(session.signature, 1, seed)["tokens"] for seed in (0, 1)])}
    for name, array in session.run(both).items():
        np.testing.assert_allclose(array, np.concatenate([a[name] for a in alone]), rtol=1e-4, atol=1e-5)


def test_wrong_arrays_are_refused_before_the_interpreter_sees_them(unnamed: Path) -> None:
    session = litert.load(Artifact(Variant.TFLITE, unnamed))
    right = np.zeros((2, 3), np.float32)
    for bad in (np.zeros((2, 4), np.float32), np.zeros((2, 3), np.float64), np.zeros(3, np.float32)):
        with pytest.raises(InputSpecError, match="left"):
            session.run({"right": right, "left": bad})
    with pytest.raises(InputSpecError, match="left"):
        session.run({"right": right})


def test_bad_files_and_names(tmp_path: Path, unnamed: Path) -> None:
    (tmp_path / "bad.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(40))
    with pytest.raises(ConversionError, match=r"bad\.tflite"):
        litert.load(Artifact(Variant.TFLITE, tmp_path / "bad.tflite"))
    with pytest.raises(ConversionError, match="2 inputs"):
        litert.load(Artifact(Variant.TFLITE, unnamed, signature(["x[n,3]"], ["y[n,3]", "z[n]"])))
    path = FIXTURES / "digits_cnn" / "digits_cnn.tflite"
    with pytest.raises(ConversionError, match="logits"):
        litert.load(Artifact(Variant.TFLITE, path, signature(["image[n,1,8,8]"], ["other[n,10]"])))
