"""Hostile `model.json` files: any value in the place of any other, and sizes that would fill the memory."""

from __future__ import annotations

import copy
import json
import random
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tfjs_models import node, specs, write_graph, write_model

from convkit.artifact import Artifact
from convkit.components import ConversionRequest
from convkit.converters import tfjs_layers_to_savedmodel, tfjs_to_savedmodel
from convkit.errors import ConvkitError, UnreadableModelError
from convkit.formats import Variant
from convkit.readers import inspect
from convkit.signature import Signature

READ, LOADED = 800, 60
GIBIBYTE = 1 << 30
_EDGES = Signature(specs("x[n,4]"), specs("y[n,4]"))
_WEIGHTS = {"a/kernel": np.ones((4, 4), np.float32)}
_ENTRY = {"batch_input_shape": [None, 4]}


def dense(**config: Any) -> dict[str, Any]:
    return {"class_name": "Dense", "config": {"name": "a", "units": 4, "use_bias": False, **_ENTRY, **config}}


def layers_model(directory: Path, config: Any) -> Path:
    return write_model(directory, {"format": "layers-model", "modelTopology": {"model_config": config}}, _WEIGHTS)


def sequential(*layers: Any) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": "model", "layers": list(layers)}}


def functional() -> dict[str, Any]:
    entry = {"class_name": "InputLayer", "name": "x", "config": {"name": "x", **_ENTRY}, "inbound_nodes": []}
    layer = {**dense(activation="relu"), "name": "a", "inbound_nodes": [[["x", 0, 0, {}]]]}
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["a", 0, 0]]}
    return {"class_name": "Model", "config": {"name": "model", "layers": [entry, layer], **ends}}


SOUND: dict[str, Callable[[Path], Path]] = {
    "graph": lambda d: write_graph(
        d, _EDGES, [node("y", "Mul", ["x", "w"])], {"w": np.ones(4, np.float32)},
        userDefinedMetadata={"convkit_signature": _EDGES.to_json()},
    ),
    "sequential": lambda d: layers_model(d, sequential(dense(activation="relu"))),
    "functional": lambda d: layers_model(d, functional()),
}  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 3, 1 << 31, 1 << 63, 10**30, 1e308, "", "x", "a", "y", "w:0", "^x", "../x", "/etc/passwd", "\0", "é\ud800",
    "DT_STRING", "int8", "string", "NaN", "A" * 5000, [], {}, [[]], [None], {"a": None}, [1] * 70, {"size": "-1"},
    {"dim": [{"size": "2147483647"}] * 3}, ["x", 0, 0],
)  # fmt: skip
KEYS = ("quantization", "dtype", "shape", "name", "op", "attr", "input", "class_name", "config", "_x")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


def damaged(model: Any, generator: random.Random) -> Any:
    """The model with one or two of its values replaced, removed, repeated or added."""
    model = copy.deepcopy(model)
    for _ in range(generator.choice((1, 1, 2))):
        *path, last = generator.choice(list(places(model)))
        holder = model
        for key in path:
            holder = holder[key]
        value, how = copy.deepcopy(generator.choice(VALUES)), generator.random()
        if how < 0.7:
            holder[last] = value
        elif how < 0.85:
            del holder[last]
        elif isinstance(holder, list):
            holder.append(copy.deepcopy(holder[last]))
        else:
            holder[generator.choice(KEYS)] = value
    return model


def damages(file: Path, count: int) -> Iterator[int]:
    """Writes one damaged model after the other into the file."""
    sound = json.loads(file.read_text())
    for seed in range(count):
        file.write_text(json.dumps(damaged(sound, random.Random(seed))))
        yield seed


@pytest.mark.parametrize("kind", SOUND)
def test_a_reader_raises_convkits_errors_only(kind: str, tmp_path: Path) -> None:
    refused = 0
    for _ in damages(SOUND[kind](tmp_path), READ):
        try:
            inspect(tmp_path)
        except ConvkitError as error:
            assert error.hint
            refused += 1
    assert READ // 4 < refused < READ


