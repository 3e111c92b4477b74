"""PyTorch modules (from a factory, or a trusted pickle) → exported program, through torch.export."""

from __future__ import annotations

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host
from convkit.errors import ConversionError
from convkit.formats import Variant

CONVERTER = Converter(
    name="torch-export",
    sources=(Variant.MODULE_FACTORY, Variant.PICKLED_MODULE),
    target=Variant.EXPORTED_PROGRAM,
    host=Host(group="torch", preload=("torch",), packages=("torch",)),
    cost=0.5,
    is_importer=True,
    reason="captures the module's own code",
)


def convert(request: ConversionRequest) -> ConversionOutcome:
    """Exports the module with the signature's dynamic dimensions.

    Raises:
        ConversionError: It cannot be traced, or it specialises a dynamic dimension.
    """
    from convkit.arrays import load_arrays
    from convkit.artifact import Artifact
    from convkit.loading import pytorch as loading
    from convkit.loading import pytorch_capture

    if request.signature is None or request.examples is None:
        raise ConversionError("a module can only be captured with example inputs")
    module = loading.model(request.source)
    program = pytorch_capture.export(module, request.signature, load_arrays(request.examples))
    pytorch_capture.save(program, request.signature, request.output)
    loading.remember_traced(Artifact(Variant.EXPORTED_PROGRAM, request.output), program)
    return ConversionOutcome(pytorch_capture.limits(program, request.signature))
