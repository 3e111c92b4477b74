"""Keras (`.keras`, `.h5`) → SavedModel: the model's inference call under the names of its layers.

`keras.Model.export` calls the outputs output_0, output_1, … and writes the function twice ("serve" and
"serving_default"); here the model is traced once, with the signature's names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host
from convkit.formats import Variant
from convkit.legalization.codes import Reason

if TYPE_CHECKING:
    from convkit.legalization.target import Finding

__all__ = ["CONVERTER", "check", "convert"]

CONVERTER = Converter(
    name="keras",
    sources=(Variant.KERAS, Variant.KERAS_H5),
    target=Variant.SAVEDMODEL,
    host=Host(group="tensorflow", preload=("tensorflow",), packages=("keras", "tensorflow")),
    cost=0.2,
    is_importer=True,
    reason="Keras writes its own graph: nothing is translated",
)


_FOREIGN = Reason("its code is not in the file, or is not executed", "CK101")
_HINT = "where the model's own classes can be imported, write a SavedModel: model.export('directory'), or convert the live model"


def check(request: ConversionRequest) -> list[Finding]:
    """What the file needs beside Keras: classes of the model's author, and Lambda layers, whose code convkit does not execute."""
    from convkit import readers
    from convkit.legalization.target import Finding, Verdict

    needs = readers.inspect(request.source.path).requires
    return [Finding(need.partition(" (")[0].partition(", because")[0], 1, Verdict.GAP, _FOREIGN, hint=_HINT) for need in needs]


def convert(request: ConversionRequest) -> ConversionOutcome:
    """Traces the model and saves it.

    Raises:
        UnreadableModelError: when Keras cannot load the file, or it holds a Lambda layer.
        ConversionError: when the model has no inputs, or cannot be traced.
    """
    from convkit.loading.keras_time_distributed import steps_as_samples
    from convkit.loading.savedmodel_writer import write_saved_model
    from convkit.loading.tensorflow import keras_call, keras_model

    source = request.source
    model = keras_call(source.path, request.signature or source.signature)
    with steps_as_samples():
        write_saved_model(request.output, request.signature or model.signature, model, keras_model(source.path))
    return ConversionOutcome()
