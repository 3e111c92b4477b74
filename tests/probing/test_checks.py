"""`check --probe` on real models: what operators alone come to, where the model as a whole is judged, and what is kept."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import convkit
from convkit.cli.main import run
from convkit.legalization.target import Verdict
from convkit.workers.pool import WorkerPool, fresh_pool

_VALUE = helper.make_tensor_value_info


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONVKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def counting_model(path: Path, seed: int = 0) -> Path:
    """A result whose size the data decides, which ExecuTorch cannot plan, beside plain operators."""
    weight = np.random.default_rng(seed).standard_normal((6, 6)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="project"),
        helper.make_node("Relu", ["h"], ["y"], name="relu"),
        helper.make_node("NonZero", ["a"], ["c"], name="count/nonzero"),
    ]
    inputs = [_VALUE("x", 1, ["n", 6]), _VALUE("a", 1, [3])]
    outputs = [_VALUE("y", 1, ["n", 6]), _VALUE("c", TensorProto.INT64, [1, None])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_a_gap_that_no_table_knows_is_found_and_kept(tmp_path: Path, pool: WorkerPool) -> None:
    model = counting_model(tmp_path / "m.onnx")
    assert {g.evidence for g in convkit.check(model, "executorch", pool=pool, via="pytorch").gaps} == {"trial"}
    found = convkit.check(model, "executorch", probe=True, via="pytorch", pool=pool)
    assert not found.ok
    (gap,) = (f for f in found.gaps if f.evidence == "probe")
    assert (gap.operator, gap.count, gap.where) == ("NonZero", 1, ("count/nonzero",))
    assert {f.operator for f in found.routes[0][1] or () if f.verdict is Verdict.LEGAL} >= {"MatMul", "Relu"}
    similar = counting_model(tmp_path / "retrained.onnx", seed=1)
    with fresh_pool() as quick:
        again = convkit.check(similar, "executorch", probe=True, via="pytorch", pool=quick)
        assert set(quick.running()) <= {"onnx"}
    assert again.to_json()["routes"] == found.to_json()["routes"]


def test_operators_are_proved_in_company(tmp_path: Path, pool: WorkerPool) -> None:
    """One that ExecuTorch refuses does not hide the verdicts on the others, and what XNNPACK has is told operator by operator."""
    steps = []

    class Observer:
        def __call__(self, event: convkit.Event) -> None:
            if event.stage == "probe":
                steps.append(event)

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Linear(8, 16), torch.nn.Linear(16, 16)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            h = torch.relu(self.second(self.first(x)))
            return h.cumsum(-1), h.sigmoid(), h.exp(), torch.linalg.eigvalsh(h @ h.T)

    torch.export.save(torch.export.export(Net().eval(), (torch.randn(4, 8),)), tmp_path / "m.pt2")
    found = convkit.check(tmp_path / "m.pt2", "executorch", probe=True, pool=pool, observe=Observer())
    assert {g.operator for g in found.gaps} == {"aten.linalg_eigvalsh.default"}
    by_operator = {f.operator: f for f in found.routes[0][1] or () if f.verdict is Verdict.LEGAL}
    assert {"aten.linear.default", "aten.relu.default", "aten.cumsum.default", "aten.exp.default"} <= by_operator.keys()
    assert all(f.evidence == "probe" for f in by_operator.values())
    assert len(steps) < 5  # not one by one
    layers, product = 2 * 4 * 8 * 16 + 2 * 4 * 16 * 16, 2 * 4 * 16 * 4
    assert found.delegation is not None and found.delegation.delegated_flops >= layers
    assert found.delegation.fallbacks == {"aten::cumsum": (1, 64), "aten::mm": (1, product)}


class Root(torch.nn.Module):
    """XNNPACK makes NaN of the reciprocal root of 0, where PyTorch has infinity."""

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        square = x * x
        return x * torch.rsqrt(square + self.epsilon if self.epsilon else square)


def test_what_a_model_never_computes_is_no_drift_of_it(tmp_path: Path, pool: WorkerPool) -> None:
    verdicts = {}
    for epsilon in (1e-2, 0.0):
        path = tmp_path / f"{epsilon}.pt2"
        torch.export.save(torch.export.export(Root(epsilon), (torch.randn(3, 4),)), path)
        verdicts[epsilon] = convkit.check(path, "executorch", probe=True, pool=pool)
    assert verdicts[1e-2].ok
    assert [(g.operator, g.code) for g in verdicts[0.0].gaps] == [("aten.rsqrt.default", "CK302")]
    again = convkit.check(tmp_path / "0.01.pt2", "executorch", probe=True, pool=pool)  # both verdicts are kept
    assert again.to_json()["routes"] == verdicts[1e-2].to_json()["routes"]


def test_complex_numbers_are_judged_in_their_place(tmp_path: Path, pool: WorkerPool) -> None:
    class Spectrum(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.fft2(x).real

    torch.export.save(torch.export.export(Spectrum(), (torch.randn(2, 8, 8),)), tmp_path / "m.pt2")
    found = convkit.check(tmp_path / "m.pt2", "executorch", probe=True, pool=pool)
    assert found.ok and {f.evidence for f in found.routes[0][1] or ()} == {"trial"}


def test_a_route_for_other_models_is_not_probed(tmp_path: Path, pool: WorkerPool) -> None:
    """The converter of programs with state does not take one without; its operators have nothing to do with it."""

    class Spectrum(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvalsh(x @ x.T).relu()

    torch.export.save(torch.export.export(Spectrum(), (torch.ones(3, 3),)), tmp_path / "m.pt2")
    found = convkit.check(tmp_path / "m.pt2", "savedmodel", probe=True, pool=pool)
    told = {tuple(route.names): {f.operator for f in findings or ()} for route, findings in found.routes}
    assert not found.ok and told[("torch-tensorflow",)] == {"torch.export"}


def test_what_xnnpack_takes_is_told_before_the_conversion(model, pool: WorkerPool, tmp_path: Path, capsys) -> None:
    source = model("digits_cnn", "onnx")
    found = convkit.check(source, "litert", probe=True, pool=pool)
    assert found.delegation is not None and found.delegation.delegated_flops > 0.9 * found.delegation.flops
    again = convkit.check(source, "litert", probe=True, pool=pool)
    assert again.delegation == found.delegation
    schema = json.loads(files("convkit.reports").joinpath("check.schema.json").read_text())
    jsonschema.validate(found.to_json(), schema)
    convkit.write_report(found, tmp_path / "r.md")
    assert "of FLOPs on XNNPACK" in (tmp_path / "r.md").read_text()
    assert run(["check", str(source), "--to", "executorch"]) == 0
    assert "--probe proves them in this one" in capsys.readouterr().out


def test_a_retrained_program_is_checked_without_torch(tmp_path: Path, pool: WorkerPool) -> None:
    def exported(name: str) -> Path:
        path = tmp_path / name
        torch.export.save(torch.export.export(torch.nn.Linear(3, 3), (torch.ones(2, 3),)), path)
        return path

    first = convkit.check(exported("first.pt2"), "executorch", pool=pool)
    with fresh_pool() as quick:
        second = convkit.check(exported("second.pt2"), "executorch", pool=quick)
        assert quick.running() == {}
    assert first.ok and second.to_json()["routes"] == first.to_json()["routes"]
    changed = tmp_path / "changed.pt2"
    torch.export.save(torch.export.export(torch.nn.ReLU(), (torch.ones(2, 3),)), changed)
    (finding,) = convkit.check(changed, "executorch", pool=pool).routes[0][1] or ()
    assert finding.operator == "aten.relu.default"


def test_a_model_of_proved_operators_is_checked_without_a_framework(model) -> None:
    with fresh_pool() as quick:
        assert convkit.check(model("digits_cnn", "onnx"), "executorch", pool=quick).ok
        assert set(quick.running()) == {"onnx"}


def test_what_a_later_converter_refuses_is_found_on_every_route(tmp_path: Path, pool: WorkerPool) -> None:
    """Random numbers: no probe can tell of them, and on the second route only the third converter refuses them."""
    nodes = [helper.make_node("RandomUniformLike", ["x"], ["r"], name="draw"), helper.make_node("Add", ["x", "r"], ["y"])]
    graph = helper.make_graph(nodes, "g", [_VALUE("x", 1, [3])], [_VALUE("y", 1, [3])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    found = convkit.check(tmp_path / "m.onnx", "executorch", probe=True, pool=pool)
    assert not found.ok and len(found.routes) > 1
    assert any("random" in gap.reason for gap in found.gaps)


def test_a_damaged_cache_is_no_cache(tmp_path: Path, cache: Path, model, pool: WorkerPool) -> None:
    source = model("digits_cnn", "onnx")
    first = convkit.check(source, "savedmodel", probe=True, pool=pool)
    assert first.ok and all(f.evidence in {"probe", "trial"} for f in first.routes[0][1] or ())
    kept = [*cache.glob("probes/*/*.json")]
    assert len(kept) > 3
    for file, text in zip(kept, ["", "[]", '{"verdict": "no"}', "{" * 1000], strict=False):
        file.write_text(text)
    assert convkit.check(source, "savedmodel", probe=True, pool=pool).to_json() == first.to_json()


def test_an_imported_model_is_probed_behind_its_importer(model, pool: WorkerPool) -> None:
    found = convkit.check(model("digits_cnn", "tflite"), "executorch", probe=True, pool=pool)
    assert found.ok
    assert any(f.operator == "CONV_2D" for f in found.routes[0][1] or ())


def test_the_command_tells_the_evidence(tmp_path: Path, capsys) -> None:
    path = counting_model(tmp_path / "m.onnx")
    assert run(["check", str(path), "--to", "savedmodel", "--probe", "--json"]) == 0
    (route,) = json.loads(capsys.readouterr().out)["routes"]
    assert {f["evidence"] for f in route["findings"]} == {"probe"}
