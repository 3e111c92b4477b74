"""The domain of an input: token ids below the rows of their table, masks of 0 and 1, pixels, probabilities.

Evidence comes from the model's file: what its graph does with the input (readers put that into `metadata["index_bounds"]` and
`metadata["input_domains"]`), the input's own name, its dtype and shape. What nothing is known of has no domain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from convkit.artifact import ModelInfo
from convkit.signature import Signature, TensorSpec

__all__ = ["Domain", "Kind", "channel_axis", "domains_of", "is_image", "told"]

_MASK = re.compile(r"((^|[^A-Za-z])([Mm]ask|MASK)|(?<=[a-z])Mask)s?$|(?i:attention_?mask)")
_PROBABILITIES = re.compile(r"(^|[^a-z])(probs?|probability|probabilities)$", re.IGNORECASE)
_CHANNELS = (3, 1)


class Kind(StrEnum):
    """What the values of an input are."""

    INDICES = "indices"
    MASK = "mask"
    IMAGE = "image"
    PROBABILITIES = "probabilities"


@dataclass(frozen=True)
class Domain:
    """The values that an input takes.

    Attributes:
        kind: What they are.
        low, high: The smallest and the largest; equal (0 and 0) for an image whose range nothing tells.
        evidence: Where that is known from, in words.
    """

    kind: Kind
    low: float
    high: float
    evidence: str

    @property
    def is_bounded(self) -> bool:
        """Whether the range is known."""
        return self.high > self.low or self.kind is Kind.INDICES

    def __str__(self) -> str:
        return f"{self.kind}" + (f" in [{self.low:g}, {self.high:g}]" if self.is_bounded else "") + f": {self.evidence}"


def domains_of(infos: Iterable[ModelInfo | None], signature: Signature) -> dict[str, Domain]:
    """The domains of inputs, by name, as far as any of the files tells them; the first that does counts, the smallest table."""
    known = [info for info in infos if info is not None]
    found: dict[str, Domain] = {}
    for spec in signature.inputs:
        bounds = [info.metadata.get("index_bounds", {}) for info in known]
        rows = [int(of[spec.name]) for of in bounds if spec.name in of]
        recorded = (_recorded(info.metadata.get("input_domains", {}).get(spec.name)) for info in known)
        domain = _indices(min(rows)) if rows else next(filter(None, recorded), None) or _by_name(spec) or _by_shape(spec)
        if domain is not None:
            found[spec.name] = domain
    return found


def told(domains: Mapping[str, Domain]) -> dict[str, str]:
    """What was inferred, by input; images that are known by their shape alone are drawn as anything else is."""
    return {name: str(domain) for name, domain in domains.items() if domain.is_bounded}


def channel_axis(spec: TensorSpec) -> int | None:
    """The axis with the channels of a batch of images: 1 for NCHW, 3 for NHWC, None where the shape is none of the two."""
    if spec.shape is None or len(spec.shape) != 4:
        return None
    # Where both could be, the axis that is not as large as its neighbours is meant; channels come first by default.
    return next((axis for count in _CHANNELS for axis in (1, 3) if spec.shape[axis] == count), None)


def is_image(spec: TensorSpec) -> bool:
    """Whether an input has the shape and dtype of images with one or three channels."""
    return channel_axis(spec) is not None and (spec.dtype == "uint8" or spec.dtype.startswith("float"))


def _indices(rows: int) -> Domain:
    return Domain(Kind.INDICES, 0, rows - 1, f"it indexes a table of {rows} rows")


def _recorded(data: Mapping[str, object] | None) -> Domain | None:
    if data is None:
        return None
    return Domain(Kind(str(data["kind"])), float(str(data["low"])), float(str(data["high"])), str(data["evidence"]))


def _by_name(spec: TensorSpec) -> Domain | None:
    if _MASK.search(spec.name) and spec.dtype.startswith(("int", "uint", "float", "bool")):
        return Domain(Kind.MASK, 0, 1, "its name says so")
    if _PROBABILITIES.search(spec.name) and spec.dtype.startswith("float"):
        return Domain(Kind.PROBABILITIES, 0, 1, "its name says so")
    return None


def _by_shape(spec: TensorSpec) -> Domain | None:
    if not is_image(spec):
        return None
    if spec.dtype == "uint8":
        return Domain(Kind.IMAGE, 0, 255, "bytes, in the shape of images")
    return Domain(Kind.IMAGE, 0, 0, "its shape is that of images")
