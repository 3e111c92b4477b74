"""Keras' TimeDistributed over a dynamic number of steps, as one call of its layer on all steps of all samples.

Keras 3 maps the layer over the steps with `tf.vectorized_map` where their number is not known (keras/src/layers/rnn/
time_distributed.py): what that writes has no static channels, and loops over TensorLists for what it cannot vectorise, which
neither TFLiteConverter nor tf2onnx nor TF.js reads. To a layer at inference steps are no more than samples (Keras 2 reshaped
them into samples for the same reason). A layer that mixes samples would differ, which the comparison with Keras itself shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["steps_as_samples"]


@contextmanager
def steps_as_samples() -> Iterator[None]:
    """As long as it is open, every TimeDistributed layer with a dynamic number of steps takes its steps for samples."""
    import keras

    layer = keras.layers.TimeDistributed
    original = layer.call

    def call(self: Any, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if inputs.shape[1] is not None:
            return original(self, inputs, training=training, mask=mask)
        sizes = keras.ops.shape(inputs)
        taken: dict[str, Any] = {}
        if self.layer._call_has_training_arg:
            taken["training"] = training
        if self.layer._call_has_mask_arg and mask is not None:
            taken["mask"] = keras.ops.reshape(mask, (-1, *mask.shape[2:]))
        folded = self.layer.call(_reshaped(inputs, (-1,), 2), **taken)
        return keras.tree.map_structure(lambda result: _reshaped(result, sizes[:2], 1), folded)

    layer.call = call
    try:
        yield
    finally:
        layer.call = original


def _reshaped(tensor: Any, front: tuple[Any, ...], replaced: int) -> Any:
    """The tensor with other axes in place of its first `replaced` ones; static sizes behind them stay static."""
    import keras

    sizes = keras.ops.shape(tensor)
    behind = [known if known is not None else size for known, size in zip(tensor.shape, sizes, strict=True)]
    return keras.ops.reshape(tensor, (*front, *behind[replaced:]))
