"""TensorFlow: runs SavedModels, `.keras` and `.h5` files on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from convkit.artifact import Artifact
from convkit.components import Host, Runtime
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.signature import Signature

if TYPE_CHECKING:
    import numpy as np

__all__ = ["RUNTIME", "TensorFlowSession", "load"]

RUNTIME = Runtime(
    name="TensorFlow",
    variants=(Variant.SAVEDMODEL, Variant.KERAS, Variant.KERAS_H5),
    host=Host(group="tensorflow", preload=("tensorflow",), packages=("tensorflow",)),
)


class TensorFlowSession:
    """A loaded SavedModel signature or Keras model (`components.Session`)."""

    def __init__(
        self, signature: Signature, call: Callable[[Sequence[Any]], Sequence[Any]], *, keeps_state: bool = False
    ) -> None:
        self.signature = signature
        self.keeps_state = keeps_state
        self.model: Any = None
        self._call = call

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs once; the outputs are numpy arrays in the signature's order.

        Raises:
            ConversionError: when an input is missing or TensorFlow rejects the call.
        """
        import tensorflow as tf

        from convkit.loading.tensorflow import first_line

        if missing := [name for name in self.signature.input_names if name not in feeds]:
            raise _failure(f"no array for the input {', '.join(missing)}")
        try:
            tensors = [tf.convert_to_tensor(feeds[name]) for name in self.signature.input_names]
            results = [result.numpy() for result in self._call(tensors)]
        except Exception as error:
            raise _failure(f"TensorFlow failed to run the model: {first_line(error)}") from error
        return dict(zip(self.signature.output_names, results, strict=True))


def _failure(message: str) -> ConversionError:
    return ConversionError(message, stage="validate", component=RUNTIME.name, hint="compare the inputs with `convkit inspect`")


def load(artifact: Artifact) -> TensorFlowSession:
    """Loads a SavedModel (the signature that `artifact.signature` names) or a Keras file (never its Lambda layers).

    Raises:
        UnreadableModelError: when TensorFlow or Keras cannot load the file.
        ConversionError: when the file lacks what `artifact.signature` names.
    """
    from convkit.loading import tensorflow as loading

    if artifact.variant is not Variant.SAVEDMODEL:
        model = loading.keras_call(artifact.path, artifact.signature)
        return TensorFlowSession(model.signature, model)

    function, own = loading.signature_function(artifact.path, artifact.signature), None
    if loading.assignments(function):  # its runs must not reach the variables that a conversion reads
        import tensorflow as tf

        own = tf.saved_model.load(str(artifact.path))
        function = loading.signature_function(artifact.path, artifact.signature, own)
    known = loading.signature_of_function(function)
    signature = known if artifact.signature is None else _ordered(known, artifact)

    def call(tensors: Sequence[Any]) -> list[Any]:
        results = function(**dict(zip(signature.input_names, tensors, strict=True)))
        return [results[name] for name in signature.output_names]

    session = TensorFlowSession(signature, call, keeps_state=own is not None)
    session.model = own  # whose variables live as long as it does
    return session


def _ordered(known: Signature, artifact: Artifact) -> Signature:
    """What TensorFlow says of the tensors, in the order of the artifact's signature."""
    wanted = artifact.signature
    assert wanted is not None
    inputs, outputs = {t.name: t for t in known.inputs}, {t.name: t for t in known.outputs}
    if set(inputs) != set(wanted.input_names) or set(outputs) != set(wanted.output_names):
        raise ConversionError(
            f"the signature of {artifact.path} is {known}, not {wanted}",
            stage="validate",
            component=RUNTIME.name,
            hint="run `convkit inspect` on the SavedModel for the names that it has",
        )
    return replace(
        wanted,
        inputs=tuple(inputs[name] for name in wanted.input_names),
        outputs=tuple(outputs[name] for name in wanted.output_names),
    )
