"""TF.js layers model → SavedModel: its layers as Keras layers, whose inference call is traced.

Nothing of the file is executed: every layer is one of TF.js's own, made from plain options (`convkit.loading.tfjs_layers`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.legalization.target import Finding, check_operators

if TYPE_CHECKING:
    from convkit.loading.tfjs_layers import BuiltModel

__all__ = ["CONVERTER", "check", "convert"]

CONVERTER = Converter(
    name="tfjs-keras",
    sources=(Variant.TFJS_LAYERS,),
    target=Variant.SAVEDMODEL,
    host=Host(group="tensorflow", preload=("tensorflow",), packages=("keras", "tensorflow")),
    cost=0.3,
    reason="TF.js's layers are Keras's: built anew, not translated",
    is_importer=True,
)


def check(request: ConversionRequest) -> list[Finding]:
    """The verdict on every layer of the model."""
    from convkit.loading.tfjs_layer_classes import TARGET
    from convkit.readers import inspect

    return check_operators(inspect(request.source.path).operators, TARGET)


def convert(request: ConversionRequest) -> ConversionOutcome:
    """Writes `request.output`, a SavedModel directory whose `serving_default` has the model's signature.

    Raises:
        ConversionError: A layer has no counterpart in Keras, or the model cannot be traced.
        UnreadableModelError: The topology or the weights are damaged, or do not fit each other.
    """
    from convkit.loading.savedmodel_writer import write_saved_model
    from convkit.loading.tensorflow import KerasCall

    built = _built(request.source.path)
    call = KerasCall(built.model, request.signature or request.source.signature)
    write_saved_model(request.output, request.signature or call.signature, call, built.model)
    return ConversionOutcome(notes=tuple(built.notes))


def _built(path: Path) -> BuiltModel:
    from convkit.loading.tfjs_layers import build_model, set_weights
    from convkit.loading.tfjs_weights import read_weights
    from convkit.readers.damage import PARSER_ERRORS, damaged
    from convkit.readers.tfjs import keras_config, load_model
    from convkit.readers.tfjs_layers import normalized_config

    try:
        file, content = load_model(path)
        weights = read_weights(file, content)
        built = build_model(normalized_config(keras_config(content["modelTopology"])), sum(w.size for w in weights.values()))
        set_weights(built.layers, weights)
    except ConversionError:
        raise
    except PARSER_ERRORS as error:
        raise damaged(path, Variant.TFJS_LAYERS.title, error) from error
    return built
