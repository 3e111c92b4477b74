"""The layers of TF.js layers models: its own defaults and formulas (Keras 2's), not those of Keras 3, against TF.js in Node."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convkit.artifact import Artifact
from convkit.components import ConversionOutcome, ConversionRequest
from convkit.converters import tfjs_layers_to_savedmodel
from convkit.formats import Variant
from convkit.readers import inspect
from convkit.runtimes import savedmodel, tfjs
from convkit.workers import toolchains

MAKER = Path(__file__).resolve().parents[1] / "tfjs_layers_configurations.cjs"
STEPS, IMAGE, WORDS = [6, 4], [8, 7, 3], [6]
VOCABULARY = 9


def layer(kind: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": kind.lower(), **config}}


def sequence(shape: Sequence[int], *layers: Mapping[str, Any]) -> dict[str, Any]:
    """A Sequential model; its layers are called by their class and their place."""
    configs: list[dict[str, Any]] = [
        {**each, "config": {**each["config"], "name": f"{each['class_name'].lower()}_{place}"}}
        for place, each in enumerate(layers)
    ]
    configs[0]["config"]["batch_input_shape"] = [None, *shape]
    return {"class_name": "Sequential", "config": {"name": "model", "layers": configs}}


def graph(inputs: Mapping[str, Sequence[int]], calls: Mapping[str, tuple[Any, str]], *outputs: str) -> dict[str, Any]:
    """A functional model: name → layer and what it takes ("name", or "name:2" for its third output, with blanks between)."""

    def tensor(text: str) -> list[Any]:
        name, _, index = text.partition(":")
        return [name, 0, int(index or 0)]

    layers = [
        {"class_name": "InputLayer", "name": name, "config": {"name": name, "batch_input_shape": [None, *s]}, "inbound_nodes": []}
        for name, s in inputs.items()
    ]
    for name, (made, sources) in calls.items():
        node = [[*tensor(source), {}] for source in sources.split()]
        layers.append({**made, "name": name, "config": {**made["config"], "name": name}, "inbound_nodes": [node]})
    config = {"name": "model", "layers": layers}
    ends = {"input_layers": [tensor(name) for name in inputs], "output_layers": [tensor(text) for text in outputs]}
    return {"class_name": "Model", "config": {**config, **ends}}


WITHOUT_OPTIONS = {
    "LeakyReLU": (STEPS, {}),
    "ELU": (STEPS, {}),
    "ReLU": (STEPS, {}),
    "PReLU": (STEPS, {}),
    "ThresholdedReLU": (STEPS, {}),
    "BatchNormalization": (IMAGE, {}),
    "LayerNormalization": (STEPS, {}),
    "Conv2D": (IMAGE, {"filters": 4, "kernel_size": [3, 3]}),
    "Conv2DTranspose": (IMAGE, {"filters": 4, "kernel_size": [3, 3]}),
    "SeparableConv2D": (IMAGE, {"filters": 4, "kernel_size": [3, 3]}),
    "DepthwiseConv2D": (IMAGE, {"kernel_size": [3, 3]}),
    "Conv1D": (STEPS, {"filters": 4, "kernel_size": 3}),
    "Conv3DTranspose": ([4, 5, 4, 2], {"filters": 2, "kernel_size": [2, 2, 2]}),
    "ConvLSTM2D": ([3, 6, 5, 2], {"filters": 2, "kernel_size": [3, 3]}),
    "UpSampling2D": (IMAGE, {}),
    "ZeroPadding2D": (IMAGE, {}),
    "MaxPooling1D": (STEPS, {}),
    "AveragePooling1D": (STEPS, {}),
    "AveragePooling2D": (IMAGE, {}),
    "AveragePooling3D": ([4, 5, 4, 2], {}),
    "LSTM": (STEPS, {"units": 3}),
    "GRU": (STEPS, {"units": 3}),
    "SimpleRNN": (STEPS, {"units": 3}),
    "Rescaling": (STEPS, {"scale": 0.5}),
}
ACTIVATIONS = "elu hard_sigmoid relu6 selu softplus softsign log_softmax gelu mish swish".split()  # noqa: SIM905
MASKED = layer("Embedding", input_dim=VOCABULARY, output_dim=4, mask_zero=True)
LAST = layer("LSTM", units=3)
WORD_PAIR = {"left": WORDS, "right": WORDS}
STATES = {"units": 3, "return_state": True}

CONFIGURATIONS = {
    **{f"bare {kind}": sequence(shape, layer(kind, **config)) for kind, (shape, config) in WITHOUT_OPTIONS.items()},
    **{f"activation {name}": sequence(STEPS, layer("Activation", activation=name)) for name in ACTIVATIONS},
    "slope": sequence(STEPS, layer("LeakyReLU", alpha=0.1)),
    # Options of Keras 2 that TF.js does not read.
    "slope and threshold of ReLU": sequence(STEPS, layer("ReLU", max_value=0.5, negative_slope=0.1, threshold=0.1)),
    "dilated depthwise": sequence(IMAGE, layer("DepthwiseConv2D", kernel_size=3, dilation_rate=[2, 2], padding="same")),
    "epsilon": sequence(IMAGE, layer("BatchNormalization", epsilon=0.1, scale=False)),
    "hard gates": sequence(STEPS, layer("LSTM", units=3, recurrent_activation="hard_sigmoid", unit_forget_bias=True)),
    "hard gates of a wrapped layer": sequence(STEPS, layer("Bidirectional", layer=layer("GRU", units=3))),
    "soft gates": sequence(STEPS, layer("GRU", units=3, recurrent_activation="sigmoid", go_backwards=True)),
    "cells": sequence(
        STEPS,
        layer("RNN", cell=layer("StackedRNNCells", cells=[layer("LSTMCell", units=3), layer("GRUCell", units=2)])),
    ),
    "corners": sequence(IMAGE, layer("UpSampling2D", size=[2, 3], interpolation="bilinear")),
    "mean of masked steps": sequence(WORDS, MASKED, layer("GlobalAveragePooling1D")),
    "masked steps": sequence(WORDS, MASKED, layer("Dropout", rate=0.2), layer("GRU", units=3, return_sequences=True), LAST),
    "masked inputs": sequence(STEPS, layer("Masking"), layer("Bidirectional", layer=layer("LSTM", units=2))),
    "two masks": graph(
        WORD_PAIR, {"a": (MASKED, "left"), "b": (MASKED, "right"), "c": (layer("Concatenate"), "a b"), "y": (LAST, "c")}, "y"
    ),
    "two masks, one after the other": graph(
        WORD_PAIR,
        {"a": (MASKED, "left"), "b": (MASKED, "right"), "c": (layer("Concatenate", axis=1), "a b"), "y": (LAST, "c")},
        "y",
    ),
    "all outputs": graph({"x": STEPS}, {"y": (layer("LSTM", **STATES), "x")}, "y", "y:1", "y:2"),
    "encoder and decoder": graph(
        {"x": STEPS, "z": [5, 2]},
        {
            "state": (layer("LSTM", **STATES), "x"),
            "steps": (layer("LSTM", return_sequences=True, **STATES), "z state:1 state:2"),
            "y": (layer("Dense", units=2), "steps"),
        },
        "y",
        "steps:2",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the models, with weights."""
    toolchain = toolchains.node_toolchain("tfjs")
    toolchains.ensure("tfjs", auto=True)
    directory = tmp_path_factory.mktemp("configurations")
    source = directory / "configurations.json"
    source.write_text(json.dumps(CONFIGURATIONS | DEVIATING))
    environment = {**os.environ, "NODE_PATH": str(toolchain.node_modules)}
    command = [str(toolchain.node), str(MAKER), str(source), str(directory)]
    made = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stderr
    return directory


