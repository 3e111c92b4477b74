"""Weights keep their names, dtypes, order in memory, and what is one stays one."""

from __future__ import annotations

import torch
from safetensors import safe_open
from torch import nn

from tests.emitters.python_sources import written

X = torch.rand((3, 4), generator=torch.Generator().manual_seed(0))


class Tied(nn.Module):
    """A head that shares the table of an embedding."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(x + self.embed.weight[0])


def test_tied_weights_stay_tied(tmp_path):
    found = written(Tied(), X, tmp_path=tmp_path)
    loaded = found.load()
    assert loaded.head.weight is loaded.embed.weight
    assert len(list(loaded.parameters())) == 1
    with safe_open(found.file.with_suffix(".safetensors"), "pt") as stored:
        assert len(list(stored.keys())) == 1


class Various(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.rand(4))
        self.frozen = nn.Parameter(torch.rand(4), requires_grad=False)
        self.kernel = nn.Parameter(torch.rand(2, 4, 3, 3).to(memory_format=torch.channels_last))
        self.register_buffer("table", torch.arange(4))
        self.register_buffer("mask", torch.tensor([True, False, True, True]), persistent=False)
        self.register_buffer("wide", torch.rand(1).expand(4))
        base = torch.rand(8)
        self.register_buffer("upper", base[:4])
        self.register_buffer("lower", base[4:])
        self.register_buffer("narrow_", torch.rand(4).to(torch.bfloat16))
        self.register_buffer("none", torch.zeros(0))

    def forward(self, x):
        rest = self.wide + self.upper + self.lower + self.narrow_ + self.kernel.sum() + self.none.sum()
        return torch.where(self.mask, x * self.scale, x * self.frozen) + self.table + rest


def test_every_kind_of_tensor_comes_back(tmp_path):
    module = Various()
    found = written(module, X, tmp_path=tmp_path)
    loaded = found.load()
    assert torch.equal(loaded(X), module(X))
    assert {n: p.requires_grad for n, p in loaded.named_parameters()} == {"scale": True, "frozen": False, "kernel": True}
    assert loaded.kernel.stride() == module.kernel.stride()
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        mine = loaded.get_parameter(name) if name in dict(module.named_parameters()) else loaded.get_buffer(name)
        assert mine.dtype is tensor.dtype
        assert torch.equal(mine, tensor)


def test_the_original_checkpoint_fits(tmp_path):
    """Names are the user's own, and what a program does not read (a batch counter) is there too."""
    module = nn.Module()
    module.norm = nn.BatchNorm1d(4)
    module.head = nn.Linear(4, 2)
    module.forward = lambda x: module.head(module.norm(x))
    found = written(module, X, tmp_path=tmp_path)
    found.load().load_state_dict(module.state_dict())


def test_loading_other_weights(tmp_path):
    from safetensors.torch import save_file

    found = written(nn.Linear(4, 2), X, tmp_path=tmp_path)
    save_file({"weight": torch.zeros(2, 4), "bias": torch.ones(2)}, tmp_path / "other.safetensors")
    assert torch.equal(found.namespace.load(tmp_path / "other.safetensors")(X), torch.ones(3, 2))
    assert not found.load().training
