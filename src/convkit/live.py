"""Live objects of the caller's own process: written to a file once, so that everything behind works on files.

The frameworks are imported already by whoever holds such an object; nothing here imports one that is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from convkit.arrays import save_arrays
from convkit.errors import ConversionError, InputSpecError, UsageError
from convkit.options import InputOptions
from convkit.signature import TensorSpec

__all__ = ["as_array", "is_module", "parse_specs", "save_inputs", "save_live"]

_MODULE = "torch.nn.modules.module.Module"
_SCRIPT_MODULE = "torch.jit._script.ScriptModule"


def as_array(value: Any) -> np.ndarray:
    """A numpy array of a tensor of any framework; bfloat16, which numpy does not have, is widened to float32."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
    return np.asarray(value)


def is_module(model: Any) -> bool:
    """Whether a live object is an eager `nn.Module`, which is captured; a ScriptModule is not."""
    return _is_a(model, _MODULE) and not _is_a(model, _SCRIPT_MODULE)


def _is_a(value: Any, name: str) -> bool:
    """Whether a class of that qualified name is among the value's bases, without importing it."""
    return any(f"{c.__module__}.{c.__qualname__}" == name for c in type(value).__mro__)


def save_live(model: Any, inputs: InputOptions, directory: Path) -> tuple[Path, InputOptions]:
    """Writes a live model to a file in `directory`.

    Args:
        model: An `nn.Module`, `ExportedProgram`, `ScriptModule`, `onnx.ModelProto` or `keras.Model`.
        inputs: Example inputs and dynamic dimensions, which an nn.Module needs.
        directory: An existing directory.

    Returns:
        The file, and what is left to be told of its inputs: a captured module's file records names and shapes.

    Raises:
        UsageError: It is none of these.
        InputSpecError: An nn.Module without example inputs or specifications.
        ConversionError: The module cannot be captured, or its framework cannot save the object.
    """
    if is_module(model):
        path = _capture(model, inputs, directory / "model.pt2")
        return path, replace(inputs, specs=(), dynamic={}, output_names=None)
    try:
        return _saved(model, directory), inputs
    except UsageError:
        raise
    except Exception as error:
        raise ConversionError(
            f"{type(model).__name__} cannot be saved: {' '.join(str(error).split())[:400]}",
            stage="describe",
            component=type(model).__module__.partition(".")[0],
            hint="save it to a file with its own framework, and convert that",
        ) from error


def _saved(model: Any, directory: Path) -> Path:
    """Writes a model that knows how to write itself."""
    if _is_a(model, "torch.export.exported_program.ExportedProgram"):
        import torch

        torch.export.save(model, directory / "model.pt2")
        return directory / "model.pt2"
    if _is_a(model, _SCRIPT_MODULE):
        model.save(str(directory / "model.pt"))
        return directory / "model.pt"
    if _is_a(model, "onnx.onnx_ml_pb2.ModelProto"):
        import onnx

        big = model.ByteSize() > 1 << 30
        onnx.save_model(model, directory / "model.onnx", save_as_external_data=big)
        return directory / "model.onnx"
    if _is_a(model, "keras.src.models.model.Model"):
        return _saved_keras(model, directory)
    raise UsageError(
        f"cannot convert a {type(model).__module__}.{type(model).__qualname__}",
        hint="give a path, an nn.Module, an ExportedProgram, a ScriptModule, an onnx.ModelProto or a keras.Model",
    )


def _saved_keras(model: Any, directory: Path) -> Path:
    """A `.keras` file, or a SavedModel where code of the caller's would be needed to load one."""
    parts = [model, *model._flatten_layers(include_self=False)]
    if all(type(part).__module__.startswith("keras.src.") and type(part).__name__ != "Lambda" for part in parts):
        model.save(directory / "model.keras")
        return directory / "model.keras"
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        model.export(str(directory / "model"), verbose=False)
        return directory / "model"
    from convkit.loading.savedmodel_writer import write_saved_model
    from convkit.loading.tensorflow import KerasCall

    call = KerasCall(model, None)
    write_saved_model(directory / "model", call.signature, call, model)
    return directory / "model"


def _capture(module: Any, inputs: InputOptions, path: Path) -> Path:
    """Exports a live module, as the capture of a file's module does it, in the caller's process."""
    from convkit.loading import pytorch_capture

    if inputs.arrays is None and not inputs.specs:
        raise InputSpecError(
            "an nn.Module records no input shapes",
            hint="pass inputs=[array, …], or input_specs=['image:float32[batch,3,224,224]']",
        )
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        pytorch_capture.capture_module(module, inputs, path)
    except (ConversionError, InputSpecError):
        raise
    except Exception as error:
        raise ConversionError(
            f"torch.export cannot capture the module: {' '.join(str(error).split())[:400]}",
            stage="describe",
            component="torch.export",
            hint="export it yourself with torch.export.export, or trace it with torch.jit.trace, and pass the result",
        ) from error
    finally:
        for part, training in modes.items():
            part.training = training
    return path


def save_inputs(inputs: Mapping[str, Any] | Sequence[Any], path: Path) -> Path:
    """Writes the caller's example inputs, by name or by position; a lone array is the one input.

    Raises:
        InputSpecError: Something in them is no array of numbers.
    """
    if hasattr(inputs, "shape"):
        inputs = [inputs]
    named = inputs.items() if isinstance(inputs, Mapping) else ((str(i), v) for i, v in enumerate(inputs))
    arrays = {str(name): as_array(value) for name, value in named}
    for name, array in arrays.items():
        if array.dtype == object:
            raise InputSpecError(
                f"inputs[{name!r}] is no array", hint="give one array or tensor per input, by name or by position"
            )
    save_arrays(path, arrays)
    return path


def parse_specs(specs: Sequence[str | TensorSpec]) -> tuple[TensorSpec, ...]:
    """Specifications as text or as `TensorSpec`s."""
    from convkit.signature import parse_spec

    return tuple(s if isinstance(s, TensorSpec) else parse_spec(s) for s in specs)
