"""Lowers an exported program to an ExecuTorch program, with less and less of it delegated to XNNPACK until it works."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from convkit.errors import ConversionError

if TYPE_CHECKING:
    import torch

__all__ = ["compiled", "lower"]

# What costs the time in a network; everything else runs on portable kernels when XNNPACK's compiler fails on it.
_PRODUCTS = ("ConvolutionConfig", "LinearConfig", "AddmmConfig", "MMConfig", "BMMConfig")
_HEAVY = (*_PRODUCTS, "BatchNormConfig", "ReLUConfig")


def lower(backend: str, attempt: Callable[[Sequence[Any]], tuple[str, ...]]) -> tuple[str, ...]:
    """Tries partitioners, the most ambitious first.

    Args:
        backend: "xnnpack" or "portable".
        attempt: Compiles with the partitioners that it is given, and tries the result out; returns its notes, or raises, which
            leads to the next attempt.

    Returns:
        The notes of the attempt that succeeded, and what was given up.

    Raises:
        ConversionError: Every attempt failed; the message is that of the last one.
    """
    failures: list[str] = []
    error: Exception | None = None
    for title, partitioners in _attempts(backend):
        try:
            notes = attempt(partitioners)
        except Exception as problem:
            error = problem
            failures.append(_reason(problem))
            continue
        return (*notes, f"{title}: XNNPACK cannot take all of it ({failures[0]})") if failures else notes
    assert error is not None
    if isinstance(error, ConversionError):
        raise error
    raise ConversionError(
        f"ExecuTorch cannot lower the program: {failures[-1]}",
        component="executorch",
        hint="see `convkit plan` for another route",
    ) from error


def _attempts(backend: str) -> Iterator[tuple[str, list[Any]]]:
    if backend == "xnnpack":
        from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

        configs = [c if c.__name__ in _PRODUCTS else _without_half(c) for c in ALL_PARTITIONER_CONFIGS]
        yield "delegated to XNNPACK", [XnnpackPartitioner(configs=configs)]
        heavy = [c for c in configs if c.__name__ in _HEAVY]
        yield "only convolutions and matrix products are delegated", [XnnpackPartitioner(configs=heavy)]
    yield "it runs on portable kernels, which are slow", []


def _without_half(config: Any) -> Any:
    """The partitioner's configuration, but it leaves float16 to the portable kernels.

    On processors without float16 arithmetic XNNPACK has no such kernel for GELU, division or pooling, which shows when it is
    loaded, as an error or the end of the process; and its softmax, tanh and exp err by four times as much as the portable ones
    (measured, executorch 1.4.1).
    """
    import torch

    def check_constraints(self: Any, node: torch.fx.Node, program: Any) -> bool:
        values = [n.meta.get("val") for n in (*node.all_input_nodes, node)]
        if any(isinstance(v, torch.Tensor) and v.dtype is torch.float16 for v in values):
            return False
        return bool(config.check_constraints(self, node, program))

    return type(config.__name__, (config,), {"check_constraints": check_constraints})


def compiled(program: torch.export.ExportedProgram, partitioners: Sequence[Any], methods: Mapping[str, Any]) -> Any:
    """An `ExecutorchProgramManager` of a repaired and bounded program, with constant methods by name."""
    import torch
    from executorch.exir import EdgeCompileConfig, ExecutorchBackendConfig, to_edge_transform_and_lower
    from executorch.exir.passes.init_mutable_pass import InitializedMutableBufferPass

    from convkit.converters._executorch_scans import resized_scans
    from convkit.legalization import executorch_sizes
    from convkit.legalization.exported_program import has_bodies, stable_operator_sets

    # Its validity checks are off because they fix dynamic dimensions (`fixed_dimensions`). What they look for, convkit finds
    # itself: operators without kernel before, and whether the file runs after.
    with (
        torch.no_grad(),
        stable_operator_sets(),
        executorch_sizes.accepted_sums(),
        _relevant_patterns(),
        resized_scans(),
        _contiguous_copies(),
        _products_for_themselves(),
    ):
        edge = to_edge_transform_and_lower(
            program,
            partitioner=list(partitioners),
            constant_methods=dict(methods),
            compile_config=EdgeCompileConfig(_check_ir_validity=False),
        )
        # Without it a buffer that the program replaces starts as zeros, whatever its value was.
        signature = edge.exported_program().graph_signature
        states = [name for name, buffer in signature.inputs_to_buffers.items() if buffer in signature.buffers_to_mutate.values()]
        passes = [executorch_sizes.write_out, *([InitializedMutableBufferPass(states)] if states else [])]
        # A view of a body's input would look into memory of its own, where nobody writes (executorch 1.4.1): it stays a copy.
        return edge.to_executorch(ExecutorchBackendConfig(passes=passes, remove_view_copy=not has_bodies(program)))


@contextmanager
def _contiguous_copies() -> Iterator[None]:
    """torch's decompositions (of pixel_shuffle, for one) copy into the memory format that a view's strides suggest.

    ExecuTorch's views are copies, which are contiguous: such a copy would be the only one in another order, and portable kernels
    refuse operands of different orders (error 0x12, executorch 1.4.1).
    """
    import torch
    from torch import _prims_common as primitives

    original = primitives.suggest_memory_format
    primitives.suggest_memory_format = lambda *_: torch.contiguous_format
    try:
        yield
    finally:
        primitives.suggest_memory_format = original


@contextmanager
def _products_for_themselves() -> Iterator[None]:
    """XNNPACK takes all that comes from an `nn.Linear` for one linear operator, whatever else is computed there.

    torchao's linear layers multiply by a scale, which is dropped: the numbers are wrong by 1e5 (executorch 1.4.1). Without that
    guess the products are converted one by one.
    """
    from executorch.backends.xnnpack._passes import convert_to_linear

    original = convert_to_linear.get_source_partitions
    convert_to_linear.get_source_partitions = lambda *_: {}
    try:
        yield
    finally:
        convert_to_linear.get_source_partitions = original


@contextmanager
def _relevant_patterns() -> Iterator[None]:
    """Skips two XNNPACK passes where their patterns cannot match.

    To look for masked attention and for bilinear upsampling they export example modules, which takes longer than the whole
    rest for a small network.
    """
    from executorch.backends.xnnpack._passes.convert_to_sdpa import ConvertToSDPAPass
    from executorch.backends.xnnpack._passes.convert_to_upsample_bilinear2d import ConvertToUpsampleBilinear2d

    passes = {ConvertToSDPAPass: _may_have_masked_attention, ConvertToUpsampleBilinear2d: _may_have_upsampling}
    originals = {kind: kind.call for kind in passes}
    for kind, relevant in passes.items():
        kind.call = _guarded(originals[kind], relevant)
    try:
        yield
    finally:
        for kind, original in originals.items():
            kind.call = original


def _guarded(original: Callable[..., Any], relevant: Callable[[Any], bool]) -> Callable[..., Any]:
    from torch.fx.passes.infra.pass_base import PassResult

    def call(self: Any, graph_module: Any) -> Any:
        return original(self, graph_module) if relevant(graph_module) else PassResult(graph_module, False)

    return call


def _may_have_masked_attention(graph_module: Any) -> bool:
    """Both patterns hold a softmax over a sum: scores plus mask."""
    return any(
        "_softmax" in str(node.target)
        and getattr(node.args[0], "op", "") == "call_function"
        and "add" in str(node.args[0].target)
        for node in graph_module.graph.nodes
        if node.op == "call_function"
    )


def _may_have_upsampling(graph_module: Any) -> bool:
    return any("upsample" in str(n.target) or ".index." in str(n.target) for n in graph_module.graph.nodes)


def _reason(error: Exception) -> str:
    """The innermost cause in one line."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = " ".join(str(cause).split())[:250]
    return f"{type(cause).__name__}: {text}" if text else type(cause).__name__
