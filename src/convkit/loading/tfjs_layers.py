"""Builds the Keras model of a TF.js layers model, layer by layer, with its weights. No class of the file's own is looked up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from convkit.errors import ConversionError
from convkit.loading.keras_state import undisturbed
from convkit.loading.tfjs_layer_classes import make_layer
from convkit.readers.damage import DamagedFileError
from convkit.readers.tfjs_layers import MODELS

if TYPE_CHECKING:
    import numpy as np

__all__ = ["BuiltModel", "build_model", "set_weights"]

_MAX_NESTING = 32


@dataclass
class BuiltModel:
    """A Keras model.

    Attributes:
        most: The elements that all its weights may have.
        model: The model.
        layers: Its layers, those of nested models in place of these.
        notes: Where TF.js itself computes something else than the configuration says.
    """

    most: int
    model: Any = None
    layers: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def build_model(model: Mapping[str, Any], most: int) -> BuiltModel:
    """The model of a normalised configuration, with weights of zeros.

    Args:
        model: The configuration.
        most: Elements of the weights that the file has.

    Raises:
        ConversionError: naming a layer that Keras cannot make or call.
        DamagedFileError: A layer takes a tensor that no layer gives, or its own.
    """
    built = BuiltModel(most)
    with undisturbed():
        built.model = _model(model, built, 0)
    return built


def _model(model: Mapping[str, Any], built: BuiltModel, depth: int) -> Any:
    if depth > _MAX_NESTING:
        raise DamagedFileError("its configuration nests models without end")
    return _Builder(model["config"], built, depth).build(model["class_name"] == "Sequential")


class _Builder:
    """One model's layers and tensors, by name."""

    def __init__(self, config: Mapping[str, Any], built: BuiltModel, depth: int) -> None:
        self._config, self._built, self._depth = config, built, depth
        self._tensors: dict[tuple[str, int], list[Any]] = {}
        self._masking = ""

    def build(self, is_sequential: bool) -> Any:
        import keras

        inputs, outputs = self._sequence() if is_sequential else self._graph()
        return keras.Model(inputs, outputs, name=self._config.get("name"))

    def _sequence(self) -> tuple[Any, Any]:
        layers = list(self._config["layers"])
        if not layers:
            raise DamagedFileError("a Sequential model in its configuration has no layers")
        first = layers[0]
        if first["class_name"] == "InputLayer":
            layers = layers[1:]
            source = tensor = _input(first["name"], first["config"])
        elif first["class_name"] in MODELS and "batch_input_shape" not in first["config"]:
            inner = self._layer(layers.pop(0))
            source, tensor = inner.input, inner.output
        else:
            source = tensor = _input(f"{first['name']}_input", first["config"])
        for layer in layers:
            tensor = self._called(self._layer(layer), [tensor])[0]
        return source, tensor

    def _graph(self) -> tuple[Any, Any]:
        layers: dict[str, Any] = {}
        pending = []
        for layer in self._config["layers"]:
            name = layer["name"]
            if layer["class_name"] == "InputLayer":
                self._tensors[name, 0] = [_input(name, layer["config"])]
                continue
            layers[name] = self._layer(layer)
            pending += [(name, number, references) for number, references in enumerate(layer["inbound_nodes"])]
        pending = [(name, number + self._first_call(name, layers), references) for name, number, references in pending]
        while pending:
            waiting = [call for call in pending if not self._take(layers[call[0]], call)]
            if len(waiting) == len(pending):
                raise DamagedFileError(f"its layer {pending[0][0]!r} takes a tensor that no layer gives before it")
            pending = waiting
        return self._named("input_layers"), self._named("output_layers")

    def _first_call(self, name: str, layers: Mapping[str, Any]) -> int:
        """The number of a layer's first call: 1 for a Sequential model, whose call number 0 was its own making."""
        calls = next(len(layer["inbound_nodes"]) for layer in self._config["layers"] if layer["name"] == name)
        nodes = [node for layer in self._config["layers"] for node in layer["inbound_nodes"]]
        taken = {reference[1] for node in nodes for reference in node if reference[0] == name}
        taken |= {r[1] for r in self._references("output_layers") if r[0] == name}
        return 1 if taken and min(taken) >= 1 and max(taken) == calls and hasattr(layers[name], "layers") else 0

    def _take(self, layer: Any, call: tuple[str, int, Sequence[Sequence[Any]]]) -> bool:
        """Calls a layer if its inputs are there, and its earlier calls have been made."""
        name, number, references = call
        earlier = [n for n in range(number) if (name, n) not in self._tensors]
        if earlier and earlier != [0]:
            return False
        if any((r[0], r[1]) not in self._tensors for r in references):
            return False
        if any(keywords := [r[3] for r in references if r[3]]):
            raise ConversionError(f"the layer {name!r} is called with {keywords}", component="Keras")
        self._tensors[name, number] = self._called(layer, [self._tensor(r) for r in references])
        return True

    def _tensor(self, reference: Sequence[Any]) -> Any:
        name, number, index = reference[:3]
        try:
            return self._tensors[name, number][index]
        except (LookupError, TypeError):
            raise DamagedFileError(f"its configuration names the tensor {list(reference[:3])}, which no layer gives") from None

    def _named(self, key: str) -> list[Any]:
        return [self._tensor(r) for r in self._references(key)]

    def _references(self, key: str) -> list[Any]:
        references = self._config.get(key)
        if isinstance(references, dict):
            references = list(references.values())
        if not isinstance(references, list) or not references:
            raise DamagedFileError(f"its configuration has no {key}")
        if isinstance(references[0], str):
            references = [references]
        return references

    def _layer(self, layer: Mapping[str, Any]) -> Any:
        if layer["class_name"] in MODELS:
            nested = _model(layer, self._built, self._depth + 1)
            nested.name = layer["name"]
            return nested
        self._built.layers.append(make_layer(layer, self._built.most))
        return self._built.layers[-1]

    def _called(self, layer: Any, inputs: list[Any]) -> list[Any]:
        import keras

        self._note_deviation(layer, inputs[0])
        keywords = {}
        if len(inputs) > 1 and isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional)):
            # Keras 2 lists the initial states of a recurrent layer behind its input.
            keywords, inputs = {"initial_state": inputs[1:]}, inputs[:1]
        try:
            result = layer(inputs[0] if len(inputs) == 1 else inputs, **keywords)
        except DamagedFileError:
            raise
        except Exception as error:
            message = " ".join(str(error).split())[:300]
            raise ConversionError(f"Keras cannot call the layer {layer.name!r}: {message}", component="Keras") from error
        results = list(result) if isinstance(result, (list, tuple)) else [result]
        if any(_is_masked(tensor) for tensor in results):
            self._masking = layer.name
        return results

    def _note_deviation(self, layer: Any, source: Any) -> None:
        """Notes where TF.js computes something else; seen in tfjs-layers/src/engine/executor.ts, and in its backends."""
        import keras

        if isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional)) and self._masking and not _is_masked(source):
            self._built.notes.append(
                f"{layer.name} has no mask of time steps, and TF.js gives it that of {self._masking}: what it computes may differ"
            )
        if isinstance(layer, keras.layers.BatchNormalization) and layer.axis not in (-1, len(source.shape) - 1):
            self._built.notes.append(
                f"{layer.name} normalises the axis {layer.axis}, which TF.js's backends cpu and wasm take for the last: "
                "their results are wrong, those of webgl right"
            )


