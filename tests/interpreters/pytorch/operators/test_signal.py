"""Fourier transforms and the mel scale of the PyTorch importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_nodes as nodes
import pytest

from interpreters.pytorch.operators.operator_checks import agrees, floats


@pytest.mark.parametrize("parts", (1, 2))
@pytest.mark.parametrize("inverse", (0, 1))
def test_transforms(parts: int, inverse: int) -> None:
    x = floats(2, 8, 5, parts)
    agrees(
        "DFT", {"x": x}, {"axis": np.array(1)}, order=["x", "", "axis"], opset=20, inverse=inverse, dynamic={"x": {0: "batch"}}
    )
    agrees("DFT", {"x": x}, {"n": np.array(6)}, opset=17, axis=2, inverse=inverse)


def test_half_of_a_spectrum() -> None:
    agrees("DFT", {"x": floats(2, 8, 1)}, opset=20, onesided=1, dynamic={"x": {0: "batch", 1: "samples"}})


@pytest.mark.parametrize("onesided", (0, 1))
def test_short_time_transforms(onesided: int) -> None:
    constants = {"step": np.array(4), "window": np.hanning(8).astype(np.float32)}
    feeds, dynamic = {"x": floats(2, 40, 1)}, {"x": {0: "batch", 1: "samples"}}
    model = nodes.node_model("STFT", feeds, constants, opset=17, onesided=onesided, dynamic=dynamic)
    nodes.assert_agree(nodes.pytorch(model, feeds, smallest=8), nodes.onnx_runtime(model, feeds))


def test_a_large_mel_matrix() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[b,201] x) => (float[b,80] y)
            <int64 bins = {80}, int64 length = {400}, int64 rate = {16000}, float low = {0.0}, float high = {8000.0}> {
            m = MelWeightMatrix(bins, length, rate, low, high)
            y = MatMul(x, m)
        }"""
    )
    feeds = {"x": floats(2, 201)}
    nodes.assert_agree(nodes.pytorch(model, feeds), nodes.onnx_runtime(model, feeds))
