"""From an eager module to an exported program with a known signature. Worker side, or the process of an API caller
who holds a live module.
"""

from __future__ import annotations

import gc
import json
import keyword
import re
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convkit.errors import ConversionError
from convkit.loading import pytorch as loading
from convkit.loading.module_factories import one_line
from convkit.loading.pytorch_assertions import allow_one, drop_implied, input_sizes, serialisable, unsolved
from convkit.signature import Signature

if TYPE_CHECKING:
    import torch

    from convkit.options import InputOptions

__all__ = ["capture_module", "export", "limits", "of_any_sizes", "save"]

_HERE = str(Path(__file__).parent.parent)

_CONSTRAINED = "Constraints violated"
"""What torch.export says where it would have to limit or to fix a dynamic dimension."""

_SUGGESTION = re.compile(r"(?P<symbol>\w+) = Dim\('\w+'(?:, min=(?P<low>\d+))?(?:, max=(?P<high>\d+))?\)")

_ENDLESS = 999_999_999
"""From here on an upper bound is no limit of the model: torch's own, or the largest number of some integer."""


@dataclass(frozen=True)
class _Attempt:
    """One way to trace.

    Attributes:
        dims: The torch dimension of every symbol.
        oblivious: Do not tell a size of 1 from larger ones, which torch does at every slice of a dynamic axis (`x[1:-1]`,
            `x[::2]`) though the result is the same.
        deferred: Check in the program what the model demands of its sizes, where it cannot be said as a range.
    """

    dims: Mapping[str, Any]
    oblivious: bool = False
    deferred: bool = False


def export(
    module: Any, signature: Signature, feeds: Mapping[str, np.ndarray], *, free: bool = False, imported: bool = False
) -> torch.export.ExportedProgram:
    """Exports a module with exactly the dynamic dimensions of the signature.

    Where the model itself limits a dimension (a table of positions), the program has that limit: see `limits`.

    Args:
        module: Anything callable that torch.export traces, in eval mode.
        signature: Names of inputs and outputs, and which dimensions are dynamic.
        feeds: One example array per input; dynamic dimensions have a size of at least 2.
        imported: The module interprets a graph of ours. At last, the program checks at run time what torch cannot decide; in
            people's own modules a branch on a size would become an assumption without a word. And no operator records the
            lines of Python that called it, which are ours and a sixth of the time.
        free: Leave all to the program's checks at once: sizes of 1, and dimensions of one name that differ.

    Raises:
        ConversionError: The module specialises a dimension that should be dynamic, or cannot be traced.
    """
    import torch

    root = loading.root_module(module, signature.input_names)
    arguments = tuple(loading.to_torch(feeds[t.name], t.dtype) for t in signature.inputs)
    # torch wants identifiers; ours ("p2o.DynamicDimension.0") stay in the signature.
    names = {symbol: f"d{position}" for position, symbol in enumerate(signature.dynamic_dims)}
    if all(symbol.isidentifier() and not keyword.iskeyword(symbol) for symbol in names):
        names = {symbol: symbol for symbol in names}
    symbols = {symbol: torch.export.Dim(name, min=1) for symbol, name in names.items()}
    anything = _Attempt(dict.fromkeys(symbols, torch.export.Dim.AUTO), oblivious=True, deferred=True)
    with _uncollected(), _no_stacks() if imported else _whole_stacks():
        try:
            return _traced(root, arguments, signature, anything if free else _Attempt(symbols))
        except Exception as error:
            if symbols and _CONSTRAINED in str(error) and not free:
                return _traced_or_limited(root, arguments, signature, symbols, error, [anything] if imported else [])
            raise _refused(error, symbols) from error


def of_any_sizes(
    trace: Callable[[Signature], torch.export.ExportedProgram], signature: Signature
) -> tuple[torch.export.ExportedProgram, Signature]:
    """What `trace` makes of a signature; or of that with one symbol per axis, where the model does not take several.

    Files name the dimensions of two inputs apart though they are one, or have no names for them.

    Raises:
        ConversionError: Neither can be traced; the first reason.
    """
    try:
        return trace(signature), signature
    except ConversionError:
        if (tied := signature.tied()) != signature:
            with suppress(ConversionError):
                return trace(tied), tied
        raise


