"""ExecuTorch → exported program, by an interpreter of a method's instructions that torch.export traces.

See `convkit.interpreters.executorch` for how. What XNNPACK holds is computed too; any other delegate is a gap, named before
anything is traced. Only tracing tells the rest, so the check traces, and the conversion that follows takes the traced program.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host
from convkit.converters._checked import Checked, Made, node_gap, refused, remember_program
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.legalization.codes import Reason
from convkit.legalization.target import Finding, Verdict
from convkit.signature import Signature

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from convkit.interpreters.executorch.method_module import MethodModule
    from convkit.interpreters.executorch.program import Method, Program

__all__ = ["CONVERTER", "check", "convert"]

CONVERTER = Converter(
    name="executorch-torch",
    sources=(Variant.PTE,),
    target=Variant.EXPORTED_PROGRAM,
    host=Host(group="torch", preload=("torch",), packages=("torch",)),
    cost=1.0,
    is_importer=True,
    reason="traces the program instruction by instruction, what is delegated to XNNPACK included; keeps dynamic dimensions",
)


def check(request: ConversionRequest) -> list[Finding]:
    """The verdict on every kernel and delegate of the method, what only tracing shows included."""
    return _checked.check(request)


def convert(request: ConversionRequest) -> ConversionOutcome:
    """Writes `request.output`, a `.pt2` file that computes the method that the signature is named after.

    Raises:
        ConversionError: A delegate or an operator is opaque, or a value that must be known is computed from data.
        UnreadableModelError: The file is damaged.
    """
    return _checked.convert(request)


def _make(request: ConversionRequest, output: Path) -> Made:
    from convkit.arrays import load_arrays
    from convkit.interpreters.executorch.program import Program
    from convkit.loading import pytorch_capture
    from convkit.readers.damage import PARSER_ERRORS, damaged

    if request.signature is None:
        raise ConversionError(f"{request.source.path} has no signature", component=CONVERTER.name)
    signature = request.signature
    try:
        program = Program(request.source.path)
        method = program.method(signature.name)
        findings = _verdicts(method)
        if any(f.verdict is Verdict.GAP for f in findings):
            return refused(findings, (), CONVERTER.name)
        module = _module(program, method)
    except PARSER_ERRORS as error:
        raise damaged(request.source.path, Variant.PTE.title, error) from error
    given = {} if request.examples is None else load_arrays(request.examples)
    try:
        traced, signature = pytorch_capture.of_any_sizes(
            lambda s: pytorch_capture.export(module, s, _stand_ins(s, method, given), imported=True), signature
        )
    except ConversionError as error:
        gap = node_gap(error) or Finding("torch.export", 1, Verdict.GAP, error.message, code="CK111")
        return refused(findings, [gap], CONVERTER.name, error)
    pytorch_capture.save(traced, signature, output)
    return Made(findings, notes=(*_notes(program, module), *pytorch_capture.limits(traced, signature)), kept=traced)


def _verdicts(method: Method) -> list[Finding]:
    """A verdict on every kernel and delegate by its name, gaps first."""
    from convkit.interpreters.executorch import kernels
    from convkit.interpreters.executorch.machine import operator_name
    from convkit.interpreters.executorch.program import DelegateCall, KernelCall
    from convkit.interpreters.executorch.xnnpack.payload import PAYLOAD_ID

    counts: Counter[str] = Counter()
    reasons: dict[str, str] = {}
    for instruction in method.instructions:
        if not isinstance(instruction, KernelCall | DelegateCall):
            continue
        name = operator_name(method, instruction)
        counts[name] += 1
        if isinstance(instruction, KernelCall) and kernels.find(instruction.operator) is None:
            reasons[name] = Reason("a custom operator: nothing in the file tells what it computes", "CK110")
        elif isinstance(instruction, DelegateCall) and (identifier := method.delegates[instruction.delegate].id) != PAYLOAD_ID:
            reasons[name] = Reason(f"what {identifier} has compiled cannot be read back", "CK110")
    hint = "export the model for XNNPACK or the portable kernels"
    gaps = [Finding(name, counts[name], Verdict.GAP, reason, hint=hint) for name, reason in sorted(reasons.items())]
    return [*gaps, *(Finding(name, counts[name], Verdict.LEGAL) for name in sorted(counts) if name not in reasons)]


def _module(program: Program, method: Method) -> MethodModule:
    from convkit.interpreters.executorch.method_module import MethodModule
    from convkit.interpreters.executorch.xnnpack.delegate import delegates

    module = MethodModule(program, method, delegates(program, method))
    module.eval()
    return module


def _stand_ins(signature: Signature, method: Method, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Zeros for a trace, which looks at shapes only.

    The user's sizes where they are distinct and not 1 (torch takes a size of 1 for a promise, and one of two that are equal
    for the other), else sizes below the bounds that memory was planned for.
    """
    import numpy as np

    from convkit.interpreters.executorch.program import TensorValue

    own: dict[str, int] = {}
    bounds: dict[str, int] = {}
    for spec, index in zip(signature.inputs, method.inputs, strict=True):
        value = method.values[index]
        sizes = value.sizes if isinstance(value, TensorValue) else ()
        for axis, dim in enumerate(spec.shape or ()):
            if isinstance(dim, str):
                bounds[dim] = min(bounds.get(dim, sizes[axis]), sizes[axis])
                if spec.name in given:
                    own[dim] = given[spec.name].shape[axis]
    taken: dict[str, int] = {}
    for dim, bound in bounds.items():
        wanted = own.get(dim, 0)
        if wanted < 2 or wanted in taken.values():
            # Larger than what models slice off, and free of the factors that they divide by where the bound leaves room.
            free = [size for size in range(min(bound, 37), 1, -1) if size not in taken.values()]
            wanted = free[0] if free else bound
        taken[dim] = wanted
    return {spec.name: np.zeros(spec.concrete(taken), spec.dtype) for spec in signature.inputs}


def _notes(program: Program, module: MethodModule) -> tuple[str, ...]:
    notes = []
    if module.uninitialised:
        notes.append(
            f"{module.uninitialised} mutable buffers have no initial state in the file: they begin as zeros here, and with "
            "whatever memory holds in ExecuTorch (its InitializedMutableBufferPass keeps the state)"
        )
    return tuple(notes)


_checked = Checked(_make, remember_program)
