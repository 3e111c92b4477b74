"""Finds the signature of a PyTorch model that records none: runs it once, eagerly, on example inputs. Worker side.

Where the inputs come from, in this order: arrays that the user gave, specifications that the user gave (`--input`), the
dtypes and shapes of the inputs that a traced TorchScript file keeps, and last what the first layers allow to infer; whatever was
inferred is said.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from convkit.arrays import load_arrays, save_arrays
from convkit.artifact import Artifact
from convkit.errors import ConversionError, ConvkitError, InputSpecError
from convkit.formats import Variant
from convkit.loading import pytorch as loading
from convkit.loading.module_factories import one_line
from convkit.readers.archive import open_archive
from convkit.readers.damage import PARSER_ERRORS, damaged
from convkit.readers.pytorch_tensors import TensorRecord
from convkit.readers.traced_inputs import traced_input_records
from convkit.signature import Dim, Signature, TensorSpec, dynamic_dim
from convkit.validators.inputs import draw, matched

__all__ = ["describe", "describe_module"]

# Sizes that a dynamic dimension other than the first is tried at, usual ones first.
_DYNAMIC_SIZES = (16, 32, 64, 224, 8, 128, 512)
_IMAGE_SIZES = (224, 32, 28, 64, 8, 128, 256, 299, 299, 512)
_SEQUENCE_SIZES = (16, 64, 128, 1024, 16000, 512)


def describe(
    artifact: Mapping[str, Any],
    specs: Sequence[Mapping[str, Any]],
    arrays: str | None,
    dynamic: Mapping[str, Mapping[str, str]],
    output_names: Sequence[str] | None,
    examples: str,
) -> dict[str, Any]:
    """Describes a model; called in a worker, so everything is JSON.

    Args:
        artifact: The model.
        specs: The user's input specifications, in order.
        arrays: An `.npz` with the user's example inputs, by name, or by position under "0", "1", ….
        dynamic: Input name → axis → symbol: dimensions to make dynamic.
        output_names: Names for the outputs; None for the model's own.
        examples: Where to write one example array per input.

    Returns:
        `signature`, and `notes`: what was assumed.

    Raises:
        InputSpecError: The inputs can neither be found nor inferred; the hint has the flag.
    """
    source = Artifact.from_json(artifact)
    signature, notes = describe_module(
        loading.model(source),
        source,
        [TensorSpec.from_json(s) for s in specs],
        None if arrays is None else load_arrays(Path(arrays)),
        dynamic,
        output_names,
        Path(examples),
    )
    return {"signature": signature.to_json(), "notes": notes}


def describe_module(
    module: Any,
    source: Artifact | None,
    specs: Sequence[TensorSpec],
    arrays: dict[str, np.ndarray] | None,
    dynamic: Mapping[str, Mapping[str, str]],
    output_names: Sequence[str] | None,
    examples: Path,
) -> tuple[Signature, list[str]]:
    """Describes a loaded module; see `describe`. `source` is the file that it is from, None for a live module."""
    inputs, feeds, notes = _find_inputs(source, module, list(specs), arrays)
    inputs = _with_dynamic(inputs, dynamic)
    if not specs and not any(t.dynamic_dims for t in inputs):
        notes += _how_to_be_dynamic(inputs)
    feeds = _grown(inputs, feeds)
    try:
        outputs = _run(module, inputs, feeds)
    except Exception as error:
        narrowed = [] if specs else _narrowed(module, inputs)
        if not narrowed:
            raise _does_not_run(inputs, error) from error
        try:
            outputs = _run(module, narrowed, feeds)
        except Exception:
            raise _does_not_run(inputs, error) from error
        changed = {(a.dtype, b.dtype): None for a, b in zip(inputs, narrowed, strict=True) if a.dtype != b.dtype}
        notes += [f"the given {given} arrays are taken as {own}, which the model computes in" for given, own in changed]
        inputs, feeds = narrowed, matched(Signature(tuple(narrowed), ()), feeds)
    _check_names(outputs, output_names)
    signature = Signature(tuple(inputs), tuple(_output_specs(module, inputs, feeds, outputs, output_names)))
    save_arrays(examples, feeds)
    return signature, notes


def _narrowed(module: Any, inputs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """The inputs in the one floating dtype of the module's weights; empty where that is theirs, or there are several.

    float64 is numpy's default and hardly ever a model's, and numpy has no bfloat16. A module without weights computes in float32.
    """
    tensors = [*module.parameters(), *module.buffers()] if hasattr(module, "parameters") else []
    own = {loading.dtype_name(t.dtype) for t in tensors if t.is_floating_point()} or {"float32"}
    found = [replace(t, dtype=min(own)) if t.dtype.startswith("float") else t for t in inputs]
    return found if len(own) == 1 and found != list(inputs) else []


def _does_not_run(inputs: Sequence[TensorSpec], error: Exception) -> InputSpecError:
    return InputSpecError(
        f"the model does not run on {', '.join(map(str, inputs))}: {one_line(error)}",
        hint="give the shapes that it takes: --input name:float32[batch,3,224,224], once per input",
    )


def _how_to_be_dynamic(inputs: Sequence[TensorSpec]) -> list[str]:
    """Sizes that were taken from examples are fixed, which is seldom meant for the batch."""
    leading = {t.shape[0] for t in inputs if t.shape}
    if len(leading) != 1:
        return []
    flags = " ".join(f"--dynamic {t.name}:0=batch" for t in inputs if t.shape)
    return [f"the batch stays fixed at {leading.pop()}; to make it dynamic, add {flags}"]


def _find_inputs(
    source: Artifact | None, module: Any, specs: list[TensorSpec], arrays: dict[str, np.ndarray] | None
) -> tuple[list[TensorSpec], dict[str, np.ndarray], list[str]]:
    """The inputs, one example array each, and what was assumed."""
    repeated = [name for name, count in Counter(s.name for s in specs).items() if count > 1]
    if repeated:
        raise InputSpecError(f"--input {repeated[0]} was given twice", hint="give --input once per input")
    if arrays is not None:
        ordered = _by_name_or_position(module, arrays, [s.name for s in specs])
        said = {s.name: s for s in specs}
        inputs = [said.get(n, TensorSpec(n, str(a.dtype), a.shape)) for n, a in ordered.items()]
        return inputs, matched(Signature(tuple(inputs), ()), ordered), []
    if specs:
        by_name = {s.name: s for s in specs}
        specs = [by_name[n] for n in _in_order(module, list(by_name))]
        return specs, _runnable(module, specs), []
    if source is not None and source.variant is Variant.TORCHSCRIPT and (recorded := _recorded(source.path)):
        # torch keeps no values, so these are drawn; like those of a specification.
        names = _in_order(module, None, len(recorded))
        inputs = [TensorSpec(n, r.dtype, tuple(r.shape)) for n, r in zip(names, recorded, strict=True)]
        feeds = {s.name: draw(s, {}, seed=0) for s in inputs}
        return inputs, feeds, [f"{', '.join(map(str, inputs))}: from the example inputs that the traced file keeps"]
    return _inferred(module)


def _recorded(path: Path) -> list[TensorRecord] | None:
    """dtypes and shapes of the tensors that a TorchScript file was traced with, None where it was scripted."""
    try:
        with open_archive(path) as archive:
            return traced_input_records(archive)
    except PARSER_ERRORS as error:
        raise damaged(path, "TorchScript", error) from error


def _in_order(module: Any, given: list[str] | None, count: int = 0) -> list[str]:
    """The names of the inputs that are given, in the order of the module's arguments.

    Args:
        module: Whose `forward` has the arguments.
        given: The user's names; None for the module's own.
        count: How many inputs, where no names are given.

    Raises:
        InputSpecError: Required inputs are left out, or there are more than the module takes.
    """
    known = loading.arguments(module)
    if known is None:
        return given or [f"input_{i}" for i in range(count)]
    required = [name for name, needed in known.items() if needed]
    if given is not None and set(given) <= set(known):
        lacking = [n for n in required if n not in given]
        if lacking:
            raise InputSpecError(
                f"the model takes {', '.join(required)}; {', '.join(lacking)} was not given",
                hint="add " + " ".join(f"--input {n}:float32[…]" for n in lacking),
            )
        return [n for n in known if n in given]
    number = count if given is None else len(given)
    if not len(required) <= number <= len(known):
        called = "" if given is None else f" ({', '.join(given)})"
        raise InputSpecError(
            f"the model takes {len(required)} inputs ({', '.join(required)}), {number} were given{called}",
            hint="give every input once, under its own name",
        )
    return given or list(known)[:number]


def _by_name_or_position(module: Any, arrays: dict[str, np.ndarray], specified: list[str]) -> dict[str, np.ndarray]:
    """The user's arrays by input name; arrays that no input is named after are left aside where names fit."""
    known = loading.arguments(module)
    names = specified or [n for n in known or {} if n in arrays]
    required = [n for n, needed in (known or {}).items() if needed]
    if names and set(names) <= set(arrays) and (specified or set(required) <= set(names)):
        return {n: arrays[n] for n in _in_order(module, names)}
    if all(name.isdigit() for name in arrays):
        arrays = {name: arrays[name] for name in sorted(arrays, key=int)}
    positions = _in_order(module, specified or None, len(arrays)) if known is not None or specified else _own_names(arrays)
    if len(positions) != len(arrays):
        raise InputSpecError(
            f"the model takes {len(positions)} inputs ({', '.join(positions)}), {len(arrays)} arrays were given "
            f"({', '.join(arrays)})",
            hint="name the arrays in the .npz after the inputs",
        )
    return dict(zip(positions, arrays.values(), strict=True))


