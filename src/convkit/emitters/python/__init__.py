"""A readable Python module beside an exported program, and its weights as safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from convkit.components import EmissionOutcome, EmissionRequest, Emitter, Host
from convkit.emitters.python.names import module_name
from convkit.errors import ConversionError
from convkit.formats import Variant

if TYPE_CHECKING:
    import torch

__all__ = ["EMITTER", "emit", "files"]

EMITTER = Emitter(
    name="python",
    source=Variant.EXPORTED_PROGRAM,
    host=Host(group="torch", preload=("torch",), packages=("torch", "safetensors")),
    help="a Python module that computes the model with torch functions, and its weights as safetensors",
)


def files(output: Path) -> tuple[Path, ...]:
    """The module, named so that it can be imported, and its weights."""
    module = output.with_name(module_name(output.name.removesuffix(output.suffix)) + ".py")
    return module, module.with_suffix(".safetensors")


def emit(request: EmissionRequest) -> EmissionOutcome:
    """Writes both files, imports the module and compares it with the program.

    Raises:
        ConversionError: The program has something without a spelling, or what was written does not compute the same.
    """
    from convkit.emitters.python import document, proof, weights
    from convkit.loading import pytorch as loading

    signature = request.artifact.signature
    assert signature is not None
    program = _as_saved(request, loading.exported_program(request.artifact))
    module, weights_file = files(request.artifact.path)
    tensors = weights.weights_of(program)
    weights.save(tensors, weights_file)
    notes: list[str] = []
    for literally in (False, True):
        text = document.source(program, tensors, signature, request.origin, module, literally=literally)
        module.write_text(text, encoding="utf-8")
        try:
            notes.append(f"{module.name} gives {proof.prove(program, module, signature, request.inputs)}")
            break
        except ConversionError as error:
            if literally:
                raise
            notes.append(f"all operators are written as torch.ops.…: in terms of torch's functions {error.message}")
    return EmissionOutcome(tuple(notes))


def _as_saved(request: EmissionRequest, program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program in the state that its file has: running one that counts in its buffers leaves other values in them."""
    import torch

    from convkit.emitters.python.functions import changes

    if not any(changes(n) for n in program.graph.nodes):
        return program
    with request.artifact.path.open("rb") as stream:
        return torch.export.load(stream)
