"""Reports with everything that a face must show, names that try to be markup among them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from convkit.artifact import Artifact
from convkit.formats import Variant
from convkit.legalization.target import Finding, Verdict
from convkit.reports import document
from convkit.reports.document import Document
from convkit.reports.drift import DriftReport, OperatorDrift, Picture, Suspect
from convkit.reports.graphs import Node
from convkit.reports.schema import (
    Attempt,
    ConversionReport,
    NoiseFloor,
    OutputMetrics,
    SetResult,
    Stage,
    Tolerance,
    ValidationReport,
)
from convkit.reports.schema import Verdict as Outcome
from convkit.results import CheckResult
from convkit.signature import Signature, TensorSpec

HOSTILE = '<img src=x onerror="document.title=1">|`*x*`\x01\'&'

FINDINGS = [
    Finding("MaxRoiPool", 2, Verdict.GAP, "no converter has it", ("net.py:12 in forward", "head/pool"), "use RoiAlign"),
    Finding(HOSTILE, 1, Verdict.GAP, HOSTILE, (HOSTILE,), HOSTILE, "CK105"),
    Finding("Gelu", 3, Verdict.REWRITTEN, "by onnx's own function body"),
    Finding("Conv", 40, Verdict.LEGAL),
]


GRAPH = (
    Node("c", "Conv", "stem", ()),
    Node("p", HOSTILE, HOSTILE, ("c",), Verdict.GAP, HOSTILE),
    *(Node(f"g{k}", "Gelu", f"side/{k}", ("c",), Verdict.REWRITTEN) for k in range(12)),
    Node("a", "Add", "head", ("p", *(f"g{k}" for k in range(12)))),
)


@dataclass(frozen=True)
class _Route:
    """What a report shows of a route: its converters."""

    names: list[str]


def check(findings: list[Finding] | None = None) -> Document:
    found = FINDINGS if findings is None else findings
    result = CheckResult([(_Route(["onnx-torch", "executorch"]), found), (_Route(["other"]), found[:1])], HOSTILE, "executorch")
    made = document.of_check(result.source, result.target, [(r.names, f) for r, f in result.routes], result.to_json())
    return replace(made, graph=GRAPH)


def drift() -> DriftReport:
    """A difference that starts at the fourth of twelve operators, one of which would like to be markup."""
    names = [*(f"node_{k}" for k in range(11)), HOSTILE]
    operators = [OperatorDrift(n, "Conv", HOSTILE, 1e-7 if k < 3 else 0.1 * k, 1e-7, n, "", k < 3) for k, n in enumerate(names)]
    picture = Picture(
        tuple((0.1 * k, 0.1 * k + 0.3 * (k % 3)) for k in range(60)), tuple((0.1 * r, 0.0, 0.2, 0.4) for r in range(4))
    )
    first = Suspect(
        "node_3", "Conv", "stem", 1e-7, 0.3, "y", "t/y", ("node_3", HOSTILE), "a cause", "padding", "figures", picture
    )
    second = Suspect(HOSTILE, HOSTILE, HOSTILE, 1e-7, None, "", "", (HOSTILE,))
    return DriftReport("seed 0", "ONNX Runtime", "LiteRT", 1e-5, operators, [first, second], 12, [HOSTILE])


def validation() -> ValidationReport:
    floor = NoiseFloor(1e-7, "its inputs move by a last bit")
    scores = {"noise": floor, "kind": "class scores (its name)", "metrics": {"top-1 agreement": 1.0, HOSTILE: 0.123}}
    good = OutputMetrics("logits", 3.0, 1e-6, 1e-6, 1e-7, 1.0, 120.0, 1.0, 3e-7, 1e-5, True, **scores)
    bad = OutputMetrics(HOSTILE, 3.0, 0.5, 0.1, 0.2, 0.9, 20.0, None, 0.1603, 1e-5, False, noise=floor, kind=HOSTILE)
    return ValidationReport(
        "PyTorch 2.13.0",
        "LiteRT 2.2.0",
        {"logits": Tolerance(1e-5, "float32"), HOSTILE: Tolerance(1e-5, "float32")},
        [SetResult("seed 0, batch=2", (good, bad), 0.1, 0.1), SetResult("zeros", (good,), 0.1, 0.1)],
        notes=["one set was dropped"],
        source="m.pt2",
        target="m.tflite",
        drift=drift(),
    )


def conversion() -> Document:
    signature = Signature((TensorSpec("x", "float32", ("batch", 3)),), (TensorSpec("logits", "float32", ("batch", 5)),))
    report = ConversionReport(Artifact(Variant.EXPORTED_PROGRAM, Path("m.pt2"), signature), "litert", signature)
    failed = Attempt(["litert-torch"], [], FINDINGS, None, Outcome.GAP, {"message": HOSTILE})
    stages = [Stage("convert", "torch-onnx", 1.5)]
    report.attempts = [failed, Attempt(["torch-onnx", "onnx-tflite"], stages, FINDINGS[2:], validation(), Outcome.DRIFT)]
    return document.of_conversion(report)


def documents() -> dict[str, Document]:
    return {"check": check(), "conversion": conversion(), "validation": document.of_validation(validation())}
