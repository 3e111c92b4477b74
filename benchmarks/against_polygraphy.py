"""convkit and Polygraphy on the same planted faults, ONNX against ONNX: who finds them, who names the guilty node, how fast.

    python -m benchmarks.against_polygraphy [--count 48] [--only KIND] [--runs 1] [--json out.jsonl]

A fault is planted into an ONNX model (see `benchmarks.faults`), and both tools are told the sound file and the faulty one: as it
is, and as a round trip through an exported program leaves it (`--form`), whose tensors have other names. Both are timed as
users run them, whole processes: `convkit validate SOUND FAULTY`, and the two calls of `polygraphy run … --onnx-outputs '*'` of
which the second compares every tensor with what the first has saved. Polygraphy names tensors, so that the node named is the
one that makes the first tensor that it calls different. Its environment, with the release of ONNX Runtime that convkit
runs, is made by pip in the cache directory the first time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import onnx

from benchmarks.faults import KINDS
from benchmarks.planted_faults import Case, models, planted
from convkit import api
from convkit.errors import ConvkitError

POLYGRAPHY = "polygraphy==0.53.6"
FILES = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "convkit-benchmarks"
FORMS = ("as it is", "through torch")
_FAILED = re.compile(r"FAILED \| Output: '(.*?)' \|")
_TIMEOUT = 300


@dataclass
class Answer:
    """What one tool said of one fault.

    Attributes:
        tool, form, kind, model, node: Who was asked about what.
        detected: Whether it called the two models different.
        rank: The place of the planted node among those that it names, from 1; None where it is not among them.
        named: The first that it names.
        seconds: Wall time of its processes.
    """

    tool: str
    form: str
    kind: str
    model: str
    node: str
    detected: bool
    rank: int | None
    named: str
    seconds: float


def polygraphy() -> Path:
    """Its command, in an environment of its own."""
    directory = FILES / POLYGRAPHY
    command = directory / "bin" / "polygraphy"
    if not command.exists():
        venv.create(directory, with_pip=True, clear=True)
        packages = [POLYGRAPHY, *(f"{name}=={version(name)}" for name in ("onnx", "onnxruntime", "numpy"))]
        subprocess.run([str(directory / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages], check=True)
    return command


def by_polygraphy(sound: Path, faulty: Path, scratch: Path) -> tuple[bool, list[str]]:
    """Whether it calls them different, and the nodes whose outputs it does, in the order in which it compares them."""
    given, saved = scratch / "inputs.json", scratch / "outputs.json"
    everything = ["--onnxrt", "--onnx-outputs", "*"]
    keep = ["--save-inputs", str(given), "--save-outputs", str(saved)]
    compare = ["--load-inputs", str(given), "--load-outputs", str(saved)]
    command = str(polygraphy())
    _run([command, "run", str(sound), *everything, *keep])
    done = _run([command, "run", str(faulty), *everything, *compare])
    makers = {o: node.name or node.output[0] for node in onnx.load(sound).graph.node for o in node.output}
    return done.returncode != 0, [makers.get(name, name) for name in _FAILED.findall(done.stdout)]


def by_convkit(sound: Path, faulty: Path, scratch: Path) -> tuple[bool, list[str]]:
    """Whether it calls them different, and its suspects."""
    report = scratch / "report.json"
    report.unlink(missing_ok=True)
    command = [str(Path(sys.executable).with_name("convkit")), "validate", str(sound), str(faulty)]
    done = _run([*command, "--quiet", "--report", str(report)])
    if not report.exists():
        return done.returncode != 0, []
    drift = json.loads(report.read_text())["drift"]
    return done.returncode != 0, [] if drift is None else [s["name"] for s in drift["suspects"]]


TOOLS: dict[str, Callable[[Path, Path, Path], tuple[bool, list[str]]]] = {"convkit": by_convkit, "Polygraphy": by_polygraphy}


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)


def asked(tool: str, case: Case, form: str, files: tuple[Path, Path], scratch: Path, runs: int) -> Answer:
    """What a tool says, with the median time of some runs."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        detected, named = TOOLS[tool](*files, scratch)
        times.append(time.perf_counter() - start)
    rank = named.index(case.node) + 1 if case.node in named else None
    seconds = statistics.median(times)
    return Answer(tool, form, case.kind, case.model, case.node, detected, rank, named[0] if named else "", seconds)


def in_form(form: str, faulty: Path, scratch: Path) -> Path | None:
    """The faulty model as it is compared, None where torch cannot hold it."""
    if form == FORMS[0]:
        return faulty
    program, back = scratch / "faulty.pt2", scratch / "back.onnx"
    try:
        api.convert(faulty, "pytorch", output=program, force=True, validate=False)
        api.convert(program, "onnx", output=back, force=True, validate=False)
    except ConvkitError:
        return None
    return back


def summary(answers: Iterable[Answer]) -> list[str]:
    """The rows of a table."""
    lines = [
        "| faulty file | tool | faults | detected | node named first | within three | seconds (median) |",
        "| --- " * 7 + "|",
    ]
    answers = list(answers)
    for form in FORMS:
        for tool in TOOLS:
            those = [a for a in answers if a.tool == tool and a.form == form]
            if those:
                counts = (
                    len(those),
                    sum(a.detected for a in those),
                    sum(a.rank == 1 for a in those),
                    sum(a.rank is not None and a.rank <= 3 for a in those),
                )
                seconds = statistics.median(a.seconds for a in those)
                lines.append(f"| {form} | {tool} | {' | '.join(map(str, counts))} | {seconds:.2f} |")
    return lines


def main() -> int:
    """Runs; the exit code is 1 when Polygraphy names more guilty nodes than convkit does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--only", choices=[*KINDS])
    parser.add_argument("--form", choices=FORMS)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    answers: list[Answer] = []
    polygraphy()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        sound = models(scratch)
        for case, model in planted(arguments.count, sound, arguments.only):
            faulty = scratch / "faulty.onnx"
            onnx.save(model, faulty)
            for form in [arguments.form] if arguments.form else FORMS:
                compared = in_form(form, faulty, scratch)
                for tool in TOOLS if compared is not None else ():
                    answer = asked(tool, case, form, (sound[case.model], compared), scratch, arguments.runs)
                    answers.append(answer)
                    told = f"rank {answer.rank}" if answer.detected else "NOT DETECTED"
                    print(f"{told:12} {tool:10} {form:13} {case.kind:20} {case.model:18} {case.node} | {answer.named} "
                          f"| {answer.seconds:.2f} s", flush=True)  # fmt: skip
                    if arguments.json:
                        with arguments.json.open("a") as stream:
                            stream.write(json.dumps(asdict(answer)) + "\n")
    print("\n".join(summary(answers)))
    first = {tool: sum(a.rank == 1 for a in answers if a.tool == tool) for tool in TOOLS}
    return int(first["convkit"] < first["Polygraphy"])


if __name__ == "__main__":
    sys.exit(main())
