"""PyTorch exported program → LiteRT by litert-torch, with dynamic dimensions.

litert-torch lowers through JAX, which needs static shapes for most operators. So the program is converted once, with each
dynamic size pinned to a prime (`convkit.legalization.prime_sizes`), and the dynamic dimensions are restored in the file
(`convkit.legalization.litert_dynamic`). Source: https://github.com/google-ai-edge/litert-torch (0.9.4).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host, Option
from convkit.errors import ConversionError
from convkit.formats import Variant

if TYPE_CHECKING:
    import torch

    from convkit.artifact import Artifact
    from convkit.legalization.prime_sizes import DynamicSizes
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

_GAP_HINT = "replace it in the model, or see `convkit plan` for another route"

# litert-torch lowers these to StableHLO operators that the LiteRT interpreter has no kernel for: the file is written, and
# fails when it is loaded or run.
_WITHOUT_KERNEL = {
    "aten.sort.default": "LiteRT has no kernel for STABLEHLO_SORT",
    "aten.sort.stable": "LiteRT has no kernel for STABLEHLO_SORT",
}
_SCATTERS = {"sum", "prod", "amin", "amax"}

_prepared: dict[tuple[Any, ...], _Prepared] = {}


@dataclass(frozen=True)
class _Prepared:
    """A program on its way through litert-torch: pinned, decomposed, before it is lowered.

    Attributes:
        program: The static program after litert-torch's first decompositions and passes.
        pinned: The module that it is the export of, and its sample inputs.
        sizes: What its sizes stand for.
        rewritten: The operators of the source that convkit rewrote, with the reason.
        counts: How often the source has each operator.
    """

    program: Any
    pinned: torch.nn.Module
    samples: tuple[torch.Tensor, ...]
    sizes: DynamicSizes
    rewritten: Mapping[str, str]
    counts: Mapping[str, int]


def check(request: ConversionRequest) -> list[Finding]:
    """The verdict on every operator of the program; all gaps at once.

    Raises:
        ConversionError: The program cannot be pinned or decomposed, so that there is nothing to check.
        UnreadableModelError: torch cannot load the file.
    """
    from convkit.legalization.target import Finding, Verdict

    prepared = _prepare(request)
    findings = _gaps(prepared)
    named = {finding.operator for finding in findings}
    for operator, count in sorted(prepared.counts.items()):
        if operator in named:
            continue
        reason = prepared.rewritten.get(operator, "")
        findings.append(Finding(operator, count, Verdict.REWRITTEN if reason else Verdict.LEGAL, reason))
    order = [Verdict.GAP, Verdict.REWRITTEN, Verdict.LEGAL]
    return sorted(findings, key=lambda f: (order.index(f.verdict), f.operator))


def convert(request: ConversionRequest) -> ConversionOutcome:
    """Writes `request.output`, a `.tflite` file with the request's signature as `serving_default`.

    Raises:
        ConversionError: An operator cannot be lowered, a dynamic dimension cannot be kept, or the signature differs.
        UnreadableModelError: torch cannot load the file.
    """
    from convkit.legalization.litert_dynamic import restore_dynamic_dims
    from convkit.loading import tflite_signature

    prepared = _prepare(request)
    _prepared.clear()  # lowering changes the program
    _lower(prepared, request.output)
    if prepared.sizes.primes:
        tflite_signature.edit_model(request.output, lambda model: restore_dynamic_dims(model, prepared.sizes))
    if request.signature is not None:
        tflite_signature.rename_edges(
            request.output,
            request.signature,
            inputs=range(len(request.signature.inputs)),
            outputs=range(len(request.signature.outputs)),
        )
    return ConversionOutcome()