def _traced_or_limited(
    root: torch.nn.Module,
    arguments: tuple[torch.Tensor, ...],
    signature: Signature,
    symbols: Mapping[str, Any],
    error: Exception,
    at_last: Sequence[_Attempt],
) -> torch.export.ExportedProgram:
    """Traces again where torch found that a dimension cannot have every size, with more and more left to the program's checks.

    The limits that torch suggests come in between: they become part of the program's dimensions, where `limits` finds them.
    """
    limited = _limited(str(error), symbols)
    attempts = [_Attempt(symbols, oblivious=True)]
    attempts += [_Attempt(limited), _Attempt(limited, oblivious=True)] if limited is not None else []
    for attempt in [*attempts, *at_last]:
        try:
            return _traced(root, arguments, signature, attempt)
        except Exception as next_error:
            last = next_error
    raise _refused(last, symbols) from last


def _traced(
    root: torch.nn.Module, arguments: tuple[torch.Tensor, ...], signature: Signature, attempt: _Attempt
) -> torch.export.ExportedProgram:
    import torch
    from torch.fx.experimental import _config

    # torch.export matches these to the arguments by position when they come as a tuple.
    shapes = tuple(
        {axis: attempt.dims[d] for axis, d in enumerate(t.shape or ()) if isinstance(d, str)} or None for t in signature.inputs
    )
    solver = unsolved() if attempt.deferred else nullcontext()
    with torch.no_grad(), solver, _config.patch(backed_size_oblivious=attempt.oblivious):
        program = torch.export.export(
            root,
            arguments,
            dynamic_shapes=shapes if attempt.dims else None,
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=attempt.deferred,
        )
    if fixed := _fixed(program, signature):
        raise ConversionError(f"the model fixes the dimension {', '.join(fixed)}", component="torch.export")
    if attempt.deferred:
        serialisable(program)
        drop_implied(program)
        allow_one(program, root, lambda sizes: _resized(arguments, signature, sizes), _owners(program, signature))
    return program


@contextmanager
def _uncollected() -> Iterator[None]:
    """Spares the garbage collector: a graph's many small objects have it look again and again at all that torch imports."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _no_stacks() -> Iterator[None]:
    """Has torch record none of the lines of Python that called an operator."""
    from torch.fx import config

    original = config.do_not_emit_stack_traces
    config.do_not_emit_stack_traces = True
    try:
        yield
    finally:
        config.do_not_emit_stack_traces = original


@contextmanager
def _whole_stacks() -> Iterator[None]:
    """Has torch record the user's helper functions too, not only methods called `forward`: an operator is in its own line.

    Torch's own frames stay out as before, but for the `forward` methods of its modules.
    """
    import torch
    from torch.fx.proxy import TracerBase

    original = TracerBase._filter_traceback_frames
    home = str(Path(torch.__file__).parent)

    def whole(self: TracerBase, stack: traceback.StackSummary) -> traceback.StackSummary:
        told: traceback.StackSummary = original(self, stack)
        first = next((k for k, frame in enumerate(stack) if told and frame == told[0]), None)
        if first is None:
            return told
        kept = [f for f in list(stack)[first:] if f in told or not f.filename.startswith((home, _HERE, "<"))]
        return traceback.StackSummary.from_list(kept)

    TracerBase._filter_traceback_frames = whole
    try:
        yield
    finally:
        TracerBase._filter_traceback_frames = original


def _owners(program: torch.export.ExportedProgram, signature: Signature) -> dict[Any, str]:
    """The dimension that every symbol of a program's inputs stands for."""
    found: dict[Any, str] = {}
    for spec, sizes in zip(signature.inputs, input_sizes(program), strict=True):
        for dim, size in zip(spec.shape or (), sizes, strict=True):
            if isinstance(dim, str):
                found.setdefault(size.node.expr, dim)
    return found


def _resized(arguments: tuple[torch.Tensor, ...], signature: Signature, sizes: Mapping[str, int]) -> tuple[torch.Tensor, ...]:
    """The arguments with other sizes: zeros for whole numbers, which may be indices, else noise."""
    import torch

    generator = torch.Generator().manual_seed(0)
    found = []
    for spec, argument in zip(signature.inputs, arguments, strict=True):
        shape = [sizes.get(str(d), n) for d, n in zip(spec.shape or (), argument.shape, strict=True)]
        noise = torch.rand(shape, generator=generator) if argument.is_floating_point() else torch.zeros(shape)
        found.append(noise.to(argument.dtype))
    return tuple(found)


