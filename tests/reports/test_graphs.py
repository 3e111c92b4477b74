"""The graph of a model with its verdicts: as a picture in the page, and as node data for Model Explorer."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from xml.etree import ElementTree

import onnx
import pytest
import torch
from onnx import helper
from report_examples import HOSTILE

import convkit
from convkit.cli.main import run
from convkit.legalization.target import Finding, Verdict
from convkit.reports import drawing, graphs
from convkit.reports.graphs import Node


def onnx_model(path: Path, length: int = 3) -> Path:
    names = ["x", *(f"v{k}" for k in range(length))]
    nodes = [helper.make_node("Relu", [a], [b], name=f"relu/{b}") for a, b in itertools.pairwise(names)]
    nodes[length // 2] = helper.make_node("Mystery", list(nodes[length // 2].input), list(nodes[length // 2].output),
                                          name=HOSTILE.replace("\x01", ""), domain="my.domain")  # fmt: skip
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value("x", 1, [2])], [value(names[-1], 1, [2])])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my.domain", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def test_the_gap_is_marked_in_the_page_and_in_the_node_data(tmp_path: Path, capsys) -> None:
    model = onnx_model(tmp_path / "m.onnx")
    page, data = tmp_path / "r.html", tmp_path / "r.nodedata.json"
    assert run(["check", str(model), "--to", "savedmodel", "--report", str(page), "--report", str(data)]) == 1
    capsys.readouterr()
    told = json.loads(data.read_text())
    hostile = HOSTILE.replace("\x01", "")
    assert {key: entry["value"] for key, entry in told["results"].items()} == {"relu/v0": 0, hostile: 2, "relu/v2": 0}
    assert [t["value"] for t in told["thresholds"]] == [0, 1, 2]
    text = page.read_text()
    picture = ElementTree.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])
    (gap,) = picture.findall(".//g[@class='gap']")
    title = gap.find("title")
    assert title is not None and "my.domain.Mystery" in (title.text or "") and "onerror" in (title.text or "")
    assert len(picture.findall(".//path")) == 2


def test_a_program_s_nodes_are_linked_under_no_grad_too(tmp_path: Path) -> None:
    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.relu()
            with torch.no_grad():
                x = x.cos()
            first, _ = x.topk(2)
            return first + 1

    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(Net(), (torch.randn(4),)), path)
    nodes = graphs.marked(str(path), [Finding("aten.cos.default", 1, Verdict.GAP, "no")])
    by_operator = {n.operator: n for n in nodes}
    assert [n.operator.split(".")[1] for n in nodes] == ["relu", "cos", "topk", "add"]
    assert by_operator["aten.cos.default"].inputs == (by_operator["aten.relu.default"].key,)
    assert by_operator["aten.topk.default"].inputs == (by_operator["aten.cos.default"].key,)
    assert by_operator["aten.add.Tensor"].inputs == (by_operator["aten.topk.default"].key,)
    assert by_operator["aten.cos.default"].verdict is Verdict.GAP


def test_of_a_large_model_the_surroundings_of_its_gaps_are_drawn(tmp_path: Path) -> None:
    result = convkit.check(onnx_model(tmp_path / "m.onnx", 500), "savedmodel")
    nodes = graphs.marked(result.source, result.gaps)
    picture, note = drawing.drawn(nodes)
    assert picture.count("<rect") == 7 and picture.count('class="gap"') == 1
    assert note.startswith("7 of 500")


@pytest.mark.parametrize("name", ["gone.onnx", "text.onnx", "cut.pt2"])
def test_what_has_no_graph_is_not_drawn(name: str, tmp_path: Path) -> None:
    if name != "gone.onnx":
        (tmp_path / name).write_bytes(b"\x08\x09:\xff" if name == "text.onnx" else b"PK\x03\x04")
    assert graphs.marked(str(tmp_path / name), []) == ()
    assert drawing.drawn(()) == ("", "")


def test_nodes_that_name_each_other_end() -> None:
    loop = (Node("a", "Add", "", ("b",)), Node("b", "Add", "", ("a",)))
    picture, _ = drawing.drawn(loop)
    assert picture.count("<rect") == 2
