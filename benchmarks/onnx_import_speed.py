"""How fast, and in how much memory, ONNX files are imported, against the libraries that do the same.

Usage: python -m benchmarks.onnx_import_speed [--runs N] [--only torch,legalization,litert] [--json FILE]

torch         ResNet-50 → exported program: our importer against onnx2torch 1.5.15 and torch.export, whole bare processes in turn,
              without proof, at a batch of two (onnx2torch's modules hold the traced batch in constants) and, ours alone, at the
              file's own dynamic batch; then the same again inside warm processes, where a conversion after the first one is
legalization  the share of an import that preparation and legalisation take, inside one warm process
litert        ViT-B/16 (86 million parameters) → LiteRT: convkit's default route, with and without proof, against bare onnx2tf

Weights are random; the files are made by torch.onnx once, under build/. onnx2torch imports torchvision for its NMS and RoiAlign,
which neither model has: in its environment, and only there, a placeholder package of that name stands in for it.
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.overhead import BARE_ONNX2TF, CONVKIT, Run, measure

ROOT = Path(__file__).resolve().parent.parent
FILES = ROOT / "build" / "onnx-import-speed"
ONNX2TORCH = "onnx2torch==1.5.15"

# The converter's own function, as a worker calls it, and nothing else.
_OURS = """
import numpy
from dataclasses import replace
from pathlib import Path
import convkit
from convkit.arrays import save_arrays
from convkit.artifact import Artifact
from convkit.components import ConversionRequest
from convkit.converters import onnx_to_pytorch
source, output, examples = map(Path, {paths!r})
signature = convkit.inspect(source).signatures[0]
save_arrays(examples, dict(image=numpy.ones((2, 3, 224, 224), numpy.float32)))
if not {dynamic!r}:
    inputs, outputs = (tuple(replace(t, shape=(2, *t.shape[1:])) for t in ts) for ts in (signature.inputs, signature.outputs))
    signature = replace(signature, inputs=inputs, outputs=outputs)
request = ConversionRequest(Artifact(convkit.Variant.ONNX, source, signature), output, signature, examples)
def work():
    onnx_to_pytorch.convert(request)
"""
_THEIRS = """
import onnx, onnx2torch, torch
source, output, _ = {paths!r}
def work():
    module = onnx2torch.convert(onnx.load(source)).eval()
    with torch.no_grad():
        program = torch.export.export(module, (torch.ones(2, 3, 224, 224),))
    torch.export.save(program, output)
"""
_ONCE = "work()"
_ROUNDS = 3
_REPEATED = """
import gc, time
work()
taken = []
for _ in range({runs}):
    gc.collect()  # what the one before has left
    start = time.perf_counter()
    work()
    taken.append(time.perf_counter() - start)
