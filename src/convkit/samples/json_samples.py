"""Samples as JSON: objects of input name → nested lists of numbers, one, several in a list, or one per line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from convkit.errors import InputSpecError
from convkit.signature import Signature, TensorSpec
from convkit.validators.inputs import Arrays

__all__ = ["SUFFIXES", "arrays_of", "samples"]

SUFFIXES = (".json", ".jsonl", ".ndjson")
_MOST_BYTES = 256 << 20
_EXAMPLE = 'write {"input_ids": [[1, 2, 3]], "attention_mask": [[1, 1, 1]]}, a list of such objects, or one per line'


def samples(file: Path, signature: Signature) -> Iterator[tuple[str, Arrays]]:
    """The samples of a file; what is no input of the model (labels) is left out.

    Raises:
        InputSpecError: It is no such JSON, lacks an input, or has something else in its place.
    """
    found = _objects(file)
    for index, sample in enumerate(found):
        label = file.name if len(found) == 1 else f"{file.name}, sample {index}"
        missing = [t.name for t in signature.inputs if t.name not in sample]
        if missing:
            raise InputSpecError(f"{file}: sample {index} has no '{missing[0]}', which the model takes", hint=_EXAMPLE)
        yield label, {t.name: _array(file, t, sample[t.name]) for t in signature.inputs}


def arrays_of(file: Path) -> Arrays:
    """The first sample, in the dtypes that its numbers have: for a model whose signature is yet to be found.

    Raises:
        InputSpecError: As for `samples`.
    """
    first = _objects(file)[0]
    arrays = {name: _plain(file, name, value) for name, value in first.items()}
    return {n: a.astype(np.float32) if a.dtype == np.float64 else a for n, a in arrays.items()}


def _objects(file: Path) -> list[dict[str, Any]]:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise InputSpecError(f"{file} has {file.stat().st_size} bytes", hint="give JSON of 256 MiB at most, or an .npz")
        text = file.read_text("utf-8")
        data = _parsed(text)
    except FileNotFoundError:
        raise InputSpecError(f"there is no file {file}", hint=_EXAMPLE) from None
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise InputSpecError(f"{file} is no JSON: {error}", hint=_EXAMPLE) from None
    found = data if isinstance(data, list) else [data]
    if not found or not all(isinstance(sample, dict) and sample for sample in found):
        raise InputSpecError(f"{file} does not hold an object of arrays by input name", hint=_EXAMPLE)
    return found


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2 or not error.msg.startswith("Extra data"):
            raise
        return [json.loads(line) for line in lines]


def _plain(file: Path, name: str, value: Any) -> np.ndarray:
    try:
        array = np.array(value)
    except (ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise InputSpecError(
            f"{file}: '{name}' is no array: {error}", hint="its rows have different lengths? pad them to one length"
        ) from None
    if array.dtype.kind not in "iufb" or array.size == 0:
        raise InputSpecError(f"{file}: '{name}' is no array of numbers", hint=_EXAMPLE)
    return array


def _array(file: Path, spec: TensorSpec, value: Any) -> np.ndarray:
    """A nested list as the input's array; nothing is rounded or cut off."""
    array = _plain(file, spec.name, value)
    dtype = np.dtype("str" if spec.dtype == "string" else spec.array_dtype)
    if dtype.kind in "iub":
        limits = (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
        whole = array.dtype.kind in "iub" or bool((array == np.floor(array)).all())
        if not whole or int(array.min()) < limits[0] or int(array.max()) > limits[1]:
            raise InputSpecError(f"{file}: '{spec.name}' has values that no {spec.dtype} holds", hint=f"the model takes {spec}")
    array = array.astype(dtype)
    return array[None] if _lacks_batch(spec, array) else array


def _lacks_batch(spec: TensorSpec, array: np.ndarray) -> bool:
    """Whether an array is a single sample of a model that takes batches, as data sets keep them."""
    if not spec.shape or array.ndim != len(spec.shape) - 1:
        return False
    return spec.shape[0] == 1 or isinstance(spec.shape[0], str)
