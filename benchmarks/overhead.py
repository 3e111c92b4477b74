"""What convkit costs on top of the bare libraries: whole processes, taken in turn, medians and ratios.

Usage: python -m benchmarks.overhead [--runs N] [--only TEXT] [--model NAME] [--json FILE]

`convkit convert` includes the validation, in both runtimes; the bare process only converts. Memory is measured twice: the
largest single process (what `/usr/bin/time -v` shows), and the largest sum of proportional set sizes over the tree.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from convkit.workers import toolchains

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
CONVKIT = Path(sys.executable).with_name("convkit")

# The whole library as its users install it; convkit's own toolchain is smaller, because it calls less of it.
BARE_ONNX2TF = toolchains.PythonEnvironment(
    "onnx2tf-bare", "benchmarks", Path(__file__).with_name("locks") / "onnx2tf-bare.txt", ("onnx2tf", "sng4onnx", "cv2")
)
_PT2_TO_LITERT = """
import torch, litert_torch
program = torch.export.load({source!r})
litert_torch.convert(program.module(), program.example_inputs[0]).export({output!r})
"""
_PT2_TO_ONNX = """
import torch
torch.onnx.export(torch.export.load({source!r}), f={output!r}, dynamo=True)
"""
_PT2_TO_EXECUTORCH = """
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
program = to_edge_transform_and_lower(torch.export.load({source!r}), partitioner=[XnnpackPartitioner()]).to_executorch()
with open({output!r}, "wb") as stream:
    program.write_to_file(stream)
"""
# onnx2tf rewrites its input in place, hence the copy that every user of the library makes.
_ONNX_TO_LITERT = """
import shutil
shutil.copy({source!r}, {output!r} + ".onnx")
import onnx2tf
onnx2tf.convert(input_onnx_file_path={output!r} + ".onnx", output_folder_path={output!r}, non_verbose=True)
"""
_SAVEDMODEL_TO_ONNX = """
import sys
from tf2onnx import convert
sys.argv = ["tf2onnx", "--saved-model", {source!r}, "--output", {output!r}, "--opset", "18"]
convert.main()
"""


@dataclass(frozen=True)
class Pair:
    """One conversion: how convkit is asked for it, and the bare library's own script."""

    title: str
    suffix: str
    target: str
    script: str
    toolchain: str = ""
    model: str = "digits_cnn"


PAIRS = (
    Pair("pt2→litert", "pt2", "litert", _PT2_TO_LITERT),
    Pair("pt2→onnx", "pt2", "onnx", _PT2_TO_ONNX),
    # The bare library fails on digits_cnn ("0 in strides is not supported for ExecuTorch").
    Pair("pt2→executorch", "pt2", "executorch", _PT2_TO_EXECUTORCH, model="digits_transformer"),
    Pair("onnx→litert", "onnx", "litert", _ONNX_TO_LITERT, "onnx2tf"),
    Pair("savedmodel→onnx", "savedmodel", "onnx", _SAVEDMODEL_TO_ONNX),
)


@dataclass(frozen=True)
class Run:
    """One whole process: wall seconds, largest process and largest tree (bytes), and seconds of all its processors."""

    seconds: float
    largest: int
    tree: int
    processor: float


@dataclass(frozen=True)
class Result:
    """Medians of both sides, and the median of the pairwise ratios of time."""

    title: str
    ours: float
    bare: float
    time_ratio: float
    process_ratio: float
    tree_ratio: float


