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
) -> None:
    """Traces `call` at the signature's shapes and writes a SavedModel with that one signature.

    Args:
        output: The directory to write; does not exist yet.
        signature: Names, order, dtypes and dimensions of the inputs and outputs.
        call: Takes tensors in the order of `signature.inputs`, returns tensors in the order of `signature.outputs`.
        tracked: What holds the variables and tables that `call` uses: a Keras model, a tf.Module, a loaded SavedModel.

    Raises:
        ConversionError: when `call` cannot be traced, or its outputs do not fit the signature.
    """
    import tensorflow as tf

    plain = all(_PLAIN.fullmatch(name) for name in signature.input_names)
    names = list(signature.input_names) if plain else [f"input_{i}" for i in range(len(signature.inputs))]

    def edge(*tensors: Any) -> dict[str, Any]:
        results = call(tensors)
        # An identity each, because one tensor may be two outputs, or an input.
        return {spec.name: tf.identity(_pinned(result, spec)) for spec, result in zip(signature.outputs, results, strict=True)}

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


def _pinned(tensor: Any, spec: TensorSpec) -> Any:
    """The tensor with the signature's static sizes, where tracing lost them."""
    import tensorflow as tf

    if spec.shape is None:
        return tensor
    if tensor.dtype.name != spec.dtype:
        raise ConversionError(f"the output {spec} is traced as {tensor.dtype.name}", component="TensorFlow")
    known = [None if isinstance(d, str) else d for d in spec.shape]
    if tensor.shape.rank is None or any(w is not None and h is None for w, h in zip(known, tensor.shape, strict=True)):
        return tf.ensure_shape(tensor, known)
    return tensor


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
