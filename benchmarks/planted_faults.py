"""Does the validator find planted faults, and name the operator where they are?

    python -m benchmarks.planted_faults [--count 120] [--only KIND] [--json out.jsonl]
    python -m benchmarks.planted_faults --healthy

A fault is planted into an ONNX model (see `benchmarks.faults`), the faulty model is converted, and the conversion is validated
against the sound model, as ONNX or as the exported program that it was imported into. Counted are: differences detected,
the planted node named first, and within the first three. `--healthy` converts without faults and counts false alarms.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from zlib import crc32

import numpy as np
import onnx
import torch
from onnxruntime import InferenceSession

from benchmarks import cnn_families, pair_models
from benchmarks.faults import KINDS, Editor
from convkit import api
from convkit.errors import ConvkitError

FIXTURES = Path(__file__).parent.parent / "fixtures"
TARGETS = ("pytorch", "savedmodel", "litert", "executorch", "tfjs", "onnx")
SOURCES = ("onnx", "pytorch")
FAMILIES = ("resnet", "convnext", "googlenet", "mobilenet_v1")


@dataclass
class Case:
    """One planted fault, and what came of it.

    Attributes:
        kind, model, node, source, target: What was planted where, and which pair was compared.
        detected: Whether the validation called it drift.
        rank: The place of the planted node among the suspects, from 1; None where it is not among them.
        first: The first suspect.
        cause: The cause that was named, and its code.
        seconds: Of the validation.
        error: What kept the case from being measured.
    """

    kind: str
    model: str
    node: str
    source: str
    target: str
    detected: bool = False
    rank: int | None = None
    first: str = ""
    cause: str = ""
    code: str = ""
    seconds: float = 0.0
    error: str = ""
    suspects: list[str] = field(default_factory=list)


class Twins(torch.nn.Module):
    """Two outputs of one shape, which a conversion can mix up."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3, 2, 1))
        self.heads = torch.nn.ModuleList(torch.nn.Linear(8, 4) for _ in range(2))

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Two times four scores of `image: float32[batch, 3, 64, 64]`."""
        pooled = self.trunk(image).mean((2, 3))
        return {"left": self.heads[0](pooled), "right": self.heads[1](pooled)}


def models(directory: Path) -> dict[str, Path]:
    """The sound models: the fixtures, a detector, a tagger, CNN families, a U-Net with Resize."""
    found = {name: FIXTURES / name / f"{name}.onnx" for name in ("digits_cnn", "digits_transformer", "digits_lstm")}
    built: dict[str, tuple[torch.nn.Module, tuple[torch.Tensor, ...]]] = {}
    torch.manual_seed(0)
    for name in FAMILIES:
        built[name] = getattr(cnn_families, name)(), (torch.rand(1, 3, 64, 64),)
    built["twins"] = Twins(), (torch.rand(1, 3, 64, 64),)
    built["unet"] = cnn_families.UNet(bilinear=True), (torch.rand(1, 3, 64, 64),)
    for name, (module, example) in built.items():
        program = torch.export.export(cnn_families.calibrated(module, *example).eval(), example)
        torch.export.save(program, directory / f"{name}.pt2")
    for name in pair_models.MODELS:
        pair_models.save(name, directory / f"{name}.pt2")
    for name in (*built, *pair_models.MODELS):
        found[name] = directory / f"{name}.onnx"
        api.convert(directory / f"{name}.pt2", "onnx", output=found[name], force=True, validate=False)
    return found


def planted(count: int, sound: dict[str, Path], only: str | None) -> Iterator[tuple[Case, onnx.ModelProto]]:
    """Faults over all kinds, models and pairs; which node has one is drawn, and the same every time."""
    places: dict[str, list[tuple[str, int]]] = {}
    loaded = {name: onnx.shape_inference.infer_shapes(onnx.load(path)) for name, path in sound.items()}
    for kind in KINDS:
        for name, model in loaded.items():
            places.setdefault(kind, []).extend(
                (name, i) for i in range(len(model.graph.node)) if _faulty(kind, model, i) is not None
            )
        np.random.default_rng(crc32(kind.encode())).shuffle(places[kind])
    pairs = [(s, t) for s in SOURCES for t in TARGETS if s != t]
    number = 0
    sessions: dict[str, tuple[dict[str, np.ndarray], list[np.ndarray]]] = {name: _run(model) for name, model in loaded.items()}
    for step in range(count):
        for kind, chosen in places.items():
            if step < len(chosen) and number < count and (only is None or kind == only):
                name, index = chosen[step]
                faulty = _faulty(kind, loaded[name], index)
                assert faulty is not None
                if not _matters(faulty, *sessions[name]):
                    continue
                source, target = pairs[number % len(pairs)]
                yield Case(kind, name, _name(loaded[name].graph.node[index]), source, target), faulty
                number += 1


def _run(model: onnx.ModelProto) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Inputs, and what a sound model makes of them."""
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    feeds = {}
    for given in session.get_inputs():
        shape = [n if isinstance(n, int) else 4 for n in given.shape]
        dtype = {"tensor(int64)": np.int64, "tensor(bool)": np.bool_}.get(given.type, np.float32)
        feeds[given.name] = (generator.standard_normal(shape) if dtype is np.float32 else generator.integers(0, 2, shape)).astype(
            dtype
        )
    return feeds, session.run(None, feeds)