def measure(command: list[str], environment: dict[str, str] | None = None) -> Run:
    """Runs a command to its end, which must be a success."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env={**os.environ, **(environment or {})})
        peak = [0]
        sampler = threading.Thread(target=_sample, args=(process.pid, peak))
        sampler.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        sampler.join()
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"{command[:3]} failed ({process.returncode}): {errors.read().decode(errors='replace')[-2000:]}")
    return Run(seconds, max(usage.ru_maxrss * 1024, 0), peak[0], usage.ru_utime + usage.ru_stime)


def _sample(pid: int, peak: list[int]) -> None:
    """Keeps the largest sum of proportional set sizes of a process and its descendants."""
    try:
        root = psutil.Process(pid)
        while root.status() != psutil.STATUS_ZOMBIE:
            total = 0
            for process in (root, *root.children(recursive=True)):
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            peak[0] = max(peak[0], total)
            time.sleep(0.1)
    except psutil.Error:
        return


def in_turn(title: str, ours: Callable[[], Run], bare: Callable[[], Run], runs: int) -> Result:
    """A B A B …, after a warm-up of each."""
    ours()
    bare()
    taken = [(ours(), bare()) for _ in range(runs)]

    def ratio(pick: Callable[[Run], float]) -> float:
        return statistics.median(pick(a) / pick(b) for a, b in taken)

    return Result(
        title,
        statistics.median(a.seconds for a, _ in taken),
        statistics.median(b.seconds for _, b in taken),
        ratio(lambda r: r.seconds),
        ratio(lambda r: r.largest),
        ratio(lambda r: r.tree),
    )


def compare(pair: Pair, model: str, runs: int, scratch: Path) -> Result:
    """One pair, ours against the bare library."""
    if pair.toolchain:
        BARE_ONNX2TF.install(print)
    source = FIXTURES / model / f"{model}.{pair.suffix}"
    ours_output, bare_output = scratch / "ours", scratch / "bare"

    def ours() -> Run:
        return measure([str(CONVKIT), "convert", str(source), "--to", pair.target, "-o", str(ours_output), "--force", "--quiet"])

    def bare() -> Run:
        shutil.rmtree(bare_output, ignore_errors=True)
        script = pair.script.format(source=str(source), output=str(bare_output))
        toolchain = BARE_ONNX2TF if pair.toolchain else None
        python = toolchain.python if toolchain else Path(sys.executable)
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3"}
        return measure([str(python), "-W", "ignore", "-c", script], quiet | (toolchain.environment() if toolchain else {}))

    return in_turn(pair.title, ours, bare, runs)


def startup(runs: int) -> list[tuple[str, float]]:
    """Median seconds of the verbs that load no framework."""
    commands = {
        "convkit --help": ["--help"],
        "convkit inspect model.onnx": ["inspect", str(FIXTURES / "digits_cnn" / "digits_cnn.onnx")],
        "convkit inspect model.tflite": ["inspect", str(FIXTURES / "digits_cnn" / "digits_cnn.tflite")],
        "convkit inspect model.pt2": ["inspect", str(FIXTURES / "digits_cnn" / "digits_cnn.pt2")],
    }
    return [
        (title, statistics.median(measure([str(CONVKIT), *arguments]).seconds for _ in range(runs)))
        for title, arguments in commands.items()
    ]


def second_call() -> tuple[float, float]:
    """Seconds of the first and of the second conversion in one API process."""
    import convkit

    times = []
    with tempfile.TemporaryDirectory() as directory:
        for name in ("digits_cnn", "digits_lstm"):
            start = time.perf_counter()
            convkit.convert(FIXTURES / name / f"{name}.pt2", "onnx", Path(directory) / f"{name}.onnx")
            times.append(time.perf_counter() - start)
    return times[0], times[1]


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--model", help="the shipped model to convert, in place of each pair's own")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = []
    if not options.only:
        for title, seconds in startup(options.runs):
            print(f"{title:32} {seconds:.3f} s")
        first, second = second_call()
        print(f"{'API: first, second convert':32} {first:.2f} s, {second:.2f} s", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        for pair in PAIRS:
            if options.only in pair.title:
                result = compare(pair, options.model or pair.model, options.runs, Path(directory))
                results.append(result)
                print(
                    f"{result.title:18} convkit with proof {result.ours:6.2f} s · bare {result.bare:6.2f} s"
                    f" · time ×{result.time_ratio:.2f} · largest process ×{result.process_ratio:.2f}"
                    f" · process tree ×{result.tree_ratio:.2f}",
                    flush=True,
                )
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
