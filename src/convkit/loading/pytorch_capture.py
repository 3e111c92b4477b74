"""From an eager module to an exported program with a known signature. Worker side, or the process of an API caller
who holds a live module.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convkit.errors import ConversionError
from convkit.loading import pytorch as loading
from convkit.loading.module_factories import one_line
from convkit.signature import Signature

if TYPE_CHECKING:
    import torch

    from convkit.options import InputOptions

__all__ = ["capture_module", "export", "limits", "save"]

_CONSTRAINED = "Constraints violated"
"""What torch.export says where it would have to limit or to fix a dynamic dimension."""

_SUGGESTION = re.compile(r"(?P<symbol>\w+) = Dim\('\w+'(?:, min=(?P<low>\d+))?(?:, max=(?P<high>\d+))?\)")


def export(module: Any, signature: Signature, feeds: Mapping[str, np.ndarray]) -> torch.export.ExportedProgram:
    """Exports a module with exactly the dynamic dimensions of the signature.

    Where the model itself limits a dimension (a table of positions), the program has that limit: see `limits`.

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
    try:
        return _traced(root, arguments, signature, symbols)
    except Exception as error:
        if symbols and _CONSTRAINED in str(error):
            return _traced_or_limited(root, arguments, signature, symbols, error)
        raise _refused(error, symbols) from error


def _traced_or_limited(
    root: torch.nn.Module, arguments: tuple[torch.Tensor, ...], signature: Signature, symbols: Mapping[str, Any], error: Exception
) -> torch.export.ExportedProgram:
    """Traces again without telling a size of 1 from larger ones, which torch does at every slice of a dynamic axis
    (`x[1:-1]`, `x[::2]`) though the result is the same; then with the limits that torch suggests.
    """
    from torch.fx.experimental import _config

    limited = _limited(str(error), symbols)
    attempts = [(symbols, True)] + ([(limited, False), (limited, True)] if limited is not None else [])
    for dims, oblivious in attempts:
        try:
            with _config.patch(backed_size_oblivious=oblivious):
                return _traced(root, arguments, signature, dims)
        except Exception as next_error:
            last = next_error
    raise _refused(last, symbols) from last


def _traced(
    root: torch.nn.Module, arguments: tuple[torch.Tensor, ...], signature: Signature, symbols: Mapping[str, Any]
) -> torch.export.ExportedProgram:
    import torch

    # torch.export matches these to the arguments by position when they come as a tuple.
    shapes = tuple(
        {axis: symbols[d] for axis, d in enumerate(t.shape or ()) if isinstance(d, str)} or None for t in signature.inputs
    )
    with torch.no_grad():
        program = torch.export.export(root, arguments, dynamic_shapes=shapes if symbols else None, strict=False)
    _drop_leftovers(program)
    return program


def _drop_leftovers(program: torch.export.ExportedProgram) -> None:
    """Deletes constants that torch has left in the bodies of control flow without using them, and then cannot decompose."""
    import torch

    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule) and module is not program.graph_module:
            used = {node.target for node in module.graph.nodes if node.op == "get_attr"}
            names = [n for n in (*vars(module), *module._buffers) if n.startswith("_tensor_constant") and n not in used]
            for name in names:
                delattr(module, name)


def _limited(message: str, symbols: Mapping[str, Any]) -> dict[str, Any] | None:
    """The dimensions with the limits that torch found in the model (a table of 512 positions allows no 513th).

    None where torch suggests something else, such as a fixed size, or a multiple of one.
    """
    import torch

    _, _, suggested = message.partition("Suggested fixes:")
    found = dict(symbols)
    lines = [line.strip() for line in suggested.partition("\n\n")[0].splitlines() if line.strip()]
    for line in lines:
        match = _SUGGESTION.fullmatch(line)
        if match is None or match["symbol"] not in symbols:
            return None
        low, high = int(match["low"] or 1), int(match["high"]) if match["high"] else None
        found[match["symbol"]] = torch.export.Dim(match["symbol"], min=max(low, 1), max=high)
    return found if lines else None


def _refused(error: Exception, symbols: Mapping[str, Any]) -> ConversionError:
    hint = "make the dimensions static: give --input with numbers, or leave out --dynamic" if symbols else ""
    return ConversionError(
        f"torch.export cannot capture the model: {one_line(error, 500)}",
        stage="convert",
        component="torch.export",
        hint=hint or "trace it with torch.jit.trace and convert that, or remove the control flow that depends on values",
    )


def limits(program: torch.export.ExportedProgram, signature: Signature) -> tuple[str, ...]:
    """What a user should know of the sizes that a captured program takes, one sentence per limited dimension."""
    names = program.graph_signature.user_inputs
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    found: dict[str, str] = {}
    for name, spec in zip(names, signature.inputs, strict=False):
        node = nodes.get(str(name))
        sizes = getattr(node.meta.get("val"), "shape", ()) if node is not None else ()
        for size, dim in zip(sizes, spec.shape or (), strict=False):
            allowed = program.range_constraints.get(getattr(getattr(size, "node", None), "expr", None))
            if isinstance(dim, str) and allowed is not None and allowed.upper < 1 << 31:
                found[dim] = f"dimension {dim} takes sizes up to {allowed.upper}, the model's own limit"
    return tuple(found.values())


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
