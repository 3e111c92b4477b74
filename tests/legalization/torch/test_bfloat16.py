"""Programs in bfloat16 compute what they should in float32, and keep bfloat16 at their edge."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import convkit
from convkit.legalization.bfloat16 import in_float32
from convkit.legalization.exported_program import calls
from convkit.legalization.target import Verdict
from convkit.workers.pool import WorkerPool


class _Autocast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = self.first(x).relu()
        return self.second(hidden.float())


def _exported(module: nn.Module, x: torch.Tensor) -> torch.export.ExportedProgram:
    return torch.export.export(module.eval(), (x,), strict=False)


@pytest.mark.parametrize(
    ("module", "x"),
    [
        (nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.Softmax(1)).bfloat16(), torch.randn(2, 3, 9).bfloat16()),
        (nn.Sequential(nn.Embedding(9, 8), nn.LSTM(8, 4)).bfloat16(), torch.randint(0, 9, (5, 2))),
        (_Autocast(), torch.randn(3, 8)),
    ],
)  # fmt: skip
def test_they_compute_in_float32(module: nn.Module, x: torch.Tensor) -> None:
    source = _exported(module, x)
    found = in_float32(source)
    computed = [node for node in calls(found) if str(node.target) != "aten._to_copy.default"]
    values = torch.utils._pytree.tree_leaves([node.meta.get("val") for node in computed])
    assert torch.bfloat16 not in {value.dtype for value in values if isinstance(value, torch.Tensor)}
    assert all(weight.dtype is not torch.bfloat16 for weight in found.state_dict.values())
    got, expected = (torch.utils._pytree.tree_leaves(p.module()(x)) for p in (found, source))
    assert [t.dtype for t in got] == [t.dtype for t in expected]
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=4e-2, atol=4e-2)


def test_other_programs_stay_what_they_are() -> None:
    source = _exported(nn.Linear(3, 2), torch.randn(1, 3))
    assert in_float32(source) is source


def test_onnx_keeps_bfloat16_at_the_edge_and_litert_says_that_it_cannot(tmp_path: Path, pool: WorkerPool) -> None:
    torch.export.save(_exported(nn.Linear(8, 4).bfloat16(), torch.randn(2, 8).bfloat16()), tmp_path / "linear.pt2")
    result = convkit.convert(tmp_path / "linear.pt2", "onnx", tmp_path / "linear.onnx", pool=pool)
    assert result.verdict == "proved"
    assert {t.dtype for t in (*result.artifact.signature.inputs, *result.artifact.signature.outputs)} == {"bfloat16"}
    checked = convkit.check(tmp_path / "linear.pt2", "litert", pool=pool)
    refused = [f.reason for f in checked.routes[0][1] or () if f.verdict is Verdict.GAP]
    assert refused and all("bfloat16" in reason for reason in refused)


def test_a_live_module_takes_arrays_in_its_own_dtype(tmp_path: Path, pool: WorkerPool) -> None:
    inputs = [torch.randn(2, 8).bfloat16()]
    result = convkit.convert(nn.Linear(8, 4).bfloat16(), "onnx", tmp_path / "linear.onnx", inputs=inputs, pool=pool)
    assert str(result.artifact.signature.inputs[0]) == "input: bfloat16[2,8]"
