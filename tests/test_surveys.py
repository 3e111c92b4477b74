"""Checks of many models against many targets: real models, and what a gate says of their difference."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx
import pytest

import convkit
from convkit import surveys
from convkit.cli.main import run
from convkit.errors import ConvkitError, UnreadableModelError, UsageError
from convkit.legalization.target import Verdict
from convkit.reports import difference


def blocked_model(path: Path, pools: int = 1) -> Path:
    """An operator that no target has."""
    make = onnx.helper.make_node
    nodes = [make("MaxRoiPool", ["x", "rois"], [f"y{i}"], pooled_shape=[2, 2], name=f"pool{i}") for i in range(pools)]
    nodes.append(make("Max", [f"y{i}" for i in range(pools)], ["y"]))
    value = onnx.helper.make_tensor_value_info
    inputs = [value("x", 1, [1, 2, 8, 8]), value("rois", 1, [3, 5])]
    graph = onnx.helper.make_graph(nodes, "g", inputs, [value("y", 1, [3, 2, 2, 2])])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, fixtures: Path) -> Path:
    directory = tmp_path_factory.mktemp("fleet")
    (directory / "deep").mkdir()
    shutil.copy(fixtures / "digits_cnn" / "digits_cnn.onnx", directory / "good.onnx")
    blocked_model(directory / "one.onnx")
    blocked_model(directory / "deep" / "two.onnx", pools=2)
    (directory / "readme.txt").write_text("no model")
    return directory


def test_a_directory_s_models_are_found_by_content(fleet: Path, tmp_path: Path) -> None:
    assert [p.name for p in surveys.model_files(fleet)] == ["two.onnx", "good.onnx", "one.onnx"]
    with pytest.raises(UsageError, match="no model under"):
        surveys.model_files(tmp_path)


@pytest.fixture(scope="module")
def survey(fleet: Path) -> surveys.Survey:
    return convkit.survey(surveys.model_files(fleet), ["savedmodel"])


def test_what_blocks_most_comes_first(survey: surveys.Survey, fleet: Path) -> None:
    (blocker,) = survey.blockers
    assert (blocker.operator, blocker.target, blocker.count) == ("MaxRoiPool", "savedmodel", 3)
    assert [Path(m).name for m in blocker.models] == ["two.onnx", "one.onnx"]
    assert not survey.ok
    table = dict(survey.table(str(fleet / "one.onnx")))
    assert table["MaxRoiPool"] == {"savedmodel": Verdict.GAP}
    assert table["Max"] == {"savedmodel": Verdict.LEGAL}


def test_every_format_but_the_model_s_own(model) -> None:
    survey = convkit.survey(model("digits_cnn", "onnx"))
    assert survey.targets == ("pytorch", "savedmodel", "litert", "executorch", "tfjs")
    assert survey.ok
    assert survey.blockers == ()


def test_an_unreadable_model_costs_its_own_place(tmp_path: Path, model) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x09nonsense")
    survey = convkit.survey([broken, model("digits_cnn", "onnx")], ["savedmodel"])
    bad, good = survey.results.values()
    assert isinstance(bad, ConvkitError)
    assert not isinstance(good, ConvkitError) and good.ok


def test_the_command_shows_matrix_and_fleet(fleet: Path, tmp_path: Path, capsys) -> None:
    report = tmp_path / "fleet.md"
    assert run(["check", "--fleet", str(fleet), "--to", "savedmodel", "--report", str(report)]) == 1
    told = capsys.readouterr().out
    assert "blocks 2" in told and "good.onnx → savedmodel: no gaps" in told
    assert "MaxRoiPool" in report.read_text()
    assert run(["check", str(fleet / "one.onnx")]) == 1
    told = capsys.readouterr().out
    assert "GAP" in told and "1 kinds of operators are legal everywhere" in told
    assert run(["check"]) == 2
    assert run(["check", str(fleet / "one.onnx"), "--fleet", str(fleet)]) == 2


def test_a_gate_tells_new_gaps_from_old_ones(fleet: Path, tmp_path: Path, capsys) -> None:
    good, bad, many = (tmp_path / name for name in ("good.json", "bad.json", "many.json"))
    same = tmp_path / "one.onnx"
    shutil.copy(fleet / "good.onnx", same)
    assert run(["check", str(same), "--to", "savedmodel", "--report", str(good)]) == 0
    assert run(["check", str(fleet / "one.onnx"), "--to", "savedmodel", "--report", str(bad)]) == 1
    assert run(["check", "--fleet", str(fleet), "--to", "savedmodel", "--report", str(many)]) == 1
    capsys.readouterr()
    assert run(["diff", str(good), str(bad)]) == 1
    assert "new       MaxRoiPool (CK101) keeps one.onnx from savedmodel" in capsys.readouterr().out
    assert run(["diff", str(bad), str(good), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["fixed"]) == 1
    found = difference.compare(bad, many)
    assert [(g.model, found.kept) for g in found.new] == [("two.onnx", 1)]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema_version": 1, "checks": [{"ok": false, "routes": [3]}]}', "[" * 100_000]
)
def test_what_is_no_report_is_an_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(UnreadableModelError, match="no report of a check"):
        difference.compare(path, path)
    with pytest.raises(UnreadableModelError, match="cannot be read"):
        difference.compare(tmp_path / "absent.json", path)
