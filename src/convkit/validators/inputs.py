"""Inputs that suit a model: right dtypes, values in the domain of each input, dynamic dimensions at several sizes."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from convkit.errors import InputSpecError
from convkit.signature import Signature, TensorSpec

__all__ = ["InputSet", "draw", "generated", "given", "matched", "perturbed"]

_SIZES = (2, 3)
"""The two sizes that every dynamic dimension is tried at: neither is 1, which broadcasts and hides mistakes."""
_MANY = 1 << 20
"""Elements of all inputs together, up to which the upper bounds of dynamic dimensions are tried."""


@dataclass(frozen=True)
class InputSet:
    """One array per input, and the recipe that made them ("seed 1, batch=3")."""

    recipe: str
    arrays: Mapping[str, np.ndarray]


def draw(spec: TensorSpec, sizes: Mapping[str, int], seed: int, bound: int | None = None) -> np.ndarray:
    """Random values for one input.

    Floats are normal with unit variance; integers are uniform in [0, bound), where the bound is the number of rows
    of the table that they index, or 2 where that is not known (always a legal index); booleans are fair coins.

    Args:
        spec: The input.
        sizes: A size for every dynamic dimension (2 where one is missing).
        seed: Seeds the generator together with the input's name, so that inputs differ.
        bound: Exclusive upper bound of integers.
    """
    generator = np.random.default_rng([seed, zlib.crc32(spec.name.encode())])
    shape = spec.concrete(sizes)
    if spec.dtype == "bool":
        return generator.random(shape) < 0.5
    if spec.dtype in {"int8", "uint8"} and bound is None:
        info = np.iinfo(spec.dtype)
        return generator.integers(info.min, info.max, shape, dtype=spec.dtype, endpoint=True)
    if spec.dtype.startswith(("int", "uint")):
        return generator.integers(0, bound or 2, shape).astype(spec.dtype)
    if spec.dtype.startswith("complex"):
        return (generator.standard_normal(shape) + 1j * generator.standard_normal(shape)).astype(spec.dtype)
    if spec.dtype == "string":
        return np.full(shape, "convkit")
    if spec.dtype in {"resource", "variant"}:
        raise InputSpecError(f"input {spec} takes a {spec.dtype}, which no array can hold")
    dtype = "float32" if spec.dtype == "bfloat16" else spec.dtype
    return generator.standard_normal(shape).astype(dtype)


def generated(
    signature: Signature,
    bounds: Mapping[str, int],
    sizes: Mapping[str, int],
    seeds: int,
    ranges: Mapping[str, tuple[int | None, int | None]] | None = None,
) -> Iterator[InputSet]:
    """Input sets for a model: several seeds, every dynamic dimension at two sizes and at its upper bound, and zeros.

    Args:
        signature: Whose inputs to fill.
        bounds: Exclusive upper bounds of integer inputs, by name.
        sizes: Sizes for dynamic dimensions that the user or the file gave.
        seeds: How many random sets.
        ranges: The least and the largest size of dynamic dimensions, where the source says so.
    """
    chosen = [_sizes_of(signature, sizes, ranges or {}, step) for step in range(3)]
    for seed in range(seeds):
        # The third set is at the upper bounds: a target with a smaller one runs at every size but that.
        at = chosen[seed % 3]
        arrays = {t.name: draw(t, at, seed, bounds.get(t.name)) for t in signature.inputs}
        yield InputSet(", ".join([f"seed {seed}", *(f"{d}={n}" for d, n in at.items())]), arrays)
    at = chosen[0]
    zeros = {t.name: np.zeros_like(draw(t, at, 0, bounds.get(t.name))) for t in signature.inputs}
    yield InputSet(", ".join(["zeros", *(f"{d}={n}" for d, n in at.items())]), zeros)


def _sizes_of(
    signature: Signature, sizes: Mapping[str, int], ranges: Mapping[str, tuple[int | None, int | None]], step: int
) -> dict[str, int]:
    """A size for every dynamic dimension: two small ones (steps 0 and 1), then the upper bound (step 2) where it is near."""
    found: dict[str, int] = {}
    for dim in signature.dynamic_dims:
        low, high = ranges.get(dim, (None, None))
        size = sizes[dim] + step % 2 if dim in sizes else _default_size(signature, dim, step % 2)
        if step == 2 and high is not None and _elements(signature, {**found, dim: high}) <= _MANY:
            size = high
        found[dim] = min(max(size, low or 1), high or size)
    return found


def _elements(signature: Signature, sizes: Mapping[str, int]) -> int:
    return sum(math.prod(t.concrete(sizes)) for t in signature.inputs)


def _default_size(signature: Signature, symbol: str, step: int) -> int:
    """Small for a batch; for other dimensions large enough for a few convolutions and poolings."""
    leads = any((t.shape or ("",))[0] == symbol for t in signature.inputs)
    size = _SIZES[step]
    return size if leads else size * 16


def perturbed(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """The same inputs, moved by half a last bit of float32 at their own scale (of 1 where they are zero).

    What the source makes of the difference is its noise floor; None where no input is a float of at least 32 bits.
    """
    if not any(a.dtype.kind == "f" and a.itemsize >= 4 for a in arrays.values()):
        return None
    generator = np.random.default_rng(1)
    moved = {}
    for name, array in arrays.items():
        if array.dtype.kind == "f" and array.itemsize >= 4:
            scale = float(np.abs(array[np.isfinite(array)]).max(initial=0.0)) or 1.0
            step = np.where(generator.random(array.shape) < 0.5, -1, 1) * scale * 2.0**-24
            array = (array + step).astype(array.dtype)
        moved[name] = array
    return moved


def matched(signature: Signature, arrays: Mapping[str, np.ndarray] | Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """The user's arrays by input name, with their dtypes cast where nothing is lost.

    Raises:
        InputSpecError: Count, names, ranks, sizes or dtypes do not fit the signature.
    """
    names = signature.input_names
    if not isinstance(arrays, Mapping):
        arrays = {str(i): np.asarray(a) for i, a in enumerate(arrays)}
    if set(arrays) >= set(names):
        ordered = {n: np.asarray(arrays[n]) for n in names}
    elif len(arrays) == len(names):
        ordered = {n: np.asarray(a) for n, a in zip(names, arrays.values(), strict=True)}
    else:
        raise InputSpecError(
            f"the model takes {len(names)} inputs ({', '.join(names)}), {len(arrays)} arrays were given ({', '.join(arrays)})",
            hint="name the arrays after the inputs",
        )
    return {spec.name: _fitted(spec, ordered[spec.name]) for spec in signature.inputs}


def _fitted(spec: TensorSpec, array: np.ndarray) -> np.ndarray:
    if spec.shape is not None:
        fits = len(spec.shape) == array.ndim and all(
            isinstance(d, str) or d == n for d, n in zip(spec.shape, array.shape, strict=False)
        )
        if not fits:
            raise InputSpecError(
                f"the array for {spec} has shape {list(array.shape)}", hint="give an array of that rank and those sizes"
            )
    if spec.dtype in {"bfloat16", "string"} or str(array.dtype) == spec.dtype:
        return array
    cast = array.astype(spec.dtype)
    if array.dtype.kind in "fc" and cast.dtype.kind in "iub":
        raise InputSpecError(f"the array for {spec} has dtype {array.dtype}", hint=f"give {spec.dtype}")
    return cast


def given(signature: Signature, arrays: Mapping[str, np.ndarray] | Sequence[np.ndarray]) -> InputSet:
    """The user's own arrays as an input set."""
    return InputSet("given", matched(signature, arrays))
