"""From a concrete function to a graph that TF.js runs, or to every reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from convkit.legalization.target import Finding, Verdict
from convkit.legalization.tfjs import limits
from convkit.legalization.tfjs.narrowing import NARROWED, edge_dtype
from convkit.legalization.tfjs.optimizing import optimized
from convkit.legalization.tfjs.retracing import retrace
from convkit.legalization.tfjs.target import target
from convkit.signature import Signature, TensorSpec

__all__ = ["Legalized", "edge_gaps", "edge_notes", "legalize", "narrowed_signature"]

_EDGE_DTYPES = frozenset(("float32", "int32", "bool", "string", "complex64")) | NARROWED.keys()


@dataclass(frozen=True)
class Legalized:
    """What became of a function.

    Attributes:
        findings: The verdict on every operator that the outputs need.
        graph: A `GraphDef`, None where there are gaps.
        inputs, outputs: Its tensors in order ("x:0").
        notes: What the user should know, such as backends that lack a kernel.
        weights: Constants for which the graph has placeholders of these names.
    """

    findings: list[Finding]
    graph: Any = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)


def legalize(function: Any, names: Sequence[str]) -> Legalized:
    """Traces a concrete function anew for TF.js, and optimizes the graph.

    Args:
        function: The function; its inputs and outputs are in the order of the signature.
        names: Of the graph's inputs.
    """
    retraced = retrace(function, names)
    gaps = limits.gaps(retraced)
    findings = _merged(retraced.findings, gaps)
    if any(f.verdict is Verdict.GAP for f in findings):
        return Legalized(findings)
    known = target()
    graph = optimized(retraced.function, lambda node: known.knows(node.op))
    weak = limits.weaknesses(retraced)
    return Legalized(
        _with_weaknesses(findings, weak),
        graph,
        tuple(t.name for t in retraced.function.inputs),
        tuple(t.name for t in retraced.function.outputs),
        (*retraced.notes, *map(str, weak)),
        retraced.weights,
    )


def _with_weaknesses(findings: list[Finding], weak: Sequence[limits.Weakness]) -> list[Finding]:
    """The findings, with what some backends get wrong as the reason of operators that are legal otherwise."""
    reasons: dict[str, dict[str, None]] = {}
    for weakness in weak:
        reasons.setdefault(weakness.operator, {})[weakness.reason] = None
    return [
        replace(f, reason="; ".join(reasons[f.operator])) if f.verdict is Verdict.LEGAL and f.operator in reasons else f
        for f in findings
    ]


def _merged(findings: list[Finding], gaps: list[Finding]) -> list[Finding]:
    """The findings with the places that turned out to be gaps taken out of the legal ones."""
    lost = {finding.operator: finding.count for finding in gaps}
    kept = []
    for finding in findings:
        if finding.verdict is Verdict.LEGAL and finding.operator in lost:
            finding = replace(finding, count=finding.count - lost[finding.operator])
        if finding.count > 0:
            kept.append(finding)
    return [*gaps, *kept]


def narrowed_signature(signature: Signature) -> Signature:
    """The signature in the dtypes that TF.js has."""

    def narrowed(specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        return tuple(replace(spec, dtype=edge_dtype(spec.dtype)) for spec in specs)

    return replace(signature, inputs=narrowed(signature.inputs), outputs=narrowed(signature.outputs))


def edge_gaps(signature: Signature) -> list[Finding]:
    """Inputs and outputs of dtypes that TF.js cannot stand in for."""
    return [
        Finding("signature", 1, Verdict.GAP, f"TF.js has no counterpart for {spec.dtype}", (spec.name,))
        for spec in (*signature.inputs, *signature.outputs)
        if spec.dtype not in _EDGE_DTYPES
    ]


def edge_notes(signature: Signature) -> list[str]:
    """What the model's edge declares: one line per dtype that TF.js does not have."""
    changed: dict[str, list[str]] = {}
    for spec in (*signature.inputs, *signature.outputs):
        if spec.dtype in NARROWED:
            changed.setdefault(spec.dtype, []).append(spec.name)
    return [
        f"{', '.join(dict.fromkeys(names))}: {dtype} is {NARROWED[dtype]} in TF.js{_loss(dtype)}"
        for dtype, names in changed.items()
    ]


def _loss(dtype: str) -> str:
    if dtype in ("int64", "uint32", "uint64"):
        return "; numbers beyond its range cannot be given"
    return "; numbers lose precision" if dtype in ("float64", "complex128") else ""
