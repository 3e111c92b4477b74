"""PyTorch exported programs → ExecuTorch, through its own compiler with the XNNPACK delegate.

A `.pte` holds no tensor names and no symbols: the signature goes into a constant method, which the reader looks for.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host, Option
from convkit.errors import ConversionError, UsageError
from convkit.formats import Variant
from convkit.legalization.exported_program import without_batch_heuristics

if TYPE_CHECKING:
    import torch

    from convkit.legalization.target import Finding
    from convkit.signature import Signature

_BACKEND = Option("backend", 'what runs the heavy operators: "xnnpack", or "portable" for none', "xnnpack")
_UPPER_BOUND = Option("upper_bound", "the largest size of dynamic dimensions; by default up to four times the example's")

CONVERTER = Converter(
    name="executorch",
    sources=(Variant.EXPORTED_PROGRAM,),
    target=Variant.PTE,
    host=Host(
        group="torch",
        preload=("torch", "executorch.exir", "executorch.backends.xnnpack.partition.xnnpack_partitioner"),
        packages=("executorch", "torch"),
    ),
    reason="ExecuTorch's own compiler, with the XNNPACK delegate",
    options=(_BACKEND, _UPPER_BOUND),
)

# Loading a file unpacks its weights once more; above this size (bytes) the validation's process does it alone.
TRIAL_LIMIT = 100_000_000


@without_batch_heuristics()
def check(request: ConversionRequest) -> list[Finding]:
    """Every operator that is left when the compiler's decompositions have run, and whether anything can run it."""
    from convkit.legalization import executorch as target
    from convkit.legalization import exported_program as programs
    from convkit.legalization.torch import targets
    from convkit.loading import pytorch as loading

    program = target.settled(loading.exported_program(request.source))
    gaps: dict[torch.fx.Node, str] = {}
    # A decomposition that fails is no verdict on an operator: the conversion says why.
    with contextlib.suppress(Exception):
        gaps = target.unsupported(program)
    return programs.findings(program, gaps, targets.rewritten(program, target.target()))


@without_batch_heuristics()
def convert(request: ConversionRequest) -> ConversionOutcome:
    """Writes one `.pte` with a method `forward` and the constant method `convkit_signature`.

    Raises:
        ConversionError: The compiler fails, or the runtime cannot load or run what it made.
        UsageError: An option's value is none.
    """
    from convkit.converters import _executorch_lowering as lowering
    from convkit.legalization import executorch as target
    from convkit.legalization import executorch_bounds
    from convkit.legalization import exported_program as programs
    from convkit.legalization.executorch_repairs import repaired
    from convkit.loading import pytorch as loading
    from convkit.readers.executorch import SIGNATURE_METHOD

    if request.signature is None:
        raise ConversionError(f"the inputs of {request.source.path} are not known", component=CONVERTER.name)
    for node, reason in programs.random_nodes(loading.exported_program(request.source)).items():
        raise _failure(f"{programs.told([node])}: {reason}")
    signature, backend, limit = request.signature, _backend(request), _limit(request)
    methods = {SIGNATURE_METHOD: json.dumps(signature.to_json())}

    def attempt(partitioners: Sequence[Any]) -> tuple[str, ...]:
        source = loading.exported_program(request.source)
        examples = _examples(request, source)
        sizes = {} if examples is None else _sizes(signature, examples)
        program, repairs = repaired(target.settled(source))
        names = _symbols(program, signature)
        with executorch_bounds.isolated(program):
            bounds = executorch_bounds.bound(program, names, limit, sizes)
            compiled = lowering.compiled(program, partitioners, methods)
            fixed = executorch_bounds.fixed_dimensions(program, names)
        if fixed:
            _reload(request)  # the compiler has written the numbers into what the source shares
            raise _failure(f"ExecuTorch's compiler made the dynamic dimension {', '.join(fixed)} static")
        fits = limit is None or max(sizes.values(), default=0) <= limit
        _try_out(compiled, request, examples if fits else None)
        return (*repairs, *bounds)

    try:
        return ConversionOutcome(lowering.lower(backend, attempt))
    except ConversionError:
        request.output.unlink(missing_ok=True)
        _refuse_gaps(loading.exported_program(request.source))  # which tells more, where the reason is operators
        raise


