"""TorchScript → ONNX with torch's legacy exporter: traced, scripted, with control flow and with state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from convkit import readers
from convkit.arrays import save_arrays
from convkit.artifact import Artifact
from convkit.components import ConversionOutcome, ConversionRequest
from convkit.converters import torchscript_to_onnx as converter
from convkit.errors import ConversionError, UsageError
from convkit.formats import Variant
from convkit.legalization.target import Verdict
from convkit.runtimes import onnx as runtime
from convkit.signature import Signature, parse_spec
from tests.converters import torch_models as models


class Branches(nn.Module):
    """A branch on the values, and an input that nothing uses."""

    def forward(self, x: torch.Tensor, unused: torch.Tensor) -> torch.Tensor:
        if bool(x.sum() > 0):
            return x * 2
        return x - 1


class Counter(nn.Module):
    """Gives another result on every call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = torch.zeros(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls = self.calls + 1
        return x * self.calls


def request_of(scripted: torch.jit.ScriptModule, signature: Signature, directory: Path) -> ConversionRequest:
    torch.jit.save(scripted, directory / "m.pt")
    save_arrays(directory / "examples.npz", models.arrays(signature, 2))
    source = Artifact(Variant.TORCHSCRIPT, directory / "m.pt", signature)
    return ConversionRequest(source, directory / "m.onnx", signature, directory / "examples.npz")


def converted(request: ConversionRequest) -> ConversionOutcome:
    assert all(f.verdict is Verdict.LEGAL for f in converter.check(request))
    outcome = converter.convert(request)
    onnx.checker.check_model(str(request.output), full_check=True)
    return outcome


@pytest.mark.parametrize("name", ["sequential", "recurrent", "attention", "difference"])
def test_traced_modules(name: str, tmp_path: Path) -> None:
    module, signature = models.build(name)
    inputs = tuple(torch.from_numpy(a) for a in models.arrays(signature, 2).values())
    request = request_of(torch.jit.trace(module, inputs, strict=False), signature, tmp_path)
    outcome = converted(request)
    assert any("trace" in note for note in outcome.notes)
    info = readers.inspect(request.output)
    assert info.signature is not None
    assert signature.differences(info.signature) == []
    models.assert_agrees(module, signature, runtime.load(Artifact(Variant.ONNX, request.output, signature)))


def test_both_branches_of_a_script_are_kept_and_so_is_an_unused_input(tmp_path: Path) -> None:
    signature = Signature(
        (parse_spec("x:float32[batch,3]"), parse_spec("unused:float32[batch]")), (parse_spec("y:float32[batch,3]"),)
    )
    request = request_of(torch.jit.script(Branches()), signature, tmp_path)
    assert converted(request).notes == ()
    info = readers.inspect(request.output)
    assert info.signature is not None
    assert signature.differences(info.signature) == []
    session = runtime.load(Artifact(Variant.ONNX, request.output, signature))
    for sign in (1, -1):
        x = np.full((4, 3), sign, np.float32)
        want = x * 2 if sign > 0 else x - 1
        np.testing.assert_array_equal(session.run({"x": x, "unused": np.zeros(4, np.float32)})["y"], want)


def test_a_module_with_state_is_refused_by_name(tmp_path: Path) -> None:
    signature = Signature((parse_spec("x:float32[batch,3]"),), (parse_spec("y:float32[batch,3]"),))
    request = request_of(torch.jit.script(Counter()), signature, tmp_path)
    assert [f.operator for f in converter.check(request) if f.verdict is Verdict.GAP] == ["prim::SetAttr"]
    with pytest.raises(ConversionError, match="it assigns calls"):
        converter.convert(request)
    assert not request.output.exists()


def test_an_opset_that_this_exporter_does_not_write(tmp_path: Path) -> None:
    module, signature = models.build("difference")
    request = request_of(torch.jit.script(module), signature, tmp_path)
    with pytest.raises(UsageError, match="opset 23"):
        converter.convert(ConversionRequest(request.source, request.output, signature, request.examples, {"opset": 23}))


def test_without_examples_it_says_so(tmp_path: Path) -> None:
    module, signature = models.build("difference")
    request = request_of(torch.jit.script(module), signature, tmp_path)
    with pytest.raises(ConversionError, match="example inputs"):
        converter.convert(ConversionRequest(request.source, request.output, signature))
