"""Inputs that suit a model: right dtypes, values in the domain of each input, dynamic dimensions at several sizes."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convkit.errors import InputSpecError
from convkit.signature import Signature, TensorSpec
from convkit.validators.domains import Domain, Kind

__all__ = [
    "Arrays",
    "InputSet",
    "Ranges",
    "SavedSet",
    "Sizing",
    "draw",
    "fits",
    "generated",
    "matched",
    "named",
    "ordered",
    "perturbed",
    "zeros",
]

Arrays = Mapping[str, np.ndarray]
Ranges = Mapping[str, tuple[int | None, int | None]]

_SIZES = (2, 3)
"""The two sizes that every dynamic dimension is tried at: neither is 1, which broadcasts and hides mistakes."""
_MANY = 1 << 20
"""Elements of all inputs together, up to which the upper bounds of dynamic dimensions are tried."""


@dataclass(frozen=True)
class InputSet:
    """One array per input, and the recipe that made them ("seed 1, batch=3")."""

    recipe: str
    arrays: Arrays


@dataclass(frozen=True)
class SavedSet:
    """An input set as an `.npz`."""

    recipe: str
    file: Path


def draw(spec: TensorSpec, sizes: Mapping[str, int], seed: int, domain: Domain | None = None) -> np.ndarray:
    """Random values for one input.

    Floats are normal with unit variance; integers are 0 or 1 (always a legal index), those of 8 bits anything; booleans are
    fair coins. Where the input has a domain with a range they are uniform in it, and masks are what padding makes: ones, then
    zeros along the last axis.

    Args:
        spec: The input.
        sizes: A size for every dynamic dimension (2 where one is missing).
        seed: Seeds the generator together with the input's name, so that inputs differ.
        domain: What values it takes, where that is known.
    """
    generator = np.random.default_rng([seed, zlib.crc32(spec.name.encode())])
    shape = spec.concrete(sizes)
    if domain is not None and domain.is_bounded:
        return _in_domain(spec, shape, generator, domain)
    if spec.dtype == "bool":
        return generator.random(shape) < 0.5
    if spec.dtype in {"int8", "uint8"}:
        info = np.iinfo(spec.dtype)
        return generator.integers(info.min, info.max, shape, dtype=spec.dtype, endpoint=True)
    if spec.dtype.startswith(("int", "uint")):
        return generator.integers(0, 2, shape).astype(spec.dtype)
    if spec.dtype.startswith("complex"):
        return (generator.standard_normal(shape) + 1j * generator.standard_normal(shape)).astype(spec.dtype)
    if spec.dtype == "string":
        return np.full(shape, "convkit")
    if spec.dtype in {"resource", "variant"}:
        raise InputSpecError(f"input {spec} takes a {spec.dtype}, which no array can hold")
    return generator.standard_normal(shape).astype(spec.array_dtype)


def _in_domain(spec: TensorSpec, shape: tuple[int, ...], generator: np.random.Generator, domain: Domain) -> np.ndarray:
    if domain.kind is Kind.MASK:
        length = shape[-1] if shape else 1
        # At least one place counts: a row that is masked as a whole is no input of a model.
        kept = generator.integers(1, max(length, 1), (*shape[:-1], 1) if shape else (), endpoint=True)
        return np.asarray(np.arange(length) < kept if shape else kept > 0).astype(spec.array_dtype)
    if spec.dtype.startswith(("int", "uint")) or (domain.kind is Kind.IMAGE and domain.high == 255):
        return generator.integers(int(domain.low), int(domain.high), shape, endpoint=True).astype(spec.array_dtype)
    values = domain.high - (domain.high - domain.low) * generator.random(shape)  # 0 has no logarithm, and is not among them
    return values.astype(spec.array_dtype)


@dataclass(frozen=True)
class Sizing:
    """The sizes that dynamic dimensions are tried at.

    Attributes:
        signature: Whose dimensions they are.
        given: Sizes that the user or the file gave.
        ranges: The least and the largest size of a dimension, where the source says so.
    """

    signature: Signature
    given: Mapping[str, int]
    ranges: Ranges

    def small(self, step: int = 0) -> dict[str, int]:
        """The first (step 0) or the second (step 1) small size of every dimension."""
        return {dim: self._within(dim, self._usual(dim, step)) for dim in self.signature.dynamic_dims}

    def upper(self) -> dict[str, int] | None:
        """Every dimension at its upper bound where one is near, at its first small size otherwise; None where none is."""
        found = self.small()
        for dim in found:
            high = self.ranges.get(dim, (None, None))[1]
            if high is not None and self.elements({**found, dim: high}) <= _MANY:
                found[dim] = high
        return found if found != self.small() else None

    def single(self) -> dict[str, int] | None:
        """Batches of one, other dimensions at their first small size; None where no batch is dynamic, or one is refused."""
        found = self.small()
        batches = [dim for dim in found if self.leads(dim) and (self.ranges.get(dim, (None, None))[0] or 1) <= 1]
        return {**found, **dict.fromkeys(batches, 1)} if batches else None

    def leads(self, dim: str) -> bool:
        """Whether a dimension is the first one of an input: a batch, most often."""
        return any((t.shape or ("",))[0] == dim for t in self.signature.inputs)

    def elements(self, sizes: Mapping[str, int]) -> int:
        """Elements of all inputs together."""
        return sum(math.prod(t.concrete(sizes)) for t in self.signature.inputs)

    def _within(self, dim: str, size: int) -> int:
        low, high = self.ranges.get(dim, (None, None))
        return min(max(size, low or 1), high or size)

    def _usual(self, dim: str, step: int) -> int:
        """Small for a batch; for other dimensions large enough for a few convolutions and poolings."""
        if dim in self.given:
            return self.given[dim] + step
        return _SIZES[step] if self.leads(dim) else _SIZES[step] * 16


def named(recipe: str, sizes: Mapping[str, int]) -> str:
    """A recipe with its sizes."""
    return ", ".join([recipe, *(f"{dim}={size}" for dim, size in sizes.items())])


def generated(
    signature: Signature,
    domains: Mapping[str, Domain],
    sizes: Mapping[str, int],
    seeds: int,
    ranges: Ranges | None = None,
) -> Iterator[InputSet]:
    """Input sets for a model: several seeds, and zeros.

    Every dynamic dimension is tried at two sizes and at its upper bound, and batches of one: those are what most models
    are used with, and what shapes that were computed for more break at. (The masks among zeros are ones.)

    Args:
        signature: Whose inputs to fill.
        domains: What values inputs take, by name.
        sizes: Sizes for dynamic dimensions that the user or the file gave.
        seeds: How many random sets; with a near upper bound one more, of batches of one.
        ranges: The least and the largest size of dynamic dimensions, where the source says so.
    """
    sizing = Sizing(signature, sizes, ranges or {})
    upper, single = sizing.upper(), sizing.single()
    # The third set is at the upper bounds: a target with a smaller one runs at every size but that.
    chosen = [sizing.small(0), sizing.small(1), upper or single or sizing.small(0)]
    for seed in range(seeds):
        yield _random(signature, domains, chosen[seed % 3], seed)
    if upper is not None and single is not None and seeds >= len(chosen):
        yield _random(signature, domains, single, seeds)
    yield InputSet(named("zeros", chosen[0]), zeros(signature, domains, chosen[0]))


def _random(signature: Signature, domains: Mapping[str, Domain], sizes: Mapping[str, int], seed: int) -> InputSet:
    arrays = {t.name: draw(t, sizes, seed, domains.get(t.name)) for t in signature.inputs}
    return InputSet(named(f"seed {seed}", sizes), arrays)


def zeros(signature: Signature, domains: Mapping[str, Domain], sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Zeros for every input, ones for masks: nothing can be computed where all is masked."""
    found = {}
    for spec in signature.inputs:
        domain = domains.get(spec.name)
        like = draw(spec, sizes, 0, domain)
        found[spec.name] = np.ones_like(like) if domain is not None and domain.kind is Kind.MASK else np.zeros_like(like)
    return found


