"""What a recipe of stressing inputs is, and how it is found: a function with `@recipe` in a module of this package.

A recipe gets a `Setting` and yields input sets. To add one, write such a function in the module that it fits, or in a new one.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from convkit.signature import Signature, TensorSpec
from convkit.validators.domains import Domain, Kind
from convkit.validators.inputs import Arrays, InputSet, Sizing, draw, named

__all__ = ["Purpose", "Recipe", "Setting", "StressSet", "recipe", "stress_sets"]


class Purpose(StrEnum):
    """What a set is for, which decides how it is judged."""

    VALUES = "values"
    """Finite values that the model may be given: outputs are compared as on any other set."""
    DENORMALS = "denormals"
    """The same, but a target that takes them for zeros is told of and not at fault: runtimes flush them for speed."""
    PADDING = "padding"
    """The same, with places that the mask hides from all others: what comes out there is nobody's, and only told of."""
    OVERFLOW = "overflow"
    """The same, so large that what is in between may overflow on one side only: that is told of, as for NaN and infinity."""
    NON_FINITE = "non-finite"
    """NaN or infinity: how they spread is told of; it is at fault only where the user wants that."""


@dataclass(frozen=True)
class StressSet(InputSet):
    """An input set with its purpose; `touched` is the input that it is about."""

    purpose: Purpose = Purpose.VALUES
    touched: str = ""


@dataclass(frozen=True)
class Setting:
    """What recipes know of the model.

    Attributes:
        signature: Its inputs.
        domains: What values they take, as far as that is known.
        sizing: The sizes of its dynamic dimensions.
        least: The least size that the source runs at, of the dimensions where that was found out.
        limits: The smallest and the largest integer that both models' inputs hold, by name.
    """

    signature: Signature
    domains: Mapping[str, Domain]
    sizing: Sizing
    least: Mapping[str, int] = field(default_factory=dict)
    limits: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def drawn(self, sizes: Mapping[str, int] | None = None, seed: int = 0) -> dict[str, np.ndarray]:
        """Random inputs, at the first small sizes by default: what a recipe changes."""
        chosen = self.sizing.small() if sizes is None else sizes
        return {t.name: draw(t, chosen, seed, self.domains.get(t.name)) for t in self.signature.inputs}

    @property
    def floats(self) -> tuple[TensorSpec, ...]:
        """The inputs of floating-point numbers."""
        return tuple(t for t in self.signature.inputs if t.dtype.startswith(("float", "bfloat")))

    @property
    def unbounded(self) -> tuple[TensorSpec, ...]:
        """The inputs of floating-point numbers of which no range is known."""
        return tuple(t for t in self.floats if t.name not in self.domains or not self.domains[t.name].is_bounded)

    def of_kind(self, kind: Kind) -> tuple[TensorSpec, ...]:
        """The inputs of that kind."""
        return tuple(t for t in self.signature.inputs if t.name in self.domains and self.domains[t.name].kind is kind)

    def made(self, recipe: str, arrays: Arrays, purpose: Purpose = Purpose.VALUES, touched: str = "") -> StressSet:
        """A set at the first small sizes."""
        return StressSet(named(recipe, self.sizing.small()), arrays, purpose, touched)


Recipe = Callable[[Setting], Iterator[StressSet]]
_recipes: list[Recipe] = []


def recipe(function: Recipe) -> Recipe:
    """Makes a function a recipe."""
    _recipes.append(function)
    return function


def stress_sets(setting: Setting) -> Iterator[StressSet]:
    """The sets of all recipes; those that are equal to an earlier one are left out."""
    package = importlib.import_module(__package__ or "")
    for info in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{info.name}")
    seen: set[tuple[bytes, ...]] = set()
    for function in _recipes:
        for made in function(setting):
            content = tuple(f"{a.dtype}{a.shape}".encode() + a.tobytes() for a in made.arrays.values())
            if content not in seen:
                seen.add(content)
                yield made
