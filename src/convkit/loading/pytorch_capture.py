"""From an eager module to an exported program with a known signature. Worker side, or the process of an API caller
who holds a live module.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convkit.errors import ConversionError
from convkit.loading import pytorch as loading
from convkit.signature import Signature

if TYPE_CHECKING:
    import torch

    from convkit.options import InputOptions

__all__ = ["capture_module", "export", "save"]


def export(module: Any, signature: Signature, feeds: Mapping[str, np.ndarray]) -> torch.export.ExportedProgram:
    """Exports a module with exactly the dynamic dimensions of the signature.

    Args:
        module: Anything callable that torch.export traces, in eval mode.
        signature: Names of inputs and outputs, and which dimensions are dynamic.
        feeds: One example array per input; dynamic dimensions have a size of at least 2.

    Raises:
        ConversionError: The module specialises a dimension that should be dynamic, or cannot be traced.
    """
    import torch

    root = loading.root_module(module, signature.input_names)
    arguments = tuple(loading.to_torch(feeds[t.name], t.dtype) for t in signature.inputs)
    symbols = {s: torch.export.Dim(s, min=1) for s in signature.dynamic_dims}
    # torch.export matches these to the arguments by position when they come as a tuple.
    shapes = tuple(
        {axis: symbols[d] for axis, d in enumerate(t.shape or ()) if isinstance(d, str)} or None for t in signature.inputs
    )
    try:
        with torch.no_grad():
            return torch.export.export(root, arguments, dynamic_shapes=shapes if symbols else None, strict=False)
    except Exception as error:
        hint = ""
        if symbols:
            hint = "make the dimensions static: give --input with numbers, or leave out --dynamic"
        raise ConversionError(
            f"torch.export cannot capture the model: {' '.join(str(error).split())[:500]}",
            stage="convert",
            component="torch.export",
            hint=hint,
        ) from error


def save(program: torch.export.ExportedProgram, signature: Signature, path: Path) -> None:
    """Writes a program with its names and symbols, which torch itself does not store."""
    import torch

    extra = {loading.SIGNATURE_FILE: json.dumps(signature.to_json())}
    with path.open("wb") as stream:
        torch.export.save(program, stream, extra_files=extra)


def capture_module(module: torch.nn.Module, inputs: InputOptions, path: Path) -> None:
    """Describes and exports a live module, and writes it to `path`.

    Raises:
        InputSpecError: It does not run on the given inputs.
        ConversionError: It cannot be traced.
    """
    from convkit.arrays import load_arrays
    from convkit.loading.pytorch_describe import describe_module

    with tempfile.TemporaryDirectory() as scratch:
        examples = Path(scratch) / "examples.npz"
        signature, _ = describe_module(
            module,
            None,
            inputs.specs,
            None if inputs.arrays is None else load_arrays(inputs.arrays),
            {name: {str(a): s for a, s in axes.items()} for name, axes in inputs.dynamic.items()},
            inputs.output_names,
            examples,
        )
        save(export(module, signature, load_arrays(examples)), signature, path)
