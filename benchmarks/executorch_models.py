"""ExecuTorch files → PyTorch: files that executorch's own compiler makes of many architectures, each read back and proved.

Usage: python -m benchmarks.executorch_models [--only REGEX] [--forms portable,xnnpack,fp16,int8,dynamic] [--to FORMAT]
       [--make] [--timeout SECONDS] [--output DIRECTORY]

The architectures are `cnn_families.py` and `transformers_tiny.py`; the forms are portable kernels, XNNPACK in fp32, fp16 and int8
(XNNPACKQuantizer), and dynamic batch (and sequence). Files are made once and kept under build/ (`--make`: only made).

right     |Δ| against ExecuTorch's runtime is at most 1e-4 of the output's largest number; 2e-2 for fp16, 5e-2 for int8, whose own
          noise that is: a step of the output's quantisation is 1/128 of its range
wrong     it is more
refused   the check said no
failed    the conversion failed

An output whose largest number is below 1e-3 proves nothing and counts as failed. Writes `table.md` and `rows.json`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import convkit
from benchmarks import cnn_families, transformers_tiny
from benchmarks.wheels import CACHE
from convkit.converters import _executorch_lowering as lowering
from convkit.workers.pool import WorkerPool, fresh_pool

FILES = CACHE.parent / "executorch-models"
FORMS = ("xnnpack", "portable", "int8", "fp16", "dynamic")
LIMITS = {"fp16": 2e-2, "int8": 5e-2}
_MAKING = 300
"""Seconds that the compiler gets for one file."""


@dataclass
class Row:
    """One file.

    Attributes:
        difference: The largest |Δ| over all outputs as a share of the output's largest number.
        reason: Why it is not right.
    """

    name: str
    form: str
    verdict: str
    difference: float | None = None
    seconds: float = 0.0
    reason: str = ""


def architectures() -> list[str]:
    return [*cnn_families.FAMILIES, *transformers_tiny.ARCHITECTURES]


def forms_of(name: str) -> list[str]:
    one = transformers_tiny.ARCHITECTURES.get(name)
    return [f for f in FORMS if f != "dynamic" or one is None or one.dynamic]


def built(name: str) -> tuple[Any, tuple[Any, ...]]:
    """An architecture's module, and example inputs."""
    import torch

    if name in transformers_tiny.ARCHITECTURES:
        return transformers_tiny.build(name)
    torch.manual_seed(0)
    image = torch.randn(cnn_families.IMAGE)
    return cnn_families.calibrated(cnn_families.Named(cnn_families.FAMILIES[name]()), image), (image,)


def make(name: str, form: str) -> Path:
    """The `.pte` of an architecture, with `.npz` inputs beside it; made unless it is there."""
    path = FILES / f"{name}.{form}.pte"
    if path.exists():
        return path
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    network, inputs = built(name)
    if form == "fp16":
        network, inputs = network.half(), tuple(x.half() if x.is_floating_point() else x for x in inputs)
    if form == "dynamic":
        inputs = tuple(torch.cat([x, x])[:2] for x in inputs)
    shapes = _dynamic_shapes(inputs) if form == "dynamic" else None
    with torch.no_grad():
        program = torch.export.export(network, inputs, dynamic_shapes=shapes, strict=False)
        if form == "int8":
            program = torch.export.export(_quantised(program.module(), inputs), inputs, strict=False)
        compiled = lowering.compiled(program, [] if form == "portable" else [XnnpackPartitioner()], {})
    FILES.mkdir(parents=True, exist_ok=True)
    np.savez(path.with_suffix(".npz"), *[x.numpy() for x in inputs])
    path.write_bytes(compiled.buffer)
    return path


def _dynamic_shapes(inputs: Sequence[Any]) -> tuple[dict[int, Any], ...]:
    """Batch, and the length of token sequences."""
    import torch

    batch = torch.export.Dim("batch", min=1, max=8)
    lengths = [torch.export.Dim(f"length_{i}", min=2, max=32) for i in range(len(inputs))]
    return tuple({0: batch} if x.is_floating_point() else {0: batch, 1: lengths[i]} for i, x in enumerate(inputs))


def _quantised(module: Any, inputs: Sequence[Any]) -> Any:
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(module, quantizer)
    for seed in range(3):
        torch.manual_seed(seed)
        prepared(*(torch.randn_like(x) if x.is_floating_point() else x for x in inputs))
    prepared(*inputs)
    return convert_pt2e(prepared)


