"""PyTorch programs with state → SavedModel: every run of a sequence, and every new load, in TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convkit.arrays import load_arrays, save_arrays
from convkit.artifact import Artifact
from convkit.components import ConversionRequest
from convkit.converters import pytorch_to_savedmodel as converter
from convkit.converters import savedmodel_to_onnx
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.legalization.target import Verdict
from convkit.runtimes import savedmodel as runtime
from convkit.signature import Signature, parse_spec
from convkit.workers import running
from tests.converters import torch_models as models

SIGNATURE = Signature(
    (parse_spec("frame:float32[1,3]"), parse_spec("gain:float32[]")), (parse_spec("y:float32[1,4]"), parse_spec("count:int64[]"))
)


class Streaming(nn.Module):
    """A convolution over the last five frames, of which the model keeps four; a count that starts at 7, and is not saved."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv1d(3, 4, 5)
        self.register_buffer("past", torch.full((1, 3, 4), 0.5))
        self.register_buffer("count", torch.tensor(7), persistent=False)

    def forward(self, frame: torch.Tensor, gain: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        whole = torch.cat([self.past, frame.unsqueeze(-1)], -1)
        self.past.copy_(whole[..., 1:])
        self.count.add_(1)
        return self.conv(whole)[..., 0] * gain, self.count.clone()


def feeds(step: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(step)
    return {"frame": generator.standard_normal((1, 3)).astype(np.float32), "gain": np.asarray(step + 1, np.float32)}


@pytest.fixture(scope="module")
def streaming(tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Artifact]:
    """The program and the SavedModel of it."""
    directory = tmp_path_factory.mktemp("streaming")
    source = models.saved(Streaming(), SIGNATURE, directory / "m.pt2")
    request = ConversionRequest(source, directory / "m", SIGNATURE)
    assert not any(f.verdict is Verdict.GAP for f in converter.check(request))
    converter.convert(request)
    return source, Artifact(Variant.SAVEDMODEL, directory / "m", SIGNATURE)


def test_every_run_of_a_sequence_is_the_source_s(streaming: tuple[Artifact, Artifact]) -> None:
    model = Streaming()
    session = runtime.load(streaming[1])
    seen = []
    for step in range(7):
        given = feeds(step)
        wanted = model(*(torch.from_numpy(x) for x in given.values()))
        got = session.run(given)
        np.testing.assert_allclose(got["y"], wanted[0].detach().numpy(), rtol=1e-5, atol=1e-6)
        assert got["count"] == wanted[1]
        seen.append(got["y"])
    again = session.run(feeds(0))["y"]
    assert np.abs(again - seen[0]).max() > 0.1  # the state matters


def test_a_program_without_state_goes_another_way(tmp_path: Path) -> None:
    module, signature = models.build("pooling")
    source = models.saved(module, signature, tmp_path / "m.pt2")
    request = ConversionRequest(source, tmp_path / "m", signature)
    (finding,) = converter.check(request)
    assert finding.verdict is Verdict.GAP
    with pytest.raises(ConversionError, match="keeps no state"):
        converter.convert(request)
    assert not (tmp_path / "m").exists()


def test_onnx_which_has_no_variables_refuses_the_saved_model(streaming: tuple[Artifact, Artifact], tmp_path: Path) -> None:
    request = ConversionRequest(streaming[1], tmp_path / "m.onnx", SIGNATURE)
    gaps = [f for f in savedmodel_to_onnx.check(request) if f.verdict is Verdict.GAP]
    assert [(f.operator, f.count) for f in gaps] == [("AssignVariableOp", 2)]
    with pytest.raises(ConversionError, match="keeps a value for the next run"):
        savedmodel_to_onnx.convert(request)


@pytest.mark.parametrize("side", ["convkit.runtimes.pytorch", "convkit.runtimes.savedmodel"])
def test_a_validation_begins_where_the_model_does(side: str, streaming: tuple[Artifact, Artifact], tmp_path: Path) -> None:
    """Whatever ran before, and at every restart; and what ran does not get into what is converted."""
    artifact = streaming[0] if side.endswith("pytorch") else streaming[1]
    inputs = [tmp_path / f"in-{step}.npz" for step in range(2)]
    for step, path in enumerate(inputs):
        save_arrays(path, feeds(step))

    def counts(restarts: list[int]) -> list[int]:
        outputs = [tmp_path / f"out-{number}.npz" for number in range(4)]
        found = running.run(side, artifact.to_json(), [str(p) for p in inputs * 2], [str(p) for p in outputs], {}, restarts)
        assert [entry["error"] for entry in found] == [None] * 4
        return [int(load_arrays(path)["count"]) for path in outputs]

    assert counts([]) == [8, 9, 10, 11]
    assert counts([2]) == [8, 9, 8, 9]
    if side.endswith("pytorch"):
        converter.convert(ConversionRequest(artifact, tmp_path / "again", SIGNATURE))
        (_, count) = runtime.load(Artifact(Variant.SAVEDMODEL, tmp_path / "again", SIGNATURE)).run(feeds(0)).values()
        assert count == 8
