"""DFT and STFT by matrices, against numpy and ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_nodes as nodes
import pytest
from legalization.onnx import plain_target as plain

RNG = np.random.default_rng(5)


def dft(x: np.ndarray, axis: int, length: int | None = None, opset: int = 20, **attributes: Any) -> np.ndarray:
    constants: dict[str, np.ndarray] = {} if length is None else {"length": np.array(length)}
    order = ["x", "length" if length is not None else ""]
    if opset >= 20:
        constants["axis"] = np.array(axis)
        order.append("axis")
    else:
        attributes["axis"] = axis
        order = order if length is not None else order[:1]
    model = nodes.node_model("DFT", {"x": x}, constants, order=order, opset=opset, dynamic={"x": {0: "n"}}, **attributes)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    rewritten, findings = plain.legalized(model)
    assert not plain.gaps(findings)
    return plain.run(rewritten, {"x": x})[0]


def pairs(array: np.ndarray) -> np.ndarray:
    return np.stack([array.real, array.imag], -1)


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize("axis", [1, 2, -2])
@pytest.mark.parametrize("length", [None, 4, 9])
def test_forward(axis: int, length: int | None, opset: int) -> None:
    x = RNG.normal(size=(2, 6, 5, 2)).astype(np.float32)
    complex_ = x[..., 0] + 1j * x[..., 1]
    along = axis if axis > 0 else 2
    np.testing.assert_allclose(dft(x, axis, length, opset), pairs(np.fft.fft(complex_, length, along)), atol=1e-5)
    np.testing.assert_allclose(dft(x[..., :1], axis, length, opset), pairs(np.fft.fft(x[..., 0], length, along)), atol=1e-5)
    half = dft(x[..., :1], axis, length, opset, onesided=1)
    np.testing.assert_allclose(half, pairs(np.fft.rfft(x[..., 0], length, along)), atol=1e-5)


@pytest.mark.parametrize("axis", [1, 2])
def test_inverse(axis: int) -> None:
    x = RNG.normal(size=(2, 6, 5, 2)).astype(np.float32)
    wanted = pairs(np.fft.ifft(x[..., 0] + 1j * x[..., 1], axis=axis))
    np.testing.assert_allclose(dft(x, axis, inverse=1), wanted, atol=1e-5)


@pytest.mark.parametrize("points", [8, 9])
def test_inverse_of_half_a_spectrum(points: int) -> None:
    signal = RNG.normal(size=(2, points, 3)).astype(np.float32)
    half = pairs(np.fft.rfft(signal, axis=1)).astype(np.float32)
    np.testing.assert_allclose(dft(half, 1, points, inverse=1, onesided=1)[..., 0], signal, atol=1e-5)


@pytest.mark.parametrize("onesided", [0, 1])
@pytest.mark.parametrize("fed", [True, False])
def test_stft(onesided: int, fed: bool) -> None:
    feeds = {"x": RNG.normal(size=(2, 50, 1)).astype(np.float32)}
    held = {"step": np.array(4), "window": np.hanning(16).astype(np.float32)}
    if fed:
        feeds["window"] = held.pop("window")
    model = nodes.node_model("STFT", feeds, held, order=["x", "step", "window"], opset=17, onesided=onesided)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    plain.assert_same(model, feeds)


def test_stft_without_a_window() -> None:
    feeds = {"x": RNG.normal(size=(1, 40, 1)).astype(np.float32)}
    model = nodes.node_model(
        "STFT", feeds, {"step": np.array(7), "length": np.array(12)}, order=["x", "step", "", "length"], opset=17
    )
    model.graph.output[0].type.tensor_type.ClearField("shape")
    plain.assert_same(model, feeds)


@pytest.mark.parametrize("window", ["HannWindow", "HammingWindow", "BlackmanWindow"])
@pytest.mark.parametrize("periodic", [0, 1])
def test_windows(window: str, periodic: int) -> None:
    plain.assert_same(nodes.node_model(window, {"size": np.array(9)}, opset=17, periodic=periodic), {"size": np.array(9)})


def test_mel_weights() -> None:
    held = dict(zip("abcde", [np.array(8), np.array(64), np.array(8000), np.float32(0), np.float32(4000)], strict=True))
    model = nodes.node_model("MelWeightMatrix", {}, held, opset=17)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    plain.assert_same(model, {})


def test_lengths_that_are_not_known_are_a_gap() -> None:
    x = RNG.normal(size=(2, 6, 1)).astype(np.float32)
    model = nodes.node_model("DFT", {"x": x}, {"axis": np.array(1)}, order=["x", "", "axis"], opset=20, dynamic={"x": {1: "t"}})
    assert plain.gaps(plain.legalized(model)[1])
