"""What torch's ONNX exporter accepts, and the decomposition that it runs first. Worker side.

The check and the converter share this: the check is the exporter's own first half (decompose, then look every remaining
operator up in its registry), and its result is kept, so that converting after checking does no work twice. The functions
used are the exporter's own steps (torch/onnx/_internal/exporter/_core.py, `export`), which its public face runs in one go.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from convkit.errors import ConversionError
from convkit.legalization import exported_program
from convkit.legalization.torch import decompositions
from convkit.legalization.torch.targets import TorchTarget

if TYPE_CHECKING:
    import onnx_ir
    import torch

__all__ = ["decomposed", "registry", "target", "translated", "unsupported"]

LOWEST_OPSET = 18
"""The opset that torchlib is written in; lower ones are reached by onnxscript's version converter."""

# torchlib (onnxscript 0.6) computes batch norms with the running statistics whether they are in training or not, and gives these
# as the saved ones: torch's own decompositions take over.
_MISTRANSLATED = frozenset(
    {
        "aten.native_batch_norm.default",
        "aten._native_batch_norm_legit.default",
        "aten._native_batch_norm_legit.no_stats",
        "aten._native_batch_norm_legit_functional.default",
    }
)


def _names_axes(x: Any, dim: Any = (), *_: Any, **__: Any) -> bool:
    return bool(dim)


def _is_pooled_as_usual(*args: Any, divisor_override: int | None = None, **__: Any) -> bool:
    return divisor_override is None and (len(args) < 7 or args[6] is None)


# What torchlib translates in part: it stops at the rest, or loses it without a word (a divisor, a mean).
_FORMS: Mapping[str, Callable[..., bool]] = {
    "aten.amax.default": _names_axes,
    "aten.amin.default": _names_axes,
    "aten.avg_pool2d.default": _is_pooled_as_usual,
    "aten.avg_pool3d.default": _is_pooled_as_usual,
    "aten.batch_norm.default": lambda *args: not args[5],
    "aten.cross_entropy_loss.default": lambda x, target, *_, **__: not target.is_floating_point(),
    "aten.pad.default": lambda x, pads, mode="constant", *_, **__: mode == "constant" or all(p >= 0 for p in pads),
    "aten.scaled_dot_product_attention.default": lambda query, *_, **__: query.dim() == 4,
    "aten.scatter_reduce.two": lambda x, dim, index, src, reduce, **__: reduce != "mean",
    "aten.unique_consecutive.default": lambda x, *_, **__: not x.is_floating_point(),
}

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


@cache
def target(opset: int) -> TorchTarget:
    """What the exporter translates itself."""
    known = registry(opset)

    def accepts(operator: torch._ops.OpOverload) -> bool:
        return str(operator) not in _MISTRANSLATED and bool(known.is_registered(operator))

    return TorchTarget("torch-onnx", accepts, _FORMS)


def decomposed(program: torch.export.ExportedProgram, opset: int) -> tuple[torch.export.ExportedProgram, tuple[str, ...]]:
    """The program in operators that the exporter knows, as far as decomposition leads there; and the work-arounds it took.

    The result is kept as long as the program is; it shares the program's weights.

    Raises:
        ConversionError: A decomposition failed.
    """
    from convkit.legalization.bfloat16 import in_float32
    from convkit.legalization.complex_numbers.program import in_real_numbers

    found = _kept.setdefault(program, {})
    if opset not in found:
        program = in_float32(program)
        with contextlib.suppress(ConversionError):
            found[opset] = _decompose(program, opset)
        if opset not in found or unsupported(found[opset][0], opset):
            real = in_real_numbers(program)  # torchlib knows some operators of complex numbers, Fourier transforms among them
            if opset not in found or real is not program:
                found[opset] = _decompose(real, opset)
    return found[opset]


def _decompose(program: torch.export.ExportedProgram, opset: int) -> tuple[torch.export.ExportedProgram, tuple[str, ...]]:
    try:
        return _prepared(program, opset), ()
    except Exception as error:
        relaxed, changed = _with_reshapes(program)
        if changed:
            with contextlib.suppress(Exception):  # the first error is the one that tells
                return _prepared(relaxed, opset), (
                    f"{changed} views became reshapes: their strides do not survive the decomposition of attention",
                )
        raise ConversionError(
            f"torch cannot decompose the program for ONNX: {' '.join(str(error).split())[:400]}",
            component="torch-onnx",
            hint="export the model again with this torch version, or take another route: `convkit plan`",
        ) from error


