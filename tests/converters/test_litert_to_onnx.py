"""LiteRT → ONNX with tf2onnx, against LiteRT's interpreter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from tensorflow_models import FIXTURES, SIGNATURES, artifact, assert_agree, feeds, saved_model, signature

from convkit.artifact import Artifact
from convkit.components import ConversionRequest
from convkit.converters import litert_to_onnx as converter
from convkit.converters import savedmodel_to_litert
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.legalization.target import Verdict
from convkit.loading.tflite_signature import rename_edges
from convkit.readers import inspect
from convkit.runtimes import litert
from convkit.signature import Signature


def run(path: Path, of: Signature, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == list(of.input_names)
    assert [i.shape for i in session.get_inputs()] == [list(t.shape or ()) for t in of.inputs]
    assert [o.name for o in session.get_outputs()] == list(of.output_names)
    return dict(zip(of.output_names, session.run(None, arrays), strict=True))


@pytest.mark.parametrize("name", SIGNATURES)
def test_values_and_edge(name: str, tmp_path: Path) -> None:
    wanted = SIGNATURES[name]
    file = tmp_path / "m.tflite"
    source = artifact(Variant.SAVEDMODEL, saved_model(name), name)
    savedmodel_to_litert.convert(ConversionRequest(source, file, wanted))
    before = file.read_bytes()
    request = ConversionRequest(artifact(Variant.TFLITE, file, name), tmp_path / "m.onnx", wanted)
    assert {f.verdict for f in converter.check(request)} == {Verdict.LEGAL}
    converter.convert(request)
    assert file.read_bytes() == before
    onnx.checker.check_model(onnx.load(tmp_path / "m.onnx"), full_check=True)
    for batch in (1, 2, 5):
        arrays = feeds(wanted, batch)
        assert_agree(litert.load(request.source).run(arrays), run(tmp_path / "m.onnx", wanted, arrays))


@pytest.mark.parametrize("model", ["digits_cnn", "digits_lstm", "digits_transformer"])
def test_trained_models(model: str, tmp_path: Path) -> None:
    info = inspect(FIXTURES / model / f"{model}.tflite")
    source = Artifact(info.variant, info.path, info.signature)
    converter.convert(ConversionRequest(source, tmp_path / "m.onnx", info.signature))
    assert info.signature is not None
    for batch in (1, 3):
        arrays = feeds(info.signature, batch)
        assert_agree(litert.load(source).run(arrays), run(tmp_path / "m.onnx", info.signature, arrays))


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A convolution with int8 weights, activations, input and output."""
    import tensorflow as tf

    directory = tmp_path_factory.mktemp("int8")
    generator = np.random.default_rng(0)
    kernel, second = (tf.constant(generator.standard_normal(shape).astype(np.float32)) for shape in ((3, 3, 2, 4), (1, 1, 4, 4)))

    def network(image: tf.Tensor) -> tf.Tensor:
        return tf.nn.conv2d(tf.nn.relu(tf.nn.conv2d(image, kernel, 1, "SAME")), second, 1, "SAME")

    spec = tf.TensorSpec([1, 6, 6, 2], tf.float32, name="image")
    traced = tf.function(network, input_signature=[spec])
    lite = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()])
    lite.optimizations = [tf.lite.Optimize.DEFAULT]
    lite.representative_dataset = lambda: ([generator.standard_normal((1, 6, 6, 2)).astype(np.float32)] for _ in range(8))
    lite.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    lite.inference_input_type = lite.inference_output_type = tf.int8
    wanted = signature(["image:int8[1,6,6,2]"], ["scores:int8[1,6,6,4]"])
    (directory / "m.tflite").write_bytes(lite.convert())
    rename_edges(directory / "m.tflite", wanted)
    return Artifact(Variant.TFLITE, directory / "m.tflite", wanted)


def test_int8_stays_int8_and_is_exact(quantized: Artifact, tmp_path: Path) -> None:
    wanted = quantized.signature
    assert wanted is not None
    session = litert.load(quantized)
    assert wanted.differences(session.signature) == []
    converter.convert(ConversionRequest(quantized, tmp_path / "m.onnx", wanted))
    arrays = {"image": np.random.default_rng(1).integers(-128, 128, (1, 6, 6, 2)).astype(np.int8)}
    reference = session.run(arrays)
    result = run(tmp_path / "m.onnx", wanted, arrays)
    assert np.ptp(reference["scores"].astype(int)) > 50
    assert result["scores"].dtype == np.int8
    # Half a step may round either way.
    assert np.abs(reference["scores"].astype(int) - result["scores"].astype(int)).max() <= 1


def test_dequantize_computes_in_float_between_the_edges(quantized: Artifact, tmp_path: Path) -> None:
    def quantizers(**options: object) -> int:
        path = tmp_path / f"{len(options)}.onnx"
        outcome = converter.convert(ConversionRequest(quantized, path, quantized.signature, options=options))
        assert bool(outcome.notes) == bool(options)
        return sum(node.op_type == "QuantizeLinear" for node in onnx.load(path).graph.node)

    assert quantizers() > 1
    assert quantizers(dequantize="true") == 1
    # Well inside the calibrated range: beyond it int8 saturates and float does not.
    arrays = {"image": np.random.default_rng(1).integers(-40, 40, (1, 6, 6, 2)).astype(np.int8)}
    assert quantized.signature is not None
    result = run(tmp_path / "1.onnx", quantized.signature, arrays)["scores"].astype(int)
    assert np.abs(litert.load(quantized).run(arrays)["scores"].astype(int) - result).max() <= 3


def test_custom_operator_is_a_gap_and_an_error(tmp_path: Path) -> None:
    import tensorflow as tf

    spec = tf.TensorSpec([4, 4], tf.float32, name="x")
    traced = tf.function(lambda x: tf.linalg.qr(x)[0], input_signature=[spec])
    lite = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()])
    lite.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    (tmp_path / "m.tflite").write_bytes(lite.convert())
    info = inspect(tmp_path / "m.tflite")
    request = ConversionRequest(Artifact(Variant.TFLITE, info.path, info.signature), tmp_path / "m.onnx", info.signature)
    assert [f.operator for f in converter.check(request) if f.verdict is Verdict.GAP] == ["FlexQr"]
    with pytest.raises(ConversionError, match="Qr"):
        converter.convert(request)
    with pytest.raises(ConversionError, match="Flex") as caught:
        litert.load(request.source).run({"x": np.ones((4, 4), np.float32)})
    assert caught.value.stage == "validate"


def test_dequantize_is_a_flag_of_the_command_line(quantized: Artifact, tmp_path: Path) -> None:
    from convkit.cli.main import run as command

    output = tmp_path / "m.onnx"
    levels = np.random.default_rng(1).integers(-40, 40, (1, 6, 6, 2)).astype(np.int8)
    np.savez(tmp_path / "in.npz", image=levels)
    arguments = ["convert", quantized.path, "--to", "onnx", "-o", output, "--dequantize", "--inputs", tmp_path / "in.npz"]
    assert command([str(a) for a in (*arguments, "--tolerance", 0.05)]) == 0
    assert sum(node.op_type == "QuantizeLinear" for node in onnx.load(output).graph.node) <= 1
