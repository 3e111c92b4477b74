"""onnx2tf's SavedModel writer in its own toolchain; what it writes is run by this environment's TensorFlow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from convkit.components import ConversionRequest
from convkit.converters.onnx_to_savedmodel import CONVERTER
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.runtimes import onnx as onnx_runtime
from convkit.runtimes import savedmodel as savedmodel_runtime
from convkit.workers import toolchains
from convkit.workers.pool import fresh_pool
from tests.converters import onnx_models as models


@pytest.fixture(scope="module")
def worker():
    if not toolchains.get("onnx2tf-tensorflow").installed():
        pytest.skip("the toolchain is not there: convkit toolchain install onnx2tf-tensorflow")
    with fresh_pool() as pool:
        yield pool.worker(CONVERTER.host)


def convert(worker, source, output):
    request = ConversionRequest(source, output, source.signature)
    arguments = {"module": "convkit.converters.onnx_to_savedmodel", "request": request.to_json()}
    worker.call("convkit.workers.running:convert", arguments, stage="convert")
    return replace(source, variant=Variant.SAVEDMODEL, path=output)


@pytest.mark.slow
@pytest.mark.parametrize(
    "build",
    [models.cnn, models.square_image, models.lstm, models.attention, models.two_inputs, models.tokens],
    ids=lambda f: f.__name__,
)
def test_signature_and_numbers(worker, tmp_path, build):
    source = models.save(build(), tmp_path / "model.onnx")
    result = convert(worker, source, tmp_path / "out.savedmodel")
    reference, target = onnx_runtime.load(source), savedmodel_runtime.load(result)
    assert source.signature.differences(target.signature) == []
    for size in (1, 2, 5):
        feeds = models.feeds_for(source.signature, size)
        wanted, got = reference.run(feeds), target.run(feeds)
        assert list(got) == list(wanted)
        for name, array in wanted.items():
            assert got[name].shape == array.shape
            assert got[name].dtype == array.dtype
            np.testing.assert_allclose(got[name], array, rtol=0, atol=1e-5 * max(1e-3, np.abs(array).max()))


@pytest.mark.slow
@pytest.mark.parametrize("operator", ["HardSwish", "Gelu"])
def test_operators_that_convkit_adds_to_the_writer(operator, worker, tmp_path):
    proto = models.model([(operator, "x", "y")], [models.tensor("x", 2, 3)], [models.tensor("y", 2, 3)], opset=20)
    source = models.save(proto, tmp_path / "model.onnx")
    result = convert(worker, source, tmp_path / "out.savedmodel")
    feeds = models.feeds_for(source.signature, 2)
    wanted = onnx_runtime.load(source).run(feeds)["y"]
    np.testing.assert_allclose(savedmodel_runtime.load(result).run(feeds)["y"], wanted, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_an_operator_that_the_writer_lacks_is_named(worker, tmp_path):
    edges = [models.tensor(name, 2, 3, dtype="int32") for name in "abc"]
    proto = models.model([("BitwiseXor", "a b", "c")], edges[:2], edges[2:])
    source = models.save(proto, tmp_path / "model.onnx")
    with pytest.raises(ConversionError, match="BITWISE_XOR") as caught:
        convert(worker, source, tmp_path / "out.savedmodel")
    assert caught.value.component == "onnx2tf-savedmodel"
    assert not (tmp_path / "out.savedmodel").exists()
