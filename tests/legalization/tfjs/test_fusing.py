"""Scales, biases and activations joined with what is before them: fewer nodes, the same numbers, on both backends."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tfjs_graphs import assert_same, saved

from convkit.runtimes import tfjs
from convkit.workers import toolchains

_RNG = np.random.default_rng(0)
IMAGE = _RNG.standard_normal((2, 7, 6, 3)).astype(np.float32)
KERNEL = _RNG.standard_normal((3, 3, 3, 4)).astype(np.float32)
DEPTHWISE = _RNG.standard_normal((3, 3, 3, 2)).astype(np.float32)
MATRIX = _RNG.standard_normal((6, 4)).astype(np.float32)
FACTORS = np.float32([0.5, -2.0, 3.0, 1.5, 0.1, -1.0])
ROWS = "rows[n,6]"
PICTURE = "picture[n,7,6,3]"


@pytest.fixture(scope="module", autouse=True)
def toolchain():
    toolchains.ensure("tfjs", auto=True)


def _products() -> dict[str, tuple[Callable[[Any], Any], str, int]]:
    """Each operator that is fused, its input, and its channels."""
    import tensorflow as tf

    return {
        "_FusedConv2D": (lambda x: tf.nn.conv2d(x, KERNEL, 2, "SAME"), PICTURE, 4),
        "FusedDepthwiseConv2dNative": (lambda x: tf.nn.depthwise_conv2d(x, DEPTHWISE, [1] * 4, "VALID"), PICTURE, 6),
        "_FusedMatMul": (lambda x: tf.matmul(x, MATRIX), ROWS, 4),
    }


def _feeds(description: str) -> dict[str, np.ndarray]:
    return {"rows": IMAGE[:, 0].reshape(-1, 6)} if description == ROWS else {"picture": IMAGE}


def _operators(model: Path) -> Counter[str]:
    return Counter(node["op"] for node in json.loads((model / "model.json").read_text())["modelTopology"]["node"])


@pytest.mark.parametrize("backend", tfjs.BACKENDS)
@pytest.mark.parametrize("activation", ["relu", "relu6", "elu", "leaky_relu", "sigmoid", "tanh"])
@pytest.mark.parametrize("operator", ["_FusedConv2D", "FusedDepthwiseConv2dNative", "_FusedMatMul"])
def test_bias_and_activation(operator: str, activation: str, backend: str, tmp_path: Path) -> None:
    import tensorflow as tf

    product, description, channels = _products()[operator]
    apply = getattr(tf.nn, activation)
    source = saved(tmp_path, lambda x: apply(product(x) + FACTORS[:channels]), description)
    assert_same(source, tmp_path / "m.tfjs", [_feeds(description)], backend)
    found = _operators(tmp_path / "m.tfjs")
    assert found[operator] == 1 and not found["AddV2"] and not found["BiasAdd"]
    apart = [activation == "tanh", (operator, activation) == ("FusedDepthwiseConv2dNative", "leaky_relu")]  # TF.js has no kernel
    assert [found["Tanh"], found["LeakyRelu"]] == apart
    assert sum(found[name] for name in ("Relu", "Relu6", "Elu", "Sigmoid")) == 0


@pytest.mark.parametrize("operator", ["_FusedConv2D", "FusedDepthwiseConv2dNative"])
def test_batch_normalization_goes_into_weights_and_bias(operator: str, tmp_path: Path) -> None:
    import tensorflow as tf

    product, description, channels = _products()[operator]
    factors = FACTORS[:channels]

    def call(x: Any) -> Any:
        normal = tf.nn.batch_normalization(product(x), factors, factors**2, factors, factors[::-1], 1e-3)
        return product(x)[:, 0, 0] + tf.nn.relu(normal)[:, 0, 0]

    assert_same(saved(tmp_path, call, description), tmp_path / "m.tfjs", [_feeds(description)])
    found = _operators(tmp_path / "m.tfjs")
    assert found[operator] == 1 and not found["Mul"] and not found["Relu"]


def test_a_residual_keeps_its_sum(tmp_path: Path) -> None:
    import tensorflow as tf

    def call(x: Any) -> Any:
        first = tf.nn.relu(tf.nn.conv2d(x, KERNEL[..., :3], 1, "SAME") + FACTORS[:3])
        return x + first + tf.nn.conv2d(first, KERNEL[..., 1:], 1, "SAME") + FACTORS[3:]

    assert_same(saved(tmp_path, call, PICTURE), tmp_path / "m.tfjs", [_feeds(PICTURE)])
    assert _operators(tmp_path / "m.tfjs")["_FusedConv2D"] >= 1


@pytest.mark.parametrize("kind", ["read twice", "an output", "per row", "more dimensions", "channels first", "itself"])
def test_what_has_to_stay_apart(kind: str, tmp_path: Path) -> None:
    import tensorflow as tf

    def call(x: Any) -> Any:
        product = tf.matmul(x, MATRIX)
        first = tf.transpose(tf.nn.conv2d(tf.reshape(x, [-1, 1, 2, 3]), KERNEL, 1, "SAME"), [0, 3, 1, 2])
        return {
            "read twice": lambda: tf.nn.relu(product + FACTORS[:4]) * (product + FACTORS[:4]) + product,
            "an output": lambda: [product, product + FACTORS[:4], tf.nn.relu(product + FACTORS[:4])],
            "per row": lambda: product + FACTORS[:2, None],
            "more dimensions": lambda: product + FACTORS[:4].reshape(1, 1, 1, 4),
            "channels first": lambda: first + FACTORS[:4].reshape(4, 1, 1),
            "itself": lambda: product + product,
        }[kind]()

    source = saved(tmp_path, call, "x[2,6]")
    assert_same(source, tmp_path / "m.tfjs", [{"x": IMAGE[0, :2, :, 0]}])
