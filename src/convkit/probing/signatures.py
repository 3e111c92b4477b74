"""The distinct operator signatures of a model, as the parent process knows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Described", "OperatorSignature"]


@dataclass(frozen=True)
class OperatorSignature:
    """One operator with its attributes, dtypes, shapes and constant inputs, as often as the model has it.

    Attributes:
        operator: Its name in the source format's spelling.
        count: How many nodes of the model have this signature.
        where: Their places in the user's own model.
        digest: Of the one-operator model that it comes to; empty where it comes to none.
        node: What the maker of that model finds the first of these nodes by.
        obstacle: Why there is no such model: a random operator, a value that is no tensor, a shape that is not known.
    """

    operator: str
    count: int
    where: tuple[str, ...]
    digest: str = ""
    node: str = ""
    obstacle: str = ""

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "where": list(self.where)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OperatorSignature:
        return cls(**{**data, "where": tuple(data["where"])})


@dataclass(frozen=True)
class Described:
    """A model as probes see it.

    Attributes:
        structure: A digest of all but the values of its weights.
        signatures: Its distinct operators, in the order of the graph.
    """

    structure: str
    signatures: Sequence[OperatorSignature]

    def to_json(self) -> dict[str, Any]:
        return {"structure": self.structure, "signatures": [s.to_json() for s in self.signatures]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Described:
        return cls(str(data["structure"]), tuple(map(OperatorSignature.from_json, data["signatures"])))
