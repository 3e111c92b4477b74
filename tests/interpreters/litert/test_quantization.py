"""Quantized files against LiteRT's interpreter: to the level where both sum exactly, within some elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from litert_models import Arrays, assert_close, compared, floats, litert_file

IMAGE = floats(1, 8, 8, 3, low=-1, high=1)
KERNELS = [
    floats(3, 3, 3, 8, seed=1, low=-0.5, high=0.5),
    floats(3, 3, 8, 1, seed=2),
    floats(1, 1, 8, 16, seed=3, low=-1, high=1),
]


def network(x: Any) -> Any:
    import tensorflow as tf

    x = tf.nn.relu6(tf.nn.conv2d(x, KERNELS[0], 2, "SAME") + floats(8, seed=4))
    y = tf.nn.depthwise_conv2d(x, KERNELS[1], [1, 1, 1, 1], "SAME")
    y = tf.nn.max_pool2d(tf.concat([x + y, y], -1)[..., :8], 2, 2, "SAME")
    y = tf.nn.conv2d(y, KERNELS[2], 1, "VALID")
    return tf.matmul(tf.reduce_mean(y, [1, 2]), floats(16, 5, seed=5))


def configured(kind: str) -> Callable[[Any], None]:
    def configure(lite: Any) -> None:
        import tensorflow as tf

        lite.optimizations = [tf.lite.Optimize.DEFAULT]
        if kind == "fp16":
            lite.target_spec.supported_types = [tf.float16]
        if kind.startswith("int"):
            lite.representative_dataset = lambda: ([floats(1, 8, 8, 3, seed=k, low=-1, high=1)] for k in range(20))
            ops = tf.lite.OpsSet
            wide = ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            lite.target_spec.supported_ops = [wide if kind == "int16" else ops.TFLITE_BUILTINS_INT8]
        if kind == "int8 edges":
            lite.inference_input_type = lite.inference_output_type = tf.int8

    return configure


def results(kind: str, **options: Any) -> tuple[list[Arrays], list[Arrays]]:
    path = quantized(kind)
    images = [floats(1, 8, 8, 3, seed=k, low=-1, high=1) for k in range(4)]
    if kind == "int8 edges":
        images = [np.clip(np.round(image * 127), -128, 127).astype(np.int8) for image in images]
    return compared(path, [[image] for image in images], **options)


_FILES: dict[str, Path] = {}


def quantized(kind: str) -> Path:
    if kind not in _FILES:
        _FILES[kind] = litert_file(network, [IMAGE], configure=configured(kind))
    return _FILES[kind]


def steps(expected: list[Arrays], got: list[Arrays]) -> float:
    """The largest difference, in 255ths of the range of the results."""
    pairs = [(e[name].astype(np.float64), g[name].astype(np.float64)) for e, g in zip(expected, got, strict=True) for name in e]
    values = np.concatenate([e.ravel() for e, _ in pairs])
    return float(max(np.abs(e - g).max() for e, g in pairs) / (np.ptp(values) / 255))


@pytest.mark.parametrize("kind", ["int8", "int8 edges"])
def test_eight_bits(kind: str) -> None:
    expected, got = results(kind)
    if kind == "int8 edges":
        assert all(array.dtype == np.int8 for run in got for array in run.values())
    assert steps(expected, got) <= 2


def test_sixteen_bits() -> None:
    assert_close(*results("int16"), tolerance=1e-3)


def test_half_precision_weights() -> None:
    assert_close(*results("fp16"))


def test_weights_alone() -> None:
    # LiteRT rounds the activations to 8 bits too, as it goes; the program keeps them.
    assert_close(*results("dynamic range"), tolerance=2e-2)


def test_without_quantization_between_the_edges() -> None:
    expected, got = results("int8 edges", dequantize=True)
    assert all(array.dtype == np.int8 for run in got for array in run.values())
    assert 0 < steps(expected, got) <= 12


def test_the_average_of_levels_rounds_halves_away_from_zero() -> None:
    import tensorflow as tf

    path = litert_file(lambda x: tf.nn.avg_pool2d(x, 2, 2, "VALID"), [IMAGE], configure=configured("int8 edges"))
    levels = np.random.default_rng(0).integers(-128, 128, (1, 8, 8, 3)).astype(np.int8)
    expected, got = compared(path, [[levels]])
    (name,) = expected[0]
    np.testing.assert_array_equal(expected[0][name], got[0][name])


@pytest.mark.parametrize("kind", ["int8", "int16"])
def test_what_levels_cannot_hold_is_cut_off_in_float_too(kind: str) -> None:
    """The images are far outside of the range that the file was calibrated for."""
    images = [[floats(1, 8, 8, 3, seed=k, low=-6, high=6)] for k in range(3)]
    expected, got = compared(quantized(kind), images, dequantize=True)
    assert steps(expected, got) <= (12 if kind == "int8" else 0.1)
