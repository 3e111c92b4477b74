"""Methods as modules: several methods in a file, the names of constants, and state that outlives a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from executorch_models import assert_same, converted, made, noise
from torch import nn

from convkit import readers
from convkit.artifact import Artifact
from convkit.formats import Variant
from convkit.runtimes import executorch as runtime


class Codec(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(noise(6, 4))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ self.weights)

    def decode(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weights.t()


class Method(nn.Module):
    def __init__(self, codec: Codec, name: str) -> None:
        super().__init__()
        self.codec, self.name = codec, name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return getattr(self.codec, self.name)(x)


@pytest.mark.parametrize(("method", "width"), [("encode", 6), ("decode", 4)])
def test_one_of_several_methods(method: str, width: int, tmp_path: Path) -> None:
    from executorch.exir import to_edge

    codec, path = Codec(), tmp_path / "m.pte"
    programs = {n: torch.export.export(Method(codec, n), (noise(2, w),)) for n, w in (("encode", 6), ("decode", 4))}
    path.write_bytes(to_edge(programs).to_executorch().buffer)
    signatures = {s.name: s for s in readers.inspect(path).signatures}
    assert set(signatures) == {"encode", "decode"}
    source = Artifact(Variant.PTE, path, signatures[method])
    assert signatures[method].inputs[0].shape == (2, width)
    assert_same(source, noise(2, width))


class State(nn.Module):
    """An average that moves, and a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("average", torch.full((3,), 0.5))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.average.mul_(0.9).add_(x, alpha=0.1)
        self.count.add_(1)
        return self.average * 2, self.count + 0


def test_state_goes_on_from_run_to_run(tmp_path: Path) -> None:
    source = made(State(), noise(3), tmp_path / "m.pte")
    assert_same(source, *(noise(3, seed=k) for k in range(4)))


def test_a_run_of_two_sessions_starts_anew(tmp_path: Path) -> None:
    source = made(State(), noise(3), tmp_path / "m.pte")
    converted(source, tmp_path / "m.pt2")
    x = noise(3)
    for _ in range(2):
        expected = runtime.load(source).run({"input_0": x.numpy()})
        with (tmp_path / "m.pt2").open("rb") as stream:
            found, count = torch.export.load(stream).module()(x)
        assert int(count) == int(next(v for v in expected.values() if v.dtype.kind == "i")) == 1
        torch.testing.assert_close(found, torch.from_numpy(next(v for v in expected.values() if v.dtype.kind == "f")))


def test_constants_are_parameters(tmp_path: Path) -> None:
    """Their number and sizes; the file has no names for them."""
    source = made(nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)), noise(3, 6), tmp_path / "m.pte")
    module = assert_same(source, noise(3, 6))
    assert sorted(tuple(p.shape) for p in module.parameters()) == [(2,), (2, 4), (4,), (4, 6)]