def _matters(faulty: onnx.ModelProto, feeds: dict[str, np.ndarray], sound: list[np.ndarray]) -> bool:
    """Whether a fault changes what the model computes; nobody can find one that does not."""
    try:
        got = InferenceSession(faulty.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)
    except Exception:  # its errors have no common base; a model that no runtime takes is no fault to find
        return False
    apart = [np.abs(a.astype(np.float64) - b).max() / (np.abs(b).max() or 1.0) for a, b in zip(got, sound, strict=True)]
    return not max(apart) <= 1e-4


def _faulty(kind: str, model: onnx.ModelProto, index: int) -> onnx.ModelProto | None:
    changed = copy.deepcopy(model)
    editor = Editor(changed)
    if not KINDS[kind](editor, changed.graph.node[index]):
        return None
    del changed.graph.value_info[:]
    return changed


def _name(node: onnx.NodeProto) -> str:
    return node.name or node.output[0]


def measure(case: Case, faulty: onnx.ModelProto, sound: dict[str, Path], directory: Path) -> None:
    """Converts the faulty model and validates it against the sound one."""
    try:
        wrong = directory / "faulty.onnx"
        onnx.save(faulty, wrong)
        converted = wrong
        if case.target != "onnx":
            converted = directory / f"faulty.{case.target}"
            api.convert(wrong, case.target, output=converted, force=True, validate=False)
        start = time.perf_counter()
        report = api.validate(_source(case, sound, directory), converted)
        case.seconds = time.perf_counter() - start
    except ConvkitError as error:
        case.error = str(error)[:300]
        # What does not even run is found too.
        case.detected = error.__class__.__name__ == "ConversionError" and getattr(error, "stage", "") == "validate"
        return
    case.detected = report.verdict.value == "drift"
    if report.drift is not None:
        named = [s.place.split(" (")[0] if case.source == "pytorch" else s.name for s in report.drift.suspects]
        case.suspects = named[:5]
        case.rank = named.index(case.node) + 1 if case.node in named else None
        if report.drift.suspects:
            first = report.drift.suspects[0]
            case.first, case.cause, case.code = f"{first.operator} {first.name}", first.cause, first.code


def _source(case: Case, sound: dict[str, Path], directory: Path) -> Path:
    if case.source == "onnx":
        return sound[case.model]
    path = directory / f"{case.model}.imported.pt2"
    if not path.exists():
        api.convert(sound[case.model], "pytorch", output=path, validate=False)
    return path


def healthy(sound: dict[str, Path], directory: Path, count: int) -> int:
    """False alarms: validations of sound conversions that call drift, or name a suspect."""
    alarms = measured = 0
    for name in sound:
        for source in SOURCES:
            for target in TARGETS:
                if source != target and measured < count:
                    case = Case("healthy", name, "", source, target)
                    try:
                        converted = directory / f"{name}.healthy.{target}"
                        if target == "onnx":
                            converted = sound[name]
                        elif not converted.exists():
                            api.convert(sound[name], target, output=converted, validate=False)
                        report = api.validate(_source(case, sound, directory), converted, locate=True)
                    except ConvkitError as error:
                        print(f"not measured: {name} {source} → {target}: {error}", flush=True)
                        continue
                    measured += 1
                    suspects = [] if report.drift is None else [s.name for s in report.drift.suspects]
                    alarm = report.verdict.value == "drift" or bool(suspects)
                    alarms += alarm
                    print("ALARM" if alarm else "ok", name, source, "→", target, suspects[:3], *report.notes, flush=True)
    print(f"{alarms} false alarms on {measured} healthy conversions")
    return alarms


def tell(case: Case, file: Path | None) -> None:
    """Prints a case, and adds it to a file of one JSON object a line."""
    rank = "error" if case.error else f"rank {case.rank}" if case.detected else "NOT DETECTED"
    print(f"{rank:12} {case.kind:20} {case.model:18} {case.source}→{case.target:10} {case.node[-60:]} | {case.first[-60:]} "
          f"| {case.code} | {case.seconds:.1f} s {case.error[:150]}", flush=True)  # fmt: skip
    if file is not None:
        with file.open("a") as stream:
            stream.write(json.dumps(asdict(case)) + "\n")


def summary(cases: Sequence[Case]) -> str:
    """How many were detected, named first, within three, and with a cause."""
    within = sum(c.rank is not None and c.rank <= 3 for c in cases)
    return (
        f"{len(cases)} faults: {sum(c.detected for c in cases)} detected, {sum(c.rank == 1 for c in cases)} named first, "
        f"{within} within three, {sum(bool(c.code) for c in cases)} with a cause"
    )


def main() -> int:
    """Runs; the exit code is 1 when a fault is not detected, or a healthy conversion is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--only", choices=[*KINDS])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--healthy", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        sound = models(directory)
        if arguments.healthy:
            return min(1, healthy(sound, directory, 60))
        cases = []
        for case, faulty in planted(arguments.count, sound, arguments.only):
            measure(case, faulty, sound, directory)
            cases.append(case)
            tell(case, arguments.json)
    print(summary(cases))
    return int(not all(c.detected for c in cases))


if __name__ == "__main__":
    sys.exit(main())
