"""The proof that what was written computes what the program computes."""

from __future__ import annotations

import importlib.util
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from convkit.arrays import load_arrays
from convkit.errors import ConversionError
from convkit.loading import pytorch as loading
from convkit.loading.module_factories import one_line
from convkit.signature import Signature
from convkit.validators.numerics import compare_output
from convkit.validators.tolerance import default_tolerance

__all__ = ["prove"]


def prove(program: torch.export.ExportedProgram, file: Path, signature: Signature, inputs: Sequence[Path]) -> str:
    """Imports the file, runs it and the program on the same inputs, and says how they agree.

    Raises:
        ConversionError: It does not import, does not run, or disagrees.
    """
    try:
        written = _imported(file).load()
    except Exception as error:
        raise _failed(f"it does not load: {type(error).__name__}: {one_line(error)}") from error
    reference = program.module()
    proved, worst = 0, 0.0
    refused = ""
    for path in inputs:
        feeds = load_arrays(path)
        arguments = [loading.to_torch(feeds[t.name], t.dtype) for t in signature.inputs]
        try:
            expected = _run(reference, arguments)
        except Exception as error:  # outside of what the model takes; its validation says so
            refused = one_line(error)
            continue
        try:
            got = _run(written, arguments)
        except Exception as error:
            raise _failed(f"it does not run: {type(error).__name__}: {one_line(error)}") from error
        worst = max(worst, _difference(program, signature, expected, got))
        proved += 1
    if not proved:
        raise _failed(f"the program itself runs on none of the inputs: {refused}")
    sets = f"{proved} input set{'s' if proved > 1 else ''}"
    return (
        f"the program's outputs bit by bit on {sets}"
        if worst == 0.0
        else f"the program's outputs on {sets}, to {worst:.1e} of scale"
    )


def _imported(file: Path) -> ModuleType:
    """The file as a module of its own, which no `import` finds."""
    spec = importlib.util.spec_from_file_location(f"_convkit_proof_{uuid.uuid4().hex}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # What is imported here must not leave a __pycache__ beside the output.
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), module.__dict__)
    return module


def _run(module: Any, arguments: list[torch.Tensor]) -> list[torch.Tensor]:
    torch.manual_seed(0)  # dropout, and whatever else draws
    with torch.inference_mode():
        result = module(*(a.clone() for a in arguments))
    return [tensor for _, tensor in loading.named_tensors(result)]


def _difference(
    program: torch.export.ExportedProgram, signature: Signature, expected: list[torch.Tensor], got: list[torch.Tensor]
) -> float:
    """The largest difference as a share of an output's scale; 0 where all bits are equal."""
    if len(expected) != len(got):
        raise _failed(f"it gives {len(got)} outputs, the program gives {len(expected)}")
    worst = 0.0
    for spec, mine, theirs in zip(signature.outputs, expected, got, strict=True):
        if mine.dtype is not theirs.dtype or mine.shape != theirs.shape:
            is_now = f"{loading.dtype_name(theirs.dtype)}{list(theirs.shape)}"
            raise _failed(
                f"output '{spec.name}' is {is_now}, the program's is {loading.dtype_name(mine.dtype)}{list(mine.shape)}"
            )
        reference, other = loading.to_numpy(mine), loading.to_numpy(theirs)
        if np.ascontiguousarray(reference).tobytes() == np.ascontiguousarray(other).tobytes():
            continue
        # Kernels may choose by where in memory a tensor lies, and then add up in another order.
        tolerance = default_tolerance(spec.dtype, len(program.graph.nodes), False)
        metrics = compare_output(spec.name, reference, other, tolerance)
        if not metrics.passed:
            raise _failed(f"output '{spec.name}' differs: {metrics.problem or f'by {metrics.required:.1e} of its scale'}")
        worst = max(worst, metrics.required)
    return worst


def _failed(reason: str) -> ConversionError:
    return ConversionError(
        f"the Python source of the model was written, and {reason}",
        stage="emit",
        component="python",
        hint="leave out --emit python: the .pt2 file itself is not at fault",
    )