def _fixed(program: torch.export.ExportedProgram, signature: Signature) -> list[str]:
    """Dynamic dimensions that have become numbers, or multiples of others, in a program."""
    return [
        f"{dim} to {size}"
        for spec, sizes in zip(signature.inputs, input_sizes(program), strict=True)
        for dim, size in zip(spec.shape or (), sizes, strict=True)
        if isinstance(dim, str) and not getattr(getattr(getattr(size, "node", None), "expr", None), "is_symbol", False)
    ]


def _limited(message: str, symbols: Mapping[str, Any]) -> dict[str, Any] | None:
    """The dimensions with the limits that torch found in the model (a table of 512 positions allows no 513th).

    None where torch suggests something else, such as a fixed size, or a multiple of one.
    """
    import torch

    _, _, suggested = message.partition("Suggested fixes:")
    found = dict(symbols)
    by_name = {dim.__name__: symbol for symbol, dim in symbols.items()}
    lines = [line.strip() for line in suggested.partition("\n\n")[0].splitlines() if line.strip()]
    for line in lines:
        match = _SUGGESTION.fullmatch(line)
        if match is None or match["symbol"] not in by_name:
            return None
        low, high = int(match["low"] or 1), int(match["high"]) if match["high"] else None
        found[by_name[match["symbol"]]] = torch.export.Dim(match["symbol"], min=max(low, 1), max=high)
    return found if lines else None


def _refused(error: Exception, symbols: Mapping[str, Any]) -> ConversionError:
    hint = "make the dimensions static: give --input with numbers, or leave out --dynamic" if symbols else ""
    return ConversionError(
        f"torch.export cannot capture the model: {one_line(error, 500)}",
        stage="convert",
        component="torch.export",
        hint=hint or "trace it with torch.jit.trace and convert that, or remove the control flow that depends on values",
    )


def limits(program: torch.export.ExportedProgram, signature: Signature) -> tuple[str, ...]:
    """What a user should know of the sizes that a captured program takes, one sentence per limited dimension."""
    found: dict[str, str] = {}
    owners: dict[Any, str] = {}
    for spec, sizes in zip(signature.inputs, input_sizes(program), strict=False):
        for dim, size in zip(spec.shape or (), sizes, strict=False):
            symbol = getattr(getattr(size, "node", None), "expr", None)
            if not isinstance(dim, str) or symbol is None:
                continue
            if (same := owners.setdefault(symbol, dim)) != dim:
                found[f"{dim}="] = f"dimension {dim} must be equal to {same} in this model"
            allowed = program.range_constraints.get(symbol)
            if allowed is not None and allowed.upper < _ENDLESS:
                found[dim] = f"dimension {dim} takes sizes up to {allowed.upper}, the model's own limit"
            elif allowed is not None and allowed.lower > 1:
                found[dim] = f"dimension {dim} takes sizes from {allowed.lower} up, the model's own limit"
    return tuple(found.values())


def save(program: torch.export.ExportedProgram, signature: Signature, path: Path) -> None:
    """Writes a program with its names and symbols, which torch itself does not store."""
    import torch

    extra = {loading.SIGNATURE_FILE: json.dumps(signature.to_json())}
    with _uncollected(), path.open("wb") as stream:
        torch.export.save(program, stream, extra_files=extra)


def capture_module(module: torch.nn.Module, inputs: InputOptions, path: Path) -> None:
    """Describes and exports a live module, and writes it to `path`.

    Raises:
        InputSpecError: It does not run on the given inputs.
        ConversionError: It cannot be traced.
    """
    from convkit.arrays import load_arrays
    from convkit.loading.pytorch_describe import describe_module

    with tempfile.TemporaryDirectory() as scratch:
        examples = Path(scratch) / "examples.npz"
        signature, _ = describe_module(
            module,
            None,
            inputs.specs,
            None if inputs.arrays is None else load_arrays(inputs.arrays),
            {name: {str(a): s for a, s in axes.items()} for name, axes in inputs.dynamic.items()},
            inputs.output_names,
            examples,
        )
        save(export(module, signature, load_arrays(examples)), signature, path)
