"""SavedModel → LiteRT with TFLiteConverter, built-in operators only.

Select TensorFlow operators ("Flex") are never allowed: no Python package of today runs them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host
from convkit.converters._checked import RefusedError, tried
from convkit.converters._litert_trial import trouble
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.legalization.target import Finding, Target, Verdict, check_operators

__all__ = ["CONVERTER", "check", "convert"]

CONVERTER = Converter(
    name="tflite-converter",
    sources=(Variant.SAVEDMODEL,),
    target=Variant.TFLITE,
    host=Host(group="tensorflow", preload=("tensorflow",), packages=("tensorflow", "ai-edge-litert")),
    cost=1.0,
    reason="TensorFlow's own converter",
)


def check(request: ConversionRequest) -> list[Finding]:
    """The verdict on every operator of the model, which TFLiteConverter alone knows."""
    return _checked.check(request)


def convert(request: ConversionRequest) -> ConversionOutcome:
    """Converts one signature of a SavedModel.

    Raises:
        ConversionError: listing all operators for which LiteRT has no built-in operator.
        UnreadableModelError: when TensorFlow cannot load the SavedModel.
    """
    return _checked.convert(request)


def _write(request: ConversionRequest) -> ConversionOutcome:
    outcome = _made(request)
    signature = request.signature or request.source.signature
    if signature is not None and (reason := trouble(request.output, signature, request.examples)):
        raise ConversionError(
            f"LiteRT cannot run what TFLiteConverter wrote: {reason}", component=CONVERTER.name, hint="see `convkit plan`"
        )
    return outcome


def _made(request: ConversionRequest) -> ConversionOutcome:
    from convkit.legalization.tensorflow_signs import with_compared_signs
    from convkit.loading import tensorflow as loading
    from convkit.loading.tflite_signature import rename_edges

    path = request.source.path
    function = loading.signature_function(path, request.signature or request.source.signature)
    signature = request.signature or loading.signature_of_function(function)
    edge, notes = _without_loops(with_compared_signs(loading.edge_function(path, signature)))
    try:
        request.output.write_bytes(_frozen(edge))
        in_order = list(range(len(signature.inputs))), list(range(len(signature.outputs)))
        rename_edges(request.output, signature, inputs=in_order[0], outputs=in_order[1])
    except ConversionError:
        raise
    except Exception as error:
        refusal = _explained(str(error), edge)
        if isinstance(refusal, RefusedError) or not _cannot_freeze(edge):
            raise refusal from error
        key = next(name for name, each in loading.saved_model(path).signatures.items() if each is function)
        request.output.write_bytes(_imported(path, key, loading.saved_model(path)))
        rename_edges(request.output, signature)
        return ConversionOutcome(("the model keeps variables or tables; LiteRT starts them anew with every interpreter",))
    return ConversionOutcome(notes)


def _without_loops(edge: Any) -> tuple[Any, tuple[str, ...]]:
    """Unrolls recurrent layers, whose lists TFLiteConverter accepts only when the batch is static."""
    from convkit.legalization.tensorflow_loops import CannotUnrollError, has_tensor_lists, unrolled

    if not has_tensor_lists(edge.graph.as_graph_def()) or _cannot_freeze(edge):
        return edge, ()
    try:
        straight, rounds = unrolled(edge)
    except CannotUnrollError:
        return edge, ()
    return straight, (f"recurrent loops were unrolled: {rounds} steps",)


def _frozen(edge: Any) -> bytes:
    """Converts the function with its variables made constants: the order of inputs and outputs stays.

    The library's own way over the SavedModel's files sorts them, takes several times longer (it loads the SavedModel
    three times), and leaves the variables of a tracked Keras 3 model uninitialised, so that the result computes NaN.
    """
    import tensorflow as tf

    return _convert(tf.lite.TFLiteConverter.from_concrete_functions([edge]))


def _imported(path: Path, key: str, loaded: Any) -> bytes:
    """Converts from the SavedModel's files, which keeps variables that the model changes, and tables."""
    from tensorflow.lite.python import lite

    # `TFLiteConverter.from_saved_model` makes this object too, after loading the SavedModel once more.
    return _convert(lite.TFLiteSavedModelConverterV2(str(path), {"serve"}, [key], loaded))


