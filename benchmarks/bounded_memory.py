"""How much memory does the search for drift take in a model of a gigabyte?

    python -m benchmarks.bounded_memory [--to onnx litert …] [--limit 4.0] [--keep DIRECTORY]

A decoder of 255 million float32 parameters (an embedding of 65,536 rows, fifteen blocks of width 1,024) is written as ONNX with
external data, and once more with one weight of a block corrupted; or, with `--to`, the corrupted one converted. Then
`convkit validate --locate` compares the two in a process of its own, and the kernel tells how large each process of its
tree has been (VmHWM). The exit code is 1 when one was larger than the limit, or the corrupted node is not named first.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import psutil
from onnx import TensorProto, helper

BLOCKS, WIDTH, HEADS, ROWS, LENGTH = 15, 1024, 16, 65_536, 64
GUILTY = "block_7.up"
CONVKIT = Path(sys.executable).with_name("convkit")


class Writer:
    """An ONNX model whose weights go to a file beside it as they are made, so that none of them is kept in memory.

    Args:
        path: Of the model; its weights are in the file of the same name that ends in `.data`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream = path.with_suffix(".data").open("wb")
        self._nodes: list[onnx.NodeProto] = []
        self._tensors: list[onnx.TensorProto] = []
        self._generator = np.random.default_rng(0)

    def weight(self, name: str, *shape: int, scale: float | None = None) -> str:
        """A tensor of random numbers that keeps the magnitude of what it multiplies, or of one number."""
        spread = shape[0] ** -0.5
        array = self._generator.standard_normal(shape, np.float32) * np.float32(spread)
        if scale is not None:
            array = np.full(shape, scale, np.float32)
        if name.startswith(f"{GUILTY}.") and self._path.stem == "faulty":
            array[3, 5] += 1.0
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
        described = {"location": self._path.with_suffix(".data").name, "offset": self._stream.tell(), "length": array.nbytes}
        for key, value in described.items():
            tensor.external_data.add(key=key, value=str(value))
        array.tofile(self._stream)
        self._tensors.append(tensor)
        return name

    def numbers(self, name: str, values: list[int]) -> str:
        """Sizes, kept in the model itself."""
        self._tensors.append(helper.make_tensor(name, TensorProto.INT64, [len(values)], values))
        return name

    def node(self, operator: str, name: str, *inputs: str, **attributes: object) -> str:
        self._nodes.append(helper.make_node(operator, inputs, [f"{name}:0"], name, **attributes))
        return f"{name}:0"

    def save(self, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]) -> None:
        self._stream.close()
        graph = helper.make_graph(self._nodes, "decoder", inputs, outputs, self._tensors)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), self._path)


