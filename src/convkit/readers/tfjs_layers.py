"""The configuration of a TF.js layers model, in one spelling: Keras 2's, with snake case and dictionaries throughout.

Such files come from Keras 1 to 3 (through the official converter) and from TF.js itself, whose keys may be in camel case.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from convkit.readers.damage import DamagedFileError

__all__ = ["MODELS", "normalized_config"]

MODELS = ("Functional", "Model", "Sequential")
"""The classes of models, which are made of layers."""

_MAX_NESTING = 64
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_CLASSES = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "Deconvolution2D": "Conv2DTranspose",
    "MaxPool1D": "MaxPooling1D",
    "MaxPool2D": "MaxPooling2D",
    "AvgPool1D": "AveragePooling1D",
    "AvgPool2D": "AveragePooling2D",
    "Merge": "Concatenate",
    "UnifiedLSTM": "LSTM",
    "UnifiedGRU": "GRU",
}


def normalized_config(config: Any) -> dict[str, Any]:
    """The configuration of the model in a topology.

    Args:
        config: `model_config` of the topology, or the topology itself; some files have it as a string.

    Raises:
        DamagedFileError: It is none, or nests without end.
    """
    if isinstance(config, str):
        config = json.loads(config, parse_constant=_refuse_constant)
    found = _snake_case(config, 0)
    if not isinstance(found, dict) or found.get("class_name") not in MODELS:
        raise DamagedFileError("its topology has no Sequential or functional model")
    return _model(found)


def _refuse_constant(name: str) -> None:
    raise DamagedFileError(f"its configuration has the number {name}, which is no JSON")


def _snake_case(value: Any, depth: int) -> Any:
    if depth > _MAX_NESTING:
        raise DamagedFileError("its configuration nests without end")
    if isinstance(value, list):
        return [_snake_case(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_CAMEL.sub("_", key).lower(): _snake_case(item, depth + 1) for key, item in value.items()}
    return value


def _model(model: dict[str, Any]) -> dict[str, Any]:
    config = model.get("config")
    if isinstance(config, list):  # Keras 1 and 2.1 write a Sequential's layers alone
        config = {"layers": config}
    if not isinstance(config, dict) or not isinstance(config.get("layers"), list):
        raise DamagedFileError("a model in its configuration has no layers")
    layers = [_layer(layer) for layer in config["layers"]]
    if len({layer["name"] for layer in layers}) != len(layers):
        raise DamagedFileError("two layers of a model in its configuration have one name")
    return {**model, "config": {**config, "layers": layers}}


def _layer(layer: Any) -> dict[str, Any]:
    """A layer under its present class, with its name beside its configuration, and old-style references to its inputs."""
    if not isinstance(layer, dict) or not isinstance(layer.get("class_name"), str):
        raise DamagedFileError("a layer of its configuration has no class")
    if layer["class_name"] in MODELS:
        found = _model(layer)
    else:
        found = {**layer, "class_name": _CLASSES.get(layer["class_name"], layer["class_name"])}
    if not isinstance(found.get("config"), dict):
        raise DamagedFileError(f"a {layer['class_name']} of its configuration has no configuration of its own")
    name = found.get("name") or found["config"].get("name")
    if not isinstance(name, str) or not name:
        raise DamagedFileError(f"a {layer['class_name']} of its configuration has no name")
    found["name"] = name
    found["inbound_nodes"] = [_references(node, name) for node in found.get("inbound_nodes") or ()]
    return found


def _references(node: Any, name: str) -> list[list[Any]]:
    """The tensors of one call of a layer: [layer, node, tensor, keywords] each."""
    if isinstance(node, Mapping):  # Keras 3
        found = [tensor["config"]["keras_history"] for tensor in _keras_tensors(node.get("args") or ())]
        keywords = {key: value for key, value in (node.get("kwargs") or {}).items() if value not in (None, False)}
        return [[*history, keywords] for history in found]
    if isinstance(node, list) and node and isinstance(node[0], str):
        node = [node]
    if not isinstance(node, list) or not all(isinstance(r, list) and len(r) >= 3 for r in node):
        raise DamagedFileError(f"the inputs of the layer {name!r} are no references to tensors")
    return [[*reference[:3], reference[3] if len(reference) > 3 else {}] for reference in node]


def _keras_tensors(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [value] if value.get("class_name") == "__keras_tensor__" else []
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in _keras_tensors(item)]
    return []
