"""What runs on XNNPACK: told of files that ExecuTorch and LiteRT wrote and run, with operations that can be counted by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import convkit
from convkit.artifact import Artifact
from convkit.delegation.measuring import measured
from convkit.formats import Variant
from convkit.workers.pool import WorkerPool


class Net(nn.Module):
    """A convolution (2·8·8·8·3·3·3 FLOPs), a matrix product (2·8·8·8·8), and something that no delegate has."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.linear = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cumsum(self.linear(self.conv(x)), -1)


_CONVOLUTION, _PRODUCT = 2 * 8 * 8 * 8 * 27, 2 * 8 * 8 * 8 * 8


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("delegation") / "net.pt2"
    torch.export.save(torch.export.export(Net().eval(), (torch.randn(1, 3, 8, 8),)), path)
    return path


@pytest.mark.parametrize(("target", "suffix"), [("executorch", "pte"), ("litert", "tflite")])
def test_products_are_delegated_and_the_rest_is_named(
    target: str, suffix: str, program: Path, tmp_path: Path, pool: WorkerPool
) -> None:
    result = convkit.convert(program, target, tmp_path / f"net.{suffix}", pool=pool)
    shares = result.report.attempts[-1].delegation
    assert shares is not None
    assert shares.delegated_flops >= _CONVOLUTION + _PRODUCT
    assert 0 < shares.delegated < shares.operators
    assert sum(count for count, _ in shares.fallbacks.values()) == shares.operators - shares.delegated
    assert any("cumsum" in name.lower() or "while" in name.lower() for name in shares.fallbacks)
    assert shares.delegated_flops + sum(flops for _, flops in shares.fallbacks.values()) == shares.flops
    told = json.loads((tmp_path / f"net.{suffix}.convkit.json").read_text())["attempts"][-1]["delegation"]
    assert told["delegate"] == "XNNPACK" and told["flops"] == shares.flops
    convkit.write_report(result, tmp_path / "report.md")
    assert "of FLOPs on XNNPACK" in (tmp_path / "report.md").read_text()


def test_a_conversion_to_integers_is_no_convolution(tmp_path: Path, pool: WorkerPool) -> None:
    class Rounded(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            whole = torch.ops.quantized_decomposed.quantize_per_tensor(x, 0.1, 0, -128, 127, torch.int8)
            return torch.ops.quantized_decomposed.dequantize_per_tensor(whole, 0.1, 0, -128, 127, torch.int8)

    import torch.ao.quantization.fx._decomposed

    torch.export.save(torch.export.export(Rounded(), (torch.randn(2, 4),)), tmp_path / "rounded.pt2")
    result = convkit.convert(tmp_path / "rounded.pt2", "executorch", tmp_path / "rounded.pte", pool=pool)
    shares = result.report.attempts[-1].delegation
    assert shares is not None and shares.delegated == 2


def test_without_the_delegate_nothing_is_delegated(program: Path, tmp_path: Path, pool: WorkerPool) -> None:
    result = convkit.convert(program, "executorch", tmp_path / "net.pte", options={"backend": "portable"}, pool=pool)
    shares = result.report.attempts[-1].delegation
    assert shares is not None and (shares.delegated, shares.partitions) == (0, 0)
    assert shares.fallbacks["aten::convolution"] == (1, _CONVOLUTION)
    assert "0 of" in str(shares)


def test_damaged_files_and_other_formats_tell_nothing(tmp_path: Path, model, pool: WorkerPool) -> None:
    broken = tmp_path / "broken.pte"
    broken.write_bytes(b"\x10\x00\x00\x00ET12" + bytes(200))
    assert measured(Artifact(Variant.PTE, broken), pool) is None
    assert measured(Artifact(Variant.ONNX, model("digits_cnn", "onnx")), pool) is None
