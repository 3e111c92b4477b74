"""Several samples in one set of arrays: told from shapes alone, and only where nothing else can be meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from convkit.errors import InputSpecError
from convkit.signature import Signature, TensorSpec
from convkit.validators.inputs import Arrays, fits, ordered

__all__ = ["split"]


def split(signature: Signature, arrays: Arrays) -> list[Arrays]:
    """One set of arrays per sample; the arrays as they are where their axes count none, or do not fit the model.

    Every array has one axis more than its input, of one length: it counts samples. Or every input has a batch of exactly
    one and the arrays hold more, of one number: each is a sample.
    """
    try:
        found = ordered(signature, arrays)
    except InputSpecError:
        return [arrays]  # whoever matches them with the signature says what is wrong
    specs = {t.name: t for t in signature.inputs}
    if not found or all(fits(specs[n], a.shape) for n, a in found.items()):
        return [arrays]
    lengths = {a.shape[0] if a.ndim else 0 for a in found.values()}
    if len(lengths) != 1 or 0 in lengths:
        return [arrays]
    (count,) = lengths
    if all(fits(specs[n], a.shape[1:]) for n, a in found.items()):
        return _parts(found, count, lambda array, index: array[index])
    if all(_is_one(specs[n]) and fits(specs[n], (1, *a.shape[1:])) for n, a in found.items()):
        return _parts(found, count, lambda array, index: array[index : index + 1])
    return [arrays]


def _parts(found: Mapping[str, np.ndarray], count: int, part: Callable[[np.ndarray, int], np.ndarray]) -> list[Arrays]:
    return [{name: part(array, index) for name, array in found.items()} for index in range(count)]


def _is_one(spec: TensorSpec) -> bool:
    return bool(spec.shape) and spec.shape is not None and spec.shape[0] == 1
