"""ONNX → SavedModel by the TensorFlow importer, run by TensorFlow against ONNX Runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import convkit
from convkit.artifact import Artifact
from convkit.components import ConversionRequest
from convkit.converters import onnx_to_savedmodel, savedmodel_to_litert
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.interpreters.tensorflow import variables
from convkit.readers import inspect
from convkit.runtimes import litert as litert_runtime
from convkit.runtimes import onnx as onnx_runtime
from convkit.runtimes import savedmodel as savedmodel_runtime
from tests.converters import onnx_models as models

ROOT = Path(__file__).parents[2]
FIXTURES = sorted((ROOT / "fixtures").glob("*/*.onnx"))
REAL = ROOT / "build" / "real-models"


def convert(source: Artifact, output: Path) -> Artifact:
    onnx_to_savedmodel.convert(ConversionRequest(source, output, source.signature))
    return replace(source, variant=Variant.SAVEDMODEL, path=output)


def assert_same(wanted, got, tolerance: float = 1e-5) -> None:
    assert list(got) == list(wanted)
    for name, array in wanted.items():
        assert got[name].shape == array.shape
        assert got[name].dtype == array.dtype
        scale = max(1e-3, float(np.abs(array).max(initial=0)))
        np.testing.assert_allclose(got[name], array, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize(
    "build",
    [models.cnn, models.convolution_1d, models.lstm, models.gru, models.attention, models.two_inputs, models.tokens, models.old],
    ids=lambda f: f.__name__,
)
def test_signature_and_numbers(tmp_path, build) -> None:
    source = models.save(build(), tmp_path / "model.onnx")
    result = convert(source, tmp_path / "out.savedmodel")
    reference, target = onnx_runtime.load(source), savedmodel_runtime.load(result)
    assert source.signature.differences(target.signature) == []
    for size in (1, 3):
        feeds = models.feeds_for(source.signature, size)
        assert_same(reference.run(feeds), target.run(feeds))


@pytest.mark.parametrize("path", FIXTURES, ids=lambda p: p.stem)
def test_fixtures_on_to_litert(tmp_path, path) -> None:
    """What is traced is made of operators that LiteRT has too, and keeps its dynamic batch there."""
    info = inspect(path)
    source = Artifact(Variant.ONNX, path, info.signatures[0])
    result = convert(source, tmp_path / "out.savedmodel")
    reference, target = onnx_runtime.load(source), savedmodel_runtime.load(result)
    assert source.signature.differences(target.signature) == []
    file = tmp_path / "out.tflite"
    savedmodel_to_litert.convert(ConversionRequest(result, file, source.signature))
    litert = litert_runtime.load(Artifact(Variant.TFLITE, file, source.signature))
    for size in (1, 3):
        feeds = models.feeds_for(source.signature, size)
        wanted = reference.run(feeds)
        assert_same(wanted, target.run(feeds))
        assert_same(wanted, litert.run(feeds))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("magika/models/standard_v3_3/model.onnx", {}),
        ("basic_pitch/saved_models/icassp_2022/nmp.onnx", {}),
        ("silero_vad/data/silero_vad.onnx", {"input": (1, 512), "state": (2, 1, 128)}),
        ("silero_vad/data/silero_vad_16k_op15.onnx", {"input": (2, 512), "state": (2, 2, 128)}),
        ("silero_vad/data/silero_vad_half.onnx", {"input": (2, 512), "state": (2, 2, 128)}),
    ],
)
def test_real_models(tmp_path, name, sizes) -> None:
    if not (REAL / name).exists():
        pytest.skip("the real models are not there")
    source = Artifact(Variant.ONNX, REAL / name, inspect(REAL / name).signatures[0])
    result = convert(source, tmp_path / "out.savedmodel")
    generator = np.random.default_rng(0)
    feeds = {}
    for spec in source.signature.inputs:
        shape = sizes.get(spec.name, [d if isinstance(d, int) else 2 for d in spec.shape])
        if spec.dtype.startswith("float"):
            feeds[spec.name] = generator.normal(size=shape).astype(spec.dtype)
        else:
            feeds[spec.name] = np.full(shape, 16000 if spec.name == "sr" else 3, spec.dtype)
    assert_same(onnx_runtime.load(source).run(feeds), savedmodel_runtime.load(result).run(feeds), 1e-4)


def test_check_names_what_there_is_no_operator_for(tmp_path) -> None:
    edges = [models.tensor("x", 2, 2), models.tensor("y", 2, 2)]
    source = models.save(models.model([("StringNormalizer", "x", "y")], edges[:1], edges[1:]), tmp_path / "model.onnx")
    [finding] = onnx_to_savedmodel.check(ConversionRequest(source, tmp_path / "out", source.signature))
    assert finding.verdict == "gap"
    assert finding.operator == "StringNormalizer"


def test_a_failure_names_the_node_and_leaves_nothing(tmp_path) -> None:
    edges = [models.tensor("x", "n", 4), models.tensor("s", 2, dtype="int64"), models.tensor("y", "n", 4)]
    chain = [("SplitToSequence", "x", "parts", {"axis": 0}), ("ConcatFromSequence", "parts", "y", {"axis": 0})]
    source = models.save(models.model(chain, edges[:1], edges[2:]), tmp_path / "model.onnx")
    with pytest.raises(ConversionError, match=r"SplitToSequence \(SplitToSequence_0\)"):
        convert(source, tmp_path / "out.savedmodel")
    assert not (tmp_path / "out.savedmodel").exists()


def test_a_wrongly_declared_rank_becomes_the_true_one(tmp_path) -> None:
    edges = [models.tensor("x", "n", 3, 4), models.tensor("y", 1, "n")]
    source = models.save(models.model([("Relu", "x", "y")], edges[:1], edges[1:]), tmp_path / "model.onnx")
    result = convert(source, tmp_path / "out.savedmodel")
    assert inspect(result.path).signatures[0].outputs[0].shape[1:] == (3, 4)


@pytest.mark.parametrize("has_examples", [True, False])
def test_a_size_that_tracing_lost_is_the_declared_one_unless_the_examples_have_another(tmp_path, has_examples) -> None:
    edges = [models.tensor("x", "n", "k"), models.tensor("y", "n", 4)]
    source = models.save(models.model([("Relu", "x", "y")], edges[:1], edges[1:]), tmp_path / "model.onnx")
    np.savez(tmp_path / "examples.npz", x=np.ones((2, 5), np.float32))
    examples = tmp_path / "examples.npz" if has_examples else None
    onnx_to_savedmodel.convert(ConversionRequest(source, tmp_path / "out.savedmodel", source.signature, examples))
    assert isinstance(inspect(tmp_path / "out.savedmodel").signatures[0].outputs[0].shape[1], str) == has_examples


def test_what_a_file_declares_wrongly_is_no_difference_and_is_noted(tmp_path, pool) -> None:
    edges = [models.tensor("x", "n", 3, 4), models.tensor("y", 1, "n")]
    source = models.save(models.model([("Relu", "x", "y")], edges[:1], edges[1:]), tmp_path / "model.onnx")
    for target in ("savedmodel", "litert"):
        report = convkit.convert(source.path, target, tmp_path / target, pool=pool).report.validation
        assert report.verdict == "proved"
        assert any("declares its output y: float32[1,n]" in note for note in report.notes)


def test_an_opset_that_is_too_old_is_refused(tmp_path) -> None:
    proto = models.cnn()
    proto.opset_import[0].version = 6
    source = models.save(proto, tmp_path / "model.onnx")
    with pytest.raises(ConversionError, match="opset 6"):
        convert(source, tmp_path / "out.savedmodel")
    assert onnx.load(source.path).opset_import[0].version == 6


def test_weights_that_are_too_much_for_a_graph_are_variables(tmp_path, monkeypatch) -> None:
    """A graph of a gigabyte takes TensorFlow four times as much memory to load, and one of two cannot be written."""
    monkeypatch.setattr(variables, "_GRAPH_LIMIT", 1_000)
    monkeypatch.setattr(variables, "_SMALLEST", 1_000)
    source = models.save(models.attention(), tmp_path / "model.onnx")
    made = convert(source, tmp_path / "m")
    feeds = models.feeds_for(source.signature, 3)
    wanted = onnx_runtime.load(source).run(feeds)
    assert_same(wanted, savedmodel_runtime.load(made).run(feeds))
    assert (made.path / "variables/variables.data-00000-of-00001").stat().st_size > 1_000
    savedmodel_to_litert.convert(ConversionRequest(made, tmp_path / "m.tflite", made.signature))
    lite = inspect(tmp_path / "m.tflite")
    assert_same(wanted, litert_runtime.load(Artifact(lite.variant, lite.path, lite.signature)).run(feeds))
