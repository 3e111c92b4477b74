"""What litert-torch translates of torch's operators, and how a program is brought to that. Worker side.

Source: https://github.com/google-ai-edge/litert-torch (0.9.4), litert_torch/backend/lowerings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from convkit.legalization.codes import Reason
from convkit.legalization.exported_program import calls
from convkit.legalization.kept import kept
from convkit.legalization.kernel_operators import reads_places
from convkit.legalization.torch.targets import TorchTarget, needed, written_out

if TYPE_CHECKING:
    import torch

__all__ = ["empty_outputs", "in_plain_numbers", "legalized", "narrow_edges", "target", "unbacked", "uncovers", "why_not"]

NAME = "litert-torch"

_NARROW_EDGE = Reason("LiteRT takes and gives no bfloat16: cast inputs and outputs to float32 in the model", "CK102")


# litert-torch lowers these to StableHLO operators that the LiteRT interpreter has no kernel for: the file is written, and
# fails when it is loaded or run. As operators of the program's own they are rewritten before (`kernel_operators`).
_WITHOUT_KERNEL = {
    "aten.sort.default": Reason("LiteRT has no kernel for STABLEHLO_SORT", "CK107"),
    "aten.sort.stable": Reason("LiteRT has no kernel for STABLEHLO_SORT", "CK107"),
}

# Lowered to what the interpreter refuses: scatters that reduce, reductions with two results, a 64-bit sign.
_MISTRANSLATED = frozenset(
    {
        "aten._adaptive_avg_pool3d.default",
        "aten.conv_transpose3d.input",
        "aten.index_add.default",
        "aten.scatter_add.default",
        "aten.scatter_reduce.two",
        "aten.logical_xor.default",
        "aten.max.dim",
        "aten.max_pool2d_with_indices_backward.default",
        "aten.min.dim",
    }
)

# Torch writes these out in operators that are translated.
_WRITTEN_OUT = frozenset(
    {
        "aten.avg_pool1d.default",
        "aten.batch_norm.default",
        "aten.conv3d.default",
        "aten.conv1d.padding",
        "aten.conv2d.padding",
        "aten.conv3d.padding",
        "aten.max_pool1d.default",
        "aten.isneginf.default",
        "aten.isposinf.default",
        "aten.max_pool3d.default",
        "aten.pad.default",
        "aten.scaled_dot_product_attention.default",
        "aten.signbit.default",
    }
)


_MOST_AXES = 6


def _is_batched(x: torch.Tensor, weight: torch.Tensor, *_: Any, **__: Any) -> bool:
    return bool(x.dim() == weight.dim())


def _is_whole(x: torch.Tensor, *_: Any, **__: Any) -> bool:
    return not x.is_floating_point()


def _is_plain_window(*args: Any, ceil_mode: bool = False, dilation: Any = 1, **__: Any) -> bool:
    spread = args[4] if len(args) > 4 else dilation
    return not (ceil_mode or (len(args) > 5 and args[5])) and all(
        d == 1 for d in ([spread] if isinstance(spread, int) else spread)
    )


def _is_averaged_as_usual(*args: Any, ceil_mode: bool = False, divisor_override: int | None = None, **__: Any) -> bool:
    return not (ceil_mode or (len(args) > 4 and args[4])) and divisor_override is None and (len(args) < 7 or args[6] is None)


def _is_plain_put(x: torch.Tensor, indices: Any, values: torch.Tensor, accumulate: bool = False) -> bool:
    import torch

    return not accumulate and all(index is None or index.dtype is not torch.bool for index in indices)


def _is_plain_top(x: torch.Tensor, k: int, dim: int = -1, largest: bool = True, *_: Any) -> bool:
    """Others become a STABLEHLO_SORT."""
    return largest and (x.dim() == 0 or dim % x.dim() == x.dim() - 1)


_FORMS: Mapping[str, Callable[..., bool]] = {
    "aten.avg_pool2d.default": _is_averaged_as_usual,
    "aten.avg_pool3d.default": _is_averaged_as_usual,
    "aten.conv1d.default": _is_batched,
    "aten.conv2d.default": _is_batched,
    "aten.conv_transpose1d.default": _is_batched,
    "aten.conv_transpose2d.input": _is_batched,
    "aten.div.Tensor_mode": lambda x, other, rounding_mode=None: rounding_mode != "floor" or not x.is_floating_point(),
    "aten.floor_divide.default": _is_whole,
    "aten.index_put.default": _is_plain_put,
    "aten._unsafe_index_put.default": _is_plain_put,
    "aten.max_pool2d.default": _is_plain_window,
    "aten.topk.default": _is_plain_top,
}


@cache
def target() -> TorchTarget:
    """What litert-torch translates itself, so that LiteRT runs it."""
    from litert_torch.backend import lowerings

    def accepts(operator: torch._ops.OpOverload) -> bool:
        name = str(operator)
        if name in _MISTRANSLATED:
            return False
        return name in _WRITTEN_OUT or lowerings.lookup(operator) is not None

    return TorchTarget(NAME, accepts, _FORMS)


@kept
def legalized(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program with operators written out that litert-torch lacks, kept as long as the program is.

    Before sizes are pinned: what is written out must hold at every size.
    """
    from convkit.legalization.torch.merged_axes import with_few_axes
    from convkit.legalization.torch.single_parts import without_single_parts

    return written_out(with_few_axes(without_single_parts(in_plain_numbers(program)), _MOST_AXES), target())