def _prepared(program: torch.export.ExportedProgram, opset: int) -> torch.export.ExportedProgram:
    """What the exporter's `_prepare_exported_program_for_export` does, with convkit's decompositions beside torch's."""
    import torch
    from torch.onnx._internal.exporter import _flags, _fx_passes

    def prepare() -> torch.export.ExportedProgram:
        with torch.fx.experimental._config.patch(backed_size_oblivious=True), exported_program.stable_operator_sets():
            ready = program.run_decompositions(dict(_table(opset)))
            _unify_limits(ready)
            _fx_passes.insert_type_promotion_nodes(ready.graph_module)
            ready._graph_module = _fx_passes.remove_assertion_nodes(ready.graph_module)
            return ready

    return _flags.set_onnx_exporting_flag(prepare)()


def _unify_limits(program: torch.export.ExportedProgram) -> None:
    """Makes floats of whole limits of floats: the exporter's type promotion makes a tensor of one of `clamp(x, 0, 1.0)`."""
    import torch

    for node in exported_program.calls(program):
        value = node.args[0].meta.get("val") if node.args and isinstance(node.args[0], torch.fx.Node) else None
        if node.target is torch.ops.aten.clamp.default and isinstance(value, torch.Tensor) and value.is_floating_point():
            node.args = (node.args[0], *(float(a) if isinstance(a, int) else a for a in node.args[1:]))


@cache
def _table(opset: int) -> Mapping[Any, Callable[..., Any]]:
    """Torch's decompositions of what the exporter does not translate, and convkit's."""
    from torch.onnx._internal.exporter import _decomp

    translated = {op for op in _decomp.get_onnx_implemented_overloads(registry(opset)) if str(op) not in _MISTRANSLATED}
    return {**_decomp.create_onnx_friendly_decomposition_table(translated), **decompositions.table(target(opset))}


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
            else _dispatching.dispatch(node, table)[0] is None or _gives_empty_statistics(node)
        )
    ]


def translated(program: torch.export.ExportedProgram, opset: int) -> onnx_ir.Model:
    """The ONNX model of a decomposed program, in another opset where that one has no form of it; it shares the weights.

    Raises:
        Exception: The exporter's own, whichever it is.
    """
    from torch.onnx._internal._lazy_import import onnxscript_apis
    from torch.onnx._internal.exporter import _core, _flags

    _exact_identities()
    translate = _flags.set_onnx_exporting_flag(_core._exported_program_to_onnx_program)
    model = translate(program, registry=registry(opset)).model
    return onnxscript_apis.optimize(onnxscript_apis.convert_version(model, opset))


@cache
def _exact_identities() -> None:
    """Has onnxscript's optimiser leave out an addition of exactly 0 only, and a product with exactly 1.

    Its patterns take 1e-8 for 0 and 1.00001 for 1 (0.7), so that `log(x + 1e-9)` would lose what keeps it finite.
    """
    from onnxscript.rewriter import _pattern_ir
    from onnxscript.rewriter.rules.common import _no_op

    for rule in _no_op.rules.rules:
        for node in rule._target_pattern:
            for value in node.inputs:
                if isinstance(value, _pattern_ir.Constant):
                    value._rel_tol = value._abs_tol = 0.0


def _gives_empty_statistics(node: torch.fx.Node) -> bool:
    """Whether it is a batch norm outside training whose saved statistics are read: torch's are empty, torchlib's are not."""
    plain = "aten._native_batch_norm_legit_no_training.default"
    return str(node.target) == plain and any(user.args[1] for user in node.users if user.users)


def _is_onnx_operator(target: Any) -> bool:
    """Operators of `torch.ops.onnx` and `torch.ops.onnx_symbolic` stand for themselves."""
    return getattr(target, "namespace", "").split("::")[0] in {"onnx", "onnx_symbolic"}
