"""Writes SavedModels that keep a signature: names of any spelling, order, dynamic dimensions.

Two things do not fit into a SavedModel by themselves. TensorFlow's signatures are maps without an order, so the order
(and the symbols of dynamic dimensions) goes to `assets.extra/convkit_signature.json`; that directory is the format's
own place for files of others (tensorflow/python/saved_model/constants.py). And TensorFlow accepts no input called
"serving_default_x:0" or "in 2"; such names are put into `saved_model.pb` after it is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from convkit.errors import ConversionError
from convkit.loading.tensorflow import first_line, tensor_specs
from convkit.signature import Signature, TensorSpec

__all__ = ["SIGNATURE_FILE", "write_saved_model"]

SIGNATURE_FILE = Path("assets.extra", "convkit_signature.json")

# A valid Python parameter and TensorFlow node name, so that TensorFlow does not change its spelling.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def write_saved_model(
    output: Path,
    signature: Signature,
    call: Callable[[Sequence[Any]], Sequence[Any]],
    tracked: Any = None,
    shapes: Sequence[Sequence[int]] | None = None,
) -> None:
    """Traces `call` at the signature's shapes and writes a SavedModel with that one signature.

    Where an output of the signature contradicts what tracing knows (files declare wrong shapes), tracing is right.

    Args:
        output: The directory to write; does not exist yet.
        signature: Names, order, dtypes and dimensions of the inputs and outputs.
        call: Takes tensors in the order of `signature.inputs`, returns tensors in the order of `signature.outputs`.
        tracked: What holds the variables and tables that `call` uses: a Keras model, a tf.Module, a loaded SavedModel.
        shapes: Of example inputs; they tell whether a size is fixed that tracing lost, or wrongly declared.

    Raises:
        ConversionError: when `call` cannot be traced, or its outputs do not fit the signature.
    """
    import tensorflow as tf

    plain = all(_PLAIN.fullmatch(name) for name in signature.input_names)
    names = list(signature.input_names) if plain else [f"input_{i}" for i in range(len(signature.inputs))]

    def edge(*tensors: Any) -> dict[str, Any]:
        results = call(tensors)
        wanted = [_lost_sizes(result, spec) for result, spec in zip(results, signature.outputs, strict=True)]
        if shapes is not None and any(w is not None for w in wanted):
            wanted = _without_contradicted(wanted, call, signature, shapes)
        # An identity each, because one tensor may be two outputs, or an input.
        pinned = [r if w is None else _pinned(r, w) for r, w in zip(results, wanted, strict=True)]
        return {spec.name: tf.identity(result) for spec, result in zip(signature.outputs, pinned, strict=True)}

    try:
        traced = tf.function(edge, input_signature=tensor_specs(signature.inputs, names), autograph=False)
        function = traced.get_concrete_function()
        module = tf.Module()
        module.held = list(function.variables)
        # Only tables need the object itself. With a tracked Keras model, TFLiteConverter leaves every weight a variable
        # that nothing initialises: the file converts and computes NaN.
        handles = {id(variable.handle) for variable in function.variables}
        if any(t.dtype == tf.resource and id(t) not in handles for t in function.captured_inputs):
            module.tracked = tracked
        tf.saved_model.save(module, str(output), signatures={signature.name: function})
    except Exception as error:
        raise ConversionError(
            f"TensorFlow cannot trace the model: {first_line(error)}", component="TensorFlow", hint="see the log"
        ) from error
    if not plain:
        _rename_inputs(output / "saved_model.pb", signature, dict(zip(names, signature.input_names, strict=True)))
    extra = output / SIGNATURE_FILE
    extra.parent.mkdir()
    extra.write_text(json.dumps({signature.name: signature.to_json()}, indent=1) + "\n")


def _lost_sizes(tensor: Any, spec: TensorSpec) -> list[int | None] | None:
    """The signature's static sizes, where tracing lost some; None where there is nothing to add, or another rank."""
    if tensor.dtype.name != spec.dtype:
        raise ConversionError(f"the output {spec} is traced as {tensor.dtype.name}", component="TensorFlow")
    if spec.shape is None:
        return None
    declared = [None if isinstance(d, str) else d for d in spec.shape]
    if tensor.shape.rank is None:
        return declared
    if tensor.shape.rank != len(declared):
        return None
    sizes = [d if known is None else known for d, known in zip(declared, tensor.shape, strict=True)]
    return None if sizes == tensor.shape.as_list() else sizes


def _pinned(tensor: Any, sizes: list[int | None]) -> Any:
    """A tensor with static sizes that tracing lost; as a Reshape where it can be, because TFLiteConverter has no EnsureShape."""
    import tensorflow as tf

    if tensor.shape.rank is None:
        return tf.ensure_shape(tensor, sizes)
    if None not in sizes:
        return tf.reshape(tensor, sizes)
    own = tf.shape(tensor)
    return tf.reshape(tensor, tf.stack([own[axis] if size is None else size for axis, size in enumerate(sizes)]))


def _without_contradicted(
    wanted: Sequence[list[int | None] | None],
    call: Callable[[Sequence[Any]], Sequence[Any]],
    signature: Signature,
    shapes: Sequence[Sequence[int]],
) -> list[list[int | None] | None]:
    """The sizes without those that come out otherwise at the shapes of the examples: no model has them at all sizes."""
    import tensorflow as tf

    specs = [tf.TensorSpec(shape, spec.dtype) for spec, shape in zip(signature.inputs, shapes, strict=True)]
    try:
        with tf.init_scope():
            traced = tf.function(lambda *tensors: list(call(tensors)), autograph=False).get_concrete_function(*specs)
    except Exception:  # what is wrong is told when the examples are run
        return list(wanted)
    found = [t.shape for t in traced.outputs]
    return [None if w is None else _consistent(w, shape) for w, shape in zip(wanted, found, strict=True)]


def _consistent(wanted: list[int | None], found: Any) -> list[int | None] | None:
    if found.rank is None:
        return wanted
    if found.rank != len(wanted):
        return None
    return [w if known in (None, w) else None for w, known in zip(wanted, found, strict=True)]


def _rename_inputs(path: Path, signature: Signature, names: Mapping[str, str]) -> None:
    """Puts names that TensorFlow does not accept as parameters into the file; loading takes them as they stand."""
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    graph = model.meta_graphs[0]
    inputs = graph.signature_def[signature.name].inputs
    infos = {name: type(inputs[name]).FromString(inputs[name].SerializeToString()) for name in names}
    inputs.clear()
    for name, info in infos.items():
        inputs[names[name]].CopyFrom(info)
    wrappers = set()
    for node in graph.object_graph_def.nodes:
        bare = node.bare_concrete_function
        if list(bare.argument_keywords) == list(names) or set(bare.argument_keywords) == set(names):
            bare.argument_keywords[:] = [names[name] for name in bare.argument_keywords]
            wrappers.add(bare.concrete_function_name)
    for wrapper in wrappers:
        _, keywords = graph.object_graph_def.concrete_functions[wrapper].canonicalized_input_signature.tuple_value.values
        for field in keywords.dict_value.fields.values():
            field.tensor_spec_value.name = names[field.tensor_spec_value.name]
    path.write_bytes(model.SerializeToString())
