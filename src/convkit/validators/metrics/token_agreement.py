"""Token agreement of logits over a vocabulary: at how many positions does greedy decoding pick the same token?"""

from __future__ import annotations

import numpy as np

from convkit.components import Metric, OutputKind

__all__ = ["METRIC", "token_agreement"]


def token_agreement(expected: np.ndarray, got: np.ndarray) -> float:
    """The share of positions with an equal argmax over the last axis, all positions counted.

    Args:
        expected: Of shape (…, vocabulary).
        got: Of the same shape.
    """
    return float((expected.argmax(-1) == got.argmax(-1)).mean())


METRIC = Metric(
    name="token-agreement",
    help="share of positions at which the best token is the same",
    kinds=(OutputKind.TOKEN_LOGITS,),
    compute=token_agreement,
)
