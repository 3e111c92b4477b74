"""Loads SavedModels and Keras files once per worker, and calls them by the names of a signature.

The runtime and the converters of the host group "tensorflow" share a process; what one of them has loaded the others
find here. Loading is the larger part of a small conversion, and a second copy doubles the memory of a large one.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from convkit.errors import ConversionError, UnreadableModelError
from convkit.loading.keras_2 import is_of_keras_2, restore_formulas
from convkit.loading.keras_state import undisturbed
from convkit.signature import Signature, TensorSpec, dynamic_dim

__all__ = [
    "KerasCall",
    "edge_function",
    "first_line",
    "keras_call",
    "keras_model",
    "saved_model",
    "signature_function",
    "signature_of_function",
    "tensor_specs",
]

_KEPT = 2
_loaded: OrderedDict[tuple[str, int], Any] = OrderedDict()


def saved_model(path: Path) -> Any:
    """The loaded SavedModel in a directory; the same object as long as the files do not change.

    Raises:
        UnreadableModelError: when TensorFlow cannot load it.
    """

    def load() -> Any:
        import tensorflow as tf

        try:
            return tf.saved_model.load(str(path))
        except AttributeError as error:
            if "add_slot" not in str(error):
                raise refused(error) from error
            _revive_optimizers()
            return tf.saved_model.load(str(path))
        except Exception as error:
            raise refused(error) from error

    def refused(error: Exception) -> UnreadableModelError:
        return UnreadableModelError(
            f"TensorFlow cannot load the SavedModel {path}: {first_line(error)}",
            hint="check that saved_model.pb and variables/ are complete; a custom operator needs its library",
        )

    return _cached(path, path / "saved_model.pb", load)


def _revive_optimizers() -> None:
    """Lets TensorFlow load what Keras 2 saved with its optimizer: the slot variables get something to hang on.

    Since Keras 3 nothing registers the type "optimizer" ("'_UserObject' object has no attribute 'add_slot'"). TensorFlow's
    other loader, the one for TensorFlow 1, reads such files, but what it makes cannot be frozen.
    """
    import tensorflow as tf
    from tensorflow.python.saved_model import revived_types
    from tensorflow.python.trackable import autotrackable

    class Optimizer(autotrackable.AutoTrackable):  # type: ignore[misc]
        def add_slot(self, var: Any, slot_name: str) -> Any:
            return tf.Variable(tf.zeros(var.shape, var.dtype), trainable=False, name=slot_name)

    if "optimizer" not in revived_types.registered_identifiers():
        revived_types.register_revived_type(
            "optimizer",
            lambda saved: isinstance(saved, Optimizer),
            versions=[
                revived_types.VersionedTypeRegistration(
                    object_factory=lambda proto: Optimizer(), version=1, min_producer_version=1, min_consumer_version=1
                )
            ],
        )


def keras_model(path: Path) -> Any:
    """The loaded `.keras` or `.h5` model, without its training configuration; `Lambda` layers are refused.

    Raises:
        UnreadableModelError: when Keras refuses it or cannot load it.
        ConversionError: when Keras runs on another backend than TensorFlow.
    """

    def load() -> Any:
        os.environ.setdefault("KERAS_BACKEND", "tensorflow")
        import keras

        if keras.config.backend() != "tensorflow":
            raise ConversionError(
                f"Keras runs on its {keras.config.backend()} backend here",
                stage="load",
                component="TensorFlow",
                hint="unset KERAS_BACKEND, or set it to tensorflow",
            )
        try:
            with undisturbed():
                model = _load_keras(str(path))
            if is_of_keras_2(path):
                restore_formulas(model)
            return model
        except Exception as error:
            raise UnreadableModelError(_keras_refusal(path, error), hint=_KERAS_HINT) from error

    return _cached(path, path, load)


def _load_keras(path: str) -> Any:
    """Loads a file; an `.h5` with `keras.ops` operations too, whose classes Keras writes there but does not find."""
    import keras

    operations = {c.__name__: c for c in _subclasses(keras.Operation) if c.__module__.startswith("keras.src.ops.")}
    known: dict[str, Any] = {}
    while True:
        try:
            return keras.models.load_model(path, custom_objects=known, compile=False, safe_mode=True)
        except ValueError as error:
            missing = re.search(r"Unknown layer: '(\w+)'", str(error))
            if missing is None or missing[1] in known or missing[1] not in operations:
                raise
            known[missing[1]] = operations[missing[1]]


def _subclasses(of: Any) -> Iterator[Any]:
    for each in of.__subclasses__():
        yield each
        yield from _subclasses(each)


_KERAS_HINT = "where the model's own classes can be imported, write a SavedModel: model.export('directory')"


def _keras_refusal(path: Path, error: Exception) -> str:
    text = str(error)
    if "Lambda" in text or "lambda" in text:
        return f"{path} holds a Lambda layer, whose Python bytecode convkit does not execute"
    return f"Keras cannot load {path}: {first_line(error)}"


def _cached(path: Path, stamp: Path, load: Callable[[], Any]) -> Any:
    try:
        key = str(path.resolve()), stamp.stat().st_mtime_ns
    except OSError as error:
        raise UnreadableModelError(f"{path} cannot be read: {error}", hint="check the path") from error
    if key not in _loaded:
        _loaded[key] = load()
    _loaded.move_to_end(key)
    while len(_loaded) > _KEPT:
        _loaded.popitem(last=False)
    return _loaded[key]


_HEADS = ("Graph execution error:", "Detected at node", "<stack traces unavailable>", 'File "')
"""How the lines begin with which TensorFlow surrounds what went wrong while a graph ran."""


def first_line(error: BaseException) -> str:
    """The first line of an exception's message that says something, or its type."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = (line for line in lines if line and not line.startswith(_HEADS))
    return next(telling, next(filter(None, lines), type(error).__name__))


