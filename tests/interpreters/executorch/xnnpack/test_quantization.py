"""XNNPACK's quantized payloads: int8 with scales per tensor and channel, activations that are quantized as they come, 4 bits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from executorch_models import assert_same, noise, written
from torch import nn

from convkit.interpreters.executorch.program import Program
from convkit.interpreters.executorch.xnnpack.payload import PAYLOAD_ID, PerChannel, PerTensor, PerToken, parsed


class Image(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.depthwise = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.last = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = nn.functional.relu6(self.depthwise(x)) + x
        return self.last(torch.cat([x, x], 1)[:, :8].mean((2, 3)))


class Perceptron(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def quantized(
    module: nn.Module, example: torch.Tensor, *, per_channel: bool = False, dynamic: bool = False
) -> torch.export.ExportedProgram:
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    chosen = get_symmetric_quantization_config(is_per_channel=per_channel, is_dynamic=dynamic)
    prepared = prepare_pt2e(torch.export.export(module.eval(), (example,)).module(), XNNPACKQuantizer().set_global(chosen))
    for seed in range(8):
        prepared(noise(*example.shape, seed=seed))
    return torch.export.export(convert_pt2e(prepared), (example,))


def kinds(path: Path) -> set[type]:
    """How the values of a file's payloads are quantized."""
    delegates = Program(path).method("forward").delegates
    values = [v for d in delegates if d.id == PAYLOAD_ID for v in parsed(d.payload).values.values()]
    return {type(v.quantization) for v in values} - {type(None)}


@pytest.mark.parametrize("per_channel", [False, True])
def test_eight_bits(per_channel: bool, tmp_path: Path) -> None:
    example = noise(1, 3, 12, 12)
    source = written(quantized(Image(), example, per_channel=per_channel), tmp_path / "m.pte", xnnpack=True)
    assert kinds(source.path) == ({PerTensor, PerChannel} if per_channel else {PerTensor})
    # A step of the output is a 255th of its range.
    assert_same(source, *(noise(1, 3, 12, 12, seed=k) for k in range(3)), tolerance=1.5e-2)


def test_activations_that_are_quantized_as_they_come(tmp_path: Path) -> None:
    source = written(quantized(Perceptron(), noise(3, 64), per_channel=True, dynamic=True), tmp_path / "m.pte", xnnpack=True)
    assert PerToken in kinds(source.path)
    assert_same(source, noise(3, 64), noise(3, 64, seed=1) * 5, tolerance=1e-3)


def test_four_bits_in_groups(tmp_path: Path) -> None:
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, PerGroup, quantize_

    module = Perceptron().eval()
    quantize_(module, Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int4, weight_granularity=PerGroup(32)))
    source = written(torch.export.export(module, (noise(3, 64),)), tmp_path / "m.pte", xnnpack=True)
    assert PerChannel in kinds(source.path)
    assert_same(source, noise(3, 64), noise(3, 64, seed=1), tolerance=2e-2)
