"""PyTorch's own operator database through the pipeline, to every target: what is right, what is refused, and what is neither.

Usage: python -m benchmarks.torch_operators [--to onnx,litert,executorch,tfjs] [--only REGEX] [--every N] [--jobs N]
       [--timeout SECONDS] [--no-force] [--output DIRECTORY]

torch tests its kernels with samples of every operator (`torch.testing._internal.common_methods_invocations.op_db`). Up to two
usable samples an operator become exported programs: tensors are inputs, everything else is closed over, as in a real module;
what they compute in eager mode is what must come out. The verdicts, and the files that are written, are those of
`benchmarks.onnx_node_suite`: "missed", "does not run" and "wrong" are what a check should have predicted, "refused though
right" is a gap that is none.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import shutil
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.onnx_node_corpus import Case
from benchmarks.onnx_node_suite import SILENT_VERDICTS, Outcome, Suite, misses, outcomes, table
from convkit import readers
from convkit.arrays import save_arrays

__all__ = ["load", "make"]

TARGETS = ("onnx", "litert", "executorch", "tfjs")
ROOT = Path(__file__).resolve().parent.parent / "build" / "torch-operators"
_SAMPLES, _TRIED = 2, 24
# Families of numerical mathematics that models do not use, and what is random.
_LEFT_OUT = (
    "linalg.", "masked.", "fft.", "special.", "signal.", "__r", "_refs", "torch.ops", "sparse", "jiterator", "uniform", "normal",
    "bernoulli", "multinomial", "rand", "empty", "dropout", "_softmax_backward", "nvprims", "cauchy", "exponential", "geometric",
    "histogramdd", "to_sparse",
)  # fmt: skip


def make(directory: Path) -> int:
    """Writes `<operator>_<number>/{model.pt2,inputs.npz,expected.npz,case.json}`; returns how many."""
    from torch.testing._internal.common_methods_invocations import op_db

    count = 0
    for operator in op_db:
        name = ".".join(filter(None, (operator.name, operator.variant_test_name)))
        if not any(part in name for part in _LEFT_OUT):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for number, sample in enumerate(itertools.islice(_usable(operator), _SAMPLES)):
                    count += _write(directory / f"{name.replace('.', '_')}_{number}", *sample)
    return count


def _usable(operator: Any) -> Iterator[tuple[Any, list[Any], list[Any]]]:
    """Exported programs of an operator's samples, their inputs, and what comes out; what torch cannot export is left out."""
    import torch
    import torch.utils._pytree as pytree

    if torch.float32 not in operator.supported_dtypes("cpu"):
        return
    torch.manual_seed(0)
    samples = operator.sample_inputs("cpu", torch.float32)
    for sample in itertools.islice(samples, _TRIED):
        flat, spec = pytree.tree_flatten(((sample.input, *sample.args), sample.kwargs))
        tensors = [t.detach().contiguous().clone() for t in flat if isinstance(t, torch.Tensor) and not t.is_sparse]
        if not tensors or any(t.numel() == 0 or t.dim() == 0 or t.is_complex() for t in tensors):
            continue
        module = _module(operator.op, spec, flat)
        try:
            results = pytree.tree_leaves(module(*tensors))
            if not results or not all(isinstance(r, torch.Tensor) and not r.is_complex() and not r.is_sparse for r in results):
                continue
            program = torch.export.export(module, tuple(t.clone() for t in tensors), strict=False)
        except Exception:
            continue
        yield program, tensors, results


def _module(function: Any, spec: Any, flat: Sequence[Any]) -> Any:
    import torch
    import torch.utils._pytree as pytree

    places = [place for place, value in enumerate(flat) if isinstance(value, torch.Tensor)]

    class Operator(torch.nn.Module):  # type: ignore[misc]
        def forward(self, *tensors: torch.Tensor) -> Any:
            values = list(flat)
            for place, tensor in zip(places, tensors, strict=True):
                values[place] = tensor
            args, kwargs = pytree.tree_unflatten(values, spec)
            return function(*args, **kwargs)

    return Operator().eval()


def _write(directory: Path, program: Any, tensors: Sequence[Any], results: Sequence[Any]) -> bool:
    import torch

    directory.mkdir(parents=True)
    try:
        torch.export.save(program, directory / "model.pt2")
        torch.export.load(directory / "model.pt2")  # some programs torch writes and cannot read
        signature = readers.inspect(directory / "model.pt2").signature
        assert signature is not None
        names = zip(signature.input_names, tensors, strict=True), zip(signature.output_names, results, strict=True)
        for file, pairs in zip(("inputs.npz", "expected.npz"), names, strict=True):
            save_arrays(directory / file, {name: np.asarray(tensor.detach()) for name, tensor in pairs})
        operators = sorted({str(node.target) for node in program.graph.nodes if node.op == "call_function"})
        (directory / "case.json").write_text(json.dumps({"operators": operators}))
    except Exception as error:  # results of a named tuple's type, for example, are nothing that torch saves
        print(f"{directory.name} is left out: {' '.join(str(error).split())[:120]}")
        shutil.rmtree(directory)
        return False
    return True


class OperatorCase(Case):
    """One sample of an operator."""

    @property
    def directory(self) -> Path:
        return corpus() / self.name

    @property
    def model(self) -> Path:
        return self.directory / "model.pt2"


def corpus() -> Path:
    """The corpus of the installed torch version."""
    return ROOT / f"corpus-{version('torch')}"


def load() -> list[Case]:
    """The corpus, made at the first use (a minute)."""
    directory = corpus()
    if not directory.exists():
        draft = directory.with_name(f"{directory.name}.making")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        print(f"{make(draft)} cases")
        draft.rename(directory)
    return [_case(path.parent) for path in sorted(directory.glob("*/case.json"))]


def _case(directory: Path) -> Case:
    operators = tuple(json.loads((directory / "case.json").read_text())["operators"])
    return OperatorCase(directory.name, operators, rtol=1e-3, atol=1e-4)


def main() -> int:
    """Runs the cases, says every unpredicted miss as it happens, writes the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", default=",".join(TARGETS), help="target formats")
    parser.add_argument("--only", default="", help="cases whose name matches this regular expression")
    parser.add_argument("--every", type=int, default=1, help="only every Nth case")
    parser.add_argument("--jobs", type=int, default=1, help="processes of every kind side by side")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds per stage")
    parser.add_argument("--no-force", action="store_true", help="do not try what a check refuses")
    parser.add_argument("--output", type=Path, default=ROOT / "results", help="the directory for the results")
    options = parser.parse_args()
    chosen = [case for case in load() if re.search(options.only, case.name)][:: options.every]
    options.output.mkdir(parents=True, exist_ok=True)
    found: list[Outcome] = []
    for target in options.to.split(","):
        start = time.perf_counter()
        with (options.output / f"{target}.jsonl").open("w") as lines:
            for outcome in outcomes(Suite(target, None, options.timeout, not options.no_force), chosen, options.jobs):
                found.append(outcome)
                print(json.dumps(asdict(outcome)), file=lines, flush=True)
                if outcome.verdict in SILENT_VERDICTS:
                    print(f"{target} {outcome.verdict}: {outcome.case}: {outcome.reason[:300]}", flush=True)
        print(f"{target}: {time.perf_counter() - start:.0f} s", flush=True)
    (options.output / "summary.md").write_text(table(found) + "\n" + misses(found) + "\n")
    print(table(found))
    return 1 if any(outcome.verdict in SILENT_VERDICTS for outcome in found) else 0


if __name__ == "__main__":
    sys.exit(main())