def assignments(function: Any) -> dict[str, list[str]]:
    """The operators of a concrete function that change variables whenever it is run, and the names of their nodes."""
    graph = function.graph.as_graph_def()
    found: dict[str, list[str]] = {}
    for node in (*graph.node, *(n for inner in graph.library.function for n in inner.node_def)):
        if node.op.startswith("Assign"):
            found.setdefault(node.op, []).append(node.name)
    return found


def signature_function(path: Path, signature: Signature | None, loaded: Any = None) -> Any:
    """The function of a SavedModel that a signature names: callable with keywords, returns tensors by output name.

    Without a signature it is `serving_default`, else the first that the file has.

    Args:
        path: The SavedModel's directory.
        signature: What names the function.
        loaded: The loaded SavedModel, where it is not the one that others use too.

    Raises:
        UnreadableModelError: when the SavedModel cannot be loaded.
        ConversionError: when it has no such function.
    """
    functions = (saved_model(path) if loaded is None else loaded).signatures
    names = [name for name in functions if not name.startswith("__")]
    if not names:
        raise ConversionError(
            f"the SavedModel {path} has no signatures, so it has no named inputs and outputs",
            stage="load",
            component="TensorFlow",
            hint="save it again with tf.saved_model.save(module, directory, signatures=module.call)",
        )
    if signature is None:
        return functions["serving_default" if "serving_default" in names else names[0]]
    if signature.name in names:
        return functions[signature.name]
    for name in names:
        known = signature_of_function(functions[name], name)
        if set(known.input_names) == set(signature.input_names):
            return functions[name]
    raise ConversionError(
        f"the SavedModel {path} has no signature {signature.name!r}",
        stage="load",
        component="TensorFlow",
        hint=f"it has {', '.join(names)}",
    )


def signature_of_function(function: Any, name: str = "serving_default") -> Signature:
    """The signature of a SavedModel's function. The order is TensorFlow's, which is none: it differs between runs."""
    return Signature(
        tuple(_spec(_argument(key, spec.name), spec) for key, spec in function.structured_input_signature[1].items()),
        tuple(_spec(key, spec) for key, spec in function.structured_outputs.items()),
        name,
    )


def _argument(key: str, name: str | None) -> str:
    """What the call takes an input by. Keys are sanitised ("a/b" is "a_b" there), specs keep the name, or its lower case."""
    return key if name is None or name.lower() == key.lower() else name


def _spec(name: str, spec: Any) -> TensorSpec:
    return TensorSpec(name, spec.dtype.name, _shape(name, None if spec.shape.rank is None else spec.shape.as_list()))


def _shape(name: str, sizes: Iterable[int | None] | None) -> tuple[int | str, ...] | None:
    if sizes is None:
        return None
    return tuple(dynamic_dim(name, axis) if size is None else size for axis, size in enumerate(sizes))


def tensor_specs(specs: Sequence[TensorSpec], names: Sequence[str] | None = None) -> list[Any]:
    """`tf.TensorSpec`s for a signature's tensors; dynamic dimensions become None."""
    import tensorflow as tf

    return [
        tf.TensorSpec(
            None if s.shape is None else [None if isinstance(d, str) else d for d in s.shape],
            tf.as_dtype(s.dtype),
            name=name,
        )
        for s, name in zip(specs, names or [s.name for s in specs], strict=True)
    ]


