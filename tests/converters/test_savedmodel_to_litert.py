"""SavedModel → LiteRT, read back by the interpreter itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tensorflow_models import SIGNATURES, artifact, assert_agree, feeds, saved_model, signature

from convkit.artifact import Artifact
from convkit.components import ConversionRequest
from convkit.converters import savedmodel_to_litert as converter
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.legalization.target import Verdict
from convkit.loading.savedmodel_writer import write_saved_model
from convkit.loading.tflite_signature import tensor_order
from convkit.runtimes import litert
from convkit.runtimes import savedmodel as runtime
from convkit.signature import Signature


def converted(source: Artifact, output: Path, wanted: Signature) -> litert.LiteRTSession:
    converter.convert(ConversionRequest(source, output, wanted))
    return litert.load(Artifact(Variant.TFLITE, output, wanted))


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature_and_values_at_several_batch_sizes(name: str, tmp_path: Path) -> None:
    source, wanted = artifact(Variant.SAVEDMODEL, saved_model(name), name), SIGNATURES[name]
    session = converted(source, tmp_path / "m.tflite", wanted)
    assert wanted.differences(session.signature) == []
    order = tensor_order(tmp_path / "m.tflite")
    assert (order.inputs, order.outputs) == (wanted.input_names, wanted.output_names)
    assert (order.signature_inputs, order.signature_outputs) == (wanted.input_names, wanted.output_names)
    original = runtime.load(source)
    for batch in (1, 2, 5):
        arrays = feeds(wanted, batch)
        assert_agree(original.run(arrays), session.run(arrays))


def test_static_sizes_of_the_signature_are_applied(tmp_path: Path) -> None:
    wanted = signature(["image:float32[4,2,6,6]"], ["scores:float32[4,3]"])
    source = artifact(Variant.SAVEDMODEL, saved_model("nchw"), "nchw")
    session = converted(source, tmp_path / "m.tflite", wanted)
    assert wanted.differences(session.signature) == []
    arrays = feeds(wanted)
    assert_agree(runtime.load(source).run(arrays), session.run(arrays))


def test_outputs_that_are_inputs_or_one_tensor_and_an_unused_input(tmp_path: Path) -> None:
    wanted = signature(["y[n,3]", "x[n,3]", "unused[n,2]"], ["same[n,3]", "double[n,3]", "again[n,3]"])
    write_saved_model(tmp_path / "m", wanted, lambda t: [t[0], t[1] * 2.0, t[1] * 2.0])
    source = Artifact(Variant.SAVEDMODEL, tmp_path / "m", wanted)
    session = converted(source, tmp_path / "m.tflite", wanted)
    assert wanted.differences(session.signature) == []
    arrays = feeds(wanted)
    assert_agree(runtime.load(source).run(arrays), session.run(arrays), 0)


def test_tracked_keras_model_is_frozen(tmp_path: Path) -> None:
    """Over the SavedModel's files TFLiteConverter leaves the variables of a tracked Keras 3 model uninitialised: NaN."""
    import keras
    import tensorflow as tf
    from tensorflow_models import keras_file

    model = keras.models.load_model(keras_file("nchw"))
    holder = tf.Module()
    holder.model = model
    spec = tf.TensorSpec([None, 2, 6, 6], tf.float32, name="image")
    traced = tf.function(lambda x: {"scores": model(x, training=False)}, input_signature=[spec])
    tf.saved_model.save(holder, str(tmp_path / "m"), signatures={"serving_default": traced})
    source = Artifact(Variant.SAVEDMODEL, tmp_path / "m", SIGNATURES["nchw"])
    session = converted(source, tmp_path / "m.tflite", SIGNATURES["nchw"])
    arrays = feeds(SIGNATURES["nchw"])
    assert_agree(runtime.load(source).run(arrays), session.run(arrays))


def test_model_that_changes_its_variables_keeps_them(tmp_path: Path) -> None:
    import tensorflow as tf

    wanted = signature(["x:float32[2]"], ["total:float32[2]"])
    holder = tf.Module()
    holder.total = tf.Variable([1.0, 2.0])
    write_saved_model(tmp_path / "m", wanted, lambda t: [holder.total.assign_add(t[0])], holder)
    outcome = converter.convert(
        ConversionRequest(Artifact(Variant.SAVEDMODEL, tmp_path / "m", wanted), tmp_path / "m.tflite", wanted)
    )
    assert "variables" in outcome.notes[0]
    session = litert.load(Artifact(Variant.TFLITE, tmp_path / "m.tflite", wanted))
    arrays = {"x": np.array([1, 1], np.float32)}
    assert [session.run(arrays)["total"].tolist() for _ in range(2)] == [[2, 3], [3, 4]]


def test_all_operators_without_a_builtin_are_listed(tmp_path: Path) -> None:
    import tensorflow as tf

    wanted = signature(["x[n,4]"], ["y[n,4]"])
    write_saved_model(
        tmp_path / "m", wanted, lambda t: [tf.math.zeta(2.0 + t[0] ** 2, 1.5) + tf.math.igamma(1.0 + t[0] ** 2, 0.5)]
    )
    request = ConversionRequest(Artifact(Variant.SAVEDMODEL, tmp_path / "m", wanted), tmp_path / "m.tflite", wanted)
    gaps = [f.operator for f in converter.check(request) if f.verdict is Verdict.GAP]
    assert gaps == ["Igamma", "Zeta"]
    with pytest.raises(ConversionError) as caught:
        converter.convert(request)
    assert "Igamma" in caught.value.message
    assert "Zeta" in caught.value.message
    assert caught.value.hint
    assert not request.output.exists()


def test_what_only_a_trial_refuses_is_a_gap_with_its_places(tmp_path: Path) -> None:
    import tensorflow as tf

    wanted = signature(["x:float32[n,8]"], ["y:float32[n,5]"])

    def call(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        spectrum = tf.signal.rfft(tensors[0])
        return [tf.math.real(spectrum[:, ::-1])]

    write_saved_model(tmp_path / "m", wanted, call)
    request = ConversionRequest(Artifact(Variant.SAVEDMODEL, tmp_path / "m", wanted), tmp_path / "m.tflite", wanted)
    gaps = [f for f in converter.check(request) if f.verdict is Verdict.GAP]
    assert gaps
    assert all(gap.where and "as it is used here" in gap.reason for gap in gaps)
    with pytest.raises(ConversionError, match=gaps[0].operator):
        converter.convert(request)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_what_the_check_has_made_is_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = SIGNATURES["nchw"]
    request = ConversionRequest(artifact(Variant.SAVEDMODEL, saved_model("nchw"), "nchw"), tmp_path / "m.tflite", wanted)
    converter.check(request)
    monkeypatch.setattr(converter, "_convert", lambda _: pytest.fail("it is converted twice"))
    converter.convert(request)
    assert wanted.differences(litert.load(Artifact(Variant.TFLITE, request.output, wanted)).signature) == []
    assert [p.name for p in tmp_path.iterdir()] == ["m.tflite"]


@pytest.mark.parametrize("name", SIGNATURES)
def test_check_reports_no_false_gap(name: str, tmp_path: Path) -> None:
    source = artifact(Variant.SAVEDMODEL, saved_model(name), name)
    findings = converter.check(ConversionRequest(source, tmp_path / "m.tflite", SIGNATURES[name]))
    assert len(findings) > 5
    assert {f.verdict for f in findings} == {Verdict.LEGAL}
