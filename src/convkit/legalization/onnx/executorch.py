"""What ExecuTorch cannot hold or plan of an ONNX model, told from the graph alone, before the importer or torch are asked.

The exact verdict is that on the traced program (`convkit.legalization.executorch`); these are the refusals of it that follow from
dtypes, operators and constants, whatever is done to the rest. Measured over ONNX's own node tests: none of them is called of a
model that converts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convkit.legalization.codes import Reason
from convkit.legalization.onnx.dataflow import Knowledge
from convkit.legalization.target import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

__all__ = ["refusals"]

_UNSIGNED = frozenset({"UINT16", "UINT32", "UINT64"})
_NO_KERNEL = Reason("ExecuTorch has no kernel for it, and torch no decomposition", "CK107")
_UNPLANNED = Reason("how large its result is depends on the data, and ExecuTorch plans its memory ahead", "CK105")
_SIZES = {
    **dict.fromkeys(("BlackmanWindow", "HammingWindow", "HannWindow"), (0,)),
    **dict.fromkeys(("CenterCropPad", "Expand", "OneHot", "Reshape", "Tile", "TopK", "Upsample"), (1,)),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Resize": (2, 3),
}
"""The inputs whose values say how large a result is."""


def refusals(model: ir.Model) -> list[Finding]:
    """A gap per operator and reason, with the nodes' names."""
    places: dict[tuple[str, Reason], list[str]] = {}
    known = Knowledge.of(model.graph)
    for node in model.graph:
        for reason in _reasons(node, known):
            places.setdefault((node.op_type, reason), []).append(node.name or node.outputs[0].name or node.op_type)
    return [
        Finding(operator, len(names), Verdict.GAP, reason, tuple(names), _HINTS[reason.code], evidence="registry")
        for (operator, reason), names in places.items()
    ]


_HINTS = {
    "CK102": "cast to int64 or int32 before it, where the values allow that",
    "CK105": "make its length a constant of the model",
    "CK107": "keep the value in one dtype, or compute the bits outside of the model",
}


def _reasons(node: ir.Node, known: Knowledge) -> Iterator[Reason]:
    values = [v for v in (*node.inputs, *node.outputs) if v is not None and v.dtype is not None]
    unsigned = next((v.dtype.name for v in values if v.dtype.name in _UNSIGNED), "")
    if unsigned:
        yield Reason(f"ExecuTorch's kernels do not compute with {unsigned.lower()}", "CK102")
    elif node.op_type == "BitCast" and values[0].dtype.name != "BOOL":
        yield _NO_KERNEL
    elif not _is_a_list(node.outputs[0]) and any(
        not known.is_size(v) for i, v in enumerate(node.inputs) if i in _SIZES.get(node.op_type, ())
    ):
        yield _UNPLANNED


def _is_a_list(value: ir.Value) -> bool:
    """Whether it has a single axis, of which a bound is assumed, and told."""
    return value.shape is not None and len(value.shape) == 1
