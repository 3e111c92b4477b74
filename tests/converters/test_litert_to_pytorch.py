"""LiteRT → exported program: signatures, findings, and the routes that go on from there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from litert_flatbuffers import Graph, Op, T, constant, schema, write
from litert_models import artifact, assert_close, floats, imported, litert_file

import convkit
from convkit.components import ConversionRequest
from convkit.converters import litert_to_pytorch as converter
from convkit.errors import ConversionError, UsageError
from convkit.legalization.target import Verdict
from convkit.runtimes import litert, pytorch
from convkit.workers.pool import WorkerPool


@pytest.mark.parametrize("name", ["digits_cnn", "digits_lstm", "digits_transformer"])
def test_trained_models_at_other_batches(name: str, model) -> None:
    path = model(name, "tflite")
    source = artifact(path)
    assert source.signature is not None
    target = Path(imported_to(path, name))
    for batch in (1, 3):
        feeds = {s.name: floats(*s.concrete({}, batch), low=0, high=9).astype(s.dtype) for s in source.signature.inputs}
        loaded = pytorch.load(convkit.artifact.Artifact(converter.CONVERTER.target, target, source.signature))
        assert_close([litert.load(source).run(feeds)], [loaded.run(feeds)])


def imported_to(path: Path, name: str) -> Path:
    import tempfile

    output = Path(tempfile.mkdtemp()) / f"{name}.pt2"
    source = artifact(path)
    converter.convert(ConversionRequest(source, output, source.signature))
    return output


def two_signatures() -> Path:
    add = schema().AddOptionsT()
    graphs = [
        Graph([T((-1, 2)), constant(np.full(2, value, np.float32)), T((-1, 2))], [Op("ADD", [0, 1], [2], add)], [0], [2])
        for value in (1, 10)
    ]
    return write(*graphs, signatures=[("encode", 0), ("decode", 1)])


@pytest.mark.parametrize(("option", "added"), [({}, 1), ({"signature": "decode"}, 10)])
def test_one_of_several_signatures(option: dict[str, str], added: int, tmp_path: Path, pool: WorkerPool) -> None:
    result = convkit.convert(two_signatures(), "pytorch", tmp_path / "m.pt2", options=option, pool=pool)
    assert result.verdict.value == "proved"
    signature = result.artifact.signature
    assert signature is not None
    assert (signature.name, signature.input_names, signature.output_names) == (
        option.get("signature", "encode"),
        ("a0",),
        ("b0",),
    )
    x = floats(3, 2)
    np.testing.assert_allclose(pytorch.load(result.artifact).run({"a0": x})["b0"], x + added)


def test_a_signature_that_the_file_has_not(tmp_path: Path, pool: WorkerPool) -> None:
    with pytest.raises(UsageError, match="no signature 'train'"):
        convkit.convert(two_signatures(), "pytorch", tmp_path / "m.pt2", options={"signature": "train"}, pool=pool)


def test_what_is_refused_has_operator_place_and_reason(tmp_path: Path) -> None:
    path = write(
        Graph(
            [T((2,)), T((2,)), T((2,)), T((2,))],
            [
                Op("MyOwn", [0], [1], custom_options=b""),
                Op("ADD", [1, 1], [2], schema().AddOptionsT()),
                Op("HASHTABLE_FIND", [2], [3], schema().HashtableFindOptionsT()),
            ],
            [0],
            [3],
        )
    )
    source = artifact(path)
    request = ConversionRequest(source, tmp_path / "m.pt2", source.signature)
    findings = converter.check(request)
    gaps = [(f.operator, f.reason, f.where) for f in findings if f.verdict is Verdict.GAP]
    assert gaps == [
        ("MyOwn", "the importer does not have this operator", ("operator 0: t1",)),
        ("HASHTABLE_FIND", "the importer does not have this operator", ("operator 2: t3",)),
    ]
    with pytest.raises(ConversionError, match="MyOwn"):
        converter.convert(request)
    assert not (tmp_path / "m.pt2").exists()


def test_what_only_the_trace_shows_is_a_gap_too(tmp_path: Path) -> None:
    # A size along a dynamic number of dimensions, computed from the input.
    path = write(
        Graph(
            [T((-1,), "INT32"), constant(floats(1)), T((-1,))],
            [Op("FILL", [0, 1], [2], schema().FillOptionsT())],
            [0],
            [2],
        )
    )
    source = artifact(path)
    findings = converter.check(ConversionRequest(source, tmp_path / "m.pt2", source.signature))
    (gap,) = [f for f in findings if f.verdict is Verdict.GAP]
    assert gap.operator == "FILL"
    assert "computed from the model's inputs" in gap.reason


def test_an_input_beyond_all_memory(tmp_path: Path) -> None:
    path = write(Graph([T((1 << 20, 1 << 20)), T((1,))], [Op("ABS", [0], [1])], [0], [1]))
    source = artifact(path)
    with pytest.raises(ConversionError, match="exceeds all memory"):
        converter.convert(ConversionRequest(source, tmp_path / "m.pt2", source.signature))


@pytest.mark.parametrize("target", ["onnx", "savedmodel", "executorch"])
def test_the_whole_chain(target: str, tmp_path: Path, pool: WorkerPool) -> None:
    import tensorflow as tf

    kernel = floats(3, 3, 2, 4)
    path = litert_file(lambda x: tf.nn.relu(tf.nn.conv2d(x, kernel, 2, "SAME")), [floats(1, 6, 6, 2)])
    result = convkit.convert(path, target, tmp_path / "converted", pool=pool)
    assert result.verdict.value == "proved"
    source = artifact(path).signature
    assert source is not None
    assert not source.differences(result.artifact.signature)


def test_imported_program_is_found_again(tmp_path: Path) -> None:
    path = litert_file(lambda x: x * 2 + 1, [floats(2, 3)], dynamic=[[0]])
    target = imported(path)
    assert pytorch.load(target).run({target.signature.input_names[0]: floats(5, 3)})
