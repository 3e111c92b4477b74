"""The layers of TF.js as Keras layers: which there are, and where the two differ.

TF.js keeps Keras 2's defaults and formulas (tfjs-layers/src/layers); Keras 3 has changed some. Whatever only matters for training
(initialisers, regularisers, constraints) is left out.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from convkit.errors import ConversionError
from convkit.legalization.target import Target
from convkit.loading.keras_2 import hard_sigmoid
from convkit.readers.damage import DamagedFileError

__all__ = ["TARGET", "make_layer"]

_LAYERS = """
    Activation Add AlphaDropout Average AveragePooling1D AveragePooling2D AveragePooling3D BatchNormalization Bidirectional
    Concatenate Conv1D Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM2D Cropping2D Dense DepthwiseConv2D Dot Dropout ELU
    Embedding Flatten GRU GRUCell GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalMaxPooling1D
    GlobalMaxPooling2D InputLayer LSTM LSTMCell LayerNormalization LeakyReLU Masking MaxPooling1D MaxPooling2D MaxPooling3D
    Maximum Minimum Multiply PReLU Permute RNN ReLU RepeatVector Rescaling Reshape SeparableConv2D SimpleRNN SimpleRNNCell Softmax
    SpatialDropout1D StackedRNNCells ThresholdedReLU TimeDistributed UpSampling2D ZeroPadding2D
