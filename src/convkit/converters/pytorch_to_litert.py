"""PyTorch exported program → LiteRT by litert-torch, with dynamic dimensions.

litert-torch lowers through JAX, which needs static shapes for most operators. So the program is converted once, with each
dynamic size pinned to a prime (`convkit.legalization.prime_sizes`), and the dynamic dimensions are restored in the file
(`convkit.legalization.litert_dynamic`). Source: https://github.com/google-ai-edge/litert-torch (0.9.4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.legalization.codes import Reason
from convkit.legalization.exported_program import without_batch_heuristics

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from convkit.legalization.prime_sizes import DynamicSizes, PinnedProgram
    from convkit.legalization.target import Finding

__all__ = ["CONVERTER", "check", "convert"]

CONVERTER = Converter(
    name="litert-torch",
    sources=(Variant.EXPORTED_PROGRAM,),
    target=Variant.TFLITE,
    host=Host(
        group="torch",
        preload=("torch", "litert_torch"),
        packages=("litert-torch", "torch", "litert-converter", "ai-edge-litert", "jax"),
    ),
    cost=1.0,
    reason="the only direct converter; keeps dynamic dimensions, has no control flow",
)

_STATE = Reason("it keeps a value for the next run, which litert-torch drops", "CK109")
_STATE_HINT = "make the state an input and an output of the model"
_GAP_HINT = "replace it in the model, or see `convkit plan` for another route"

_prepared: dict[tuple[Any, ...], _Prepared] = {}


@dataclass(frozen=True)
class _Prepared:
    """A program on its way through litert-torch.

    Attributes:
        program: The static program after litert-torch's first decompositions and passes, before it is lowered.
        pinned: What it is the export of.
        source: The program that was given.
        rewritten: The source's operators that are written out in others, with what that does.
        refused: The source's nodes that keep a value for the next run, or are random, and why that is refused.
    """

    program: torch.export.ExportedProgram
    pinned: PinnedProgram
    source: torch.export.ExportedProgram
    rewritten: Mapping[str, str]
    refused: Mapping[torch.fx.Node, str]


@without_batch_heuristics()
def check(request: ConversionRequest) -> list[Finding]:
    """The verdict on every operator of the program; all gaps at once.

    Raises:
        ConversionError: The program cannot be pinned or decomposed, so that there is nothing to check.
        UnreadableModelError: torch cannot load the file.
    """
    from litert_torch import fx_infra

    from convkit.legalization import exported_program as programs
    from convkit.legalization import litert_torch as target
    from convkit.loading import pytorch as loading

    source = loading.exported_program(request.source)
    if unbacked := target.unbacked(target.legalized(source)):
        return programs.findings(source, unbacked)
    try:
        prepared = _prepare(request)
    except ConversionError:
        if unbacked := target.unbacked(source):  # whose sizes the program still names where none depends on them any more
            return programs.findings(source, unbacked)
        raise
    # What litert-torch decomposes later, it decomposes for its own lowerings.
    later = fx_infra.decomp.pre_lower_decomp()
    calls = [node for node in prepared.program.graph.nodes if node.op == "call_function"]
    gaps = {node: reason for node in calls if (reason := target.why_not(node, later))}
    return programs.findings(source, {**gaps, **prepared.refused}, prepared.rewritten)


@without_batch_heuristics()
def convert(request: ConversionRequest) -> ConversionOutcome:
    """Writes `request.output`, a `.tflite` file with the request's signature as `serving_default`.

    Raises:
        ConversionError: An operator cannot be lowered, a dynamic dimension cannot be kept, or the signature differs.
        UnreadableModelError: torch cannot load the file.
    """
    from convkit.legalization import litert_torch as target
    from convkit.legalization.exported_program import told
    from convkit.legalization.litert_dynamic import restore_dynamic_dims
    from convkit.loading.pytorch import exported_program
    from convkit.loading.tflite_signature import rename_edges

    signature = request.signature
    if signature is None:
        raise ConversionError(f"{request.source.path} has no signature", component=CONVERTER.name)
    for node, reason in target.unbacked(target.legalized(exported_program(request.source))).items():
        raise ConversionError(f"{told([node])}: {reason}", component=CONVERTER.name, hint=_GAP_HINT)
    prepared = _prepare(request)
    _prepared.clear()  # lowering changes the program
    for node, reason in prepared.refused.items():
        raise ConversionError(f"{told([node])}: {reason}", component=CONVERTER.name, hint=_STATE_HINT)
    _lower(prepared, request.output)
    sizes = prepared.pinned.sizes
    rename_edges(
        request.output,
        signature,
        inputs=range(len(signature.inputs)),
        outputs=range(len(signature.outputs)),
        edit=(lambda model: restore_dynamic_dims(model, sizes)) if sizes.primes else None,
    )
    return ConversionOutcome(_notes(sizes))


def _notes(sizes: DynamicSizes) -> tuple[str, ...]:
    if not sizes.primes:
        return ()
    return (f"dynamic dimensions were pinned to {', '.join(map(str, sizes.primes.values()))} and restored in the file",)


def _prepare(request: ConversionRequest) -> _Prepared:
    """Loads, pins, exports and decomposes the program; kept from `check` to `convert`."""
    from convkit.legalization.exported_program import stable_operator_sets
    from convkit.loading.pytorch import exported_program

    stamp = request.source.path.stat()
    key = (str(request.source.path), stamp.st_mtime_ns, stamp.st_size)
    if key not in _prepared:
        _prepared.clear()
        with stable_operator_sets():
            _prepared[key] = _prepare_program(exported_program(request.source))
    return _prepared[key]


def _prepare_program(source: torch.export.ExportedProgram) -> _Prepared:
    from litert_torch import fx_infra

    from convkit.legalization import litert_torch as target
    from convkit.legalization.exported_program import random_nodes, state_updates
    from convkit.legalization.torch.targets import rewritten, written_out

    pinned, exported = _pinned(target.legalized(source))
    if target.uncovers(exported):
        decomposed = written_out(target.in_plain_numbers(source), target.target(), fx_infra.decomp.pre_convert_decomp())
        pinned, exported = _pinned(decomposed)
    changed = {**rewritten(source, target.target()), **pinned.rewritten}
    refused = dict.fromkeys(state_updates(source), _STATE) | random_nodes(source) | target.empty_outputs(source)
    refused |= target.narrow_edges(source)
    return _Prepared(exported, pinned, source, changed, refused)


def _pinned(program: torch.export.ExportedProgram) -> tuple[PinnedProgram, torch.export.ExportedProgram]:
    """The program with static sizes, and its export after litert-torch's first decompositions and passes."""
    import torch
    from litert_torch import fx_infra
    from litert_torch._convert import core

    from convkit.legalization.prime_sizes import pin_sizes

    pinned = pin_sizes(program)
    try:
        exported = torch.export.export(pinned.module, pinned.samples, strict=False)
        _own_infinities(exported)
        exported = fx_infra.graph_utils.reset_from_node_meta(exported)
        exported = fx_infra.safe_run_decompositions(exported, fx_infra.decomp.pre_convert_decomp(), can_skip=False)
        _erase_assertions(exported.graph_module)
        # The passes of litert_torch.convert, in its order.
        exported = core._run_convert_passes(exported)
    except Exception as error:
        raise _failure("litert-torch cannot decompose the program", error) from error
    return pinned, exported


