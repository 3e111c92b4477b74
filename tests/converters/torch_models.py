"""Small PyTorch modules that the tests of PyTorch's exporters share, and how they are captured and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from convkit.artifact import Artifact
from convkit.components import Session
from convkit.formats import Variant
from convkit.loading import pytorch as loading
from convkit.loading import pytorch_capture
from convkit.signature import Signature, parse_spec


def sequential() -> nn.Module:
    """A root nn.Sequential, whose weights are called "0.weight": convolution, batch norm, global pooling, linear."""
    norm = nn.BatchNorm2d(4)
    nn.init.uniform_(norm.running_mean, -1, 1)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    nn.init.uniform_(norm.weight, 0.5, 2)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))


class Pooling(nn.Module):
    """A max pooling whose stride is left to its default in the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(4 * 7 * 7, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.ops.aten.max_pool2d.default(F.relu(self.conv(x)), [2, 2]).flatten(1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.linear = nn.LSTM(5, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.lstm(x)[0][:, -1])


class Attention(nn.Module):
    """Token embedding, layer norm, attention, exact GELU; two outputs in a dict, the integers unchanged in dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.norm = nn.Embedding(17, 16), nn.LayerNorm(16)
        self.qkv, self.expand, self.head = nn.Linear(16, 48), nn.Linear(16, 32), nn.Linear(32, 7)

    def forward(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.embedding(tokens)
        q, k, v = (t.view(t.shape[0], t.shape[1], 4, 4).transpose(1, 2) for t in self.qkv(self.norm(x)).chunk(3, -1))
        x = x + F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        return {"logits": self.head(F.gelu(self.expand(x))), "doubled": tokens * 2}


class Difference(nn.Module):
    """Two inputs of one shape, whose order matters; the second comes out again under another name."""

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"difference": left - right, "same": right}


class Inverse(nn.Module):
    """Two operators that no ONNX or ExecuTorch kernel stands for."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.inv(x) + torch.cummax(x, 1).values


MODELS: dict[str, tuple[Any, str, str]] = {
    "sequential": (sequential, "input:float32[batch,3,16,16]", "output:float32[batch,5]"),
    "pooling": (Pooling, "x:float32[batch,3,16,16]", "output:float32[batch,5]"),
    "recurrent": (Recurrent, "x:float32[batch,4,5]", "output:float32[batch,3]"),
    "attention": (Attention, "tokens:int64[batch,6]", "logits:float32[batch,6,7] doubled:int64[batch,6]"),
    "difference": (
        Difference,
        "left:float32[batch,3] right:float32[batch,3]",
        "difference:float32[batch,3] same:float32[batch,3]",
    ),
}


def build(name: str) -> tuple[nn.Module, Signature]:
    """A module with seeded weights in eval mode, and its signature."""
    torch.manual_seed(0)
    make, inputs, outputs = MODELS[name]
    specs = [tuple(map(parse_spec, side.split())) for side in (inputs, outputs)]
    return make().eval(), Signature(specs[0], specs[1])


def arrays(signature: Signature, batch: int) -> dict[str, np.ndarray]:
    """Inputs of a batch size: standard normal, or integers from 0 to 15."""
    random = np.random.default_rng(batch)
    return {
        spec.name: random.standard_normal(shape).astype(spec.dtype)
        if spec.dtype.startswith("float")
        else random.integers(0, 16, shape).astype(spec.dtype)
        for spec in signature.inputs
        for shape in [spec.concrete({}, batch)]
    }


def saved(module: nn.Module, signature: Signature, path: Path, *, wrapped: bool = True) -> Artifact:
    """Exports a module with a dynamic batch; not `wrapped`, as its author would, without convkit's root."""
    feeds = arrays(signature, 2)
    if wrapped:
        pytorch_capture.save(pytorch_capture.export(module, signature, feeds), signature, path)
    else:
        batch = torch.export.Dim("batch")
        inputs = tuple(torch.from_numpy(a) for a in feeds.values())
        torch.export.save(torch.export.export(module, inputs, dynamic_shapes=({0: batch},) * len(inputs)), path)
    return Artifact(Variant.EXPORTED_PROGRAM, path, signature)


def expected(module: nn.Module, signature: Signature, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What torch itself computes."""
    with torch.no_grad():
        result = module(*(torch.from_numpy(a) for a in feeds.values()))
    return {n: t.numpy() for n, t in loading.named_tensors(result, signature.output_names)}


def assert_agrees(module: nn.Module, signature: Signature, session: Session) -> None:
    """Outputs agree with torch's within 1e-5 of their scale at three batch sizes; dtypes and shapes exactly."""
    kept = []
    for batch in (1, 2, 5):
        feeds = arrays(signature, batch)
        want, got = expected(module, signature, feeds), session.run(feeds)
        assert list(got) == list(signature.output_names)
        for name, reference in want.items():
            assert (got[name].dtype, got[name].shape) == (reference.dtype, reference.shape)
            scale = np.abs(reference).max()
            assert scale > 0
            assert np.abs(got[name] - reference).max() <= 1e-5 * scale
        kept.append((want, got))
    # Results of earlier runs are still what they were: none is a window on memory that a later run wrote to.
    for want, got in kept:
        for name, reference in want.items():
            np.testing.assert_allclose(got[name], reference, rtol=0, atol=1e-5 * np.abs(reference).max())
