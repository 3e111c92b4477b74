"""Keras (`.keras`, `.h5`) → SavedModel: the model's inference call under the names of its layers.

`keras.Model.export` calls the outputs output_0, output_1, … and writes the function twice ("serve" and
"serving_default"); here the model is traced once, with the signature's names.
"""

from __future__ import annotations

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host
from convkit.formats import Variant

__all__ = ["CONVERTER", "convert"]

CONVERTER = Converter(
    name="keras",
    sources=(Variant.KERAS, Variant.KERAS_H5),
    target=Variant.SAVEDMODEL,
    host=Host(group="tensorflow", preload=("tensorflow",), packages=("keras", "tensorflow")),
    cost=0.2,
    reason="Keras writes its own graph: nothing is translated",
)


def convert(request: ConversionRequest) -> ConversionOutcome:
    """Traces the model and saves it.

    Raises:
        UnreadableModelError: when Keras cannot load the file, or it holds a Lambda layer.
        ConversionError: when the model has no inputs, or cannot be traced.
    """
    from convkit.loading.savedmodel_writer import write_saved_model
    from convkit.loading.tensorflow import keras_call, keras_model

    source = request.source
    model = keras_call(source.path, request.signature or source.signature)
    write_saved_model(request.output, request.signature or model.signature, model, keras_model(source.path))
    return ConversionOutcome()