def _reload(request: ConversionRequest) -> None:
    import torch

    from convkit.loading import pytorch as loading

    with request.source.path.open("rb") as stream:
        loading.remember(request.source, torch.export.load(stream))


def _backend(request: ConversionRequest) -> str:
    backend = str(request.options.get("backend", _BACKEND.default)).lower()
    if backend not in {"xnnpack", "portable"}:
        raise UsageError(f"there is no ExecuTorch backend {backend!r} here", hint="give xnnpack or portable")
    return backend


def _limit(request: ConversionRequest) -> int | None:
    given = request.options.get("upper_bound")
    if given is None:
        return None
    if not str(given).isdigit() or int(given) < 1:
        raise UsageError(f"upper_bound={given!r} is no size", hint="give a positive number")
    return int(given)


def _symbols(program: torch.export.ExportedProgram, signature: Signature) -> Mapping[str, str]:
    """The program's symbols (`s77`) → the signature's (`batch`)."""
    nodes = {n.name: n for n in program.graph.nodes if n.op == "placeholder"}
    inputs = [nodes[n] for n in program.graph_signature.user_inputs if isinstance(n, str) and n in nodes]
    found: dict[str, str] = {}
    for node, spec in zip(inputs, signature.inputs, strict=False):
        for size, dim in zip(node.meta["val"].shape, spec.shape or (), strict=False):
            if isinstance(dim, str) and not isinstance(size, int):
                found.setdefault(str(size), dim)
    return found


def _sizes(signature: Signature, examples: Sequence[Any]) -> Mapping[str, int]:
    """The sizes that the dynamic dimensions have in the examples."""
    return {
        dim: int(size)
        for tensor, spec in zip(examples, signature.inputs, strict=True)
        for size, dim in zip(tensor.shape, spec.shape or (), strict=True)
        if isinstance(dim, str)
    }


def _refuse_gaps(program: torch.export.ExportedProgram) -> None:
    from convkit.legalization import executorch as target
    from convkit.legalization import exported_program as programs

    gaps = ""
    with contextlib.suppress(Exception):
        gaps = programs.told(target.unsupported(target.settled(program)))
    if gaps:
        raise ConversionError(
            f"ExecuTorch has no kernel for {gaps}",
            component=CONVERTER.name,
            hint="rewrite them with other operators in the model",
        )


def _try_out(compiled: Any, request: ConversionRequest, inputs: list[Any] | None) -> None:
    """Writes a compiled program, loads it, and runs it on example inputs where there are any.

    Files can be written that fail at load (missing kernel) or at run time (dimension order): another attempt may do better.
    """
    import torch  # noqa: F401 - loads the libraries that the binding is linked against
    from executorch.extension.pybindings import _portable_lib

    from convkit.legalization import executorch as target

    plans = compiled.executorch_program.execution_plan
    needed = {f"{o.name}.{o.overload}" if o.overload else o.name for plan in plans for o in plan.operators}
    if missing := sorted(needed - target.kernels()):
        raise _failure(f"ExecuTorch's runtime has no kernel for {', '.join(missing)}")
    with request.output.open("wb") as stream:
        compiled.write_to_file(stream)
    if request.output.stat().st_size > TRIAL_LIMIT:
        return
    program = _portable_lib._load_program(str(request.output))  # must outlive the method, which is in its memory
    method = program.load_method("forward")
    if inputs is not None:
        method(inputs)


def _failure(message: str) -> ConversionError:
    return ConversionError(message, component=CONVERTER.name, hint="see `convkit plan` for another route")


def _examples(request: ConversionRequest, source: torch.export.ExportedProgram) -> list[Any] | None:
    import torch
    import torch.utils._pytree as pytree

    from convkit.arrays import load_arrays
    from convkit.loading import pytorch as loading

    assert request.signature is not None
    if request.examples is not None:
        arrays = load_arrays(request.examples)
        return [loading.to_torch(arrays[t.name], t.dtype) for t in request.signature.inputs]
    if source.example_inputs is None:
        return None
    tensors = [t for t in pytree.tree_leaves(source.example_inputs) if isinstance(t, torch.Tensor)]
    return [t.contiguous().clone() for t in tensors] if len(tensors) == len(request.signature.inputs) else None
