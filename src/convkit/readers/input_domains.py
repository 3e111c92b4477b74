"""What values an input takes, as far as what a graph does with it first tells: a mask, an image in [0, 255], probabilities.

Readers give the steps of their graph in execution order, in the few words below. Values are followed from the inputs through
steps that move them and through multiplications and additions of constants; what the graph does with them then is the
evidence: `(1 - x) * -1e4` is what masks become before they are added to scores, `(x - mean) / std` what images become.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from convkit.signature import TensorSpec

__all__ = ["MOST_CONSTANTS", "Affine", "Choice", "Logarithm", "Moved", "Operand", "Step", "Truth", "arithmetic", "input_domains"]

MOST_CONSTANTS = 16
"""Elements of a constant that counts as a scale or an offset: one, or one per channel."""
_HIDING = -1e3
"""What is added to scores so that they do not count is this or less."""
_NORMALISED = (0.4, 8.0)
"""How wide the range of normalised pixels is: x / 255 gives 1, (x - mean) / std of ImageNet 4.5."""
_CHANNELS = (1, 3)


@dataclass(frozen=True)
class Moved:
    """The outputs hold values of the source, in another place, dtype or size."""

    source: str
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Affine:
    """output = scale · source + offset, per channel or for all (then one element)."""

    source: str
    output: str
    scale: Sequence[float] = (1.0,)
    offset: Sequence[float] = (0.0,)


@dataclass(frozen=True)
class Truth:
    """The output says where the source is not 0 (or where it is): a cast to bool, a comparison with 0 or 1."""

    source: str
    output: str


@dataclass(frozen=True)
class Choice:
    """A choice between two tensors by a condition; `least` is the smallest constant among them, None without one."""

    condition: str
    least: float | None


@dataclass(frozen=True)
class Logarithm:
    """The logarithm of a value is taken."""

    source: str


Step = Moved | Affine | Truth | Choice | Logarithm
Operand = tuple[str, Sequence[float] | None]
"""The name of a value, and its elements where it is a small constant."""


def arithmetic(operator: str, left: Operand, right: Operand, output: str) -> Iterator[Affine]:
    """The step of an "add", "sub", "mul" or "div" of a value and a constant; nothing for other operands."""
    (first, a), (second, b) = left, right
    if a is None and b is not None:
        if operator == "mul":
            yield Affine(first, output, scale=b)
        elif operator == "div" and 0.0 not in b:
            yield Affine(first, output, scale=tuple(1 / v for v in b))
        elif operator in {"add", "sub"}:
            yield Affine(first, output, offset=b if operator == "add" else tuple(-v for v in b))
    elif a is not None and b is None:
        if operator == "mul":
            yield Affine(second, output, scale=a)
        elif operator in {"add", "sub"}:
            yield Affine(second, output, (1.0,) if operator == "add" else (-1.0,), a)


@dataclass(frozen=True)
class _Value:
    """A value that comes from an input: scale · input + offset, or the truth of that."""

    origin: str
    scale: tuple[float, ...] = (1.0,)
    offset: tuple[float, ...] = (0.0,)
    is_truth: bool = False

    def then(self, scale: Sequence[float], offset: Sequence[float]) -> _Value | None:
        """The value behind another multiplication and addition; None where channels do not go together."""
        sizes = {len(v) for v in (self.scale, self.offset, scale, offset)} - {1}
        if len(sizes) > 1 or self.is_truth:
            return None
        mine, then = _paired(self.scale, scale), _paired(_product(self.offset, scale), offset)
        return replace(self, scale=tuple(a * b for a, b in mine), offset=tuple(a + b for a, b in then))


def _paired(a: Sequence[float], b: Sequence[float]) -> Iterator[tuple[float, float]]:
    size = max(len(a), len(b))
    return zip([*a] * (size // len(a)), [*b] * (size // len(b)), strict=True)


def _product(a: Sequence[float], b: Sequence[float]) -> tuple[float, ...]:
    return tuple(x * y for x, y in _paired(a, b))


def input_domains(inputs: Iterable[TensorSpec], steps: Iterable[Step]) -> dict[str, dict[str, Any]]:
    """Input name → `kind` ("mask", "image", "probabilities"), `low` and `high` (inclusive), and `evidence` in words.

    Inputs that the graph says nothing of are left out.
    """
    specs = {spec.name: spec for spec in inputs}
    values = {name: _Value(name) for name in specs}
    found: dict[str, dict[str, Any]] = {}
    for step in steps:
        value = values.get(step.condition if isinstance(step, Choice) else step.source)
        if value is None:
            continue
        if isinstance(step, Moved):
            values.update(dict.fromkeys(step.outputs, value))
        elif isinstance(step, Truth):
            values[step.output] = replace(value, is_truth=True)
        elif isinstance(step, Affine):
            then = value.then(step.scale, step.offset)
            if then is not None:
                values[step.output] = then
                found |= _mask_by_bias(then) or _image(specs[then.origin], then)
        elif isinstance(step, Choice):
            found |= _mask_by_choice(specs[value.origin], value, step.least)
        elif value.scale == (1.0,) and value.offset == (0.0,) and value.origin not in found:
            # Of anything else half of the results would be NaN, and NaN all that is behind them.
            found[value.origin] = _domain("probabilities", 0.0, 1.0, "its logarithm is taken")
    return found


def _domain(kind: str, low: float, high: float, evidence: str) -> dict[str, Any]:
    return {"kind": kind, "low": low, "high": high, "evidence": evidence}


def _mask_by_bias(value: _Value) -> dict[str, dict[str, Any]]:
    """(1 - x) · -1e4, or -1e4 + 1e4 · x: nothing where x is 1, and far below all scores where it is 0."""
    (scale, *others), (offset, *_) = value.scale, value.offset
    if others or not offset <= _HIDING or not abs(scale + offset) <= 1e-3 * scale:
        return {}
    return {value.origin: _domain("mask", 0, 1, f"it becomes 0 where it is 1 and {offset:.4g} where it is 0")}


def _mask_by_choice(spec: TensorSpec, value: _Value, least: float | None) -> dict[str, dict[str, Any]]:
    hides = least is not None and least <= _HIDING
    # A comparison of a float with 0 may only guard a division; with what hides scores behind it, it is a mask.
    if spec.dtype.startswith("float") and not hides:
        return {}
    if not value.is_truth or abs(value.scale[0]) != 1.0 or value.offset[0] not in (0.0, 1.0, -1.0):
        return {}
    return {value.origin: _domain("mask", 0, 1, "a choice between two tensors is made by it")}


def _image(spec: TensorSpec, value: _Value) -> dict[str, dict[str, Any]]:
    """The range of pixels that the graph's own normalisation takes to about [-3, 3]."""
    shape = spec.shape or ()
    if len(shape) != 4 or not {shape[1], shape[3]} & set(_CHANNELS) or min(map(abs, value.scale)) == 0:
        return {}
    scale = sum(map(abs, value.scale)) / len(value.scale)
    centre = sum(-o / s for s, o in _paired(value.scale, value.offset)) / max(len(value.scale), len(value.offset))
    evidence = f"it is normalised: multiplied by {scale:.4g}, {centre:.4g} taken as its mean" if centre else (
        f"it is normalised: multiplied by {scale:.4g}"
    )  # fmt: skip
    if _NORMALISED[0] <= 255 * scale <= _NORMALISED[1] and -1 <= centre <= 255:
        return {spec.name: _domain("image", 0, 255, evidence)}
    if scale == 1.0 and 50 <= centre <= 200:
        return {spec.name: _domain("image", 0, 255, evidence)}
    if 1 < scale <= _NORMALISED[1] and 0 < centre < 1:
        return {spec.name: _domain("image", 0, 1, evidence)}
    return {}