"""
TARGET = Target("Keras", "3", frozenset(_LAYERS.split()))

_MOST = " most elements of a weight"
"""Where a configuration says it to what makes the layer; no file has such a key."""

_HARMLESS = 1 << 20
"""Elements of a weight that is made even where the file has fewer: what it lacks is named later."""

_FOR_TRAINING = ("_initializer", "_regularizer", "_constraint")
_RECURRENT = frozenset({"GRU", "GRUCell", "LSTM", "LSTMCell", "SimpleRNN", "SimpleRNNCell", "ConvLSTM2D"})
_GATED = frozenset({"GRU", "GRUCell", "LSTM", "LSTMCell", "ConvLSTM2D"})
_ACTIVATIONS = ("activation", "recurrent_activation")
_KERAS_ACTIVATIONS = "elu gelu linear mish relu relu6 selu sigmoid softmax softplus softsign swish tanh exponential log_softmax"
_ENUMERATIONS = {
    "channelsFirst": "channels_first", "channelsLast": "channels_last", "hardSigmoid": "hard_sigmoid", "geluNew": "gelu_new",
    "logSoftmax": "log_softmax",
}  # fmt: skip


def make_layer(layer: Mapping[str, Any], most: int) -> Any:
    """A Keras layer for a layer of a normalised configuration.

    Args:
        layer: With `class_name` and `config`.
        most: Elements that one of its weights may have: no more than the file holds.

    Raises:
        ConversionError: naming the layer, where its class or an option has no counterpart.
    """
    import keras

    name, kind = layer.get("name") or layer["config"].get("name", layer["class_name"]), layer["class_name"]
    if not TARGET.is_legal(kind) or kind == "InputLayer":
        raise ConversionError(f"the layer {name!r} is a {kind}, which is no layer of TF.js", component="Keras")
    config = {key: _ENUMERATIONS.get(v, v) if isinstance(v, str) else v for key, v in layer["config"].items()}
    config = {key: value for key, value in config.items() if not key.endswith(_FOR_TRAINING)}
    config |= {"name": name, _MOST: most}
    if config.get("stateful"):
        raise ConversionError(f"the layer {name!r} keeps its state from call to call", component="Keras")
    _nest(config, kind, name)
    _name_activations(config, name)
    constructor = _SPECIAL.get(kind)
    if constructor is not None:
        return constructor(config)
    if kind in _RECURRENT:
        _keep_keras_2_defaults(config, kind)
    for key, value in _DEFAULTS.get(kind, {}).items():
        config.setdefault(key, value)
    return _construct(getattr(keras.layers, kind), config)


def _construct(constructor: Any, config: Mapping[str, Any]) -> Any:
    known = {*inspect.signature(constructor.__init__).parameters, "name", "dtype", "trainable"} - {"self", "kwargs"}
    known -= {"weights", "dtype"} if not isinstance(config.get("dtype"), str) else {"weights"}
    given = {k: v for k, v in config.items() if k in known}
    given |= {k: _zeros()(config[_MOST]) for k in known if k.endswith("_initializer")}
    try:
        return constructor(**given)
    except (TypeError, ValueError) as error:
        raise ConversionError(f"Keras does not accept the layer {config['name']!r}: {error}", component="Keras") from error


@cache
def _zeros() -> Any:
    """An initializer: the weights come from the file, and one that is too large to be there is refused before it is made."""
    import keras

    @keras.saving.register_keras_serializable("convkit")
    class Zeros(keras.initializers.Initializer):  # type: ignore[misc]
        def __init__(self, most: int) -> None:
            self._most = most

        def __call__(self, shape: Any, dtype: Any = None) -> Any:
            elements = math.prod(shape)
            if elements > max(self._most, _HARMLESS):
                raise DamagedFileError(f"a weight of its layers has {elements} elements, and its weights {self._most} in all")
            return keras.ops.zeros(shape, dtype)

        def get_config(self) -> dict[str, int]:
            return {"most": self._most}

    return Zeros


def _nest(config: dict[str, Any], kind: str, name: str) -> None:
    """Puts layers into the place of the configurations of what a layer wraps."""
    for key in ("layer", "backward_layer", "cell"):
        if isinstance(config.get(key), dict):
            config[key] = make_layer(config[key], config[_MOST])
    if kind == "StackedRNNCells":
        config["cells"] = [make_layer(cell, config[_MOST]) for cell in config.get("cells") or ()]
    wanted = {"Bidirectional": "layer", "TimeDistributed": "layer", "RNN": "cell"}.get(kind)
    if wanted and wanted not in config:
        raise ConversionError(f"the layer {name!r}, a {kind}, wraps nothing", component="Keras")


def _name_activations(config: dict[str, Any], name: str) -> None:
    for key in _ACTIVATIONS:
        activation = config.get(key)
        if activation is None:
            continue
        if isinstance(activation, dict):
            activation = activation.get("class_name")
        if not isinstance(activation, str):
            raise ConversionError(f"the layer {name!r} has no activation's name", component="Keras")
        if activation in _FORMULAS:
            config[key] = _registered(activation)
        elif activation in _KERAS_ACTIVATIONS.split():
            config[key] = activation
        else:
            raise ConversionError(f"the layer {name!r} has the unknown activation {activation!r}", component="Keras")


def _keep_keras_2_defaults(config: dict[str, Any], kind: str) -> None:
    if kind in _GATED:
        config.setdefault("recurrent_activation", _registered("hard_sigmoid"))
    if kind.startswith("GRU"):
        config["reset_after"] = bool(config.get("reset_after"))


def gelu_new(x: Any) -> Any:
    """GELU by its tanh approximation (Hendrycks and Gimpel, arXiv:1606.08415)."""
    import tensorflow as tf

    return tf.nn.gelu(x, approximate=True)


@cache
def _registered(activation: str) -> Callable[[Any], Any]:
    """The formula under a name of its own: wrappers copy layers by their configuration, where Keras 3's has the plain name."""
    import keras

    formula: Callable[[Any], Any] = keras.saving.register_keras_serializable("convkit", activation)(_FORMULAS[activation])
    return formula


_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "AveragePooling1D": {"pool_size": 2},
    "AveragePooling2D": {"pool_size": [2, 2]},
    "AveragePooling3D": {"pool_size": [2, 2, 2]},
    "Softmax": {"axis": 1},
}
"""Of options that Keras demands, or has another default for."""

_FORMULAS: Mapping[str, Callable[[Any], Any]] = {"hard_sigmoid": hard_sigmoid, "gelu_new": gelu_new}


def _batch_normalization(config: dict[str, Any]) -> Any:
    import keras

    axis = config.get("axis", -1)
    config["axis"] = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    return _construct(keras.layers.BatchNormalization, config)


