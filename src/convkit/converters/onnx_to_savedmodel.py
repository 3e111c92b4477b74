"""ONNX → SavedModel by onnx2tf: its `ModelIR` interpreted with TensorFlow operators under `tf.function`.

The exporter of onnx2tf 2.6.9 knows fewer operators than its LiteRT writer (no HARD_SWISH, GELU, RSQRT), so this is
the fallback. See `convkit.converters._onnx2tf` for how the library is called, and `convkit.converters._model_ir` for
how the signature is kept.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host, Option
from convkit.converters import _onnx2tf
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.legalization.target import Finding
from convkit.loading.savedmodel_writer import write_saved_model
from convkit.signature import Signature

__all__ = ["CONVERTER", "check", "convert"]

CONVERTER = Converter(
    name="onnx2tf-savedmodel",
    sources=(Variant.ONNX,),
    target=Variant.SAVEDMODEL,
    host=Host(
        group="onnx2tf-tensorflow",
        toolchain="onnx2tf-tensorflow",
        preload=("numpy", "tensorflow", "onnx", "onnxsim", "onnx2tf.tflite_builder.saved_model_exporter"),
        packages=("onnx2tf", "tensorflow", "onnxsim", "onnx"),
    ),
    cost=3.0,
    reason="needs a toolchain with TensorFlow, and its SavedModel writer lacks many operators",
    options=(Option("static", "pin dynamic dimensions to the sizes of the example inputs", False),),
)


def check(request: ConversionRequest) -> list[Finding]:
    """The verdict on every operator of the model; see `_onnx2tf.check`."""
    return _onnx2tf.check(request, CONVERTER.name)


def convert(request: ConversionRequest) -> ConversionOutcome:
    """Writes `request.output`, a SavedModel directory whose `serving_default` has the source's signature.

    Raises:
        ConversionError: An operator cannot be lowered or exported, or the signature cannot be kept.
        InputSpecError: `static=True` without example inputs.
    """
    signature = _onnx2tf.request_signature(request, CONVERTER.name)
    model = _onnx2tf.load_model(request, CONVERTER.name)
    ir, notes = _onnx2tf.lower(model, signature, CONVERTER.name)
    try:
        _write(ir, signature, request.output)
    except BaseException:
        shutil.rmtree(request.output, ignore_errors=True)
        raise
    return ConversionOutcome(notes)


def _write(ir: Any, signature: Signature, directory: Path) -> None:
    from onnx2tf.tflite_builder import saved_model_exporter as exporter

    _add_kernels(exporter)
    if missing := exporter._collect_unsupported_ops_for_model(ir):
        raise ConversionError(f"onnx2tf's SavedModel writer has no {', '.join(missing)}", component=CONVERTER.name)
    for operator in ir.operators:
        if operator.op_type in {"ARG_MAX", "ARG_MIN"}:  # TensorFlow wants a scalar where LiteRT takes a vector of one
            axis = ir.tensors[operator.inputs[1]]
            axis.data, axis.shape, axis.shape_signature = axis.data.reshape(()), [], []
    module = exporter._SavedModelModule(model_ir=ir)

    def call(tensors: Sequence[Any]) -> list[Any]:
        outputs = module._executor.run(inputs=dict(zip(signature.input_names, tensors, strict=True)))
        return [outputs[name] for name in signature.output_names]

    write_saved_model(directory, signature, call, module)


def _add_kernels(exporter: Any) -> None:
    """Teaches onnx2tf's writer elementwise operators that its own lowering makes and the writer lacks.

    LiteRT's semantics, as in tensorflow/lite/kernels/activations.cc and elementwise.cc.
    """
    import tensorflow as tf

    unary = {
        "GELU": tf.nn.gelu,
        "HARD_SWISH": lambda x: x * tf.nn.relu6(x + 3) * (1 / 6),
        "RELU_N1_TO_1": lambda x: tf.clip_by_value(x, -1, 1),
        "RELU_0_TO_1": lambda x: tf.clip_by_value(x, 0, 1),
        "ROUND": tf.math.round,
        "RSQRT": tf.math.rsqrt,
        "SQUARE": tf.math.square,
    }
    binary = {"FLOOR_DIV": tf.math.floordiv, "SQUARED_DIFFERENCE": tf.math.squared_difference}

    def gelu(executor: Any, operator: Any, values: Any) -> None:
        approximate = bool(operator.options.get("approximate", False))
        operand = executor._resolve_tensor(operator.inputs[0], values)
        executor._assign_outputs(operator, [tf.nn.gelu(operand, approximate=approximate)], values)

    for table, own, kernel in (
        (unary, exporter._UNARY_KERNELS, exporter._kernel_unary),
        (binary, exporter._BINARY_KERNELS, exporter._kernel_binary),
    ):
        for name, function in table.items():
            if name not in exporter._REGISTERED_KERNELS:
                own[name] = function
                exporter._REGISTERED_KERNELS[name] = gelu if name == "GELU" else kernel
    exporter.SUPPORTED_KERNEL_OP_TYPES.update(exporter._REGISTERED_KERNELS)
