"""Keras' configurations: the architecture as JSON, in `.keras`, HDF5 and TF.js layers models alike.

What they look like: keras/src/models/functional.py (`functional_like_constructor`, `get_config`) and sequential.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from convkit.readers.damage import DamagedFileError
from convkit.signature import Dim, Signature, TensorSpec, dynamic_dim

__all__ = ["compute_dtype", "describe_config", "signature_of_config"]

_OWN_MODULES = ("keras", "tensorflow", "tf_keras")
_MODELS = ("Functional", "Model", "Sequential")
_MAX_NESTING = 32
# Classes of `keras.ops` whose results are no numbers of their operands' dtype.
_OF_INDICES = frozenset(("Argmax", "Argmin", "Argpartition", "Argsort", "CountNonzero", "Digitize", "Searchsorted"))
_OF_TRUTHS = frozenset(
    (
        *("All", "Any", "Equal", "Greater", "GreaterEqual", "InTopK", "Isclose", "Isfinite", "Isinf", "Isnan"),
        *("Less", "LessEqual", "LogicalAnd", "LogicalNot", "LogicalOr", "LogicalXor", "NotEqual"),
    )
)


def describe_config(config: Any) -> dict[str, Any]:
    """What a configuration says of a model, as arguments of `ModelInfo`.

    Raises:
        DamagedFileError: when it is no configuration of a model.
    """
    layers = list(_layers(config, 0))
    custom = sorted({_class(layer) for layer in layers if _is_custom(layer)})
    requires = [f"custom class {name} (import the code that registers it)" for name in custom]
    notes = []
    if any(layer.get("class_name") == "Lambda" for layer in layers):
        notes.append("contains a Lambda layer: executes code when loaded")
        requires.append("Lambda layer (its bytecode, which convkit does not execute)")
    signature = signature_of_config(config)
    if signature is None:
        notes.append("the configuration records no inputs: give them with --input")
    return {
        "signatures": () if signature is None else (signature,),
        "operators": Counter(_class(layer) for layer in layers if layer.get("class_name") != "InputLayer"),
        "requires": tuple(requires),
        "notes": tuple(notes),
    }


def _class(layer: Any) -> str:
    name = layer.get("class_name")
    if not isinstance(name, str):
        raise DamagedFileError("a layer of its configuration has no class")
    return str(layer.get("registered_name") or name) if _is_custom(layer) else name


def _is_custom(layer: Any) -> bool:
    module = layer.get("module")
    if module is None:
        registered = layer.get("registered_name") or ""
        return ">" in registered and not registered.startswith("Functional")
    return str(module).partition(".")[0] not in _OWN_MODULES


def _layers(model: Any, depth: int) -> Iterator[Any]:
    """The layers of a model, those of nested models and of wrappers (`Bidirectional`) in place of the nested model."""
    if depth > _MAX_NESTING:
        raise DamagedFileError("its configuration nests models without end")
    config = model.get("config", {})
    layers = config.get("layers") if isinstance(config, dict) else config
    if not isinstance(layers, list):
        # Sequential models of Keras 1 keep a bare list; a subclassed model has no layers in its configuration.
        yield model
        return
    for layer in layers:
        if layer.get("class_name") in _MODELS:
            yield from _layers(layer, depth + 1)
            continue
        yield layer
        wrapped = (layer.get("config") or {}).get("layer")
        if isinstance(wrapped, dict):
            yield from _layers(wrapped, depth + 1)


def signature_of_config(model: Any) -> Signature | None:
    """The signature of a functional or sequential model, None for one whose configuration records no inputs.

    Inputs and outputs are named after their layers; outputs that a dictionary names keep its keys.
    """
    config = model.get("config")
    if not isinstance(config, dict) or not isinstance(config.get("layers"), list):
        return None
    layers = {layer.get("name") or layer["config"]["name"]: layer for layer in config["layers"]}
    if "input_layers" in config:
        inputs = [_input_spec(name, layers[name]) for _, name in _references(config["input_layers"])]
        taken = _taken_tensors(config)
        outputs = [_output_spec(key, layers[name], taken) for key, name in _references(config["output_layers"])]
        return Signature(tuple(inputs), tuple(outputs))
    return _sequential_signature(config, layers)


def _sequential_signature(config: Any, layers: dict[str, Any]) -> Signature | None:
    if not layers:
        return None
    (first, layer), *_ = layers.items()
    *_, (last, output) = layers.items()
    shape = _batch_shape(layer) or config.get("build_input_shape")
    if not isinstance(shape, list):
        return None
    name = first if layer.get("class_name") == "InputLayer" else f"{first}_input"
    source = TensorSpec(name, compute_dtype(layer), _shape(name, shape))
    return Signature((source,), (_output_spec(last, output, {}),))


def _references(value: Any) -> list[tuple[str, str]]:
    """Name and layer of each tensor in `input_layers` or `output_layers`: one reference, a list or a dict of them."""
    if isinstance(value, dict):
        return [(str(key), str(_reference(item))) for key, item in value.items()]
    items = [value] if value and isinstance(value[0], str) else value
    names = [str(_reference(item)) for item in items]
    repeated = Counter(names)
    # A layer with several outputs, or one that is called twice, needs numbers.
    return [(f"{n}_{i}" if repeated[n] > 1 else n, n) for i, n in enumerate(names)]


def _reference(item: Any) -> Any:
    if not isinstance(item, list) or not item or not isinstance(item[0], str):
        raise DamagedFileError(f"its configuration refers to the tensor {item!r}")
    return item[0]


def _batch_shape(layer: Any) -> Any:
    config = layer.get("config", {})
    return config.get("batch_shape") or config.get("batch_input_shape")


def _input_spec(name: str, layer: Any) -> TensorSpec:
    shape = _batch_shape(layer)
    if shape is None:
        raise DamagedFileError(f"its input layer {name!r} has no shape")
    return TensorSpec(name, compute_dtype(layer), _shape(name, shape))


def compute_dtype(layer: Any) -> str:
    """A layer's dtype, or the compute dtype of its policy ("mixed_float16")."""
    dtype = (layer.get("config") or {}).get("dtype") or "float32"
    if isinstance(dtype, dict):
        dtype = (dtype.get("config") or {}).get("name") or "float32"
    return str(dtype).removeprefix("mixed_")