def _depthwise_convolution(config: dict[str, Any]) -> Any:
    """TF.js's does not dilate, whatever its configuration says (tfjs-layers/src/layers/convolutional_depthwise.ts)."""
    import keras

    return _construct(keras.layers.DepthwiseConv2D, {k: v for k, v in config.items() if k != "dilation_rate"})


def _leaky_relu(config: dict[str, Any]) -> Any:
    import keras

    return keras.layers.LeakyReLU(negative_slope=config.get("alpha", 0.3), name=config["name"])


def _relu(config: dict[str, Any]) -> Any:
    """TF.js knows no slope and no threshold (tfjs-layers/src/layers/advanced_activations.ts)."""
    import keras

    return keras.layers.ReLU(max_value=config.get("max_value"), name=config["name"])


def _thresholded_relu(config: dict[str, Any]) -> Any:
    import keras

    return keras.layers.ReLU(threshold=config.get("theta", 1.0), name=config["name"])


def _unmasked_mean(config: dict[str, Any]) -> Any:
    return _masking_classes()["GlobalAveragePooling1D"](data_format=config.get("data_format"), name=config["name"])


def _concatenation(config: dict[str, Any]) -> Any:
    return _construct(_masking_classes()["Concatenate"], config)


@cache
def _masking_classes() -> Mapping[str, Any]:
    """Layers in which TF.js and Keras 3 do another thing with masks of time steps."""
    import keras

    class GlobalAveragePooling1D(keras.layers.GlobalAveragePooling1D):  # type: ignore[misc]
        """The mean of all steps, those that are masked too."""

        def call(self, inputs: Any, mask: Any = None) -> Any:
            return super().call(inputs)

    class Concatenate(keras.layers.Concatenate):  # type: ignore[misc]
        """A step counts where it does in all of the inputs; for Keras 3 in any."""

        def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
            known = [m for m in mask or () if m is not None]
            if not known or self.axis in (1, 1 - len(inputs[0].shape)):  # steps one after the other keep their own
                return super().compute_mask(inputs, mask)
            return keras.ops.all(keras.ops.stack(known, axis=-1), axis=-1)

    return {"GlobalAveragePooling1D": GlobalAveragePooling1D, "Concatenate": Concatenate}


def _upsampling(config: dict[str, Any]) -> Any:
    """TF.js's bilinear upsampling has pixels' corners where Keras has their centres."""
    import keras

    if config.get("interpolation", "nearest") == "nearest":
        return _construct(keras.layers.UpSampling2D, config)
    if config["interpolation"] != "bilinear":
        raise ConversionError(f"the layer {config['name']!r} interpolates by {config['interpolation']!r}", component="Keras")
    size = config.get("size") or [2, 2]
    return _corner_upsampling()(list(size), config.get("data_format") == "channels_first", name=config["name"])


@cache
def _corner_upsampling() -> Any:
    import keras
    import tensorflow as tf

    class CornerUpSampling2D(keras.layers.Layer):  # type: ignore[misc]
        """Bilinear upsampling of images whose pixels are points at their upper left corners."""

        def __init__(self, size: list[int], channels_first: bool, **keywords: Any) -> None:
            super().__init__(**keywords)
            self._size, self._channels_first = size, channels_first

        def call(self, x: Any) -> Any:
            x = tf.transpose(x, [0, 2, 3, 1]) if self._channels_first else x
            resized = tf.raw_ops.ResizeBilinear(images=x, size=tf.shape(x)[1:3] * tf.constant(self._size))
            return tf.transpose(resized, [0, 3, 1, 2]) if self._channels_first else resized

        def compute_output_shape(self, shape: Any) -> Any:
            spatial = iter(self._size)
            axes = (2, 3) if self._channels_first else (1, 2)
            return tuple(d if axis not in axes else (n := next(spatial)) and d and d * n for axis, d in enumerate(shape))

    return CornerUpSampling2D


_SPECIAL: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "BatchNormalization": _batch_normalization,
    "Concatenate": _concatenation,
    "DepthwiseConv2D": _depthwise_convolution,
    "GlobalAveragePooling1D": _unmasked_mean,
    "LeakyReLU": _leaky_relu,
    "ReLU": _relu,
    "ThresholdedReLU": _thresholded_relu,
    "UpSampling2D": _upsampling,
}
