"""Node data for Model Explorer: the verdict on every node as a colour over the model's own graph.

`model-explorer model.onnx --node_data_paths=out.nodedata.json`, or upload it in the page. The format is `GraphNodeData` of
https://github.com/google-ai-edge/model-explorer/blob/main/src/server/package/src/model_explorer/node_data_builder.py.
"""

from __future__ import annotations

import json

from convkit.components import Face
from convkit.legalization.target import Verdict
from convkit.reports.document import Document

__all__ = ["FACE"]

_VALUES = {Verdict.LEGAL: 0, Verdict.REWRITTEN: 1, Verdict.GAP: 2}
_COLOURS = (("#c8e6c9", "#1a1d21"), ("#ffe0a3", "#1a1d21"), ("#b3261e", "#ffffff"))


def render(document: Document) -> str:
    """0 for legal, 1 for rewritten and 2 for gaps; empty where the report is of a model without a graph."""
    data = {
        "results": {node.key: {"value": _VALUES[node.verdict]} for node in document.graph},
        "thresholds": [
            {"value": value, "bgColor": back, "textColor": text} for value, (back, text) in enumerate(_COLOURS)
        ],
    }  # fmt: skip
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


FACE = Face("node data", (".nodedata.json",), render)
