"""ONNX → LiteRT by onnx2tf's `flatbuffer_direct` backend, which writes the file without TensorFlow.

See `convkit.converters._onnx2tf` for how the library is called, and `convkit.converters._model_ir` for how the signature is
kept. Source: https://github.com/PINTO0309/onnx2tf (2.6.9).
"""

from __future__ import annotations

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host, Option
from convkit.formats import Variant

__all__ = ["CONVERTER", "convert"]

CONVERTER = Converter(
    name="onnx2tf",
    sources=(Variant.ONNX,),
    target=Variant.TFLITE,
    host=Host(
        group="onnx2tf",
        toolchain="onnx2tf",
        preload=("numpy", "onnx", "onnxsim", "onnx2tf.tflite_builder", "onnx2tf.tflite_builder.schema.schema_generated"),
        packages=("onnx2tf", "onnxsim", "onnx"),
    ),
    cost=1.0,
    reason="the only direct converter; keeps most dynamic dimensions, has no If and no float64",
    options=(Option("static", "pin dynamic dimensions to the sizes of the example inputs", False),),
)


def convert(request: ConversionRequest) -> ConversionOutcome:
    """Writes `request.output`, a `.tflite` file in float32 with the source's signature as `serving_default`.

    Raises:
        ConversionError: An operator cannot be lowered, or the signature cannot be kept.
        InputSpecError: `static=True` without example inputs.
    """
    from onnx2tf.tflite_builder.model_writer import write_model_file

    from convkit.converters import _onnx2tf

    signature = _onnx2tf.request_signature(request, CONVERTER.name)
    model = _onnx2tf.load_model(request, signature, CONVERTER.name)
    ir, notes = _onnx2tf.lower(model, signature, CONVERTER.name)
    write_model_file(schema_tflite=_onnx2tf.schema(), model_ir=ir, output_tflite_path=str(request.output))
    return ConversionOutcome(notes)
