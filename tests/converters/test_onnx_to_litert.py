"""onnx2tf in its own toolchain: the signature is kept, and LiteRT's numbers are ONNX Runtime's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from convkit.artifact import digest_of
from convkit.components import ConversionRequest
from convkit.converters.onnx_to_litert import CONVERTER
from convkit.errors import ConversionError, InputSpecError
from convkit.formats import Variant
from convkit.runtimes import litert as litert_runtime
from convkit.runtimes import onnx as onnx_runtime
from convkit.workers import toolchains
from convkit.workers.pool import fresh_pool
from tests.converters import onnx_models as models

_MODULE = "convkit.converters.onnx_to_litert"
_TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def worker():
    if not toolchains.get("onnx2tf").installed():
        pytest.skip("the toolchain is not there: convkit toolchain install onnx2tf")
    with fresh_pool() as pool:
        yield pool.worker(CONVERTER.host)


def convert(worker, source, output, examples=None, **options):
    request = ConversionRequest(source, output, source.signature, examples, options)
    answer = worker.call("convkit.workers.running:convert", {"module": _MODULE, "request": request.to_json()}, stage="convert")
    return replace(source, variant=Variant.TFLITE, path=output), answer.result["notes"]


def check(worker, source, output):
    request = ConversionRequest(source, output, source.signature)
    answer = worker.call("convkit.workers.running:check", {"module": _MODULE, "request": request.to_json()}, stage="check")
    return {f["operator"]: f["verdict"] for f in answer.result}


def assert_same(source, result, sizes, tolerance=_TOLERANCE):
    reference, target = onnx_runtime.load(source), litert_runtime.load(result)
    assert source.signature.differences(target.signature) == []
    for size in sizes:
        feeds = models.feeds_for(source.signature, size)
        wanted, got = reference.run(feeds), target.run(feeds)
        assert list(got) == list(wanted)
        for name, array in wanted.items():
            assert got[name].shape == array.shape
            assert got[name].dtype == array.dtype
            if array.dtype.kind != "f":
                np.testing.assert_array_equal(got[name], array)
                continue
            scale = np.abs(array.astype(np.float64)).max()
            assert scale > 0
            assert np.abs(got[name].astype(np.float64) - array).max() <= tolerance * scale, (name, size)


_DYNAMIC = [
    models.cnn,
    models.square_image,
    models.convolution_1d,
    models.lstm,
    models.gru,
    models.attention,
    models.two_inputs,
    models.tokens,
    models.newest,
    models.narrow_integers,
]


@pytest.mark.parametrize("build", _DYNAMIC, ids=lambda f: f.__name__)
@pytest.mark.parametrize("batch", ["batch", 3])
def test_signature_and_numbers(worker, tmp_path, build, batch):
    source = models.save(build(batch), tmp_path / "model.onnx")
    before = digest_of(source.path)
    result, _ = convert(worker, source, tmp_path / "out.tflite")
    assert_same(source, result, [1, 2, 5] if batch == "batch" else [0])
    assert digest_of(source.path) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx", "out.tflite"]


@pytest.mark.parametrize("build", [models.lstm, models.gru], ids=lambda f: f.__name__)
def test_a_recurrent_model_forgets_between_runs(worker, tmp_path, build):
    source = models.save(build(3), tmp_path / "model.onnx")
    result, _ = convert(worker, source, tmp_path / "out.tflite")
    session, feeds = litert_runtime.load(result), models.feeds_for(source.signature, 0)
    first, second = (session.run(feeds)["logits"].copy() for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(("build", "tolerance"), [(models.scalar, 1e-6), (models.half, 2e-3), (models.old, 1e-6)])
def test_unusual_edges(worker, tmp_path, build, tolerance):
    source = models.save(build(), tmp_path / "model.onnx")
    result, _ = convert(worker, source, tmp_path / "out.tflite")
    assert_same(source, result, [0], tolerance)


def test_external_data(worker, tmp_path):
    inner = tmp_path / "source"
    inner.mkdir()
    source = models.save(models.cnn(), inner / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    before = digest_of(inner)
    result, _ = convert(worker, source, tmp_path / "out.tflite")
    assert_same(source, result, [2])
    assert digest_of(inner) == before


def test_static_pins_the_sizes_of_the_examples(worker, tmp_path):
    source = models.save(models.cnn(), tmp_path / "model.onnx")
    np.savez(tmp_path / "examples.npz", **models.feeds_for(source.signature, 4))
    result, _ = convert(worker, source, tmp_path / "out.tflite", tmp_path / "examples.npz", static=True)
    pinned = litert_runtime.load(result).signature
    assert [t.shape for t in (*pinned.inputs, *pinned.outputs)] == [(4, 3, 8, 8), (4, 10)]
    with pytest.raises(InputSpecError, match="no example inputs"):
        convert(worker, source, tmp_path / "other.tflite", static=True)


def test_a_zero_pad_before_max_pooling_is_no_padding_of_the_pooling(worker, tmp_path):
    # What ONNX Runtime's own fusion gets wrong (see convkit.runtimes.onnx); negative values show it.
    proto = models.model(
        [
            ("Pad", "x pads", "p"),
            ("MaxPool", "p", "m", {"kernel_shape": [2, 2], "strides": [2, 2]}),
            ("Abs", "m", "a"),
            ("Add", "a m", "s"),
            ("Sub", "s one", "y"),
        ],
        [models.tensor("x", 1, 2, 6, 6)],
        [models.tensor("y", 1, 2, 4, 4)],
        {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "one": np.float32(1)},
    )
    source = models.save(proto, tmp_path / "model.onnx")
    result, _ = convert(worker, source, tmp_path / "out.tflite")
    feeds = {"x": -1 - np.abs(models.feeds_for(source.signature, 0)["x"])}
    wanted = ReferenceEvaluator(proto).run(None, feeds)[0]
    np.testing.assert_allclose(litert_runtime.load(result).run(feeds)["y"], wanted, atol=1e-6)


def test_what_cannot_be_lowered_is_an_error_that_names_it(worker, tmp_path):
    source = models.save(models.branch(), tmp_path / "model.onnx")
    with pytest.raises(ConversionError, match="If") as caught:
        convert(worker, source, tmp_path / "out.tflite")
    assert caught.value.component == "onnx2tf"
    assert not (tmp_path / "out.tflite").exists()
    assert check(worker, source, tmp_path / "out.tflite") == {"If": "gap", "Greater": "legal", "ReduceSum": "legal"}


def test_check_finds_no_gap_in_what_converts(worker, tmp_path):
    for build in (models.cnn, models.lstm, models.attention, models.old):
        source = models.save(build(), tmp_path / f"{build.__name__}.onnx")
        verdicts = check(worker, source, tmp_path / "out.tflite")
        assert set(verdicts.values()) == {"legal"}, verdicts


def test_check_says_what_is_rewritten(worker, tmp_path):
    source = models.save(models.newest(), tmp_path / "model.onnx")
    assert check(worker, source, tmp_path / "out.tflite") == {"RMSNormalization": "rewritten", "Relu": "legal"}


def test_a_file_that_is_no_model(worker, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x07" + b"not a protobuf" * 3)
    source = replace(models.save(models.scalar(), tmp_path / "good.onnx"), path=path)
    with pytest.raises(ConversionError, match="cannot read"):
        convert(worker, source, tmp_path / "out.tflite")