def edge_function(path: Path, signature: Signature) -> Any:
    """A concrete function around a SavedModel's own, with inputs and outputs in the order of `signature`.

    Its inputs are positional and have the signature's shapes, which may be stricter than the file's; its outputs are a
    list. TensorFlow keeps the arguments of a SavedModel's function by name only; this is where the order comes from.

    Raises:
        ConversionError: when the SavedModel's function lacks an input or output of the signature.
    """
    import tensorflow as tf

    function = signature_function(path, signature)
    known = signature_of_function(function)
    for role, mine, theirs in (
        ("input", signature.input_names, known.input_names),
        ("output", signature.output_names, known.output_names),
    ):
        if missing := [name for name in mine if name not in theirs]:
            raise ConversionError(
                f"the SavedModel {path} has no {role} {', '.join(missing)}",
                component="TensorFlow",
                hint=f"its {role}s are {', '.join(theirs)}",
            )

    names = [f"edge_{position}" for position in range(len(signature.inputs))]

    def edge(*tensors: Any) -> list[Any]:
        results = function(**dict(zip(signature.input_names, tensors, strict=True)))
        # An identity each: an output that is an input, or twice the same tensor, would lose its place when frozen.
        return [tf.identity(results[name]) for name in signature.output_names]

    specs = tensor_specs(signature.inputs, names)
    return tf.function(edge, input_signature=specs, autograph=False).get_concrete_function()


class KerasCall:
    """A Keras model as a function of named tensors.

    Attributes:
        signature: Names, order, dtypes and shapes, as `wanted` spells them or as Keras does.
    """

    def __init__(self, model: Any, wanted: Signature | None) -> None:
        import keras

        self._tree = keras.tree
        self._model = model
        # A Sequential model that was never called has its structure in the functional model that it wraps, only.
        structured = getattr(model, "_functional", None) or model
        self._input = structured.input
        inputs, self._input_order = _align(
            "input",
            _keras_specs(model.inputs, [x.name for x in model.inputs]),
            self._input,
            wanted.inputs if wanted else None,
        )
        outputs, self._output_order = _align(
            "output",
            _keras_specs(model.outputs, _output_names(model)),
            structured.output,
            wanted.outputs if wanted else None,
        )
        self.signature = Signature(inputs, outputs, "serving_default" if wanted is None else wanted.name)

    def __call__(self, tensors: Sequence[Any]) -> list[Any]:
        """Runs the model in inference mode on tensors in the signature's order; returns its outputs in order."""
        flat = [tensors[position] for position in self._input_order]
        result = self._model(self._tree.pack_sequence_as(self._input, flat), training=False)
        results = self._tree.flatten(result)
        return [results[position] for position in self._output_order]


def keras_call(path: Path, wanted: Signature | None) -> KerasCall:
    """The model in a Keras file, called by the names of `wanted` (by position where Keras has other names).

    Raises:
        UnreadableModelError: when Keras refuses the file or cannot load it.
        ConversionError: when the number of tensors differs, or the model was never called and so has no inputs.
    """
    model = keras_model(path)
    # An unbuilt Sequential and a subclassed model have no symbolic tensors.
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise ConversionError(
            f"the Keras model {path} records no inputs",
            stage="load",
            component="TensorFlow",
            hint="give a Sequential model a keras.Input, or call the model once, and save it again",
        )
    return KerasCall(model, wanted)


def _output_names(model: Any) -> list[str]:
    inner = getattr(model, "_functional", None) or model
    names = getattr(inner, "output_names", None)
    return list(names) if names else [x.name for x in model.outputs]


def _keras_specs(tensors: Sequence[Any], names: Sequence[str]) -> list[TensorSpec]:
    return [TensorSpec(name, str(t.dtype), _shape(name, t.shape)) for t, name in zip(tensors, names, strict=True)]


def _align(
    role: str, own: Sequence[TensorSpec], structure: Any, wanted: Sequence[TensorSpec] | None
) -> tuple[tuple[TensorSpec, ...], list[int]]:
    """The specs under the wanted names, and the permutation that goes with them.

    Inputs: for each of Keras's tensors its position among the wanted; outputs: the other way round.
    """
    from dataclasses import replace

    if wanted is None:
        return tuple(own), list(range(len(own)))
    if len(wanted) != len(own):
        raise ConversionError(
            f"the Keras model has {len(own)} {role}s, the signature {len(wanted)}",
            stage="load",
            component="TensorFlow",
            hint=f"its {role}s are {', '.join(map(str, own))}",
        )
    names = [t.name for t in wanted]
    # Keras flattens a dictionary of tensors in the order of its sorted keys.
    keys = sorted(structure) if isinstance(structure, dict) else []
    for spelling in ([t.name for t in own], keys):
        if sorted(spelling) == sorted(names) and len(set(names)) == len(names):
            order = [spelling.index(name) for name in names]
            break
    else:
        order = list(range(len(own)))
    specs = tuple(replace(own[position], name=name) for position, name in zip(order, names, strict=True))
    return specs, [order.index(p) for p in range(len(own))] if role == "input" else order