print(sorted(taken)[len(taken) // 2])
"""
_SHARES = """
import json, time, numpy
from pathlib import Path
import convkit, torch, onnx
from convkit.arrays import save_arrays
from convkit.artifact import Artifact
from convkit.components import ConversionRequest
from convkit.converters import onnx_to_pytorch
from convkit.interpreters.pytorch.table import operators
from convkit.legalization.onnx import preparation
from convkit.legalization.onnx.rewriting import legalize
source, output, examples = map(Path, {paths!r})
signature = convkit.inspect(source).signatures[0]
save_arrays(examples, dict(image=numpy.ones((2, 3, 224, 224), numpy.float32)))
request = ConversionRequest(Artifact(convkit.Variant.ONNX, source, signature), output, signature, examples)
onnx_to_pytorch.convert(request)
taken = []
for _ in range({runs}):
    start = time.perf_counter()
    model = preparation.load(source)
    prepared = time.perf_counter()
    legalize(model, operators())
    legalized = time.perf_counter()
    onnx_to_pytorch.convert(request)
    taken.append((prepared - start, legalized - prepared, time.perf_counter() - legalized))
print(json.dumps([sorted(column)[len(taken) // 2] for column in zip(*taken)]))
"""
_ONNX2TF = """
import shutil
shutil.copy({source!r}, {output!r} + ".onnx")
import onnx2tf
onnx2tf.convert(input_onnx_file_path={output!r} + ".onnx", output_folder_path={output!r}, non_verbose=True)
"""


@dataclass(frozen=True)
class Measured:
    """Medians of a contestant: seconds by the wall and of processors, bytes of the largest process and of the process tree."""

    title: str
    seconds: float
    processor: float
    largest: float
    tree: float

    def __str__(self) -> str:
        largest, tree = (f"{size / 2**20:6.0f} MB" for size in (self.largest, self.tree))
        return f"{self.title:50} {self.seconds:6.2f} s · {self.processor:6.2f} s of processors · {largest} · tree {tree}"


def alternate(contestants: dict[str, Callable[[], Run]], runs: int) -> list[Measured]:
    """A B C A B C …, after a warm-up of each; medians."""
    taken: dict[str, list[Run]] = {title: [] for title in contestants}
    for round_ in range(runs + 1):
        for title, run in contestants.items():
            found = run()
            if round_:
                taken[title].append(found)
    return [
        Measured(
            title, *(statistics.median(getattr(r, name) for r in those) for name in ("seconds", "processor", "largest", "tree"))
        )
        for title, those in taken.items()
    ]


def model(name: str) -> Path:
    """An ONNX file, made in a process of its own where it is not there yet."""
    path = FILES / f"{name}.onnx"
    if not path.exists():
        FILES.mkdir(parents=True, exist_ok=True)
        call = f"large_models.export_onnx({name!r}, Path({str(path)!r}), dynamo={name != 'resnet50'})"
        script = f"from pathlib import Path; from benchmarks import large_models; {call}"
        subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return path


def onnx2torch_python() -> Path:
    """The interpreter of an environment with onnx2torch, which takes torch and onnx from this one."""
    directory = FILES / ONNX2TORCH
    python = directory / "bin" / "python"
    if python.exists():
        return python
    venv.create(directory, with_pip=True)
    packages = next((directory / "lib").glob("python*/site-packages"))
    mine = next(Path(p) for p in sys.path if p.endswith("site-packages"))
    (packages / "shared.pth").write_text(f"{mine}\n")
    placeholder = packages / "torchvision"
    placeholder.mkdir()
    (placeholder / "__init__.py").write_text("from torchvision import ops\n")
    (placeholder / "ops.py").write_text("nms = roi_align = box_convert = None\n")
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--no-deps", ONNX2TORCH], check=True)
    return python


def torch_commands(ending: str, scratch: Path) -> dict[str, list[str]]:
    """Both contestants, ONNX file to `.pt2` file."""
    contestants = {
        "ResNet-50 → .pt2, convkit's importer": (Path(sys.executable), _OURS, False),
        "ResNet-50 → .pt2, convkit's importer, dynamic": (Path(sys.executable), _OURS, True),
        f"ResNet-50 → .pt2, {ONNX2TORCH} + torch.export": (onnx2torch_python(), _THEIRS, False),
    }
    source, output, examples = model("resnet50"), scratch / "out.pt2", scratch / "in.npz"
    paths = (str(source), str(output), str(examples))
    return {
        title: [str(python), "-W", "ignore", "-c", script.format(paths=paths, dynamic=dynamic) + ending]
        for title, (python, script, dynamic) in contestants.items()
    }


def against_onnx2torch(runs: int, scratch: Path) -> list[Measured]:
    """Whole processes."""
    commands = torch_commands(_ONCE, scratch)
    return alternate({title: functools.partial(measure, command) for title, command in commands.items()}, runs)


def warm_against_onnx2torch(runs: int, scratch: Path) -> dict[str, float]:
    """Median seconds of a conversion in a process that has done one: what the libraries' imports have no part in."""
    taken: dict[str, list[float]] = {}
    for _ in range(_ROUNDS):  # in turn: the machine is not equally fast all the time
        for title, command in torch_commands(_REPEATED.format(runs=runs), scratch).items():
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            taken.setdefault(f"{title}, warm", []).append(float(done.stdout.splitlines()[-1]))
    return {title: statistics.median(those) for title, those in taken.items()}


def legalization_share(name: str, runs: int, scratch: Path) -> tuple[float, float, float]:
    """Median seconds of preparation, of legalisation, and of a whole import (which does both again)."""
    paths = (str(model(name)), str(scratch / "out.pt2"), str(scratch / "in.npz"))
    command = [sys.executable, "-W", "ignore", "-c", _SHARES.format(paths=paths, runs=runs)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    prepared, legalized, whole = json.loads(done.stdout.splitlines()[-1])
    return prepared, legalized, whole


def against_onnx2tf(runs: int, scratch: Path) -> list[Measured]:
    """Whole processes, ONNX file to `.tflite` file."""
    BARE_ONNX2TF.install(print)
    source = model("vit_b16")
    ours = [str(CONVKIT), "convert", str(source), "--to", "litert", "-o", str(scratch / "ours.tflite"), "--force", "--quiet"]

    def bare() -> Run:
        output = scratch / "theirs"
        shutil.rmtree(output, ignore_errors=True)
        script = _ONNX2TF.format(source=str(source), output=str(output))
        return measure([str(BARE_ONNX2TF.python), "-W", "ignore", "-c", script], BARE_ONNX2TF.environment())

    return alternate(
        {
            "ViT-B/16 → LiteRT, convkit with proof": lambda: measure(ours),
            "ViT-B/16 → LiteRT, convkit --no-validate": lambda: measure([*ours, "--no-validate"]),
            "ViT-B/16 → LiteRT, bare onnx2tf": bare,
        },
        runs,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="torch,legalization,litert")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    wanted = options.only.split(",")
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        for kind, compare in (("torch", against_onnx2torch), ("litert", against_onnx2tf)):
            if kind in wanted:
                found = compare(options.runs if kind == "torch" else min(options.runs, 3), scratch)
                results[kind] = [asdict(m) for m in found]
                print(*found, sep="\n", flush=True)
        if "torch" in wanted:
            results["torch, warm"] = warm = warm_against_onnx2torch(options.runs, scratch)
            print(*(f"{title:56} {seconds:6.2f} s" for title, seconds in warm.items()), sep="\n", flush=True)
        if "legalization" in wanted:
            for name in ("resnet50", "vit_b16"):
                prepared, legalized, whole = legalization_share(name, options.runs, scratch)
                results[f"legalization {name}"] = {"preparation": prepared, "legalization": legalized, "import": whole}
                shares = f"preparation {prepared / whole:.1%}, legalisation {legalized / whole:.1%}"
                print(f"{name}: import {whole:.2f} s, of that {shares}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