def reference(path: Path, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What ExecuTorch's own runtime computes."""
    import torch
    from executorch.extension.pybindings import _portable_lib

    program = _portable_lib._load_program(str(path))
    results = program.load_method("forward")([torch.from_numpy(x) for x in inputs])
    return [r.clone().contiguous().float().numpy() if isinstance(r, torch.Tensor) else np.array(r) for r in results]


def differences(converted: Path, inputs: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """The largest relative difference of a `.pt2`; infinite where a reference is too small to prove anything."""
    import torch

    with converted.open("rb") as stream:
        results = torch.export.load(stream).module()(*[torch.from_numpy(x) for x in inputs])
    found = 0.0
    for mine, theirs in zip(results, expected, strict=True):
        scale = float(np.abs(theirs).max())
        delta = float(np.abs(mine.detach().float().numpy() - theirs).max())
        found = max(found, delta / scale if scale > 1e-3 and np.isfinite(delta) else float("inf"))
    return found


class Apart:
    """A process for the compiler and the reference runtime, which a model may end; the next call gets a new one."""

    def __init__(self) -> None:
        self._executor: ProcessPoolExecutor | None = None

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the function returns or raises; BrokenProcessPool where it ends the process."""
        self._executor = self._executor or ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        try:
            return self._executor.submit(function, *arguments).result()
        except BrokenProcessPool:
            self.close()
            raise

    def close(self) -> None:
        """Ends the process."""
        if self._executor is not None:
            self._executor.shutdown()
        self._executor = None


def prepared(name: str, form: str) -> tuple[Path, list[np.ndarray], list[np.ndarray]]:
    """The file, its inputs, and what ExecuTorch computes; made within the time that the compiler gets."""
    with limited(_MAKING):
        path = make(name, form)
    with np.load(path.with_suffix(".npz")) as saved:
        inputs = [saved[key] for key in saved.files]
    return path, inputs, reference(path, inputs)


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"over {seconds} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def measured(name: str, form: str, options: argparse.Namespace, apart: Apart, pool: WorkerPool | None) -> Row | None:
    """A row; None where executorch itself cannot make or run the file."""
    failed = FILES / f"{name}.{form}.failed"
    if failed.exists() and not options.again:
        return None
    try:
        path, inputs, expected = apart.call(prepared, name, form)
    except Exception as error:
        FILES.mkdir(parents=True, exist_ok=True)
        failed.write_text(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        return None
    row, start = Row(name, form, "failed"), time.perf_counter()
    if pool is None:
        return None
    converted = options.output / f"{name}.{form}.{options.to}"
    limit = LIMITS.get(form, 1e-4)
    try:
        names = [t.name for t in convkit.inspect(path).signatures[0].inputs]
        result = convkit.convert(
            path, options.to, converted, inputs=dict(zip(names, inputs, strict=True)), force=True, timeout=options.timeout,
            allow_drift=True, pool=pool, tolerance=limit,
        )  # fmt: skip
        if options.to == "pytorch":
            row.difference = differences(converted, inputs, expected)
            row.verdict = "right" if row.difference <= limit else "wrong"
        else:
            assert result.report.validation is not None
            row.difference = result.report.validation.required
            row.verdict = "right" if result.verdict.value == "proved" else "wrong"
    except convkit.OperatorGapError as error:
        row.verdict, row.reason = "refused", " · ".join([error.message, *error.gaps])
    except Exception as error:
        row.reason = "".join(traceback.format_exception_only(error)).strip()
    row.seconds = time.perf_counter() - start
    return row


def table(rows: Sequence[Row]) -> str:
    """Verdicts by form, the worst difference of each, then every row that is not right."""
    lines = ["| form | files | right | share | median Δ | worst right Δ |", "|---|---|---|---|---|---|"]
    for form in FORMS:
        mine = [r for r in rows if r.form == form]
        right = sorted(r.difference or 0.0 for r in mine if r.verdict == "right")
        if mine:
            spread = f"{right[len(right) // 2]:.1e} | {right[-1]:.1e}" if right else "– | –"
            lines.append(f"| {form} | {len(mine)} | {len(right)} | {len(right) / len(mine):.0%} | {spread} |")
    counts = Counter(r.verdict for r in rows)
    lines += ["", f"{counts['right']} of {len(rows)} right, {len({r.name for r in rows})} architectures", ""]
    lines += [f"* {r.name}.{r.form}: {r.verdict} {r.difference or ''} {r.reason[:300]}" for r in rows if r.verdict != "right"]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument(
        "--to", default="pytorch", help="the target format; another than pytorch is judged by convkit's own proof"
    )
    parser.add_argument("--make", action="store_true", help="make the files and stop")
    parser.add_argument("--again", action="store_true", help="try files again that executorch could not make")
    parser.add_argument("--made", action="store_true", help="only files that are there")
    parser.add_argument("--timeout", type=float, default=120)
    parser.add_argument("--output", type=Path, default=FILES / "results")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with fresh_pool() as pool, closing(Apart()) as apart:
        for form in options.forms.split(","):
            for name in architectures():
                there = (FILES / f"{name}.{form}.pte").exists()
                if not re.search(options.only, f"{name}.{form}") or form not in forms_of(name) or (options.made and not there):
                    continue
                row = measured(name, form, options, apart, None if options.make else pool)
                if row is None:
                    continue
                rows.append(row)
                print(f"{row.name:22} {row.form:9} {row.verdict:8} {row.difference or 0:.1e} {row.reason[:160]}", flush=True)
                (options.output / "rows.json").write_text(json.dumps([asdict(r) for r in rows], indent=1))
                (options.output / "table.md").write_text(table(rows))
    if rows:
        print(table(rows))
    sys.exit(0 if options.make or all(r.verdict == "right" for r in rows) else 1)


if __name__ == "__main__":
    main()
