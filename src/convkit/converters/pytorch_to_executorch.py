"""PyTorch exported programs → ExecuTorch, through its own compiler with the XNNPACK delegate.

A `.pte` holds no tensor names and no symbols: the signature goes into a constant method, which the reader looks for.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host, Option
from convkit.errors import ConversionError, UsageError
from convkit.formats import Variant
from convkit.legalization.target import Finding, Verdict

if TYPE_CHECKING:
    import torch

    from convkit.signature import Signature

_BACKEND = Option("backend", 'what runs the heavy operators: "xnnpack", or "portable" for none', "xnnpack")
_UPPER_BOUND = Option("upper_bound", "the largest size of dynamic dimensions; by default 64, or the example's if larger")

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


def check(request: ConversionRequest) -> list[Finding]:
    """Every operator that is left when the compiler's decompositions have run, and whether anything can run it."""
    from convkit.legalization import executorch as target
    from convkit.legalization import exported_program as programs
    from convkit.loading import pytorch as loading

    program = loading.exported_program(request.source)
    counts = {name: len(places) for name, places in programs.operators(program).items()}
    places: dict[str, dict[str, None]] = {}
    try:
        nodes = target.unsupported(program)
    except Exception:
        # Decomposition failed, which is no verdict on an operator: the conversion says why.
        nodes = []
    for node in nodes:
        places.setdefault(programs.source_operator(node), {})[str(programs.place_of(node))] = None
    gaps = [
        Finding(
            name,
            counts.get(name, len(where)),
            Verdict.GAP,
            "ExecuTorch has no kernel for it, and torch no decomposition",
            tuple(w for w in where if w),
            "rewrite it with other operators in the model",
        )
        for name, where in sorted(places.items())
    ]
    return gaps + [Finding(n, c, Verdict.LEGAL) for n, c in sorted(counts.items()) if n not in places]


def convert(request: ConversionRequest) -> ConversionOutcome:
    """Writes one `.pte` with a method `forward` and the constant method `convkit_signature`.

    Raises:
        ConversionError: The compiler fails, or the runtime cannot load or run what it made.
        UsageError: An option's value is none.
    """
    from convkit.converters import _executorch_lowering as lowering
    from convkit.legalization import executorch as target
    from convkit.loading import pytorch as loading
    from convkit.readers.executorch import SIGNATURE_METHOD

    if request.signature is None:
        raise ConversionError(f"the inputs of {request.source.path} are not known", component=CONVERTER.name)
    backend, limit = _backend(request), _limit(request)
    source = loading.exported_program(request.source)
    examples = _examples(request, source)
    sizes = {} if examples is None else _sizes(request.signature, examples)
    if limit is not None and max(sizes.values(), default=0) > limit:
        examples = None  # the user bounds the sizes below the example's
    program, repairs = target.repaired(source)
    methods = {SIGNATURE_METHOD: json.dumps(request.signature.to_json())}
    names = _symbols(program, request.signature)
    with target.isolated(program):
        bounds = target.bound(program, names, limit, sizes)
        try:
            losses = lowering.lower(program, backend, methods, _trial(request, program, names, examples))
        except ConversionError:
            _refuse_gaps(source)  # which tells more, where the reason is operators
            raise
    return ConversionOutcome((*repairs, *bounds, *losses))


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

    found: dict[str, str] = {}
    with contextlib.suppress(Exception):
        for node in target.unsupported(program):
            found.setdefault(programs.source_operator(node), str(programs.place_of(node)))
    if found:
        told = ", ".join(f"{name} at {place}" if place else name for name, place in found.items())
        raise ConversionError(
            f"ExecuTorch has no kernel for {told}",
            component=CONVERTER.name,
            hint="rewrite them with other operators in the model",
        )


def _trial(
    request: ConversionRequest, program: torch.export.ExportedProgram, names: Mapping[str, str], inputs: list[Any] | None
) -> Callable[[Any], None]:
    """Writes a compiled program, loads it, and runs it on example inputs where there are any.

    Files can be written that fail at load (missing kernel) or at run time (dimension order, or a dimension that is no longer
    dynamic): another attempt may do better.
    """
    from convkit.legalization import executorch as target

    def accept(compiled: Any) -> None:
        import torch  # noqa: F401 - loads the libraries that the binding is linked against
        from executorch.extension.pybindings import _portable_lib

        if fixed := target.fixed_dimensions(program, names):
            raise _failure(f"ExecuTorch's compiler made the dynamic dimension {', '.join(fixed)} static")
        plans = compiled.executorch_program.execution_plan
        needed = {f"{o.name}.{o.overload}" if o.overload else o.name for plan in plans for o in plan.operators}
        if missing := sorted(needed - target.kernels()):
            raise _failure(f"ExecuTorch's runtime has no kernel for {', '.join(missing)}")
        with request.output.open("wb") as stream:
            compiled.write_to_file(stream)
        if request.output.stat().st_size > TRIAL_LIMIT:
            return
        # The method lives in the program's memory.
        runnable = _portable_lib._load_program(str(request.output))
        method = runnable.load_method("forward")
        if inputs is not None:
            method(inputs)

    return accept


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