@pytest.mark.parametrize("kind", SOUND)
def test_loading_raises_convkits_errors_only(kind: str, tmp_path: Path) -> None:
    model, output = SOUND[kind](tmp_path / "model"), tmp_path / "out"
    refused = 0
    for seed in damages(model, LOADED):
        try:
            convert(model, output / str(seed))
        except ConvkitError:
            refused += 1
            assert not (output / str(seed)).exists()
    assert LOADED // 4 < refused < LOADED


def convert(model: Path, output: Path) -> None:
    info = inspect(model)
    converter = tfjs_to_savedmodel if info.variant is Variant.TFJS_GRAPH else tfjs_layers_to_savedmodel
    converter.convert(ConversionRequest(Artifact(info.variant, model, info.signature), output, info.signature))


def constant(directory: Path, sizes: list[str]) -> Path:
    """A graph with one number in the topology for a constant of any shape."""
    shape = {"dim": [{"size": size} for size in sizes]}
    value = {"tensor": {"dtype": "DT_FLOAT", "tensorShape": shape, "floatVal": [1.0]}}
    held = {"name": "w", "op": "Const", "attr": {"dtype": {"type": "DT_FLOAT"}, "value": value}}
    return write_graph(directory, _EDGES, [held, node("y", "Mul", ["x", "w"])])


def nested_function(directory: Path) -> Path:
    attribute: Any = {"i": "1"}
    for _ in range(200):
        attribute = {"func": {"name": "f", "attr": {"a": attribute}}}
    return write_graph(directory, _EDGES, [node("y", "Neg", ["x"], f=attribute)])


def empty_weight(directory: Path) -> Path:
    """No bytes, and yet more than a number can count."""
    model = write_graph(directory, _EDGES, [node("y", "Mul", ["x", "w"])], {"w": np.ones(4, np.float32)})
    content = json.loads(model.read_text())
    content["weightsManifest"][0]["weights"].append({"name": "v", "shape": [0, 1 << 62], "dtype": "float32"})
    model.write_text(json.dumps(content))
    return model


def recurrent(**config: Any) -> dict[str, Any]:
    return {"class_name": "LSTM", "config": {"name": "a", "units": 10**6, "batch_input_shape": [None, 4, 4], **config}}


_LARGE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "constant": (lambda d: constant(d, ["1000000", "1000000"]), "'w'"),
    "nested function": (nested_function, "no TensorFlow graph"),
    "empty weight": (empty_weight, "too big"),
    "units": (lambda d: layers_model(d, sequential(dense(units=1 << 40))), "16 in all"),
    "units beyond 64 bits": (lambda d: layers_model(d, sequential(dense(units=1 << 70))), "16 in all"),
    "words": (
        lambda d: layers_model(
            d, sequential({"class_name": "Embedding", "config": {"name": "a", "input_dim": 1 << 40, "output_dim": 8, **_ENTRY}})
        ),
        "16 in all",
    ),
    "recurrent": (lambda d: layers_model(d, sequential(recurrent())), "16 in all"),
    "wrapped": (
        lambda d: layers_model(
            d,
            sequential(
                {"class_name": "Bidirectional", "config": {"name": "b", "layer": recurrent(), "batch_input_shape": [None, 4, 4]}}
            ),
        ),
        "16 in all",
    ),
}


@pytest.mark.parametrize("kind", _LARGE)
def test_sizes_are_refused_before_anything_of_them_is_made(kind: str, tmp_path: Path) -> None:
    make, says = _LARGE[kind]
    model, before = make(tmp_path / "model"), most_memory()
    with pytest.raises(UnreadableModelError) as caught:
        convert(model, tmp_path / "out")
    assert says in caught.value.message
    assert not (tmp_path / "out").exists()
    assert most_memory() - before < GIBIBYTE


def most_memory() -> int:
    """Bytes that this process has held at most; TensorFlow's own are a part of a gibibyte."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