def perturbed(arrays: Arrays) -> dict[str, np.ndarray] | None:
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


def matched(signature: Signature, arrays: Arrays | Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """The user's arrays by input name, with their dtypes cast where nothing is lost.

    Raises:
        InputSpecError: Count, names, ranks, sizes or dtypes do not fit the signature.
    """
    found = ordered(signature, arrays)
    return {spec.name: _fitted(spec, found[spec.name]) for spec in signature.inputs}


def ordered(signature: Signature, arrays: Arrays | Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """The user's arrays by input name: by their own names, else by position.

    Raises:
        InputSpecError: Neither count nor names fit the signature.
    """
    names = signature.input_names
    if not isinstance(arrays, Mapping):
        arrays = {str(i): np.asarray(a) for i, a in enumerate(arrays)}
    if set(arrays) >= set(names):
        return {n: np.asarray(arrays[n]) for n in names}
    if len(arrays) == len(names):
        return {n: np.asarray(a) for n, a in zip(names, arrays.values(), strict=True)}
    raise InputSpecError(
        f"the model takes {len(names)} inputs ({', '.join(names)}), {len(arrays)} arrays were given ({', '.join(arrays)})",
        hint="name the arrays after the inputs",
    )


def fits(spec: TensorSpec, shape: tuple[int, ...]) -> bool:
    """Whether an input takes arrays of that shape."""
    if spec.shape is None:
        return True
    return len(spec.shape) == len(shape) and all(isinstance(d, str) or d == n for d, n in zip(spec.shape, shape, strict=True))


def _fitted(spec: TensorSpec, array: np.ndarray) -> np.ndarray:
    if not fits(spec, array.shape):
        raise InputSpecError(
            f"the array for {spec} has shape {list(array.shape)}", hint="give an array of that rank and those sizes"
        )
    if spec.dtype in {"bfloat16", "string"} or str(array.dtype) == spec.dtype:
        return array
    cast = array.astype(spec.dtype)
    if array.dtype.kind in "fc" and cast.dtype.kind in "iub":
        raise InputSpecError(f"the array for {spec} has dtype {array.dtype}", hint=f"give {spec.dtype}")
    if array.dtype.kind in "iub" and cast.dtype.kind in "iub" and not np.array_equal(cast, array):
        raise InputSpecError(f"the array for {spec} has values that no {spec.dtype} holds", hint=f"give {spec.dtype}")
    return cast
