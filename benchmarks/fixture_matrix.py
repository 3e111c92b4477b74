"""Every fixture, every variant, over every route of at most two steps after its capture: one table, with accuracies.

Usage: python -m benchmarks.fixture_matrix [--only TEXT] [--variant SUFFIX] [--route ROUTE] [--every N] [--json FILE]

A row passes when the signature is kept, max |Δ| is at most 1e-5 of the output's scale (and the reference is not zero),
and the accuracy on the held-back digits is that of the source.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import convkit
from convkit.arrays import load_arrays, save_arrays
from convkit.artifact import Artifact
from convkit.planner import Route, plan_routes
from convkit.validators.comparison import runtime_of
from convkit.workers.pool import WorkerPool, fresh_pool

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
VARIANTS = (
    "pt2", "traced.pt", "scripted.pt", "pickled.pt", "state_dict.pt", "safetensors",
    "onnx", "savedmodel", "keras", "h5", "tflite",
)  # fmt: skip
TARGETS = ("onnx", "savedmodel", "litert", "executorch")
LIMIT = 1e-5
BATCH = 60
"""ExecuTorch programs have an upper bound for a batch; the fixtures' exported programs say 64."""


@dataclass
class Row:
    """One conversion of one file over one route."""

    source: str
    target: str
    route: str
    seconds: float
    passed: bool
    difference: float | None = None
    accuracy: float | None = None
    why: str = ""


def loading(name: str, variant: str, spec: str) -> dict[str, object]:
    """What convkit must be told to load that variant."""
    if variant in {"state_dict.pt", "safetensors"}:
        return {"model_factory": f"{FIXTURES / 'models.py'}:build_{name}", "input_specs": [spec]}
    if variant == "pickled.pt":
        return {"trust_pickle": True, "input_specs": [spec]}
    return {"input_specs": [spec]} if variant in {"traced.pt", "scripted.pt"} else {}


_FOR_STATE = {"torch-tensorflow"}
"""Converters for models that keep state, which the shipped ones do not."""


def routes(source: convkit.Variant, target: str) -> list[Route]:
    """The routes that can run and have at most two steps, not counting steps within the source's format."""
    try:
        found = plan_routes(source, convkit.Format(target))
    except convkit.ConvkitError:
        return []
    return [
        route
        for route in found
        if not route.obstacles
        and sum(step.target.format is not source.format for step in route.steps) <= 2
        and _FOR_STATE.isdisjoint(route.names)
    ]


def accuracy(artifact: Artifact, output: str, scratch: Path, pool: WorkerPool) -> float:
    """The share of the held-back digits that an artifact classifies right."""
    digits = np.load(FIXTURES / "digits_test.npz")
    assert artifact.signature is not None
    spec = artifact.signature.inputs[0]
    starts = range(0, len(digits["label"]), BATCH)
    inputs = [scratch / f"digits-{start}.npz" for start in starts]
    outputs = [scratch / f"answers-{start}.npz" for start in starts]
    for start, path in zip(starts, inputs, strict=True):
        save_arrays(path, {spec.name: digits[spec.name][start : start + BATCH].astype(spec.dtype)})
    runtime = runtime_of(artifact.variant)
    call = {"inputs": [str(p) for p in inputs], "outputs": [str(p) for p in outputs]}
    answer = pool.worker(runtime.host).call(
        "convkit.workers.running:run",
        {"module": runtime.module, "artifact": artifact.to_json(), **call},
        stage="accuracy",
    )  # fmt: skip
    assert not any(r["error"] for r in answer.result), answer.result[0]["error"]
    scores = np.concatenate([load_arrays(p)[output] for p in outputs])
    return float((scores.argmax(-1) == digits["label"]).mean())


def convert(name: str, variant: str, target: str, route: Route, wanted: float, spec: str, scratch: Path, pool: WorkerPool) -> Row:
    """One conversion, judged."""
    start = time.perf_counter()
    row = Row(f"{name}.{variant}", target, str(route), 0.0, False)
    output = scratch / "converted"
    try:
        result = convkit.convert(
            FIXTURES / name / f"{name}.{variant}", target, output,
            route=route.names, tolerance=LIMIT, force=True, pool=pool, **loading(name, variant, spec),
        )  # fmt: skip
        validation = result.report.validation
        assert validation is not None
        row.difference = validation.required
        zero = [o for o in validation.tolerances if not any(m.scale for s in validation.sets for m in s.outputs if m.name == o)]
        scores = "logits" if "logits" in validation.tolerances else next(iter(validation.tolerances))
        row.accuracy = accuracy(result.artifact, scores, scratch, pool)
        row.passed = result.ok and not zero and abs(row.accuracy - wanted) < 1e-6
        row.why = "" if row.passed else f"accuracy {row.accuracy} (source {wanted}), zero outputs {zero}"
    except convkit.ConvkitError as error:
        row.why = f"{type(error).__name__}: {error.message}"
    row.seconds = time.perf_counter() - start
    return row


def main() -> int:
    """Converts everything, prints a line each, and exits with 1 when a row fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="rows whose source, target or route contains this")
    parser.add_argument("--variant", choices=VARIANTS, help="rows of this variant")
    parser.add_argument("--route", help="rows of exactly this route")
    parser.add_argument("--every", type=int, default=1, help="only every Nth row")
    parser.add_argument("--json", type=Path, help="write the rows here as well")
    options = parser.parse_args()
    # The pickled modules were pickled from `models`; workers inherit this.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(FIXTURES), os.environ.get("PYTHONPATH"))))
    facts = json.loads((FIXTURES / "fixtures.json").read_text())["models"]
    planned = []
    for name, fact in facts.items():
        spec = str(convkit.TensorSpec.from_json(fact["inputs"][0])).replace(" ", "")
        for variant in VARIANTS:
            path = FIXTURES / name / f"{name}.{variant}"
            kind = (
                convkit.Variant.MODULE_FACTORY
                if "factory" in str(loading(name, variant, spec))
                else convkit.inspect(path).variant
            )
            planned += [
                (name, variant, target, route, fact["test_accuracy"], spec)
                for target in TARGETS
                for route in routes(kind, target)
                if options.only in f"{name}.{variant} {target} {route}"
                and options.variant in {None, variant}
                and options.route in {None, str(route)}
            ]
    rows = []
    with tempfile.TemporaryDirectory() as directory, fresh_pool() as pool:
        for case in planned[:: options.every]:
            row = convert(*case, Path(directory), pool)
            rows.append(row)
            told = f"{row.difference:.1e} accuracy {row.accuracy:.4f}" if row.passed else row.why
            print(
                f"{'ok  ' if row.passed else 'FAIL'} {row.seconds:5.1f} s  {row.source} → {row.target}: {row.route}  {told}",
                flush=True,
            )
    failed = sum(not r.passed for r in rows)
    print(f"{len(rows) - failed} passed, {failed} failed")
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
