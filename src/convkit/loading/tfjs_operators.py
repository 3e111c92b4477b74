"""The operators of graph models that TensorFlow runs too.

A file decides which operators TensorFlow runs, and TensorFlow has some that read and write files: nothing that TF.js does not
know is ever imported.
"""

from __future__ import annotations

from collections.abc import Mapping

from convkit.legalization.codes import Reason
from convkit.legalization.target import Finding, Target, Verdict, check_operators
from convkit.legalization.tfjs.target import target as tfjs_target

__all__ = ["findings"]

# TensorFlow has no operators of these names.
_WITHOUT_COUNTERPART = frozenset({"Conv1D", "DepthwiseConv2d", "Ones", "Zeros"})
_STATEFUL = ("HashTable", "InitializeTable", "LookupTable", "SimpleML")
_STATE_REASON = Reason("it needs a table or forest that an initializer fills, which is not taken over", "CK109")

_REWRITES: Mapping[str, str] = {
    "_FusedConv2D": "as Conv2D, BiasAdd and its activation",
    "_FusedMatMul": "as MatMul, BiasAdd and its activation",
    "FusedDepthwiseConv2dNative": "as DepthwiseConv2dNative, BiasAdd and its activation",
    "Prelu": "as Relu(x) - alpha · Relu(-x)",
}


def findings(operators: Mapping[str, int]) -> list[Finding]:
    """The verdict on every operator of a graph model, gaps first."""
    stateful = [Finding(o, n, Verdict.GAP, _STATE_REASON) for o, n in operators.items() if o.startswith(_STATEFUL)]
    others = {o: n for o, n in operators.items() if not o.startswith(_STATEFUL)}
    accepted = frozenset(tfjs_target().kernels) - _WITHOUT_COUNTERPART
    return [*stateful, *check_operators(others, Target("TensorFlow", "2.21", accepted, _REWRITES))]
