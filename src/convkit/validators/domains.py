"""The domain of integer inputs: token ids must stay below the rows of the table that they index."""

from __future__ import annotations

from convkit.artifact import ModelInfo
from convkit.signature import Signature

__all__ = ["integer_bounds"]


def integer_bounds(info: ModelInfo | None, signature: Signature) -> dict[str, int]:
    """Exclusive upper bounds of integer inputs, by name, as far as the model's own file tells them.

    Readers put what they find into `metadata["index_bounds"]`: input name → rows of the smallest table that it indexes
    directly.
    """
    if info is None:
        return {}
    found = info.metadata.get("index_bounds", {})
    return {t.name: int(found[t.name]) for t in signature.inputs if t.name in found}
