"""Two architectures of real size with random weights, and their ONNX files: what speed and memory are measured on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

__all__ = ["BUILDERS", "export_onnx", "resnet50", "vit_b16"]


class Bottleneck(nn.Module):
    """He et al. 2015, with the stride in the 3×3 convolution."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.body = nn.Sequential(
            nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        short = inputs == outputs and stride == 1
        projection = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = nn.Identity() if short else projection

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.body(x) + self.shortcut(x))


def resnet50() -> nn.Module:
    """25.6 million parameters."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for block in range(blocks):
            layers.append(Bottleneck(inputs, width, 2 if block == 0 and stage else 1))
            inputs = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000))


class EncoderBlock(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(self.before_attention(x)).reshape(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(batch, length, width)
        x = x + self.projection(mixed)
        return x + self.mlp(self.before_mlp(x))


class VisionTransformer(nn.Module):
    """Dosovitskiy et al. 2020."""

    def __init__(self, width: int, depth: int, heads: int, patch: int, image: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, (image // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(EncoderBlock(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


def vit_b16() -> nn.Module:
    """86.6 million parameters."""
    return VisionTransformer(768, 12, 12, 16, 224)


BUILDERS: dict[str, Callable[[], nn.Module]] = {"resnet50": resnet50, "vit_b16": vit_b16}


def export_onnx(name: str, path: Path, *, dynamo: bool = True) -> None:
    """Writes a model with a dynamic batch, in one file.

    Args:
        dynamo: False for the older exporter, whose files are the only ones that onnx2torch reads: it knows neither the
            ReduceMean of opset 18 nor `allowzero`.
    """
    torch.manual_seed(0)
    model = BUILDERS[name]().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # as if trained; equal ones would be stored once
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
    dynamic: dict[str, Any] = {"dynamic_axes": {"image": {0: "batch"}, "scores": {0: "batch"}}, "opset_version": 17}
    if dynamo:
        shapes = ({0: torch.export.Dim("batch", min=1)},)
        dynamic = {"dynamic_shapes": shapes, "opset_version": 18, "external_data": False}
    names = {"input_names": ["image"], "output_names": ["scores"]}
    torch.onnx.export(model, (torch.randn(2, 3, 224, 224),), path, dynamo=dynamo, verbose=False, **names, **dynamic)
