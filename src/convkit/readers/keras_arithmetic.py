"""What the first layers of a Keras configuration do with the inputs, in the words of `input_domains` and `index_bounds`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from convkit.readers.half_precision import half_metadata
from convkit.readers.index_bounds import Lookup, Node, index_bounds
from convkit.readers.input_domains import MOST_CONSTANTS, Affine, Moved, Step, input_domains
from convkit.readers.keras_config import compute_dtype
from convkit.signature import Signature

__all__ = ["domain_metadata"]

_MOVES = frozenset(
    (
        *("Activation", "CenterCrop", "Cropping2D", "Dropout", "Flatten", "Identity", "Permute", "RepeatVector", "Reshape"),
        *("Resizing", "UpSampling2D", "ZeroPadding2D"),
    )
)


def domain_metadata(model: Any, signatures: tuple[Signature, ...]) -> dict[str, Any]:
    """`index_bounds` and `input_domains`, as far as a configuration tells them."""
    layers = (model.get("config") or {}).get("layers") if isinstance(model.get("config"), dict) else None
    if not signatures or not isinstance(layers, list):
        return {}
    inputs = signatures[0].inputs
    calls = list(_calls(layers, inputs[0].name))
    found: dict[str, Any] = half_metadata(map(compute_dtype, layers))
    if bounds := index_bounds((spec.name for spec in inputs), (s for call in calls for s in _lookups(*call))):
        found["index_bounds"] = bounds
    if domains := input_domains(inputs, (step for call in calls for step in _steps(*call))):
        found["input_domains"] = domains
    return found


def _calls(layers: list[Any], first_input: str) -> Iterator[tuple[Any, str, str]]:
    """Every layer with the values that it is called with, one by one, and what it makes of them; a value has its layer's name."""
    before = first_input
    for layer in layers:
        name = layer.get("name") or layer["config"]["name"]
        if "inbound_nodes" in layer:
            for node in layer["inbound_nodes"]:
                for source in _histories(node, 0):
                    yield layer, source, name
        elif layer.get("class_name") != "InputLayer":  # sequential: each layer is given what the one before makes
            yield layer, before, name
        before = name


def _histories(node: Any, depth: int) -> Iterator[str]:
    """The layers whose results are arguments: as `keras_history` in Keras 3, as [layer, node, tensor, keywords] before."""
    if depth > 8:
        return
    if isinstance(node, dict):
        history = (node.get("config") or {}).get("keras_history") if node.get("class_name") == "__keras_tensor__" else None
        if isinstance(history, list) and history and isinstance(history[0], str):
            yield history[0]
        else:
            for value in node.get("args") or ():
                yield from _histories(value, depth + 1)
    elif isinstance(node, list):
        if len(node) >= 3 and isinstance(node[0], str):
            yield node[0]
        else:
            for value in node:
                yield from _histories(value, depth + 1)


def _lookups(layer: Any, source: str, output: str) -> Iterator[Lookup | Node]:
    if layer.get("class_name") in _MOVES:
        yield Node(source, (output,))
    rows = layer["config"].get("input_dim") if layer.get("class_name") == "Embedding" else None
    if type(rows) is int:
        yield Lookup(source, rows)


def _steps(layer: Any, source: str, output: str) -> Iterator[Step]:
    kind, config = layer.get("class_name"), layer["config"]
    if kind in _MOVES and config.get("activation", "linear") == "linear":
        yield Moved(source, (output,))
    elif kind == "Rescaling":
        scale, offset = _numbers(config.get("scale")), _numbers(config.get("offset", 0.0))
        if scale and offset:
            yield Affine(source, output, scale, offset)
    elif kind == "Normalization" and not config.get("invert"):
        mean, variance = _numbers(config.get("mean")), _numbers(config.get("variance"))
        if mean and variance and min(variance) > 0:
            yield Affine(source, f"{output}/centred", offset=[-m for m in mean])
            yield Affine(f"{output}/centred", output, [v**-0.5 for v in variance])


def _numbers(value: Any) -> list[float]:
    """A number, or nested lists of a few; empty for anything else."""
    found: list[float] = []
    pending = [value]
    while pending:
        item = pending.pop(0)
        if isinstance(item, list) and len(item) <= MOST_CONSTANTS:
            pending = [*item, *pending]
        elif isinstance(item, int | float) and not isinstance(item, bool):
            found.append(float(item))
        else:
            return []
        if len(found) > MOST_CONSTANTS:
            return []
    return found
