"""ONNX → LiteRT by onnx2tf's `flatbuffer_direct` backend, which writes the file without TensorFlow.

See `convkit.converters._onnx2tf` for how the library is called, `convkit.converters._probing` for dynamic dimensions,
and `convkit.converters._model_ir` for how the signature is kept. Source: https://github.com/PINTO0309/onnx2tf (2.6.9).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host, Option
from convkit.converters import _onnx2tf
from convkit.converters._checked import Checked, Made, refused
from convkit.converters._litert_trial import trouble
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.legalization.target import Finding, Verdict
from convkit.signature import Signature, TensorSpec

__all__ = ["CONVERTER", "check", "convert"]

CONVERTER = Converter(
    name="onnx2tf",
    sources=(Variant.ONNX,),
    target=Variant.TFLITE,
    host=Host(
        group="onnx2tf",
        toolchain="onnx2tf",
        preload=(
            "numpy",
            "onnx",
            "onnxsim",
            "onnx2tf.tflite_builder",
            "onnx2tf.tflite_builder.schema.schema_generated",
            "ai_edge_litert.interpreter",
        ),
        packages=("onnx2tf", "onnxsim", "onnx"),
    ),
    cost=1.0,
    reason="the only direct converter; no float64, and little control flow",
    options=(Option("static", "pin dynamic dimensions to the sizes of the example inputs", False),),
)

# The first is the size that LiteRT prepares a file with; a file that has it baked in fails at the others.
_SIZES = (1, 5, 2)


def check(request: ConversionRequest) -> list[Finding]:
    """The verdict on every operator of the model: onnx2tf's own, and what its lowering of the whole model fails on."""
    return _checked.check(request)


def convert(request: ConversionRequest) -> ConversionOutcome:
    """Writes `request.output`, a `.tflite` file in float32 with the source's signature as `serving_default`.

    Raises:
        ConversionError: An operator cannot be lowered, or the signature cannot be kept.
        InputSpecError: `static=True` without example inputs.
    """
    return _checked.convert(request)


def _make(request: ConversionRequest, output: Path) -> Made:
    from onnx2tf.tflite_builder.model_writer import write_model_file

    findings = _onnx2tf.check(request, CONVERTER.name)
    if any(f.verdict is Verdict.GAP for f in findings):
        return refused(findings, (), CONVERTER.name)
    signature = _onnx2tf.request_signature(request, CONVERTER.name)
    try:
        model = _onnx2tf.load_model(request, CONVERTER.name)
        ir, notes = _onnx2tf.lower(model, signature, CONVERTER.name)
        write_model_file(schema_tflite=_onnx2tf.schema(), model_ir=ir, output_tflite_path=str(output))
        if signature.dynamic_dims:
            _check_resizing(str(output), signature)
        elif reason := trouble(output, signature, request.examples):
            raise ConversionError(f"LiteRT cannot run what onnx2tf wrote: {reason}", component=CONVERTER.name)
    except ConversionError as error:
        output.unlink(missing_ok=True)
        gap = Finding("the graph", 1, Verdict.GAP, error.message, hint=error.hint or "", code="CK111")
        return refused(findings, [gap], CONVERTER.name, error)
    return Made(findings, notes=notes)


_checked = Checked(_make)


def _check_resizing(path: str, signature: Signature) -> None:
    """Has LiteRT prepare the file at several sizes of the dynamic dimensions, and run it at the last, on zeros.

    Raises:
        ConversionError: It cannot, or an output does not follow: a size is baked in.
    """
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path)
    positions = {detail["name"]: detail["index"] for detail in interpreter.get_input_details()}
    size = 0
    try:
        for size in _SIZES:
            for spec in signature.inputs:
                interpreter.resize_tensor_input(positions[spec.name], spec.concrete({}, size))
            interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
        interpreter.invoke()
        for spec, detail in zip(signature.outputs, interpreter.get_output_details(), strict=True):
            _check_shape(spec, detail["shape"], dict.fromkeys(signature.dynamic_dims, size))
    except (RuntimeError, ValueError) as error:
        if len(signature.dynamic_dims) > 1:
            return  # the model itself may refuse equal sizes of different dimensions; the proof has better ones
        text = " ".join(str(error).split())[:300]
        raise ConversionError(
            f"the dynamic dimension '{signature.dynamic_dims[0]}' cannot be kept: at size {size}: {text}",
            component=CONVERTER.name,
            hint="give --option static=true to pin it to the size of the example inputs",
        ) from error


def _check_shape(spec: TensorSpec, shape: Sequence[int], sizes: Mapping[str, int]) -> None:
    """Raises ValueError where an output has not the size that the inputs give it."""
    for axis, (wanted, got) in enumerate(zip(spec.shape or (), shape, strict=False)):
        if sizes.get(str(wanted), got) != got:
            raise ValueError(f"output '{spec.name}' has {got} in dimension {axis}, not {sizes[str(wanted)]}")
