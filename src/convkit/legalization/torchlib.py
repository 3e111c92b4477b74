"""What torch's ONNX exporter accepts, and the decomposition that it runs first. Worker side.

The check and the converter share this: the check is the exporter's own first half (decompose, then look every remaining
operator up in its registry), and its result is kept, so that converting after checking does no work twice. The functions
used are the exporter's own steps (torch/onnx/_internal/exporter/_core.py, `export`), which its public face runs in one go.
"""

from __future__ import annotations

import contextlib
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from convkit.errors import ConversionError
from convkit.legalization import exported_program

if TYPE_CHECKING:
    import torch

__all__ = ["decomposed", "registry", "unsupported"]

LOWEST_OPSET = 18
"""The opset that torchlib is written in; lower ones are reached by onnxscript's version converter."""

_kept: WeakKeyDictionary[Any, dict[int, tuple[Any, tuple[str, ...]]]] = WeakKeyDictionary()


@cache
def registry(opset: int) -> Any:
    """The exporter's table of ATen operators for an opset (torch's `ONNXRegistry`)."""
    import logging

    from torch.onnx._internal.exporter import _registration

    logger = logging.getLogger(_registration.__name__)
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of every torchvision operator when torchvision is absent
    try:
        return _registration.ONNXRegistry.from_torchlib(opset_version=max(opset, LOWEST_OPSET))
    finally:
        logger.setLevel(level)


def decomposed(program: torch.export.ExportedProgram, opset: int) -> tuple[torch.export.ExportedProgram, tuple[str, ...]]:
    """The program in operators that the exporter knows, as far as decomposition leads there; and the work-arounds it took.

    The result is kept as long as the program is; it shares the program's weights.

    Raises:
        ConversionError: A decomposition failed.
    """
    found = _kept.setdefault(program, {})
    if opset not in found:
        found[opset] = _decompose(program, opset)
    return found[opset]


def _decompose(program: torch.export.ExportedProgram, opset: int) -> tuple[torch.export.ExportedProgram, tuple[str, ...]]:
    from torch.onnx._internal.exporter import _core, _flags

    prepare = _flags.set_onnx_exporting_flag(_core._prepare_exported_program_for_export)
    try:
        return prepare(program, registry=registry(opset)), ()
    except Exception as error:
        relaxed, changed = _with_reshapes(program)
        if changed:
            with contextlib.suppress(Exception):  # the first error is the one that tells
                return prepare(relaxed, registry=registry(opset)), (
                    f"{changed} views became reshapes: their strides do not survive the decomposition of attention",
                )
        raise ConversionError(
            f"torch cannot decompose the program for ONNX: {' '.join(str(error).split())[:400]}",
            component="torch-onnx",
            hint="export the model again with this torch version, or take another route: `convkit plan`",
        ) from error


def _with_reshapes(program: torch.export.ExportedProgram) -> tuple[torch.export.ExportedProgram, int]:
    """A copy of the program in which `view` is `reshape`, which copies where strides do not allow a view.

    Decomposed attention returns other strides than the fused operator that the model was traced with, so a view after it
    may not fit (T5, MaxViT).
    """
    import torch

    changed = 0
    relaxed = exported_program.copied(program)
    for module in relaxed.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                if node.target is torch.ops.aten.view.default:
                    node.target = torch.ops.aten.reshape.default
                    changed += 1
            module.recompile()
    return relaxed, changed


def unsupported(program: torch.export.ExportedProgram, opset: int) -> list[torch.fx.Node]:
    """The nodes of a decomposed program that the exporter would fail on, in the graph's order."""
    import torch
    from torch.onnx._internal.exporter import _dispatching

    table = registry(opset)
    return [
        node
        for node in exported_program.calls(program)
        if not _is_onnx_operator(node.target)
        # A control-flow operator's arguments are graphs: only its name is looked up.
        and (
            not table.is_registered(node.target)
            if isinstance(node.target, torch._ops.HigherOrderOperator)
            else _dispatching.dispatch(node, table)[0] is None
        )
    ]


def _is_onnx_operator(target: Any) -> bool:
    """Operators of `torch.ops.onnx` and `torch.ops.onnx_symbolic` stand for themselves."""
    return getattr(target, "namespace", "").split("::")[0] in {"onnx", "onnx_symbolic"}
