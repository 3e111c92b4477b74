"""SavedModel → TF.js graph model, by tracing the model anew with what TF.js has.

See `convkit.legalization.tfjs` for what is rewritten, and `convkit.converters._tfjs_writer` for the file. The official converter
(tensorflowjs 4.22, no release since 2024-10) cannot be installed beside a current TensorFlow.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host, Option
from convkit.converters import _tfjs_writer as writer
from convkit.converters._checked import Checked, Made, refused
from convkit.errors import UsageError
from convkit.formats import Variant
from convkit.legalization.target import Finding

__all__ = ["CONVERTER", "check", "convert"]

CONVERTER = Converter(
    name="tensorflow-tfjs",
    sources=(Variant.SAVEDMODEL,),
    target=Variant.TFJS_GRAPH,
    host=Host(group="tensorflow", preload=("tensorflow",), packages=("tensorflow",)),
    cost=1.0,
    reason="traces the model with the operators that TF.js has; keeps names and dynamic dimensions",
    options=(
        Option("shard_size", "bytes of a weight file", writer.SHARD_SIZE),
        Option("quantize_weights", "float16, uint16 or uint8; or by weight names: uint8=*dense*,float16=*", None),
    ),
)


def check(request: ConversionRequest) -> list[Finding]:
    """The verdict on every operator of the model that its outputs need."""
    return _checked.check(request)


def convert(request: ConversionRequest) -> ConversionOutcome:
    """Writes `request.output`, a directory with `model.json` and its shards.

    Raises:
        ConversionError: TF.js has no counterpart for an operator.
        UsageError: An option makes no sense.
        UnreadableModelError: TensorFlow cannot load the SavedModel.
    """
    return _checked.convert(request)


def _make(request: ConversionRequest, output: Path) -> Made:
    from convkit.legalization.tensorflow_signs import with_compared_signs
    from convkit.legalization.tfjs import legalizing
    from convkit.loading import tensorflow as loading

    shard_size = _positive(request.options.get("shard_size", writer.SHARD_SIZE))
    quantization = writer.Quantization.parse(request.options.get("quantize_weights"))
    path = request.source.path
    signature = request.signature or request.source.signature
    if signature is None:
        signature = loading.signature_of_function(loading.signature_function(path, None))
    if gaps := legalizing.edge_gaps(signature):
        return refused([], gaps, CONVERTER.name)
    function = with_compared_signs(loading.edge_function(path, signature))
    legalized = legalizing.legalize(function, _node_names(signature.input_names))
    if legalized.graph is None:
        return refused(legalized.findings, (), CONVERTER.name)
    narrowed = legalizing.narrowed_signature(signature)
    try:
        writer.write_graph_model(
            output,
            legalized.graph,
            signature,
            (
                list(zip(legalized.inputs, narrowed.inputs, strict=True)),
                list(zip(legalized.outputs, narrowed.outputs, strict=True)),
            ),
            converted_by=_converted_by(),
            generated_by=_generated_by(),
            weights=legalized.weights,
            shard_size=shard_size,
            quantization=quantization,
        )
    except BaseException:
        shutil.rmtree(output, ignore_errors=True)
        raise
    return Made(legalized.findings, notes=(*legalizing.edge_notes(signature), *legalized.notes))


def _positive(size: Any) -> int:
    try:
        number = int(size)
    except (TypeError, ValueError):
        number = 0
    if number <= 0:
        raise UsageError(f"shard_size is {size!r}", hint="give the bytes of a shard as a positive number")
    return number


_NODE_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")


def _node_names(names: Sequence[str]) -> list[str]:
    """Names of the graph's inputs: the signature's where TensorFlow takes them."""
    plain = all(_NODE_NAME.fullmatch(name) for name in names) and len(set(map(str.lower, names))) == len(names)
    return list(names) if plain else [f"input_{position}" for position in range(len(names))]


def _converted_by() -> str:
    from convkit import __version__

    return f"convkit {__version__}"


def _generated_by() -> str:
    import tensorflow as tf

    return f"TensorFlow {tf.__version__}"


_checked = Checked(_make)
