"""When the tables are enough for a check of an exported program, and when torch is asked."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest
import torch
from torch import nn

from convkit import api
from convkit.formats import Variant
from convkit.legalization.torch import certainty

_LOCK = Path(__file__).resolve().parents[3] / "requirements.lock"


class Picked(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x[x > 0])


@pytest.fixture(scope="module")
def perceptron(tmp_path_factory: pytest.TempPathFactory) -> Path:
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    return saved(module, torch.randn(3, 4), tmp_path_factory.mktemp("model") / "m.pt2")


def saved(module: nn.Module, example: torch.Tensor, path: Path) -> Path:
    torch.export.save(torch.export.export(module, (example,)), path)
    return path


def test_a_form_has_dtypes_flags_and_words(tmp_path):
    class Upsampled(nn.Module):
        def forward(self, x):
            return nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True).to(torch.float16)

    found = dict(certainty.forms(saved(Upsampled(), torch.randn(1, 2, 4, 4), tmp_path / "m.pt2")))
    assert found["aten.upsample_bilinear2d.vec"] == {"< float32", "> float32", "align_corners=True"}
    assert found["aten.to.dtype"] == {"< float32", "> float16", "dtype=float16"}


def test_dynamic_sizes_are_a_form_of_their_own(tmp_path):
    program = torch.export.export(nn.ReLU(), (torch.randn(3, 4),), dynamic_shapes=({0: torch.export.Dim("n")},))
    torch.export.save(program, tmp_path / "m.pt2")
    (form,) = (f for o, f in certainty.forms(tmp_path / "m.pt2") if o == "aten.relu.default")
    assert "of dynamic sizes" in form


@pytest.mark.parametrize("variant", [Variant.ONNX, Variant.TFLITE, Variant.PTE])
def test_proved_operators_need_no_trial(perceptron, variant):
    found = certainty.proved_findings(perceptron, variant)
    assert [(f.operator, f.count) for f in found] == [("aten.linear.default", 2), ("aten.relu.default", 1)]


def test_what_data_decide_is_tried(tmp_path):
    path = saved(Picked(), torch.randn(5), tmp_path / "m.pt2")
    assert None in [form for _, form in certainty.forms(path)]
    assert certainty.proved_findings(path, Variant.PTE) is None


def test_random_numbers_are_tried(tmp_path):
    """Some programs use what they draw, which is refused, and some do not."""

    class Noisy(nn.Module):
        def forward(self, x):
            return x + torch.rand(2, 3)

    path = saved(Noisy(), torch.ones(2, 3), tmp_path / "m.pt2")
    assert dict(certainty.forms(path))["aten.rand.default"] is None
    assert certainty.proved_findings(path, Variant.ONNX) is None


def test_what_was_not_proved_is_tried(tmp_path):
    class Gamma(nn.Module):
        def forward(self, x):
            return torch.igamma(x, x)

    path = saved(Gamma(), torch.rand(5), tmp_path / "m.pt2")
    assert certainty.proved_findings(path, Variant.PTE) is None
    (gap,) = api.check(path, "executorch").gaps
    assert gap.operator.startswith("aten.igamma") and gap.evidence == "trial"


def test_a_check_of_proved_operators_starts_no_process(perceptron, monkeypatch):
    from convkit.workers.pool import WorkerPool

    def refuse(*_):
        raise AssertionError("a process was asked")

    monkeypatch.setattr(WorkerPool, "worker", refuse)
    result = api.check(perceptron, "executorch")
    assert result.ok and {f.evidence for f in result.best} == {"registry"}


def test_forms_are_of_the_locked_versions():
    locked = dict(line.strip().split("==") for line in _LOCK.read_text().splitlines() if "==" in line)
    for package, version in json.loads(certainty.PROVED.read_text())["versions"].items():
        assert version == metadata.version(package), "measure anew: python -m benchmarks.torch_operators"
        assert version.partition("+")[0] == locked[package]
