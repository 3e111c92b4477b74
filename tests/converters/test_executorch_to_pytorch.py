"""ExecuTorch → PyTorch: files of executorch's own compiler against its own runtime; opaque and damaged ones are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from executorch_models import assert_same, converted, made, noise
from torch import nn

from convkit import readers
from convkit.artifact import Artifact
from convkit.components import ConversionRequest
from convkit.converters import executorch_to_pytorch as converter
from convkit.errors import ConversionError, UnreadableModelError
from convkit.formats import Variant
from convkit.legalization.target import Verdict


class Network(nn.Module):
    """Two kinds of convolution, pooling, a residual sum, a product of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.last = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        return self.last(F.max_pool2d(F.hardswish(self.depthwise(x)) + x, 2, 2).mean((2, 3)))


class Branches(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cond(x.sum() > 0, lambda a: a * 3, lambda a: a.cos(), (x,))


class State(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.full((1, 4), 0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.total.add_(x)
        return self.total * 2


BATCH = ({0: torch.export.Dim("batch", min=1, max=8)},)


@pytest.mark.parametrize("xnnpack", [True, False])
def test_a_dynamic_network_is_the_same_at_every_batch(xnnpack: bool, tmp_path: Path) -> None:
    source = made(Network(), torch.randn(2, 3, 16, 16), tmp_path / "m.pte", xnnpack=xnnpack, shapes=BATCH)
    assert source.signature is not None and source.signature.dynamic_dims == ("batch",)
    request = ConversionRequest(source, tmp_path / "m.pt2", source.signature)
    assert {f.verdict for f in converter.check(request)} == {Verdict.LEGAL}
    assert_same(source, noise(2, 3, 16, 16), noise(5, 3, 16, 16))


def test_layouts_cancel_out(tmp_path: Path) -> None:
    """XNNPACK's NHWC leaves no transposition between the convolutions."""
    source = made(Network(), torch.randn(1, 3, 16, 16), tmp_path / "m.pte", xnnpack=True)
    converted(source, tmp_path / "m.pt2")
    with (tmp_path / "m.pt2").open("rb") as stream:
        program = torch.export.load(stream)
    assert not [n for n in program.graph.nodes if "permute" in str(n.target)]


def test_a_condition_stays_one(tmp_path: Path) -> None:
    source = made(Branches(), torch.randn(2, 3), tmp_path / "m.pte")
    assert_same(source, noise(2, 3).abs(), -noise(2, 3).abs())


def test_state_starts_with_its_initial_content(tmp_path: Path) -> None:
    source = made(State(), torch.randn(1, 4), tmp_path / "m.pte")
    assert not any("no initial state" in note for note in converted(source, tmp_path / "m.pt2").notes)
    assert_same(source, noise(1, 4), noise(1, 4))


def test_state_without_initial_content_is_told(tmp_path: Path) -> None:
    from executorch.exir import to_edge

    path = tmp_path / "m.pte"
    # What executorch compiles unless it is told otherwise.
    path.write_bytes(to_edge(torch.export.export(State(), (torch.randn(1, 4),))).to_executorch().buffer)
    source = Artifact(Variant.PTE, path, readers.inspect(path).signature)
    assert any("no initial state" in note for note in converted(source, tmp_path / "m.pt2").notes)


def test_an_opaque_delegate_is_a_gap_with_its_name(tmp_path: Path) -> None:
    source = made(Network(), torch.randn(1, 3, 16, 16), tmp_path / "m.pte", xnnpack=True)
    source.path.write_bytes(source.path.read_bytes().replace(b"XnnpackBackend", b"UnknownBackend"))
    gaps = [
        f for f in converter.check(ConversionRequest(source, tmp_path / "m.pt2", source.signature)) if f.verdict is Verdict.GAP
    ]
    assert [g.operator for g in gaps] == ["delegate:UnknownBackend"]
    with pytest.raises(ConversionError, match="UnknownBackend"):
        converted(source, tmp_path / "m.pt2")


def test_damage_is_an_error_and_nothing_else(tmp_path: Path) -> None:
    source = made(Network(), torch.randn(1, 3, 16, 16), tmp_path / "m.pte", xnnpack=True)
    whole, generator = source.path.read_bytes(), np.random.default_rng(0)
    source.path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableModelError):
        converted(source, tmp_path / "m.pt2")
    for _ in range(20):
        damaged = bytearray(whole)
        for position in generator.integers(8, len(whole) // 2, 8):
            damaged[position] = generator.integers(0, 256)
        source.path.write_bytes(bytes(damaged))
        try:
            converted(source, tmp_path / "m.pt2")
        except (UnreadableModelError, ConversionError) as error:
            assert str(error)
