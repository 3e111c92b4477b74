"""What ExecuTorch's ahead-of-time compiler and its portable runtime accept. Worker side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from convkit.legalization import executorch_sizes
from convkit.legalization import exported_program as programs
from convkit.legalization.codes import Reason
from convkit.legalization.kept import kept
from convkit.legalization.torch.padding import has_negative
from convkit.legalization.torch.targets import TorchTarget, needed, written_out

if TYPE_CHECKING:
    import torch

__all__ = ["kernels", "legalized", "settled", "target", "unsupported"]

_kept: WeakKeyDictionary[Any, tuple[Any, list[Any]]] = WeakKeyDictionary()

# Their kernels exist. The first gives its result in another dimension order than it promises, the second takes other windows
# than torch where the last ones are cut off, the third's variance is a difference of squares (executorch 1.4.1).
_BROKEN = frozenset(
    {"aten.nonzero.default", "aten.max_pool2d_with_indices_backward.default", "aten._native_batch_norm_legit.no_stats"}
)

# Operators that the compiler itself writes out rightly.
_WRITTEN_OUT = frozenset(
    {
        "aten.avg_pool1d.default",
        "aten.conv1d.default",
        "aten.conv1d.padding",
        "aten.conv2d.default",
        "aten.conv2d.padding",
        "aten.conv_transpose1d.default",
        "aten.conv_transpose2d.input",
        "aten.div.Tensor_mode",
        "aten.floor_divide.default",
        "aten.index_add.default",
        "aten.max_pool1d.default",
        "aten.max_pool2d.default",
        "aten.pad.default",
        "aten.scaled_dot_product_attention.default",
    }
)

# The edge compiler replaces these itself (dim_order_ops), so their own kernels do not matter.
_REPLACED = frozenset({"aten._to_copy.default", "aten.clone.default", "aten.empty.memory_format"})

# Composite operators whose decompositions are all in the core set: a program of these and of core operators needs no
# decomposition to be judged. The list is for speed only; what is not on it is decomposed.
_COMPOSITES = frozenset(
    {
        "aten.adaptive_avg_pool2d.default",
        "aten.avg_pool1d.default",
        "aten.batch_norm.default",
        "aten.chunk.default",
        "aten.contiguous.default",
        "aten.conv1d.default",
        "aten.conv2d.default",
        "aten.conv2d.padding",
        "aten.dropout.default",
        "aten.dropout_.default",
        "aten.flatten.using_ints",
        "aten.group_norm.default",
        "aten.layer_norm.default",
        "aten.linear.default",
        "aten.lstm.input",
        "aten.matmul.default",
        "aten.max_pool2d.default",
        "aten.relu_.default",
        "aten.reshape.default",
        "aten.scaled_dot_product_attention.default",
        "aten.silu.default",
        "aten.softmax.int",
        "aten.split.Tensor",
        "aten.to.dtype",
        "aten.transpose.int",
        "aten.unflatten.int",
    }
)


@cache
def kernels() -> frozenset[str]:
    """The kernels that the Python runtime has, by schema name: `aten::add.out`."""
    import torch  # noqa: F401 - loads the libraries that the runtime is linked against
    from executorch.extension.pybindings import _portable_lib

    return frozenset(_portable_lib._get_operator_names())


NO_KERNEL = Reason("ExecuTorch has no kernel for it, and torch no decomposition", "CK107")
_UNSIGNED = "ExecuTorch's kernels do not compute with {}"
_UNBOUNDED = (1 << 63) - 1
_PLACED_BY_DATA = frozenset({"aten.tensor_split.tensor_indices_or_sections"})
_UNPLACED = Reason("where its results begin depends on the data, which the compiler cannot trace", "CK105")
_ONE_SIZE_ONLY = Reason("it takes a dynamic dimension away, which can have one size only then; make that one static", "CK104")
_UNPLANNED = Reason("how large its result is depends on the data, and ExecuTorch plans its memory ahead", "CK105")


@kept
def settled(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program with what is known of the sizes that its data tell, which the compiler needs and does not find itself.

    The result is kept as long as the program is.
    """
    from convkit.legalization.torch import permutations, value_ranges

    return value_ranges.settled(permutations.without_undone(program))