def largest_difference(model: Path, output: Path) -> tuple[float, ConversionOutcome]:
    """Between TF.js and the SavedModel, as a share of the output's scale."""
    info = inspect(model)
    assert info.signature is not None
    source = Artifact(info.variant, model, info.signature)
    outcome = tfjs_layers_to_savedmodel.convert(ConversionRequest(source, output, info.signature))
    arrays = {}
    generator = np.random.default_rng(1)
    for spec in info.signature.inputs:
        shape = [size if isinstance(size, int) else 3 for size in spec.shape or ()]
        words = shape[1:] == WORDS
        array = generator.integers(0, VOCABULARY, shape) if words else generator.normal(0, 1.5, shape)
        array[:, 4:] = 0  # the steps that a mask leaves out
        arrays[spec.name] = array.astype(np.float32)
    wanted = tfjs.load(source).run(arrays)
    got = savedmodel.load(Artifact(Variant.SAVEDMODEL, output, info.signature)).run(arrays)
    assert [a.shape for a in wanted.values()] == [a.shape for a in got.values()]
    differences = [np.abs(wanted[name] - got[name]).max() / np.abs(wanted[name]).max() for name in wanted]
    return max(map(float, differences)), outcome


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_it_computes_what_tfjs_does(name: str, saved: Path, tmp_path: Path) -> None:
    difference, outcome = largest_difference(saved / name, tmp_path / "out")
    assert difference < 1e-5
    assert outcome.notes == ()


DEVIATING = {
    "normalized_rows": sequence(IMAGE, layer("BatchNormalization", axis=1)),
    "mask_of_another_layer": sequence(WORDS, MASKED, layer("Conv1D", filters=3, kernel_size=3, padding="same"), LAST),
}


@pytest.mark.parametrize("name", DEVIATING)
def test_where_tfjs_computes_something_else_a_note_says_so(name: str, saved: Path, tmp_path: Path) -> None:
    """Such a model is converted as its configuration says, and TF.js disagrees."""
    difference, outcome = largest_difference(saved / name, tmp_path / "out")
    assert difference > 1e-2
    assert len(outcome.notes) == 1
    assert {"normalized_rows": "batchnormalization_0", "mask_of_another_layer": "lstm_2"}[name] in outcome.notes[0]
