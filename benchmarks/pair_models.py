"""Models beside the fixtures that the thirty pairs are measured on: a detector with two outputs, a tagger of any length.

Seeded and untrained: what a conversion may get wrong (layouts, decoded boxes, masks, sizes) does not need training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

__all__ = ["MODELS", "Model", "save"]

SEED = 20240501


class Detector(nn.Module):
    """An anchor-free detector: a small backbone, a feature pyramid of two levels, boxes and scores per cell."""

    CLASSES = 3

    def __init__(self) -> None:
        super().__init__()
        self.stem = self._block(3, 8, 2)
        self.fine = self._block(8, 16, 2)
        self.coarse = self._block(16, 24, 2)
        self.lateral = nn.Conv2d(24, 16, 1)
        self.heads = nn.ModuleList(nn.Conv2d(width, 4 + self.CLASSES, 3, padding=1) for width in (16, 24))
        for name, cells in (("fine", 8), ("coarse", 4)):
            rows, columns = torch.meshgrid(torch.arange(cells), torch.arange(cells), indexing="ij")
            centers = (torch.stack((columns, rows), -1).reshape(1, -1, 2) + 0.5) / cells
            self.register_buffer(f"{name}_centers", centers)

    @staticmethod
    def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.SiLU())

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Boxes (corners, 0 to 1) and class scores of `image: float32[batch, 3, 32, 32]`."""
        fine = self.fine(self.stem(image))
        coarse = self.coarse(fine)
        fine = fine + F.interpolate(self.lateral(coarse), scale_factor=2, mode="nearest")
        levels = ((fine, self.fine_centers), (coarse, self.coarse_centers))
        boxes, scores = [], []
        for head, (features, centers) in zip(self.heads, levels, strict=True):
            cells = head(features).flatten(2).transpose(1, 2)
            offset, size = cells[..., :2].tanh() * 0.1, cells[..., 2:4].exp() * 0.1
            boxes.append(torch.cat((centers + offset - size, centers + offset + size), -1).clamp(0, 1))
            scores.append(cells[..., 4:].sigmoid())
        return {"boxes": torch.cat(boxes, 1), "scores": torch.cat(scores, 1)}


class Tagger(nn.Module):
    """A transformer layer with a padding mask and a position code made at run time: batch and length are dynamic."""

    WIDTH = 16
    HEADS = 2

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, self.WIDTH)
        self.projections = nn.Linear(self.WIDTH, 3 * self.WIDTH)
        self.merge = nn.Linear(self.WIDTH, self.WIDTH)
        self.norm = nn.LayerNorm(self.WIDTH)
        self.convolution = nn.Conv1d(self.WIDTH, self.WIDTH, 3, padding=1)
        self.classifier = nn.Linear(self.WIDTH, 5)

    def _positions(self, length: int) -> Tensor:
        angle = torch.arange(length).unsqueeze(1) * torch.exp(torch.arange(0, self.WIDTH, 2) * -0.5)
        return torch.cat((angle.sin(), angle.cos()), 1)

    def _heads(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], self.HEADS, -1).transpose(1, 2)

    def forward(self, tokens: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Tag scores of `tokens: int64[batch, length]`; `mask: bool[batch, length]` is true where a token counts."""
        x = self.embedding(tokens) + self._positions(tokens.shape[1])
        query, key, value = (self._heads(part) for part in self.projections(x).chunk(3, -1))
        bias = torch.where(mask, 0.0, -1e4)[:, None, None]
        weights = (query @ key.transpose(-1, -2) / 8**0.5 + bias).softmax(-1)
        x = self.norm(x + self.merge((weights @ value).transpose(1, 2).flatten(2)))
        x = x + F.gelu(self.convolution(x.transpose(1, 2))).transpose(1, 2)
        return {"tags": self.classifier(x), "pooled": (x * mask.unsqueeze(-1)).sum(1)}


@dataclass(frozen=True)
class Model:
    """A model to build, an example of its inputs, and the dynamic axes of each input."""

    build: Callable[[], nn.Module]
    example: tuple[Tensor, ...]
    dynamic: tuple[dict[int, torch.export.Dim], ...]


_BATCH = torch.export.Dim("batch", min=1, max=64)
_LENGTH = torch.export.Dim("length", min=2, max=128)

MODELS = {
    "detector": Model(Detector, (torch.rand(2, 3, 32, 32),), ({0: _BATCH},)),
    "tagger": Model(
        Tagger,
        (torch.randint(0, 50, (3, 7)), torch.rand(3, 7) > 0.2),
        ({0: _BATCH, 1: _LENGTH}, {0: _BATCH, 1: _LENGTH}),
    ),
}


def save(name: str, path: Path) -> None:
    """Writes the exported program of a model."""
    torch.manual_seed(SEED)
    model = MODELS[name]
    program = torch.export.export(model.build().eval(), model.example, dynamic_shapes=model.dynamic)
    torch.export.save(program, path)
