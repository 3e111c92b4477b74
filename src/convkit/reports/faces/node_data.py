"""Node data for Model Explorer: verdicts, or errors, as colours over the model's own graph.

`model-explorer model.onnx --node_data_paths=out.nodedata.json`, or upload it in the page. The format is `GraphNodeData` of
https://github.com/google-ai-edge/model-explorer/blob/main/src/server/package/src/model_explorer/node_data_builder.py; a
result's key is a node's id or the name of one of its output tensors. Model Explorer's adapters take ids from the names of
nodes in ONNX, exported programs and TF.js graphs, and know the names of tensors in LiteRT: what a trace calls its operators.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from convkit.components import Face
from convkit.legalization.target import Verdict
from convkit.reports.document import Document
from convkit.reports.drift import DriftReport
from convkit.reports.graphs import Node

__all__ = ["FACE"]

_GREEN, _YELLOW, _ORANGE, _RED = (
    {"bgColor": "#c8e6c9", "textColor": "#1a1d21"},
    {"bgColor": "#ffe0a3", "textColor": "#1a1d21"},
    {"bgColor": "#f4a261", "textColor": "#1a1d21"},
    {"bgColor": "#b3261e", "textColor": "#ffffff"},
)
_VALUES = {Verdict.LEGAL: 0, Verdict.REWRITTEN: 1, Verdict.GAP: 2}
_LARGEST = 1e9
"""What infinite errors are written as: JSON has no infinity, and beyond the last threshold there is no colour."""
_NUMBERED = "TensorFlow"
"""The tracer of models whose nodes Model Explorer knows by numbers that stand nowhere in the file."""
_NAMED = 3
"""Suspects that stand out."""


def render(document: Document) -> str:
    """The errors of operators where a comparison was looked into, else the verdicts of a check; empty without either."""
    data = _of_verdicts(document.graph) if document.drift is None else _of_drift(document.drift)
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _of_verdicts(graph: Sequence[Node]) -> dict[str, Any]:
    """0 for legal, 1 for rewritten and 2 for gaps."""
    return {
        "results": {node.key: {"value": _VALUES[node.verdict]} for node in graph},
        "thresholds": [{"value": value, **colours} for value, colours in enumerate((_GREEN, _YELLOW, _RED))],
    }


def _of_drift(drift: DriftReport) -> dict[str, Any]:
    """The error of each operator in multiples of what is tolerated: up to 1 it agrees. Where it starts is red."""
    if drift.source_tracer == _NUMBERED:
        return {"name": "nothing: Model Explorer numbers the nodes of a SavedModel", "results": {}}
    errors = {s.name: s.error for s in drift.suspects} | {o.name: o.error for o in drift.operators if o.error is not None}
    results: dict[str, dict[str, Any]] = {
        name: {"value": _multiple(error, drift.tolerated)} for name, error in errors.items() if error is not None
    }
    for suspect in drift.suspects[:_NAMED]:
        results.setdefault(suspect.name, {"value": _LARGEST}).update(_RED)
    return {
        "name": f"error, in multiples of {drift.tolerated:.0e} of scale",
        "results": results,
        "thresholds": [{"value": 1, **_GREEN}, {"value": 100, **_YELLOW}, {"value": _LARGEST, **_ORANGE}],
    }


def _multiple(error: float, tolerated: float) -> float:
    found = error / tolerated if tolerated > 0 else math.inf if error > 0 else 0.0
    return float(f"{found:.4g}") if found < _LARGEST else _LARGEST


FACE = Face("node data", (".nodedata.json",), render)
