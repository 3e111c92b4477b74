"""LiteRT → ONNX with tf2onnx: exact for int8 models, whose quantized operators it keeps as quantize/dequantize pairs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host, Option
from convkit.converters._checked import RefusedError, tried
from convkit.converters._tf2onnx import ADDED_LITERT_OPERATORS, OPSET, opset_of, to_onnx, write
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.legalization.target import Finding, Target, check_operators
from convkit.signature import Signature, TensorSpec

__all__ = ["CONVERTER", "check", "convert", "target"]

CONVERTER = Converter(
    name="tf2onnx-tflite",
    sources=(Variant.TFLITE,),
    target=Variant.ONNX,
    host=Host(
        group="tensorflow",
        preload=("tensorflow", "tf2onnx.tfonnx"),
        packages=("tf2onnx", "tensorflow", "ai-edge-litert"),
    ),
    cost=1.5,
    reason="exact for int8 and for convolutional models; lacks recurrent and newer operators",
    options=(OPSET, Option("dequantize", "compute in float between the quantized inputs and outputs", False)),
)


def check(request: ConversionRequest) -> list[Finding]:
    """The verdict on every operator of the file: what tf2onnx fails on, only a trial tells."""
    return _checked.check(request)


def convert(request: ConversionRequest) -> ConversionOutcome:
    """Converts subgraph 0 of a file.

    Raises:
        ConversionError: listing the operators that tf2onnx cannot convert, custom and Flex operators among them.
        UnreadableModelError: when the file is no LiteRT model.
    """
    return _checked.convert(request)


def _write(request: ConversionRequest) -> ConversionOutcome:
    from convkit.loading.tflite_signature import rename_edges, tensor_order

    source = request.source.path
    signature = request.signature or request.source.signature
    if signature is None:
        raise ConversionError(f"the signature of {source} is not known", component=CONVERTER.name)
    order = tensor_order(source)
    if signature.name != order.signature_key and set(signature.input_names) != set(order.signature_inputs):
        raise ConversionError(
            f"the signature {signature.name!r} of {source} is not that of its first subgraph",
            component=CONVERTER.name,
            hint=f"tf2onnx converts the first only: {order.signature_key or 'without a name'}",
        )
    dequantize = str(request.options.get("dequantize", False)).lower() in {"1", "true", "yes", "on"}
    with TemporaryDirectory() as directory:
        # A copy with unique names: tf2onnx tells tensors apart by name, and LiteRT files may repeat them.
        copy = Path(directory, "model.tflite")
        shutil.copyfile(source, copy)
        inner = Signature(_numbered("edge_in", signature.inputs), _numbered("edge_out", signature.outputs))
        in_order = _references(signature.input_names, order.inputs, order.signature_inputs)
        out_order = _references(signature.output_names, order.outputs, order.signature_outputs)
        rename_edges(copy, inner, inputs=in_order, outputs=out_order)
        # A tensor that is both keeps one name.
        named = tensor_order(copy)
        process = {"tflite_path": str(copy), "opset": opset_of(request.options), "dequantize": dequantize}
        try:
            model = to_onnx(process, CONVERTER.name)
        except RefusedError as error:
            error.gaps = tuple(replace(gap, operator=_own_name(gap.operator, request)) for gap in error.gaps)
            raise
    write(model, request.output, signature, inputs=named.inputs, outputs=named.outputs)
    if dequantize:
        return ConversionOutcome(
            ("quantization was removed between the inputs and the outputs: values differ from the source's by some steps",)
        )
    return ConversionOutcome()


def _own_name(operator: str, request: ConversionRequest) -> str:
    """tf2onnx drops the prefix of TensorFlow's own operators."""
    from convkit.readers import inspect

    flex = f"Flex{operator}"
    return flex if flex in inspect(request.source.path).operators else operator


def _numbered(prefix: str, specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(f"{prefix}_{i}", s.dtype, s.shape) for i, s in enumerate(specs))


def _references(names: Sequence[str], tensors: Sequence[str], aliases: Sequence[str]) -> list[int]:
    """The positions of named tensors in the subgraph; by position when the names are not the file's."""
    for known in (aliases, tensors):
        if set(names) <= set(known):
            return [known.index(name) for name in names]
    return list(range(len(names)))


def _survey(request: ConversionRequest) -> list[Finding]:
    """Which operators of the file tf2onnx has no handler for, told without converting it."""
    from convkit.readers import inspect

    return check_operators(inspect(request.source.path).operators, target())


def target() -> Target:
    """The LiteRT operators that tf2onnx converts."""
    import tf2onnx
    import tf2onnx.tfonnx  # registers the handlers
    from tf2onnx.handler import tf_op, tfl_op

    handled = {*tfl_op.create_tfl_to_tf_mapping(), *tf_op.create_mapping(OPSET.default, [])}
    names = {name.removeprefix("TFL_") for name in handled if name.startswith("TFL_")}
    return Target("tf2onnx", tf2onnx.__version__, frozenset(names | ADDED_LITERT_OPERATORS))


_checked = tried(_write, _survey)
