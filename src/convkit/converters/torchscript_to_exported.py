"""TorchScript → exported program, through torch's own `TS2EPConverter`.

TorchScript is deprecated (pytorch/pytorch#27475) and torch.export refuses it; the converter handles traced and simple scripted
modules, and fails on `prim::If` and data-dependent loops. The legacy ONNX exporter is the second route.
"""

from __future__ import annotations

from typing import Any

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host
from convkit.errors import ConversionError
from convkit.formats import Variant

CONVERTER = Converter(
    name="ts2ep",
    sources=(Variant.TORCHSCRIPT,),
    target=Variant.EXPORTED_PROGRAM,
    host=Host(group="torch", preload=("torch",), packages=("torch",)),
    cost=0.5,
    is_importer=True,
    reason="reads the TorchScript graph; no control flow",
)


def convert(request: ConversionRequest) -> ConversionOutcome:
    """Converts the graph, and exports it again with the signature's names and dynamic dimensions.

    Raises:
        ConversionError: The graph has constructs that the converter does not know.
    """
    import torch
    from torch._export.converter import TS2EPConverter

    from convkit.arrays import load_arrays
    from convkit.artifact import Artifact
    from convkit.loading import pytorch as loading
    from convkit.loading import pytorch_capture

    if request.signature is None or request.examples is None:
        raise ConversionError("TorchScript can only be converted with example inputs")
    scripted = loading.model(request.source)
    feeds = load_arrays(request.examples)
    arguments = tuple(loading.to_torch(feeds[t.name], t.dtype) for t in request.signature.inputs)
    try:
        converter = TS2EPConverter(scripted, arguments)
        _remove_assertions(converter.ts_graph)
        torch._C._jit_pass_dce(converter.ts_graph)  # what only the assertions have asked
        converted = converter.convert().module()
    except Exception as error:
        raise ConversionError(
            f"TS2EPConverter does not know this TorchScript: {' '.join(str(error).split())[:400]}",
            hint="export the original module with torch.export.save, if you have its source",
        ) from error
    program = pytorch_capture.export(converted, request.signature, feeds)
    pytorch_capture.save(program, request.signature, request.output)
    loading.remember_traced(Artifact(Variant.EXPORTED_PROGRAM, request.output), program)
    notes = pytorch_capture.limits(program, request.signature)
    return ConversionOutcome((*notes, *loading.trace_notes(request.source)))


def _remove_assertions(block: Any) -> None:
    """Takes out branches that do nothing but raise: an exported program has no exceptions.

    `nn.LSTM`'s own checks compare lists of sizes, and that comparison fixes a dynamic batch at the example's size.
    """
    for node in list(block.nodes()):
        for inner in node.blocks():
            _remove_assertions(inner)
        if node.kind() == "prim::If" and not list(node.outputs()):
            inside = [n.kind() for inner in node.blocks() for n in inner.nodes()]
            if "prim::RaiseException" in inside and not any(k == "prim::SetAttr" or k.endswith("_") for k in inside):
                node.destroy()
