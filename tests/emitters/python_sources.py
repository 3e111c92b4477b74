"""Modules written as Python source by the emitter, for tests; every one of them is proved by the emitter itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from convkit.artifact import Artifact
from convkit.components import EmissionRequest, Origin
from convkit.emitters import python
from convkit.emitters.python.proof import _imported
from convkit.formats import Variant
from convkit.loading import pytorch_capture
from convkit.loading.pytorch_describe import describe_module
from convkit.signature import Signature

ORIGIN = Origin("net.onnx", "ONNX", "sha256:abc", ("onnx-torch",))


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        text: The source.
        note: How it was proved.
        namespace: The imported source.
        program: What it was made of.
        signature: Its inputs and outputs.
        file: Where the source is.
    """

    text: str
    note: str
    namespace: Any
    program: torch.export.ExportedProgram
    signature: Signature
    file: Path

    @property
    def forward(self) -> str:
        """The statements of `forward`, without what is before and behind."""
        body = self.text.partition("    def forward(")[2].partition("\n\n\ndef load(")[0]
        lines = [line for line in body.partition(":\n")[2].split("\n") if not re.match(r" +# .*(\[|→)", line)]
        return "\n".join(line.removeprefix("        ") for line in lines).strip("\n")

    def load(self) -> nn.Module:
        return self.namespace.load()


def written(
    compute: Callable[..., Any] | nn.Module,
    *tensors: torch.Tensor,
    tmp_path: Path,
    dynamic: Mapping[str, Mapping[int, str]] | None = None,
    name: str = "net",
) -> Written:
    """The source of a module, or of a function of tensors called x, y, z, …, exported with these example inputs."""
    module = compute if isinstance(compute, nn.Module) else _Function(compute)
    arrays = {name: t.numpy() for name, t in zip("xyzuvw", tensors, strict=False)}
    axes = {n: {str(a): s for a, s in given.items()} for n, given in (dynamic or {}).items()}
    signature, _ = describe_module(module.eval(), None, (), arrays, axes, None, tmp_path / "examples.npz")
    with np.load(tmp_path / "examples.npz") as found:
        feeds = dict(found)
    return emitted(pytorch_capture.export(module, signature, feeds), signature, feeds, tmp_path, name)


def emitted(
    program: torch.export.ExportedProgram,
    signature: Signature,
    feeds: Mapping[str, np.ndarray],
    tmp_path: Path,
    name: str = "net",
) -> Written:
    """The source of a program, proved on one set of inputs."""
    path = tmp_path / f"{name}.pt2"
    pytorch_capture.save(program, signature, path)
    np.savez(tmp_path / "inputs.npz", **feeds)
    artifact = Artifact(Variant.EXPORTED_PROGRAM, path, signature)
    outcome = python.emit(EmissionRequest(artifact, ORIGIN, (tmp_path / "inputs.npz",)))
    assert len(outcome.notes) == 1, outcome.notes
    file, weights = python.files(path)
    assert weights.exists()
    return Written(file.read_text(), outcome.notes[0], _imported(file), program, signature, file)


class _Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self._function = function

    def forward(self, x: torch.Tensor, *others: torch.Tensor) -> Any:
        return self._function(x, *others)


def operators_of(program: torch.export.ExportedProgram) -> Sequence[str]:
    """The operators of a program in order."""
    return [str(n.target) for n in program.graph.nodes if n.op == "call_function"]
