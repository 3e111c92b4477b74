"""One-operator programs out of exported programs, described without torch and made with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from convkit.artifact import Artifact
from convkit.formats import Variant
from convkit.probing import program_models, programs
from convkit.readers import inspect


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(11, 8)
        self.first, self.second = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.second(self.first(self.table(tokens)))
        x = x.reshape(tokens.shape[0], tokens.shape[1] * 8)
        values, _ = x.topk(3)
        return torch.cond(values.sum() > 0, lambda v: v + 1, lambda v: v - 1, (values,))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("programs") / "net.pt2"
    example = (torch.zeros(2, 4, dtype=torch.int64),)
    batch = {"tokens": {0: torch.export.Dim("batch", min=1, max=64)}}
    torch.export.save(torch.export.export(Net().eval(), example, dynamic_shapes=batch), path)
    return path


def test_every_operator_becomes_a_program_that_runs(program: Path, tmp_path: Path) -> None:
    found = {s.operator: s for s in programs.described(program).signatures}
    assert found["aten.linear.default"].count == 2
    assert found["aten.linear.default"].where[0].startswith("first (")
    assert "test_programs.py:" in found["aten.linear.default"].where[0]
    assert "size" in found["aten.sym_size.int"].obstacle
    wanted = {str(tmp_path / f"{s.digest}.pt2"): [s.node] for s in found.values() if s.digest}
    assert {*program_models.write(Artifact(Variant.EXPORTED_PROGRAM, program).to_json(), wanted)} == {*wanted}
    for signature in found.values():
        if signature.digest:
            file = tmp_path / f"{signature.digest}.pt2"
            info = inspect(file)
            assert signature.operator in info.operators
            run = torch.export.load(file).module()
            feeds = [
                torch.from_numpy(np.zeros(spec.concrete({}, 5), spec.dtype)) for spec in info.signatures[0].inputs
            ]  # fmt: skip
            assert all(isinstance(r, torch.Tensor) for r in run(*feeds))
    reshape = inspect(tmp_path / f"{found['aten.reshape.default'].digest}.pt2").signatures[0]
    assert reshape.dynamic_dims


def test_operators_in_company_share_nothing(program: Path, tmp_path: Path) -> None:
    found = [s for s in programs.described(program).signatures if s.digest]
    file = tmp_path / "together.pt2"
    written = program_models.write(Artifact(Variant.EXPORTED_PROGRAM, program).to_json(), {str(file): [s.node for s in found]})
    signature = inspect(file).signatures[0]
    assert [name for own in written[str(file)] for name in own["outputs"]] == [t.name for t in signature.outputs]
    assert len(written[str(file)]) == len(found)
    sizes = {symbol: 3 + k for k, symbol in enumerate(signature.dynamic_dims)}
    assert len(sizes) == 1  # the program's own
    results = torch.export.load(file).module()(
        *(torch.zeros(spec.concrete(sizes, 5), dtype=getattr(torch, spec.dtype)) for spec in signature.inputs)
    )
    assert len(results) == len(signature.outputs)


def test_names_and_weights_do_not_count(program: Path, tmp_path: Path) -> None:
    class Other(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.renamed = torch.nn.Linear(8, 8)

        def forward(self, anything: torch.Tensor) -> torch.Tensor:
            return self.renamed(anything)

    other = tmp_path / "other.pt2"
    batch = {"anything": {0: torch.export.Dim("n", min=1, max=64)}}
    torch.export.save(torch.export.export(Other().eval(), (torch.zeros(2, 4, 8),), dynamic_shapes=batch), other)
    (mine,) = (s for s in programs.described(program).signatures if s.operator == "aten.linear.default")
    (theirs,) = programs.described(other).signatures
    assert mine.digest == theirs.digest


def test_the_description_needs_no_torch(program: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from convkit.probing import programs;"
        f"assert programs.described(Path({str(program)!r})).signatures; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_what_is_not_defined_is_not_probed(tmp_path: Path) -> None:
    class Undefined(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            room = x.new_empty(3, 4).copy_(x)
            values, places = x.topk(2, sorted=False)
            return room.sum() + values.sum() + places.sum() + x.topk(2).values.sum()

    torch.export.save(torch.export.export(Undefined(), (torch.randn(3, 4),)), tmp_path / "m.pt2")
    found = {(s.operator, bool(s.digest)) for s in programs.described(tmp_path / "m.pt2").signatures}
    assert ("aten.new_empty.default", False) in found and ("aten.sum.default", True) in found
    assert {("aten.topk.default", True), ("aten.topk.default", False)} <= found
