"""SARIF 2.1.0 (https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html): gaps as results of a static analysis.

Places of the user's own source ("net.py:12 in forward") become physical locations, which code hosts show beside the line;
nodes and module paths become logical ones of the model file.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

from convkit import __version__
from convkit.components import Face
from convkit.legalization.codes import CODES, Code
from convkit.legalization.target import Finding, Verdict
from convkit.reports.document import Comparison, Document

__all__ = ["FACE"]

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LINE = re.compile(r"(?P<file>[^\s:()]+\.\w+):(?P<line>\d+)")
_LEVELS = {Verdict.GAP: "error", Verdict.REWRITTEN: "note"}


def render(document: Document) -> str:
    """One run; a result per gap, per rewritten operator, and per output that drifts."""
    results = []
    for route in document.routes:
        results += [_result(f, route.name, document.model) for f in route.findings or () if f.verdict in _LEVELS]
    results += [_drift(c, document.model) for c in document.comparisons if not c.passed]
    used = sorted({result["ruleId"] for result in results})
    driver = {
        "name": "convkit",
        "version": __version__,
        "semanticVersion": __version__,
        "rules": [_rule(CODES[code]) for code in used],
    }
    for result in results:
        result["ruleIndex"] = used.index(result["ruleId"])
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False) + "\n"


def _rule(code: Code) -> dict[str, Any]:
    return {
        "id": code.name,
        "name": code.symbol,
        "shortDescription": {"text": code.title},
        "fullDescription": {"text": code.explanation},
        "help": {"text": code.way_out},
        "defaultConfiguration": {"level": code.level},
    }


def _result(finding: Finding, route: str, model: str) -> dict[str, Any]:
    return {
        "ruleId": finding.code,
        "level": _LEVELS[finding.verdict],
        "message": {"text": f"{finding} [route {route}]"},
        "locations": [_location(place, model) for place in finding.where] or [_location("", model)],
        "partialFingerprints": {"operatorOnRoute/v1": f"{route}|{finding.operator}|{finding.code}"},
    }


def _drift(comparison: Comparison, model: str) -> dict[str, Any]:
    return {
        "ruleId": "CK301",
        "level": "error",
        "message": {"text": f"output {comparison.output} drifts ({comparison.recipe}): {comparison.failure}"},
        "locations": [_location(comparison.output, model)],
    }


def _location(place: str, model: str) -> dict[str, Any]:
    line = _LINE.search(place)
    if line is not None:
        artifact: dict[str, Any] = {"artifactLocation": {"uri": _uri(line["file"])}}
        artifact["region"] = {"startLine": max(1, int(line["line"]))}
        return {"physicalLocation": artifact}
    location: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": _uri(model)}}}
    if place:
        location["logicalLocations"] = [{"fullyQualifiedName": place}]
    return location


def _uri(path: str) -> str:
    return quote(path.replace("\\", "/"))


FACE = Face("sarif", (".sarif",), render)