def _own_names(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Names for the inputs of a module that has none: the arrays' own, unless they are mere positions."""
    return [name if name and not name.isdigit() else f"input_{i}" for i, name in enumerate(arrays)]


def _runnable(module: Any, specs: list[TensorSpec]) -> dict[str, np.ndarray]:
    """Example arrays for specifications; free sizes are tried until the model runs."""
    symbols = list(dict.fromkeys(d for s in specs for d in s.dynamic_dims))
    leading = {d for s in specs for d in (s.shape or ())[:1] if isinstance(d, str)}
    first: dict[str, np.ndarray] | None = None
    for size in _DYNAMIC_SIZES:
        sizes = {s: 2 if s in leading else size for s in symbols}
        feeds = {s.name: draw(s, sizes, seed=0) for s in specs}
        first = first or feeds
        try:
            _run(module, specs, feeds)
        except Exception:
            if len(symbols) == len(leading):
                break
            continue
        return feeds
    assert first is not None
    return first


def _run(module: Any, inputs: Sequence[TensorSpec], feeds: Mapping[str, np.ndarray]) -> Any:
    import torch

    tensors = [loading.to_torch(feeds[s.name], s.dtype) for s in inputs]
    with torch.inference_mode():
        return loading.call(module, [s.name for s in inputs], tensors)


def _with_dynamic(inputs: list[TensorSpec], dynamic: Mapping[str, Mapping[str, str]]) -> list[TensorSpec]:
    unknown = set(dynamic) - {t.name for t in inputs}
    if unknown:
        raise InputSpecError(
            f"--dynamic names no input: {', '.join(sorted(unknown))}",
            hint="the inputs are " + ", ".join(t.name for t in inputs),
        )
    changed = []
    for spec in inputs:
        dims: list[Dim] = list(spec.shape or ())
        for axis, symbol in dynamic.get(spec.name, {}).items():
            if int(axis) >= len(dims):
                raise InputSpecError(f"--dynamic {spec.name}: there is no axis {axis} in {spec}")
            dims[int(axis)] = symbol or dynamic_dim(spec.name, int(axis))
        changed.append(replace(spec, shape=tuple(dims)))
    return changed


def _grown(inputs: Sequence[TensorSpec], feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Repeats examples whose dynamic dimension has size 1: torch.export takes a 1 for a constant."""
    grown = {}
    for spec in inputs:
        array = feeds[spec.name]
        for axis, dim in enumerate(spec.shape or ()):
            if isinstance(dim, str) and array.shape[axis] == 1:
                array = np.repeat(array, 2, axis)
        grown[spec.name] = array
    return grown


def _check_names(outputs: Any, names: Sequence[str] | None) -> None:
    if names is None:
        return
    own = [name for name, _ in loading.named_tensors(outputs)]
    if len(names) != len(own) or len(set(names)) != len(names):
        raise InputSpecError(
            f"the model's outputs are {', '.join(own)}; these names were given: {', '.join(names)}",
            hint="give --output-names one distinct name per output",
        )


def _output_specs(
    module: Any, inputs: Sequence[TensorSpec], feeds: Mapping[str, np.ndarray], outputs: Any, names: Sequence[str] | None
) -> Iterator[TensorSpec]:
    """Names the outputs; an output dimension is dynamic when it moves with a dynamic input dimension."""
    base = [(n, t) for n, t in loading.named_tensors(outputs, names)]
    shapes: list[list[Dim]] = [list(t.shape) for _, t in base]
    for symbol in dict.fromkeys(d for s in inputs for d in s.dynamic_dims):
        size = _size_of(inputs, feeds, symbol)
        # One more element may vanish in a stride; twice as many may be more than the model takes.
        moved = {size + 1: _shapes_at(module, inputs, feeds, symbol, 1, base)}
        with suppress(InputSpecError):
            moved[2 * size] = _shapes_at(module, inputs, feeds, symbol, size, base)
        for k, (name, tensor) in enumerate(base):
            for axis, was in enumerate(tensor.shape):
                sizes = {given: found[k][axis] for given, found in moved.items()}
                if any(now != was for now in sizes.values()):
                    follows = was == size and all(now == given for given, now in sizes.items())
                    shapes[k][axis] = symbol if follows else _new_symbol(name, axis, inputs)
    for (name, tensor), shape in zip(base, shapes, strict=True):
        yield TensorSpec(name, loading.dtype_name(tensor.dtype), tuple(shape))


def _shapes_at(
    module: Any,
    inputs: Sequence[TensorSpec],
    feeds: Mapping[str, np.ndarray],
    symbol: str,
    more: int,
    base: Sequence[tuple[str, Any]],
) -> list[tuple[int, ...]]:
    """The shapes of the outputs where a dimension has so many more elements.

    Raises:
        InputSpecError: The model does not run on these.
        ConversionError: An output has another number of axes.
    """
    resized = {s.name: _resized(s, feeds[s.name], symbol, more) for s in inputs}
    try:
        found = loading.named_tensors(_run(module, inputs, resized), [name for name, _ in base])
    except ConvkitError:
        raise
    except Exception as error:
        raise InputSpecError(
            f"the model does not run with another size of dimension {symbol!r}: {one_line(error)}",
            hint="make that dimension static: give a number for it in --input, or leave out --dynamic",
        ) from error
    for (name, before), (_, after) in zip(base, found, strict=True):
        if before.dim() != after.dim():
            raise ConversionError(f"the rank of output {name!r} depends on dimension {symbol!r}", stage="describe")
    return [tuple(after.shape) for _, after in found]


def _new_symbol(name: str, axis: int, inputs: Sequence[TensorSpec]) -> str:
    """A symbol for an output dimension that is none of the inputs': batch × length must not be called batch."""
    symbol = dynamic_dim(name, axis)
    return f"{re.sub(r'[^A-Za-z0-9_]', '_', name)}_dim{axis}" if any(symbol in t.dynamic_dims for t in inputs) else symbol


def _resized(spec: TensorSpec, array: np.ndarray, symbol: str, more: int) -> np.ndarray:
    """The array with its first elements once more along a dimension."""
    for axis, dim in enumerate(spec.shape or ()):
        if dim == symbol:
            array = np.concatenate([array, np.take(array, range(more), axis)], axis)
    return array


def _size_of(inputs: Sequence[TensorSpec], feeds: Mapping[str, np.ndarray], symbol: str) -> int:
    return next(int(feeds[s.name].shape[axis]) for s in inputs for axis, dim in enumerate(s.shape or ()) if dim == symbol)


def _inferred(module: Any) -> tuple[list[TensorSpec], dict[str, np.ndarray], list[str]]:
    """Infers the one input of a model from its first layer with weights."""
    known = loading.arguments(module)
    if known is None:
        raise InputSpecError(
            "the model records no input shapes, and its forward takes *args, so that not even their names can be told",
            hint="name them: add --input name:float32[batch,3,224,224], once per input",
        )
    names = [n for n, needed in known.items() if needed] or list(known)[:1]
    if len(names) != 1:
        which = " ".join(f"--input {n}:float32[…]" for n in names) or "--input name:float32[…]"
        raise InputSpecError(f"the model records no input shapes, and takes {len(names)} inputs", hint=f"add {which}")
    name = names[0]
    for layer, spec in _candidates(module, name):
        feeds = {name: draw(spec, {"batch": 2}, seed=0)}
        try:
            _run(module, [spec], feeds)
            _run(module, [spec], {name: draw(spec, {"batch": 3}, seed=0)})
        except Exception:
            continue
        return [spec], feeds, [f"inputs: assumed {spec}, from the first layer ({layer}); give --input for another"]
    raise InputSpecError(
        "the model records no input shapes, and its first layers do not tell them",
        hint=f"add --input {name}:float32[batch,…] with the shape that it takes",
    )


def _candidates(module: Any, name: str) -> Iterator[tuple[str, TensorSpec]]:
    """Shapes that the first layer with weights could take, likeliest first."""
    for path, layer in module.named_modules():
        kind = getattr(layer, "original_name", type(layer).__name__)
        weights = dict(layer.named_parameters(recurse=False))
        where = f"{path or 'root'}: {kind}"
        weight = weights.get("weight")
        if kind in {"Conv1d", "Conv2d", "Conv3d"} and weight is not None:
            spatial = weight.dim() - 2
            channels = getattr(layer, "in_channels", None) or weight.shape[1]
            sizes = _SEQUENCE_SIZES if spatial == 1 else _IMAGE_SIZES
            for size in sizes:
                yield where, TensorSpec(name, "float32", ("batch", int(channels), *([size] * spatial)))
        elif kind == "Linear" and weight is not None:
            width = int(weight.shape[1])
            yield where, TensorSpec(name, "float32", ("batch", width))
            for size in _SEQUENCE_SIZES[:3]:
                yield where, TensorSpec(name, "float32", ("batch", size, width))
            for channels, size in itertools.product((1, 3), _IMAGE_SIZES):
                if channels * size * size == width:
                    yield where, TensorSpec(name, "float32", ("batch", channels, size, size))
        elif kind == "Embedding" and weight is not None:
            for size in (*_SEQUENCE_SIZES[:2], 8, 128):
                yield where, TensorSpec(name, "int64", ("batch", size))
        elif kind in {"LSTM", "GRU", "RNN"} and "weight_ih_l0" in weights:
            for size in _SEQUENCE_SIZES[:3]:
                yield where, TensorSpec(name, "float32", ("batch", size, int(weights["weight_ih_l0"].shape[1])))
        if weights:
            return
