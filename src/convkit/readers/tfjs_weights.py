"""The weights of a TF.js model: `weightsManifest` and the binary shards that it names, checked against each other.

Formats: tfjs-core/src/io/types.ts (WeightsManifestConfig) and io_utils.ts (decodeWeights).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convkit.errors import UnreadableModelError
from convkit.readers.companions import companion
from convkit.readers.damage import DamagedFileError

__all__ = ["Weight", "WeightGroup", "weight_groups"]

# Bytes of one element as it is stored.
_STORED = {"float32": 4, "int32": 4, "float16": 2, "uint16": 2, "uint8": 1, "bool": 1, "complex64": 8}
# What a weight is when TF.js has loaded it; the official converter also writes float16 and small integers as they are.
_DTYPES = frozenset({"float32", "int32", "bool", "string", "complex64", "float16", "uint8", "uint16"})
_QUANTIZED = ("uint8", "uint16", "float16")


@dataclass(frozen=True)
class Weight:
    """One entry of a manifest.

    Attributes:
        name: The node or the Keras variable that it belongs to.
        dtype: What it is once it is loaded.
        stored: How its elements lie in the shard, another dtype where it is quantised.
        shape: Its sizes.
        scale: With `minimum`, the affine map of quantised integers: value = stored · scale + minimum.
        minimum: See `scale`.
        is_for_training: Whether it is the state of an optimiser.
    """

    name: str
    dtype: str
    stored: str
    shape: tuple[int, ...]
    scale: float = 1.0
    minimum: float = 0.0
    is_for_training: bool = False

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def size(self) -> int | None:
        """Bytes in the shard; None for strings, whose lengths only the shard knows."""
        return None if self.stored == "string" else self.elements * _STORED[self.stored]


@dataclass(frozen=True)
class WeightGroup:
    """Weights that lie one after the other in shards, which are to be read as one file."""

    shards: tuple[Path, ...]
    weights: tuple[Weight, ...]

    @property
    def size(self) -> int:
        """Bytes of all shards."""
        return sum(shard.stat().st_size for shard in self.shards)


def weight_groups(file: Path, model: Mapping[str, Any]) -> list[WeightGroup]:
    """The groups of a `model.json`; every shard is there, and holds exactly its weights.

    Raises:
        UnreadableModelError: when a shard lies elsewhere, is missing, or is too short or too long.
        DamagedFileError: when an entry has no name, or a shape or dtype that no weight has, or two have one name, or shard.
    """
    groups = []
    names: set[str] = set()
    files: set[Path] = set()
    for entry in model.get("weightsManifest") or ():
        weights = tuple(_weight(w) for w in entry["weights"])
        for weight in weights:
            if weight.name in names:
                raise DamagedFileError(f"it has two weights called {weight.name!r}")
            names.add(weight.name)
        shards = tuple(companion(file, str(location), "a weight group") for location in entry["paths"])
        for shard in shards:
            if shard in files:
                raise DamagedFileError(f"it names the shard {shard.name!r} twice")
            files.add(shard)
        groups.append(_complete(file, WeightGroup(shards, weights)))
    return groups


def _complete(file: Path, group: WeightGroup) -> WeightGroup:
    sizes = [weight.size for weight in group.weights]
    needed = sum(size for size in sizes if size is not None)
    held = group.size
    if held < needed or (held > needed and None not in sizes):
        names = ", ".join(shard.name for shard in group.shards)
        raise UnreadableModelError(
            f"the weights of {file} take {needed} bytes, and {names} have {held}",
            hint="a shard is truncated or belongs to another model: fetch model.json and its shards again",
        )
    return group


def _weight(entry: Any) -> Weight:
    name, shape, dtype = entry.get("name"), entry.get("shape"), str(entry.get("dtype"))
    if not isinstance(name, str) or not name:
        raise DamagedFileError("a weight has no name")
    if not isinstance(shape, list) or not all(type(d) is int and d >= 0 for d in shape):
        raise DamagedFileError(f"the weight {name!r} has the shape {shape}")
    if dtype not in _DTYPES:
        raise DamagedFileError(f"the weight {name!r} has the unknown dtype {dtype!r}")
    if not entry.get("quantization"):
        return Weight(name, dtype, dtype, tuple(shape), is_for_training=entry.get("group") == "optimizer")
    return _quantized(name, dtype, tuple(shape), entry["quantization"])


def _quantized(name: str, dtype: str, shape: tuple[int, ...], quantization: Any) -> Weight:
    stored = str(quantization.get("dtype"))
    fits = stored in _QUANTIZED and (dtype == "float32" or (dtype == "int32" and stored != "float16"))
    if not fits:
        raise DamagedFileError(f"the weight {name!r} of dtype {dtype} is quantised to the unknown dtype {stored!r}")
    if stored == "float16":
        return Weight(name, dtype, stored, shape)
    scale, minimum = quantization.get("scale"), quantization.get("min")
    if not all(type(number) in (int, float) and math.isfinite(number) for number in (scale, minimum)):
        raise DamagedFileError(f"the quantised weight {name!r} has no scale and minimum")
    return Weight(name, dtype, stored, shape, float(scale), float(minimum))