def unsupported(program: torch.export.ExportedProgram) -> dict[torch.fx.Node, str]:
    """The nodes that the runtime cannot run once the program is decomposed as the edge compiler does it, and why, in the
    graph's order.

    Operators that the XNNPACK delegate may take are not among them.
    """
    refusals = (_refusal_of_values, executorch_sizes.refusal)
    found = {node: reason for node in programs.calls(program) for refusal in refusals if (reason := refusal(node))}
    return found | dict.fromkeys(legalized(program)[1], NO_KERNEL) | programs.random_nodes(program)


def _refusal_of_values(node: torch.fx.Node) -> str:
    """Why the runtime cannot hold or compute a node's values whatever the operator; "" where it can."""
    import torch

    values = [n.meta.get("val") for n in (*node.all_input_nodes, node)]
    tensors = [t for v in values for t in (v if isinstance(v, (list, tuple)) else [v]) if isinstance(t, torch.Tensor)]
    for tensor in tensors:
        # torch itself stores these and computes with them hardly anywhere; no portable kernel takes them.
        if tensor.dtype in (torch.uint16, torch.uint32, torch.uint64):
            return Reason(_UNSIGNED.format(str(tensor.dtype).removeprefix("torch.")), "CK102")
    if _takes_a_dimension_away(node):
        return _ONE_SIZE_ONLY
    if str(node.target) in _PLACED_BY_DATA:
        return _UNPLACED
    return _UNPLANNED if any(_is_unplanned(t) for t in tensors) else ""


def _takes_a_dimension_away(node: torch.fx.Node) -> bool:
    """Whether a reshape drops a dynamic size, which is 1 then; the compiler makes it static, or fails."""
    if str(node.target) not in ("aten.reshape.default", "aten.view.default"):
        return False
    source, result = node.all_input_nodes[0].meta["val"], node.meta["val"]
    return not isinstance(source.numel(), int) and all(isinstance(size, int) for size in result.shape)


def _is_unplanned(tensor: torch.Tensor) -> bool:
    """Whether a size comes from data, and nothing bounds it; or bounds it, but the compiler cannot order its strides.

    Its `dim_order_from_stride` compares the strides of axes, and a stride from data with 1 has no answer (executorch 1.4.1).
    Of a single axis (the `arange` of a window's length) a bound is assumed and told, as for dynamic dimensions.
    """
    from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
    from torch.utils._sympy.numbers import int_oo

    for axis, size in enumerate(tensor.shape):
        symbols = free_unbacked_symbols(size)
        if (
            symbols
            and tensor.dim() > 1
            and (axis > 0 or any(size.node.shape_env.bound_sympy(s).upper in (int_oo, _UNBOUNDED) for s in symbols))
        ):
            return True
    return False


def _is_not_double(x: torch.Tensor, *_: Any, **__: Any) -> bool:
    import torch

    return x.dtype is not torch.float64


def _has_wide_index(x: torch.Tensor, dim: int, index: torch.Tensor, *_: Any, **__: Any) -> bool:
    import torch

    return index.dtype is torch.int64


def _is_by_error_function(x: torch.Tensor, *, approximate: str = "none") -> bool:
    return approximate == "none"


def _is_of_floats(x: torch.Tensor, other: Any) -> bool:
    import torch

    return bool(torch.result_type(x, other).is_floating_point)


def _only_adds(x: torch.Tensor, pads: Sequence[int], *_: Any, **__: Any) -> bool:
    return not has_negative(pads)


def _is_in_evaluation(*args: Any, **__: Any) -> bool:
    return not args[5]


