"""The six formats, the variants that each comes in, and the words that users call them by."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from convkit.errors import UsageError

__all__ = ["Format", "Variant", "parse_format"]


class Format(Enum):
    """A family of model files with runtimes of its own."""

    PYTORCH = "pytorch"
    ONNX = "onnx"
    SAVEDMODEL = "savedmodel"
    LITERT = "litert"
    EXECUTORCH = "executorch"
    TFJS = "tfjs"

    def __str__(self) -> str:
        return self.value

    @property
    def title(self) -> str:
        """The name as its makers write it."""
        return _TITLES[self]

    @property
    def default_variant(self) -> Variant:
        """The variant that a conversion to this format writes."""
        return next(v for v in Variant if v.format is self)


class Variant(Enum):
    """One kind of file of a format; converters connect variants. The first of a format is the one that is written."""

    EXPORTED_PROGRAM = "exported-program"
    TORCHSCRIPT = "torchscript"
    PICKLED_MODULE = "pickled-module"
    STATE_DICT = "state-dict"
    SAFETENSORS = "safetensors"
    MODULE_FACTORY = "module-factory"
    ONNX = "onnx"
    SAVEDMODEL = "savedmodel"
    KERAS = "keras"
    KERAS_H5 = "keras-h5"
    TFLITE = "tflite"
    PTE = "pte"
    TFJS_GRAPH = "tfjs-graph"
    TFJS_LAYERS = "tfjs-layers"

    def __str__(self) -> str:
        return self.value

    @property
    def format(self) -> Format:
        return _VARIANTS[self][0]

    @property
    def title(self) -> str:
        """The name in prose, for example "PyTorch exported program"."""
        return _VARIANTS[self][1]

    @property
    def suffix(self) -> str:
        """The customary suffix of a file or directory of this variant, with its dot ("" where there is none)."""
        return _VARIANTS[self][2]


_TITLES = {
    Format.PYTORCH: "PyTorch",
    Format.ONNX: "ONNX",
    Format.SAVEDMODEL: "SavedModel",
    Format.LITERT: "LiteRT",
    Format.EXECUTORCH: "ExecuTorch",
    Format.TFJS: "TF.js",
}

_VARIANTS = {
    Variant.EXPORTED_PROGRAM: (Format.PYTORCH, "PyTorch exported program", ".pt2"),
    Variant.TORCHSCRIPT: (Format.PYTORCH, "TorchScript", ".pt"),
    Variant.PICKLED_MODULE: (Format.PYTORCH, "PyTorch pickled module", ".pt"),
    Variant.STATE_DICT: (Format.PYTORCH, "PyTorch state dict", ".pt"),
    Variant.SAFETENSORS: (Format.PYTORCH, "safetensors weights", ".safetensors"),
    Variant.MODULE_FACTORY: (Format.PYTORCH, "PyTorch module factory", ".py"),
    Variant.ONNX: (Format.ONNX, "ONNX", ".onnx"),
    Variant.SAVEDMODEL: (Format.SAVEDMODEL, "TensorFlow SavedModel", ".savedmodel"),
    Variant.KERAS: (Format.SAVEDMODEL, "Keras archive", ".keras"),
    Variant.KERAS_H5: (Format.SAVEDMODEL, "Keras HDF5", ".h5"),
    Variant.TFLITE: (Format.LITERT, "LiteRT", ".tflite"),
    Variant.PTE: (Format.EXECUTORCH, "ExecuTorch program", ".pte"),
    Variant.TFJS_GRAPH: (Format.TFJS, "TF.js graph model", ".tfjs"),
    Variant.TFJS_LAYERS: (Format.TFJS, "TF.js layers model", ".tfjs"),
}

_ALIASES = {
    "torch": Format.PYTORCH,
    "pt": Format.PYTORCH,
    "pth": Format.PYTORCH,
    "pt2": Format.PYTORCH,
    "exported-program": Format.PYTORCH,
    "torch-export": Format.PYTORCH,
    "tf": Format.SAVEDMODEL,
    "tensorflow": Format.SAVEDMODEL,
    "saved-model": Format.SAVEDMODEL,
    "saved_model": Format.SAVEDMODEL,
    "tflite": Format.LITERT,
    "lite": Format.LITERT,
    "pte": Format.EXECUTORCH,
    "tf.js": Format.TFJS,
    "tensorflowjs": Format.TFJS,
    "graph-model": Format.TFJS,
}


def parse_format(text: str) -> Format:
    """Reads a format's name or one of its aliases ("tflite", "tf", "pte", …).

    Raises:
        UsageError: listing the formats.
    """
    key = text.strip().lower().lstrip(".")
    if key in _ALIASES:
        return _ALIASES[key]
    try:
        return Format(key)
    except ValueError:
        raise UsageError(f"unknown format {text!r}", hint="the formats are " + ", ".join(f.value for f in Format)) from None


def format_of_suffix(path: Path) -> Format | None:
    """The format that an *output* path asks for by its suffix, if any; inputs are identified by content."""
    suffix = path.suffix.lower()
    return next((v.format for v in Variant if v.suffix == suffix and v is not Variant.MODULE_FACTORY), None)