def in_plain_numbers(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program in the dtypes that LiteRT computes with: without complex numbers and without bfloat16."""
    from convkit.legalization.bfloat16 import in_float32
    from convkit.legalization.complex_numbers.program import in_real_numbers

    return in_real_numbers(in_float32(program))


def why_not(node: torch.fx.Node, later: Mapping[Any, Any]) -> str:
    """Why LiteRT cannot have an operator that is left when litert-torch's decompositions have run; empty where it can.

    Args:
        node: A node of the decomposed program.
        later: The decompositions that litert-torch runs afterwards, for its own lowerings.
    """
    import torch
    from litert_torch.backend import lowerings

    name = str(node.target)
    if name in _WITHOUT_KERNEL:
        return _WITHOUT_KERNEL[name]
    if name in ("aten.scatter_reduce.two", "aten.scatter_add.default"):
        return "LiteRT has no kernel for a STABLEHLO_SCATTER that reduces"
    if name.startswith(("aten.index_put", "aten._unsafe_index_put")) and not _is_plain_put(*_values(node)):
        return "LiteRT has no kernel for a scatter to the places of a mask, or one that adds"
    if _computes_in_double_precision(node):
        return "LiteRT has no kernel for it in float64"
    if not node.all_input_nodes and _is(node.meta.get("val"), torch.uint8):
        return f"{NAME} writes no constants in uint8 (0.9.4)"
    if name == "aten.max_pool2d_with_indices_backward.default":
        return f"{NAME} calls it with too few operands (0.9.4)"
    if name == "aten.convolution.default" and node.args[6] and any(d != 1 for d in node.args[5]):
        return "LiteRT has no kernel for a transposed convolution with dilation"
    if name.startswith("aten.max_pool") and name.endswith("_with_indices.default") and reads_places(node):
        return f"{NAME} writes indices that count within the window (0.9.4)"
    if any(isinstance(v, torch.Tensor) and v.dim() > _MOST_AXES for v in torch.utils._pytree.tree_leaves(node.meta.get("val"))):
        return f"LiteRT's kernels take tensors of at most {_MOST_AXES} axes"
    # litert-torch puts functions of its own into the graph, for what becomes one LiteRT operator.
    own = not isinstance(node.target, torch._ops.OperatorBase)
    if own or node.target in later or lowerings.lookup(node.target) is not None:
        return ""
    return f"{NAME} has no lowering for it"


def _values(node: torch.fx.Node) -> Any:
    import torch

    return torch.fx.node.map_arg(node.args, lambda argument: argument.meta["val"])


# What moves or casts numbers without computing with them.
_MOVES = frozenset(
    [
        "_to_copy",
        "alias",
        "as_strided",
        "cat",
        "clone",
        "constant_pad_nd",
        "copy",
        "detach",
        "empty",
        "expand",
        "full",
        "full_like",
        "gather",
        "index",
        "index_select",
        "lift_fresh_copy",
        "ones",
        "permute",
        "repeat",
        "reshape",
        "scalar_tensor",
        "scatter",
        "select",
        "slice",
        "slice_scatter",
        "split",
        "split_with_sizes",
        "squeeze",
        "stack",
        "t",
        "to",
        "transpose",
        "unbind",
        "unsqueeze",
        "view",
        "where",
        "zeros",
    ]
)


def _computes_in_double_precision(node: torch.fx.Node) -> bool:
    import torch

    is_operator = isinstance(node.target, torch._ops.OpOverload)
    return is_operator and node.target._opname not in _MOVES and _is(node.meta.get("val"), torch.float64)


def _is(value: Any, dtype: torch.dtype) -> bool:
    return getattr(value, "dtype", None) is dtype


def uncovers(program: torch.export.ExportedProgram) -> bool:
    """Whether a decomposed program holds what would have been rewritten in the source: torch's decompositions hid it."""
    nodes = list(calls(program))
    return bool(needed(nodes, target())) or any(str(node.target) in _WITHOUT_KERNEL for node in nodes)


def empty_outputs(program: torch.export.ExportedProgram) -> dict[torch.fx.Node, str]:
    """The nodes whose result is an output without elements; the file would give a scalar."""
    outputs = {name for name in program.graph_signature.user_outputs if isinstance(name, str)}
    return {
        node: "LiteRT has no outputs without elements"
        for node in program.graph.nodes
        if node.name in outputs and any(isinstance(n, int) and n == 0 for n in node.meta["val"].shape)
    }


def narrow_edges(program: torch.export.ExportedProgram) -> dict[torch.fx.Node, str]:
    """The nodes that take bfloat16 from a caller, or give it to one."""
    import torch

    signature = program.graph_signature
    given, made = set(signature.user_inputs), set(signature.user_outputs)
    inputs = [n for n in program.graph.nodes if n.name in given and _is(n.meta.get("val"), torch.bfloat16)]
    outputs = [n for n in calls(program) if n.name in made and _is(n.meta.get("val"), torch.bfloat16)]
    return dict.fromkeys([*(user for node in inputs for user in node.users if user.op != "output"), *outputs], _NARROW_EDGE)


def unbacked(program: torch.export.ExportedProgram) -> dict[torch.fx.Node, str]:
    """The nodes whose result is as large as the data says, which is no shape that a LiteRT file could be pinned to."""
    import torch
    from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

    found: dict[torch.fx.Node, str] = {}
    seen: set[Any] = set()
    for node in calls(program):
        values = [v for v in torch.utils._pytree.tree_leaves(node.meta.get("val")) if isinstance(v, torch.Tensor)]
        symbols = {s for v in values for size in v.shape for s in free_unbacked_symbols(size)}
        if symbols - seen:
            found[node] = Reason("how large its result is depends on the data, and litert-torch needs static sizes", "CK105")
        seen |= symbols
    return found