# Kernels that take some dtypes only, and fail at run time with the rest (error 0x12); and a GELU that XNNPACK computes by the
# error function whichever it is (executorch 1.4.1); and batch norms by the statistics of the batch, which have none. The
# remainder of whole numbers has the dividend's sign there, as C's has.
_FORMS: Mapping[str, Callable[..., bool]] = {
    "aten._log_softmax.default": _is_not_double,
    "aten.batch_norm.default": _is_in_evaluation,
    "aten.constant_pad_nd.default": _only_adds,
    "aten.gather.default": _has_wide_index,
    "aten.gelu.default": _is_by_error_function,
    "aten.remainder.Scalar": _is_of_floats,
    "aten.remainder.Tensor": _is_of_floats,
}


@cache
def target() -> TorchTarget:
    """What the runtime has a kernel for, or the compiler takes care of."""
    delegated = _delegated_names()

    def accepts(operator: torch._ops.OpOverload) -> bool:
        return str(operator) in _WRITTEN_OUT or _has_kernel(operator, delegated)

    return TorchTarget("executorch", accepts, _FORMS)


def legalized(program: torch.export.ExportedProgram) -> tuple[torch.export.ExportedProgram, list[torch.fx.Node]]:
    """The program with operators written out that the runtime has no kernel for, and the nodes that no kernel is left for.

    The result is kept as long as the program is.
    """
    if program not in _kept:
        with programs.stable_operator_sets():
            _kept[program] = _legalize(program)
    return _kept[program]


def _legalize(program: torch.export.ExportedProgram) -> tuple[torch.export.ExportedProgram, list[torch.fx.Node]]:
    from executorch.exir.program._program import _default_decomposition_table

    from convkit.legalization.complex_numbers.program import in_real_numbers

    program = in_real_numbers(program)
    ready = written_out(program, target())
    if all(str(node.target) in _COMPOSITES for node in _without_kernel(ready)):
        return ready, []
    decomposed = ready.run_decompositions(_default_decomposition_table())
    if needed(programs.calls(decomposed), target()):  # hidden until torch's decompositions have run
        ready = decomposed = written_out(program, target(), _default_decomposition_table())
    return ready, _without_kernel(decomposed)


def _without_kernel(program: torch.export.ExportedProgram) -> list[torch.fx.Node]:
    delegated = _delegated_names()
    return [n for n in programs.calls(program) if _is_overload(n.target) and not _has_kernel(n.target, delegated)]


def _is_overload(target: Any) -> bool:
    import torch

    return isinstance(target, torch._ops.OpOverload)


@cache
def _delegated_names() -> frozenset[str]:
    """The operators that XNNPACK's partitioner looks for, without overloads."""
    from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS

    return frozenset(
        getattr(c, "target_name", "").split(".")[0]
        for c in ALL_PARTITIONER_CONFIGS
        if isinstance(getattr(c, "target_name", None), str)
    )


def _has_kernel(operator: torch._ops.OpOverload, delegated: frozenset[str]) -> bool:
    import torch
    from executorch.exir.operator.convert import to_out_variant

    if operator is torch.ops.aten.view.dtype:  # another reading of the same bits; a view by name only
        return False
    if str(operator) in _BROKEN:
        return False
    if operator._schema.is_mutable:  # a program that writes to its state is made functional before it is compiled
        plain = getattr(getattr(torch.ops, operator.namespace), operator._opname.removesuffix("_"), None)
        functional = getattr(plain, operator._overloadname, None)
        # Others than `name_` have a functional form of another name, for example `_native_batch_norm_legit`.
        return functional is None or (functional is not operator and _has_kernel(functional, delegated))
    if operator.namespace == "quantized_decomposed" or str(operator) in _REPLACED or operator.is_view:
        return True
    if operator._opname in delegated or "sym_" in operator._opname or "assert" in operator._opname:
        return True
    try:
        name = to_out_variant(operator)[0].name()
    except (AttributeError, RuntimeError):
        # No out variant: the compiler knows the core operators of that kind, and no others.
        return operator.namespace == "aten" and torch.Tag.core in operator.tags
    return name in kernels()
