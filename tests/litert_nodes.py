"""What a small ONNX model computes once TFLiteConverter has made builtin LiteRT operators of the TensorFlow importer's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir

from convkit.legalization.onnx import preparation
from convkit.legalization.onnx.rewriting import legalize


def litert(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> tuple[list[np.ndarray], set[str]]:
    """The outputs, and the names of the operators in the file."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    from convkit.interpreters.tensorflow.importer import OnnxFunction
    from convkit.interpreters.tensorflow.table import operators

    imported = preparation.prepared(ir.from_proto(model))
    legalize(imported, operators())
    call = OnnxFunction(imported)
    names = [v.name for v in model.graph.input]
    specs = [
        tf.TensorSpec([None if d.dim_param else d.dim_value for d in v.type.tensor_type.shape.dim], feeds[v.name].dtype, v.name)
        for v in model.graph.input
    ]

    def edge(*inputs):
        return {f"y{k}": tf.identity(result) for k, result in enumerate(call(*inputs))}

    function = tf.function(edge, input_signature=specs, autograph=False).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    interpreter = Interpreter(model_content=converter.convert())
    runner = interpreter.get_signature_runner() if interpreter.get_signature_list() else None
    if runner is not None:
        results = runner(**{name: feeds[name] for name in names})
        outputs = [results[f"y{k}"] for k in range(len(model.graph.output))]
    else:
        details = {d["name"].partition(":")[0].removeprefix("serving_default_"): d for d in interpreter.get_input_details()}
        for name in names:
            interpreter.resize_tensor_input(details[name]["index"], feeds[name].shape)
        interpreter.allocate_tensors()
        for name in names:
            interpreter.set_tensor(details[name]["index"], feeds[name])
        interpreter.invoke()
        outputs = [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]
    return outputs, {o["op_name"] for o in interpreter._get_ops_details()} - {"DELEGATE"}