def _convert(converter: Any) -> bytes:
    import tensorflow as tf

    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.allow_custom_ops = False
    return bytes(converter.convert())


def _cannot_freeze(edge: Any) -> bool:
    """Whether the function holds what no constant can stand for: tables, changed variables, over 2 GB of weights."""
    import tensorflow as tf

    handles = {id(variable.handle) for variable in edge.variables}
    if any(tensor.dtype == tf.resource and id(tensor) not in handles for tensor in edge.captured_inputs):
        return True
    if sum(v.dtype.size * v.shape.num_elements() for v in edge.variables) > _PROTOBUF_LIMIT:
        return True
    graph = edge.graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    return any(node.op.startswith("Assign") for node in nodes)


_PROTOBUF_LIMIT = 1_900_000_000

# What MLIR prints: the summary's lists, and the operator that a pass gave up on.
_LISTED = re.compile(r"^\s*(?:TF Select|Flex|Custom|Select TF) ops: (.+)$", re.MULTILINE)
_ILLEGAL = re.compile(r"(?:failed to legalize operation|error:) '(tf\.\w+)'")
# A table's input is left over where the table is refused.
_CONSEQUENCES = frozenset({"Placeholder"})
_REQUIRES = re.compile(r"('tf\.\w+' op requires .+?)(?: during .+)?$", re.MULTILINE)


def _explained(text: str, edge: Any) -> ConversionError:
    """The converter's message, put into one sentence that names all operators."""
    names = [name.strip().removeprefix("tf.") for line in _LISTED.findall(text) for name in line.split(",")]
    names += [name.removeprefix("tf.") for name in _ILLEGAL.findall(text)]
    operators = tuple(dict.fromkeys(name for name in names if name not in _CONSEQUENCES))
    hint = "replace the operators in the model, or let `convkit plan` show another route, for example over ONNX"
    if not operators:
        first = next((line.strip() for line in text.splitlines() if "error:" in line), " ".join(text.split()))
        return ConversionError(f"TFLiteConverter failed: {first[:600]}", component=CONVERTER.name, hint=hint)
    required = tuple(dict.fromkeys(_REQUIRES.findall(text)))
    message = f"LiteRT has no built-in operator for {', '.join(operators)}" + (f" ({'; '.join(required)})" if required else "")
    return RefusedError(message, [_gap(o, required, edge) for o in operators], component=CONVERTER.name, hint=hint)


def _gap(operator: str, required: Sequence[str], edge: Any) -> Finding:
    """An operator that was refused, with its nodes, those of inner functions included."""
    graph = edge.graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    places = tuple(node.name for node in nodes if node.op == operator)
    reason = f"TFLiteConverter {TARGET.version} has no built-in operator for it as it is used here"
    told = "; ".join([reason, *(r for r in required if f"'tf.{operator}'" in r)])
    hint = "replace it in the model, or see `convkit plan` for another route"
    return Finding(operator, max(1, len(places)), Verdict.GAP, told, places, hint)


# TFLiteConverter has no registry to ask, so an operator is legal unless it was tried on its own and refused (TensorFlow
# 2.21). `Erfc` is not here: the converter refuses it alone, but fuses it where it is part of a GELU.
_REFUSED = """
    AdjustContrastv2 AdjustHue AdjustSaturation Betainc Bincount Cholesky CropAndResize DecodeJpeg DecodePng Digamma
    Dilation2D Erfinv HSVToRGB IFFT IFFT2D Igamma MatrixDeterminant MatrixInverse MatrixSolve NonMaxSuppressionV2 Polygamma
    Qr RGBToHSV RegexReplace SelfAdjointEigV2 StringSplitV2 Substr Svd UniqueWithCounts Zeta
"""

TARGET = Target("TFLiteConverter", "2.21", lambda operator: operator not in _REFUSED.split())


def _survey(request: ConversionRequest) -> list[Finding]:
    """The operators of the SavedModel that are known to have no built-in LiteRT operator."""
    from convkit.readers import inspect

    return check_operators(inspect(request.source.path).operators, TARGET)


_checked = tried(_write, _survey)