def write(path: Path) -> Path:
    """The decoder; a file that is called "faulty" has the corrupted weight."""
    made = Writer(path)
    made.numbers("split", [1, LENGTH, HEADS, WIDTH // HEADS])
    made.numbers("joined", [1, LENGTH, WIDTH])
    x = made.node("Gather", "embedding", made.weight("embedding.weight", ROWS, WIDTH, scale=None), "ids")
    for block in range(BLOCKS):
        name = f"block_{block}"
        x = made.node("Add", f"{name}.mixed", x, _attention(made, f"{name}.attention", _normed(made, f"{name}.norm", x)))
        x = made.node("Add", f"{name}.out", x, _feed_forward(made, name, _normed(made, f"{name}.second_norm", x)))
    made.node("Identity", "hidden", _normed(made, "last_norm", x))
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, [1, LENGTH])
    made.save([ids], [helper.make_tensor_value_info("hidden:0", TensorProto.FLOAT, [1, LENGTH, WIDTH])])
    return path


def _normed(made: Writer, name: str, x: str) -> str:
    scale, shift = made.weight(f"{name}.scale", WIDTH, scale=1.0), made.weight(f"{name}.shift", WIDTH, scale=0.0)
    return made.node("LayerNormalization", name, x, scale, shift, epsilon=1e-5)


def _attention(made: Writer, name: str, x: str) -> str:
    heads = []
    for role in ("query", "key", "value"):
        projected = made.node("MatMul", f"{name}.{role}", x, made.weight(f"{name}.{role}.weight", WIDTH, WIDTH))
        split = made.node("Reshape", f"{name}.{role}.split", projected, "split")
        order = [0, 2, 3, 1] if role == "key" else [0, 2, 1, 3]
        heads.append(made.node("Transpose", f"{name}.{role}.heads", split, perm=order))
    scores = made.node("MatMul", f"{name}.scores", heads[0], heads[1])
    scaled = made.node("Div", f"{name}.scaled", scores, made.weight(f"{name}.root", 1, scale=(WIDTH / HEADS) ** 0.5))
    mixed = made.node("MatMul", f"{name}.weighed", made.node("Softmax", f"{name}.softmax", scaled, axis=-1), heads[2])
    back = made.node("Transpose", f"{name}.back", mixed, perm=[0, 2, 1, 3])
    joined = made.node("Reshape", f"{name}.joined", back, "joined")
    return made.node("MatMul", f"{name}.projection", joined, made.weight(f"{name}.projection.weight", WIDTH, WIDTH))


def _feed_forward(made: Writer, name: str, x: str) -> str:
    up = made.node("MatMul", f"{name}.up", x, made.weight(f"{name}.up.weight", WIDTH, 4 * WIDTH))
    return made.node(
        "MatMul", f"{name}.down", made.node("Gelu", f"{name}.gelu", up), made.weight(f"{name}.down.weight", 4 * WIDTH, WIDTH)
    )


@dataclass
class Usage:
    """What a process tree has taken.

    Attributes:
        seconds: Wall time.
        peaks: The largest resident set of every process, in bytes, by its id.
        disk: The largest size of the directory for temporary files.
        output: What the command wrote.
    """

    seconds: float = 0.0
    peaks: dict[int, int] = field(default_factory=dict)
    disk: int = 0
    output: str = ""


def measured(command: list[str], scratch: Path) -> Usage:
    """Runs a command and watches its processes."""
    usage = Usage()
    start = time.perf_counter()
    with (scratch / "output").open("w+") as stream:
        process = psutil.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=_environment(scratch))
        while process.poll() is None:
            for pid, peak in _peaks(process):
                usage.peaks[pid] = max(peak, usage.peaks.get(pid, 0))
            usage.disk = max(usage.disk, _size(scratch / "temporary"))
            time.sleep(0.02)
        usage.seconds = time.perf_counter() - start
        stream.seek(0)
        usage.output = stream.read()
    return usage


def _environment(scratch: Path) -> dict[str, str]:
    temporary = scratch / "temporary"
    temporary.mkdir(exist_ok=True)
    return {**os.environ, "TMPDIR": str(temporary)}


def _peaks(root: psutil.Process) -> Iterator[tuple[int, int]]:
    try:
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return
    for process in tree:
        try:
            told = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            continue
        peak = next((line.split()[1] for line in told.splitlines() if line.startswith("VmHWM:")), None)
        if peak is not None:  # a process that has ended has none
            yield process.pid, 1024 * int(peak)


def _size(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:
            continue
    return total


def compared(source: Path, target: Path, scratch: Path) -> tuple[Usage, str]:
    """What a validation with the search took, and the node that it names first."""
    report = scratch / "report.json"
    report.unlink(missing_ok=True)
    command = [str(CONVKIT), "validate", str(source), str(target), "--locate", "--seeds", "1", "--report", str(report)]
    usage = measured(command, scratch)
    drift = json.loads(report.read_text())["drift"] if report.exists() else None
    if drift is None:
        print(usage.output[-2000:])
    return usage, drift["suspects"][0]["name"] if drift and drift["suspects"] else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", nargs="*", default=["onnx"])
    parser.add_argument("--limit", type=float, default=4.0, help="GB for each process")
    parser.add_argument("--keep", type=Path, help="a directory for the models, where they stay")
    arguments = parser.parse_args()
    bad = False
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        directory = arguments.keep or scratch
        directory.mkdir(parents=True, exist_ok=True)
        sound, faulty = (path if path.exists() else write(path) for path in (directory / "sound.onnx", directory / "faulty.onnx"))
        for target in arguments.to:
            judged = faulty
            if target != "onnx":
                judged = directory / f"faulty.{target}"
                if not judged.exists():
                    convert = [str(CONVKIT), "convert", str(faulty), "--to", target, "-o", str(judged), "--no-validate"]
                    subprocess.run(convert, check=True)
            usage, named = compared(sound, judged, scratch)
            peaks = sorted(usage.peaks.values(), reverse=True)
            wrong = named != GUILTY or not peaks or peaks[0] > 1e9 * arguments.limit
            bad = bad or wrong
            told = ", ".join(f"{peak / 1e9:.2f}" for peak in peaks if peak > 1e7)
            print(f"{'BAD' if wrong else 'ok':4} onnx → {target:10} {usage.seconds:6.1f} s · processes of {told} GB · "
                  f"{usage.disk / 1e9:.2f} GB on disk · starts at {named or 'nothing'}", flush=True)  # fmt: skip
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