def _result_dtype(layer: Any) -> str:
    """The dtype of what a layer makes; operations (`keras.ops`) have none of their own: their class and operands tell."""
    config, kind = layer.get("config") or {}, layer.get("class_name")
    taken = next(_tensors(layer.get("inbound_nodes", [])), None)
    if "dtype" in config or taken is None:
        return compute_dtype(layer)
    return "int32" if kind in _OF_INDICES else "bool" if kind in _OF_TRUTHS else str(taken.get("dtype", "float32"))


def _shape(name: str, shape: Sequence[Any]) -> tuple[Dim, ...]:
    if any(size is not None and (type(size) is not int or size < 0) for size in shape):
        raise DamagedFileError(f"{name!r} has the shape {shape}")
    return tuple(dynamic_dim(name, axis) if size is None else size for axis, size in enumerate(shape))


def _output_spec(name: str, layer: Any, taken: Mapping[str, Any]) -> TensorSpec:
    """The shape stands in the configuration when another layer takes the tensor, and follows from a dense layer's units."""
    layer_name = layer.get("name") or layer["config"]["name"]
    if tensor := taken.get(layer_name):
        return TensorSpec(name, str(tensor.get("dtype", "float32")), _shape(name, tensor["shape"]))
    sources = [tensor.get("shape") for tensor in _tensors(layer.get("inbound_nodes", []))]
    built = (layer.get("build_config") or {}).get("input_shape") or (sources[0] if len(sources) == 1 else None)
    units = (layer.get("config") or {}).get("units")
    if layer.get("class_name") == "Dense" and isinstance(built, list) and built and type(units) is int:
        return TensorSpec(name, compute_dtype(layer), _shape(name, [*built[:-1], units]))
    return TensorSpec(name, _result_dtype(layer), None)


def _taken_tensors(config: Any) -> dict[str, Any]:
    """The tensor of each layer that other layers take; None where they take several, and none of them is *the* output."""
    found: dict[str, Any] = {}
    for tensor in _tensors([layer.get("inbound_nodes", []) for layer in config["layers"]]):
        history = tensor.get("keras_history") or [None]
        known = found.setdefault(history[0], tensor)
        if known is not None and known["keras_history"] != history:
            found[history[0]] = None
    return found


def _tensors(value: Any) -> Iterator[Any]:
    """The configurations of all `__keras_tensor__` inside."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending += item
        elif isinstance(item, dict):
            if item.get("class_name") == "__keras_tensor__" and isinstance(item.get("config"), dict):
                yield item["config"]
            else:
                pending += item.values()
