"""Experiments on real sources: token models get a floor, a chaotic model is no drift, a fault stays one, float64 takes sides."""

from __future__ import annotations

import json

import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from convkit import api
from convkit.cli.main import run
from convkit.errors import DriftError


class Amplifier(nn.Module):
    """Token ids through layers that amplify every rounding a hundredfold, as a deep model without norms does."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 64)
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(3))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table(ids)
        for layer in self.layers:
            x = torch.sin(12 * layer(x))
        return x


@pytest.fixture(scope="module")
def amplifier(tmp_path_factory):
    """As an exported program of token ids."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("amplifier") / "amplifier.pt2"
    torch.export.save(torch.export.export(Amplifier().eval(), (torch.zeros(4, 16, dtype=torch.int64),)), path)
    return path


@pytest.fixture(scope="module")
def as_onnx(amplifier):
    return api.convert(amplifier, "onnx", output=amplifier.with_suffix(".onnx"), validate=False).artifact.path


def floors(report):
    return [o.noise for s in report.sets for o in s.outputs]


@pytest.mark.parametrize("target", ["onnx", "litert"])
def test_a_token_model_has_a_floor_and_is_proved(amplifier, tmp_path, target):
    """Its roundings are 2e-5 of scale and more, the tolerance of so few operators is 1e-5."""
    report = api.convert(amplifier, target, output=tmp_path / f"m.{target}").report.validation
    assert report.verdict.value == "proved"
    assert any(f.relative > 3e-6 and "weights" in f.reason for f in floors(report))
    assert report.times_noise < 10


def test_a_token_model_in_onnx_has_a_floor_too(as_onnx, amplifier):
    report = api.validate(as_onnx, amplifier)
    assert report.verdict.value == "proved"
    assert any(f.relative > 3e-6 and "weights" in f.reason for f in floors(report))


def test_a_fault_beyond_the_noise_is_drift(amplifier, as_onnx, tmp_path):
    model = onnx.load(as_onnx)
    weight = next(t for t in model.graph.initializer if list(t.dims) == [64, 64])
    changed = numpy_helper.to_array(weight).copy()
    changed[3] *= 1.01
    weight.CopyFrom(numpy_helper.from_array(changed, weight.name))
    onnx.save(model, tmp_path / "faulty.onnx")
    assert api.validate(amplifier, tmp_path / "faulty.onnx", locate=False, shrink=False).verdict.value == "drift"


def test_float64_on_demand_is_told_of_both_sides(amplifier, as_onnx, capsys):
    assert run(["validate", str(amplifier), str(as_onnx), "--float64"]) == 0
    out = capsys.readouterr().out
    assert "float64" in out and "× the noise floor" in out and "smallest that passes" in out
    assert run(["validate", str(amplifier), str(as_onnx), "--float64", "--json"]) == 0
    for result in json.loads(capsys.readouterr().out)["sets"]:
        (output,) = result["outputs"]
        assert 0 < output["source_error"] < 1e-3 and 0 < output["target_error"] < 1e-3
        assert output["times_noise"] == pytest.approx(output["required"] / output["noise"]["relative"])


def test_float64_of_a_model_in_onnx_comes_through_the_importer(as_onnx):
    report = api.validate(as_onnx, as_onnx, float64=True)
    outputs = [o for s in report.sets for o in s.outputs]
    assert all(0 < o.source_error == o.target_error < 1e-3 for o in outputs)
    assert any("both sides are as close to float64" in note for note in report.notes)


def test_the_side_that_is_nearer_to_float64_is_told(tmp_path):
    """A sum of many that one of the two makes in halves is further off."""

    class Sum(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.half().sum(-1).float() if self.coarse else x.sum(-1)

    for coarse in (True, False):
        module = Sum()
        module.coarse = coarse
        path = tmp_path / f"{'coarse' if coarse else 'fine'}.pt2"
        torch.export.save(torch.export.export(module, (torch.zeros(4, 512),)), path)
    # What computes in halves is held to no more than they hold: only who asks is told.
    report = api.validate(tmp_path / "coarse.pt2", tmp_path / "fine.pt2", locate=False, shrink=False, float64=True)
    assert report.verdict.value == "proved"
    assert any("the target is closer to float64 than the source" in note for note in report.notes)
    report = api.validate(tmp_path / "fine.pt2", tmp_path / "coarse.pt2", locate=False, shrink=False)
    assert report.verdict.value == "drift"
    assert any("the source is closer to float64 than the target" in note for note in report.notes)


def test_a_source_that_draws_random_numbers_is_not_said_to_drift(tmp_path):
    """Another run of the same inputs shows it; before, the conversion was blamed."""
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["r"], scale=1e-4),
        helper.make_node("Add", ["x", "r"], ["y"]),
    ]
    rows = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [4, 8]) for n in ("x", "y")]
    onnx.save(
        helper.make_model(
            helper.make_graph(nodes, "g", rows[:1], rows[1:]), opset_imports=[helper.make_opsetid("", 18)], ir_version=10
        ),
        tmp_path / "m.onnx",
    )
    report = api.validate(tmp_path / "m.onnx", tmp_path / "m.onnx")
    assert report.verdict.value == "proved"
    assert {f.reason for f in floors(report)} & {"its inputs move by a last bit", "it runs on another number of threads"}
    assert max(f.relative for f in floors(report)) > 1e-5


def test_the_user_s_own_tolerance_stands_and_the_message_says_what_passes(model, tmp_path):
    with pytest.raises(DriftError) as caught:
        api.convert(
            model("digits_cnn", "onnx"), "litert", tmp_path / "m.tflite", tolerance=1e-12, route=["onnx-tflite"], shrink=False
        )
    assert "× the noise floor" in caught.value.message and "the smallest that passes" in caught.value.message
