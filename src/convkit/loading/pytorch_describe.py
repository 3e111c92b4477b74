"""Finds the signature of a PyTorch model that records none: runs it once, eagerly, on example inputs. Worker side.

Where the inputs come from, in this order: arrays that the user gave, specifications that the user gave (`--input`), the
example inputs that a traced TorchScript file keeps, and last what the first layers allow to infer; whatever was
inferred is said.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from convkit.arrays import load_arrays, save_arrays
from convkit.artifact import Artifact
from convkit.errors import ConversionError, ConvkitError, InputSpecError
from convkit.formats import Variant
from convkit.loading import pytorch as loading
from convkit.signature import Dim, Signature, TensorSpec, dynamic_dim

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
    feeds = _grown(inputs, feeds)
    try:
        outputs = _run(module, inputs, feeds)
    except Exception as error:
        raise InputSpecError(
            f"the model does not run on {', '.join(map(str, inputs))}: {' '.join(str(error).split())[:300]}",
            hint="give the shapes that it takes: --input name:float32[batch,3,224,224], once per input",
        ) from error
    signature = Signature(tuple(inputs), tuple(_output_specs(module, inputs, feeds, outputs, output_names)))
    save_arrays(examples, feeds)
    return signature, notes


def _find_inputs(
    source: Artifact | None, module: Any, specs: list[TensorSpec], arrays: dict[str, np.ndarray] | None
) -> tuple[list[TensorSpec], dict[str, np.ndarray], list[str]]:
    """The inputs, one example array each, and what was assumed."""
    if specs and arrays is None:
        names = [s.name for s in specs]
        expected = _names_or(module, names)
        if set(names) == set(expected):
            specs = [next(s for s in specs if s.name == n) for n in expected]
        elif len(names) != len(expected):
            raise InputSpecError(
                f"the model takes {len(expected)} inputs ({', '.join(expected)}), {len(names)} were given",
                hint="give --input once per input",
            )
        return specs, _runnable(module, specs), []
    if arrays is not None:
        names = _names_or(module, [f"input_{i}" for i in range(len(arrays))])
        ordered = _by_name_or_position(arrays, names)
        found = [TensorSpec(n, str(a.dtype), a.shape) for n, a in ordered.items()]
        given = {s.name: s for s in specs}
        return [given.get(t.name, t) for t in found], ordered, []
    if source is not None and source.variant is Variant.TORCHSCRIPT:
        from convkit.readers.traced_inputs import read_traced_inputs

        recorded = read_traced_inputs(source.path)
        if recorded:
            names = _names_or(module, [f"input_{i}" for i in range(len(recorded))])
            feeds = dict(zip(names, recorded, strict=True))
            notes = ["inputs: the example inputs that the traced file keeps"]
            return [TensorSpec(n, str(a.dtype), a.shape) for n, a in feeds.items()], feeds, notes
    return _inferred(module)


def _names_or(module: Any, fallback: list[str]) -> list[str]:
    try:
        names = list(loading.argument_names(module))
    except InputSpecError:
        return fallback
    # Optional arguments may be given too: then the user's names say which.
    return names if len(names) >= len(fallback) or not fallback else fallback


def _by_name_or_position(arrays: dict[str, np.ndarray], names: list[str]) -> dict[str, np.ndarray]:
    if set(arrays) >= set(names):
        return {n: arrays[n] for n in names}
    if len(arrays) != len(names):
        raise InputSpecError(
            f"the model takes {len(names)} inputs ({', '.join(names)}), the file has {len(arrays)} arrays "
            f"({', '.join(arrays)})",
            hint="name the arrays in the .npz after the inputs",
        )
    return dict(zip(names, arrays.values(), strict=True))


def _runnable(module: Any, specs: list[TensorSpec]) -> dict[str, np.ndarray]:
    """Example arrays for specifications; free sizes are tried until the model runs."""
    symbols = list(dict.fromkeys(d for s in specs for d in s.dynamic_dims))
    leading = {d for s in specs for d in (s.shape or ())[:1] if isinstance(d, str)}
    first: dict[str, np.ndarray] | None = None
    for size in _DYNAMIC_SIZES:
        sizes = {s: 2 if s in leading else size for s in symbols}
        feeds = {s.name: _example(s, sizes) for s in specs}
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


def _example(spec: TensorSpec, sizes: Mapping[str, int]) -> np.ndarray:
    from convkit.validators.inputs import draw

    return draw(spec, sizes, seed=0)


def _run(module: Any, inputs: Sequence[TensorSpec], feeds: Mapping[str, np.ndarray]) -> Any:
    import torch

    with torch.inference_mode():
        return module(*(loading.to_torch(feeds[s.name], s.dtype) for s in inputs))


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


def _output_specs(
    module: Any, inputs: Sequence[TensorSpec], feeds: Mapping[str, np.ndarray], outputs: Any, names: Sequence[str] | None
) -> Iterator[TensorSpec]:
    """Names the outputs; an output dimension is dynamic when it moves with a dynamic input dimension."""
    base = [(n, t) for n, t in loading.named_tensors(outputs, names)]
    shapes: list[list[Dim]] = [list(t.shape) for _, t in base]
    for symbol in dict.fromkeys(d for s in inputs for d in s.dynamic_dims):
        resized = {s.name: _resized(s, feeds[s.name], symbol) for s in inputs}
        try:
            moved = [t for _, t in loading.named_tensors(_run(module, inputs, resized), names)]
        except ConvkitError:
            raise
        except Exception as error:
            raise InputSpecError(
                f"the model does not run with another size of dimension {symbol!r}: {' '.join(str(error).split())[:300]}",
                hint="make that dimension static: give a number for it",
            ) from error
        size, step = _size_of(inputs, feeds, symbol), _size_of(inputs, resized, symbol)
        for k, ((name, before), after) in enumerate(zip(base, moved, strict=True)):
            if before.dim() != after.dim():
                raise ConversionError(f"the rank of output {name!r} depends on dimension {symbol!r}", stage="describe")
            for axis, (was, now) in enumerate(zip(before.shape, after.shape, strict=True)):
                if was != now:
                    shapes[k][axis] = symbol if (was, now) == (size, step) else dynamic_dim(name, axis)
    for (name, tensor), shape in zip(base, shapes, strict=True):
        yield TensorSpec(name, loading.dtype_name(tensor.dtype), tuple(shape))


def _resized(spec: TensorSpec, array: np.ndarray, symbol: str) -> np.ndarray:
    for axis, dim in enumerate(spec.shape or ()):
        if dim == symbol:
            array = np.concatenate([array, np.take(array, [0], axis)], axis)
    return array


def _size_of(inputs: Sequence[TensorSpec], feeds: Mapping[str, np.ndarray], symbol: str) -> int:
    return next(
        feeds[s.name].shape[axis] for s in inputs for axis, dim in enumerate(s.shape or ()) if dim == symbol
    )


def _inferred(module: Any) -> tuple[list[TensorSpec], dict[str, np.ndarray], list[str]]:
    """Infers the one input of a model from its first layer with weights."""
    names = _names_or(module, [])
    if len(names) != 1:
        which = " ".join(f"--input {n}:float32[…]" for n in names) or "--input name:float32[…]"
        raise InputSpecError("the model records no input shapes, and takes several inputs", hint=f"add {which}")
    name = names[0]
    for layer, spec in _candidates(module, name):
        feeds = {name: _example(spec, {"batch": 2})}
        try:
            _run(module, [spec], feeds)
            _run(module, [spec], {name: _example(spec, {"batch": 3})})
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
