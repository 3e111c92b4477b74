"""LiteRT → exported program, by an interpreter of the file that torch.export traces.

See `convkit.interpreters.litert` for how. The check names every operator that the interpreter lacks, with its place, and then
traces: only that tells whether a shape is computed from data. The conversion that follows takes the traced program.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host, Option
from convkit.converters._checked import Checked, Made, node_gap, refused, remember_program
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.legalization.target import Finding, Verdict
from convkit.signature import Signature

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch

    from convkit.interpreters.litert.model import Entry, Model, Subgraph

__all__ = ["CONVERTER", "check", "convert"]

CONVERTER = Converter(
    name="litert-importer",
    sources=(Variant.TFLITE,),
    target=Variant.EXPORTED_PROGRAM,
    host=Host(group="torch", preload=("torch",), packages=("torch", "ai-edge-litert")),
    cost=1.0,
    is_importer=True,
    reason="traces the file operator by operator; keeps signatures, layout, dynamic dimensions, quantization and state",
    options=(
        Option("dequantize", "compute in float between the quantized inputs and outputs", False),
        Option("signature", "which of the file's signatures; the first by default", None),
    ),
)

_LARGEST_INPUT = 1 << 31
"""Bytes; what claims more is a damaged file."""


def check(request: ConversionRequest) -> list[Finding]:
    """The verdict on every operator of the model, what only tracing shows included."""
    return _checked.check(request)


def convert(request: ConversionRequest) -> ConversionOutcome:
    """Writes `request.output`, a `.pt2` file.

    Raises:
        ConversionError: An operator has no counterpart, or a value that must be known is computed from data.
        UnreadableModelError: The file is damaged.
    """
    return _checked.convert(request)


def _make(request: ConversionRequest, output: Path) -> Made:
    from convkit.arrays import load_arrays
    from convkit.interpreters.litert.model import read_model
    from convkit.loading import pytorch_capture

    signature = request.signature or request.source.signature
    if signature is None:
        raise ConversionError(f"{request.source.path} has no signature", component=CONVERTER.name)
    model = read_model(request.source.path)
    entry = _entry(model, signature)
    findings = _findings(model.called(entry))
    if any(f.verdict is Verdict.GAP for f in findings):
        return refused(findings, (), CONVERTER.name)
    dequantize = str(request.options.get("dequantize", False)).lower() in {"1", "true", "yes", "on"}
    given = {} if request.examples is None else load_arrays(request.examples)
    try:
        program, signature = _program(model, entry, signature, given, dequantize)
    except ConversionError as error:
        gap = node_gap(error) or Finding("torch.export", 1, Verdict.GAP, error.message, code="CK111")
        return refused(findings, [gap], CONVERTER.name, error)
    pytorch_capture.save(program, signature, output)
    return Made(findings, notes=(*_notes(entry, dequantize), *pytorch_capture.limits(program, signature)), kept=program)


def _program(
    model: Model, entry: Entry, signature: Signature, given: dict[str, np.ndarray], dequantize: bool
) -> tuple[torch.export.ExportedProgram, Signature]:
    """The traced program and its signature."""
    from torch.fx import traceback

    from convkit.interpreters.litert.module import LiteRTModule
    from convkit.loading import pytorch_capture

    def traced(signature: Signature) -> torch.export.ExportedProgram:
        stand_ins = _stand_ins(signature, given)
        with traceback.preserve_node_meta():  # the operators' places, for what later converters have to say
            shapes = [stand_ins[spec.name].shape for spec in signature.inputs]
            module = LiteRTModule(model, entry, shapes, dequantize=dequantize).eval()
            return pytorch_capture.export(module, signature, stand_ins, imported=True)

    return pytorch_capture.of_any_sizes(traced, signature)


def _entry(model: Model, signature: Signature) -> Entry:
    """What the signature runs, with its inputs and outputs in the signature's order."""
    entry = model.entry(signature.name)
    if len(entry.inputs) != len(signature.inputs) or len(entry.outputs) != len(signature.outputs):
        raise ConversionError(
            f"the file has {len(entry.inputs)} inputs and {len(entry.outputs)} outputs, not {signature}", component=CONVERTER.name
        )
    return entry


def _findings(subgraphs: Sequence[Subgraph]) -> list[Finding]:
    """The verdict on every operator by its form, gaps first."""
    from convkit.interpreters.litert.table import operators

    found: Counter[str] = Counter()
    gaps: dict[tuple[str, str], list[str]] = {}
    for operator in (o for graph in subgraphs for o in graph.operators):
        entry = operators().find(operator.name)
        refusal = "the importer does not have this operator" if entry is None else entry.refusal(operator)
        if refusal is None:
            found[operator.name] += 1
        else:
            gaps.setdefault((operator.name, refusal), []).append(operator.place)
    refused = [Finding(name, len(places), Verdict.GAP, reason, tuple(places)) for (name, reason), places in gaps.items()]
    return [*refused, *(Finding(name, count, Verdict.LEGAL) for name, count in sorted(found.items()))]


def _notes(entry: Entry, dequantize: bool) -> tuple[str, ...]:
    if not dequantize:
        return ()
    return ("quantization was removed between the inputs and the outputs: values differ from the source's by some steps",)


def _stand_ins(signature: Signature, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of zeros for a trace, which looks at shapes only; a size of its own for every dynamic dimension.

    Raises:
        ConversionError: An input has no shape, or one beyond all memory.
    """
    import math

    import numpy as np

    sizes: dict[str, int] = {}
    for spec in signature.inputs:
        for axis, dim in enumerate(spec.shape or ()):
            if isinstance(dim, str) and spec.name in given and given[spec.name].shape[axis] > 1:
                sizes.setdefault(dim, given[spec.name].shape[axis])
    # torch takes two equal sizes for one, and a size of 1 for a promise.
    free = (p for p in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47) if p not in sizes.values())
    for symbol in signature.dynamic_dims:
        if symbol not in sizes:
            sizes[symbol] = next(free)
    found = {}
    for spec in signature.inputs:
        shape = spec.concrete(sizes)
        if spec.shape is None:
            raise ConversionError(f"the rank of the input {spec.name!r} is not known", component=CONVERTER.name)
        if math.prod(shape) * np.dtype(spec.dtype).itemsize > _LARGEST_INPUT:
            raise ConversionError(f"the input {spec} exceeds all memory", component=CONVERTER.name)
        found[spec.name] = np.zeros(shape, spec.dtype)
    return found


_checked = Checked(_make, remember_program)