def _own_infinities(program: torch.export.ExportedProgram) -> None:
    """litert-torch clamps infinities in place, which must not reach the program that others in this process share."""
    import torch

    for store in (program.state_dict, program.constants):
        for name, tensor in store.items():
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and torch.isinf(tensor).any():
                store[name] = tensor.detach().clone()


def _erase_assertions(module: torch.fx.GraphModule) -> None:
    """Decompositions assert what the inputs hold (`one_hot`); the file computes without looking."""
    for node in reversed(module.graph.nodes):
        if "_assert" in str(node.target) and not node.users:
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.recompile()


def _lower(prepared: _Prepared, output: Path) -> None:
    from litert_torch._convert import litert_converter, signature

    entry = signature.Signature("serving_default", prepared.pinned.module, prepared.pinned.samples, {})
    try:
        exporter = litert_converter.exported_programs_to_flatbuffer([prepared.program], [entry])
        exporter.to_file(str(output))
    except Exception as error:
        raise _failure("litert-torch cannot lower the program", error) from error


def _failure(what: str, error: Exception) -> ConversionError:
    if isinstance(error, ConversionError):
        return error
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = next((line for line in lines if "error:" in line), lines[0] if lines else type(error).__name__)
    reason = reason.rpartition("error: ")[2][:300]
    return ConversionError(f"{what}: {reason}", component=CONVERTER.name, hint="see `convkit plan` for another route")