def _is_masked(tensor: Any) -> bool:
    return getattr(tensor, "_keras_mask", None) is not None


def _input(name: str, config: Mapping[str, Any]) -> Any:
    import keras

    shape = config.get("batch_input_shape") or config.get("batch_shape")
    if not isinstance(shape, list) or not all(d is None or (type(d) is int and d >= 0) for d in shape):
        raise DamagedFileError(f"its input {name!r} has the shape {shape}")
    dtype = config.get("dtype")
    return keras.Input(batch_shape=shape, name=name, dtype=dtype if isinstance(dtype, str) else "float32")


# Keras names the cells of recurrent layers in the path of a weight; files do so since TensorFlow 2.2, and by other numbers.
_BACKWARD = "backward_"
_SPELLINGS = {"depthwise_kernel": ("depthwise_kernel", "kernel"), "kernel": ("kernel", "depthwise_kernel")}


def set_weights(layers: Sequence[Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Gives every weight of the layers its array, found by the layer's name, the weight's name and the place in between.

    Raises:
        DamagedFileError: A weight has no array, more than one, or one of another shape; or an array belongs to no weight.
    """
    left = dict(arrays)
    for layer in layers:
        names = [name for name in left if f"/{layer.name}/" in f"/{name}"]
        for variable in layer.weights:
            if "seed_generator" in variable.path:  # the state of dropout
                continue
            name = _matching(layer, variable, names)
            names.remove(name)
            array = left.pop(name)
            if tuple(variable.shape) != array.shape:
                raise DamagedFileError(f"its weight {name!r} has the shape {list(array.shape)}, not {list(variable.shape)}")
            variable.assign(array)
    if left:
        raise DamagedFileError(f"its weights {', '.join(sorted(left)[:5])} belong to no layer")


def _matching(layer: Any, variable: Any, names: Sequence[str]) -> str:
    own = _SPELLINGS.get(variable.name, (variable.name,))
    found = [name for name in names if name.rpartition("/")[2] in own]
    both = [name for name in found if (f"/{_BACKWARD}" in name) == (f"/{_BACKWARD}" in variable.path)]
    if type(layer).__name__ == "Bidirectional":
        found = both
    exact = [name for name in found if name.rpartition("/")[2] == variable.name]
    # Cells of one layer have their weights in the order of the cells, here and there.
    if not (candidates := exact or found):
        raise DamagedFileError(f"its layer {layer.name!r} has no weight {variable.name!r}")
    return candidates[0]
