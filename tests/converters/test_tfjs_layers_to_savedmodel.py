"""TF.js layers models → SavedModel: models that TF.js itself has saved, and configurations as Keras 1 and 2 write them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow_models import assert_agree, feeds
from tfjs_models import write_model

from convkit.artifact import Artifact
from convkit.components import ConversionRequest
from convkit.converters import tfjs_layers_to_savedmodel
from convkit.errors import ConversionError, ConvkitError, UnreadableModelError
from convkit.formats import Variant
from convkit.legalization.target import Verdict
from convkit.readers import inspect
from convkit.runtimes import savedmodel, tfjs
from convkit.workers import toolchains

MAKER = Path(__file__).resolve().parents[1] / "tfjs_layers_models.cjs"
MODELS = ("dense", "images", "volumes", "pooled", "activations", "recurrent", "bidirectional", "merging", "nested")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the models that TF.js has saved."""
    toolchain = toolchains.node_toolchain("tfjs")
    toolchains.ensure("tfjs", auto=True)
    directory = tmp_path_factory.mktemp("layers")
    environment = {**os.environ, "NODE_PATH": str(toolchain.node_modules)}
    made = subprocess.run(
        [str(toolchain.node), str(MAKER), str(directory)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert made.returncode == 0, made.stderr
    return directory


def converted(model: Path, output: Path) -> savedmodel.SavedModelSession:
    info = inspect(model)
    assert info.variant is Variant.TFJS_LAYERS
    request = ConversionRequest(Artifact(info.variant, model, info.signature), output, info.signature)
    tfjs_layers_to_savedmodel.convert(request)
    signature = inspect(output).signature
    assert info.signature is not None and signature is not None
    assert info.signature.differences(signature) == []
    return savedmodel.load(Artifact(Variant.SAVEDMODEL, output, signature))


def assert_same(model: Path, output: Path) -> None:
    """Converts, and compares with TF.js in Node at two batch sizes."""
    session = converted(model, output)
    reference = tfjs.load(Artifact(Variant.TFJS_LAYERS, model, session.signature))
    for batch in (1, 3):
        arrays = feeds(session.signature, batch)
        arrays = {name: np.abs(a) * 4 // 1 if "embedding" in name else a for name, a in arrays.items()}
        if any(d == "conv2d_Conv2D2_input_dim1" for s in session.signature.inputs for d in s.shape or ()):
            arrays = {name: np.ones((batch, 9, 8, 3), np.float32) for name in arrays}
        assert_agree(reference.run(arrays), session.run(arrays), 2e-6)


@pytest.mark.parametrize("name", MODELS)
def test_models_that_tfjs_has_saved(name: str, saved: Path, tmp_path: Path) -> None:
    assert_same(saved / name, tmp_path / "out")


def dense(name: str, activation: str = "linear", **config: Any) -> dict[str, Any]:
    return {"class_name": "Dense", "config": {"name": name, "units": 4, "activation": activation, "use_bias": True, **config}}


def weights(*layers: str, shape: tuple[int, ...] = (4, 4)) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    parts = (("kernel", shape), ("bias", shape[1:]))
    return {f"{layer}/{part}": generator.standard_normal(s).astype(np.float32) for layer in layers for part, s in parts}


def write(directory: Path, config: Any, arrays: dict[str, np.ndarray]) -> Path:
    return write_model(directory, {"modelTopology": {"keras_version": "2.1.6", "model_config": config}}, arrays)


_ENTRY = {"batch_input_shape": [None, 4]}
_OLD: dict[str, Any] = {
    # Keras 1 to 2.1 keep a bare list of layers.
    "list": {"class_name": "Sequential", "config": [dense("a", "hard_sigmoid", **_ENTRY), dense("b")]},
    "dictionary": {"class_name": "Sequential", "config": {"name": "s", "layers": [dense("a", "relu", **_ENTRY), dense("b")]}},
    "camel case": {
        "className": "Sequential",
        "config": {
            "layers": [dense("a", "hardSigmoid", batchInputShape=[None, 4]), dense("b", kernelInitializer={"className": "Zeros"})]
        },
    },
    "string": json.dumps({"class_name": "Sequential", "config": [dense("a", **_ENTRY), dense("b", "elu")]}),
    "training options": {
        "class_name": "Sequential",
        "config": [
            dense(
                "a", kernel_regularizer={"class_name": "Mine", "config": {}}, kernel_initializer={"class_name": "Mine"}, **_ENTRY
            ),
            dense("b", bias_constraint="mine", trainable=False),
        ],
    },
}


@pytest.mark.parametrize("spelling", _OLD)
def test_old_spellings(spelling: str, tmp_path: Path) -> None:
    model = write(tmp_path / "model", _OLD[spelling], weights("a", "b"))
    session = converted(model, tmp_path / "out")
    assert session.signature.input_names == ("a_input",)
    assert session.signature.output_names == ("b",)
    reference = tfjs.load(Artifact(Variant.TFJS_LAYERS, model, session.signature)) if spelling in ("list", "dictionary") else None
    arrays = feeds(session.signature, 2)
    if reference is not None:
        assert_agree(reference.run(arrays), session.run(arrays), 1e-6)
    else:
        assert np.isfinite(session.run(arrays)["b"]).all()


def test_references_of_keras_3(tmp_path: Path) -> None:
    tensor = {"class_name": "__keras_tensor__", "config": {"shape": [None, 4], "dtype": "float32", "keras_history": ["x", 0, 0]}}
    layers = [
        {
            "class_name": "InputLayer",
            "name": "x",
            "config": {"batch_shape": [None, 4], "dtype": "float32", "name": "x"},
            "inbound_nodes": [],
        },
        {**dense("y"), "name": "y", "module": "keras.layers", "inbound_nodes": [{"args": [tensor], "kwargs": {}}]},
    ]
    config = {"name": "m", "layers": layers, "input_layers": [["x", 0, 0]], "output_layers": [["y", 0, 0]]}
    arrays = weights("y")
    session = converted(write(tmp_path / "model", {"class_name": "Functional", "config": config}, arrays), tmp_path / "out")
    x = np.eye(4, dtype=np.float32)
    np.testing.assert_allclose(session.run({"x": x})["y"], x @ arrays["y/kernel"] + arrays["y/bias"], rtol=1e-6)


def test_cells_in_the_names_of_weights(tmp_path: Path) -> None:
    """Since TensorFlow 2.2 the files of Keras have the cell between the layer and the weight."""
    generator = np.random.default_rng(0)
    config = {
        "name": "rnn",
        "units": 3,
        "recurrent_activation": "sigmoid",
        "batch_input_shape": [None, 5, 2],
        "implementation": 1,
    }
    layer = {"class_name": "LSTM", "config": {**config, "time_major": False, "unit_forget_bias": True}}
    arrays = {
        f"rnn/lstm_cell_4/{part}": generator.standard_normal(shape).astype(np.float32)
        for part, shape in (("kernel", (2, 12)), ("recurrent_kernel", (3, 12)), ("bias", (12,)))
    }
    assert_same(write(tmp_path / "model", {"class_name": "Sequential", "config": [layer]}, arrays), tmp_path / "out")


def refusal(model: Path, output: Path) -> ConvkitError:
    info = inspect(model)
    request = ConversionRequest(Artifact(Variant.TFJS_LAYERS, model, info.signature), output, info.signature)
    with pytest.raises((ConversionError, UnreadableModelError)) as caught:
        tfjs_layers_to_savedmodel.convert(request)
    assert not output.exists()
    return caught.value


@pytest.mark.parametrize("kind", ["Lambda", "TFOpLambda", "MyLayer", "CuDNNLSTM"])
def test_classes_that_are_none_of_tfjs(kind: str, tmp_path: Path) -> None:
    """No class is looked up by the name that a file gives, and no function of a file is run."""
    function = ["4wEAAAAAAAAA", None, None]
    layers = [dense("a", **_ENTRY), {"class_name": kind, "config": {"name": "odd", "function": function}}]
    model = write(tmp_path / "model", {"class_name": "Sequential", "config": layers}, weights("a"))
    assert kind in refusal(model, tmp_path / "out").message
    request = ConversionRequest(Artifact(Variant.TFJS_LAYERS, model), tmp_path / "out", None)
    assert [f.operator for f in tfjs_layers_to_savedmodel.check(request) if f.verdict is Verdict.GAP] == [kind]


def functional(*layers: dict[str, Any], outputs: Any = (("b", 0, 0),)) -> dict[str, Any]:
    entry = {"class_name": "InputLayer", "name": "x", "config": {"name": "x", **_ENTRY}, "inbound_nodes": []}
    config = {"layers": [entry, *layers], "input_layers": [["x", 0, 0]], "output_layers": [list(o) for o in outputs]}
    return {"class_name": "Model", "config": config}


def after(source: str, layer: dict[str, Any], keywords: Any = None) -> dict[str, Any]:
    return {**layer, "name": layer["config"]["name"], "inbound_nodes": [[[source, 0, 0, keywords or {}]]]}


_BROKEN: dict[str, tuple[Callable[[], Any], str]] = {
    "circle": (lambda: functional(after("b", dense("a")), after("a", dense("b"))), "'a' takes a tensor"),
    "missing input": (lambda: functional(after("gone", dense("b"))), "'b' takes a tensor"),
    "missing output": (lambda: functional(after("x", dense("b")), outputs=[("b", 3, 0)]), "['b', 3, 0]"),
    "call arguments": (lambda: functional(after("x", dense("b"), {"factor": 2})), "'b' is called with"),
    "activation": (lambda: functional(after("x", dense("b", "__import__"))), "activation '__import__'"),
    "activation class": (
        lambda: functional(after("x", dense("b", activation=None) | {"config": {"name": "b", "units": 4, "activation": ["os"]}})),
        "'b'",
    ),
    "units": (lambda: functional(after("x", dense("b", units=-4))), "'b'"),
    "stateful": (
        lambda: functional(after("x", {"class_name": "LSTM", "config": {"name": "b", "units": 1, "stateful": True}})),
        "state",
    ),
    "two of one name": (lambda: functional(after("x", dense("b")), after("x", dense("b"))), "one name"),
    "shape": (lambda: {"class_name": "Sequential", "config": [dense("b", batch_input_shape=[None, "4"])]}, "b_input"),
    "no layers": (lambda: {"class_name": "Sequential", "config": {"layers": []}}, "no layers"),
    "weights of another shape": (lambda: functional(after("x", dense("b", units=5))), "has the shape [4, 4], not [4, 5]"),
    "weights of no layer": (
        lambda: functional(after("x", {"class_name": "ReLU", "config": {"name": "b"}})),
        "belong to no layer",
    ),
}


@pytest.mark.parametrize("kind", _BROKEN)
def test_broken_configurations(kind: str, tmp_path: Path) -> None:
    build, says = _BROKEN[kind]
    model = write(tmp_path / "model", build(), weights("b"))
    with pytest.raises((ConversionError, UnreadableModelError)) as caught:
        tfjs_layers_to_savedmodel.convert(ConversionRequest(Artifact(Variant.TFJS_LAYERS, model), tmp_path / "out", None))
    assert says in caught.value.message
    assert not (tmp_path / "out").exists()


def test_missing_weights(tmp_path: Path) -> None:
    model = write(tmp_path / "model", functional(after("x", dense("b"))), {})
    assert "no weight 'kernel'" in refusal(model, tmp_path / "out").message


def test_nesting_without_end(tmp_path: Path) -> None:
    config: dict[str, Any] = dense("b")
    for level in range(200):
        config = {"class_name": "Sequential", "config": {"name": f"s{level}", "layers": [config]}}
    model = write(tmp_path / "model", config, {})
    with pytest.raises(UnreadableModelError, match="without end"):
        inspect(model)
