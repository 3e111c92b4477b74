"""Small ExecuTorch files that the tests make with executorch's compiler, and the importer's answer to them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from convkit import readers
from convkit.artifact import Artifact
from convkit.components import ConversionOutcome, ConversionRequest
from convkit.converters import _executorch_lowering as lowering
from convkit.converters import executorch_to_pytorch as converter
from convkit.formats import Variant
from convkit.runtimes import executorch as runtime

Shapes = Any


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def written(program: torch.export.ExportedProgram, path: Path, *, xnnpack: bool = False) -> Artifact:
    """An exported program as a file: on portable kernels, or with what XNNPACK takes delegated."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    path.write_bytes(lowering.compiled(program, [XnnpackPartitioner()] if xnnpack else [], {}).buffer)
    return Artifact(Variant.PTE, path, readers.inspect(path).signature)


def made(
    module: nn.Module,
    examples: torch.Tensor | Sequence[torch.Tensor],
    path: Path,
    *,
    xnnpack: bool = False,
    shapes: Shapes = None,
) -> Artifact:
    """A module as a file."""
    given = (examples,) if isinstance(examples, torch.Tensor) else tuple(examples)
    return written(torch.export.export(module.eval(), given, dynamic_shapes=shapes), path, xnnpack=xnnpack)


def converted(source: Artifact, path: Path) -> ConversionOutcome:
    return converter.convert(ConversionRequest(source, path, source.signature))


def assert_same(source: Artifact, *runs: torch.Tensor | Sequence[torch.Tensor], tolerance: float = 1e-5) -> torch.nn.Module:
    """The imported program computes what ExecuTorch's runtime does, run after run; returns it."""
    path = source.path.with_suffix(".pt2")
    path.unlink(missing_ok=True)
    converted(source, path)
    session = runtime.load(source)
    with path.open("rb") as stream:
        module = torch.export.load(stream).module()
    assert source.signature is not None
    names, outputs = source.signature.input_names, source.signature.output_names
    for run in runs:
        given = (run,) if isinstance(run, torch.Tensor) else tuple(run)
        expected = session.run({n: x.numpy() for n, x in zip(names, given, strict=True)})
        found = module(*(x.clone() for x in given))
        assert len(found) == len(outputs)
        for name, mine in zip(outputs, found, strict=True):
            _assert_close(expected[name], mine.detach().numpy(), tolerance, name)
    return module


def _assert_close(expected: np.ndarray, found: np.ndarray, tolerance: float, name: str) -> None:
    assert (expected.shape, expected.dtype) == (found.shape, found.dtype), name
    scale = np.abs(expected.astype(np.float64)).max(initial=0)
    assert scale > 1e-2, f"{name} is all zeros: the comparison would say nothing"
    difference = np.abs(expected.astype(np.float64) - found.astype(np.float64)).max()
    assert difference <= tolerance * scale, f"{name} is off by {difference / scale:.2g}"


def edited(source: Artifact, change: Callable[[Any], None]) -> Artifact:
    """The file with its program (executorch/exir/schema.py) changed; the signature is that of the intact one."""
    from executorch.exir._serialize._program import deserialize_pte_binary, serialize_pte_binary

    file = copy.deepcopy(deserialize_pte_binary(source.path.read_bytes()))
    change(file.program)
    path = source.path.with_name("edited.pte")
    path.write_bytes(bytes(serialize_pte_binary(file)))
    return Artifact(Variant.PTE, path, source.signature)
