"""What hints say of a gap, and that following one works."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import ways_out as benchmark
from convkit.legalization.target import Finding, Verdict
from convkit.legalization.ways_out import GENERAL, way_out, with_ways_out


def gap(operator: str, reason: str = "it is not there", hint: str = "", code: str = "") -> Finding:
    return Finding(operator, 1, Verdict.GAP, reason, (), hint, code)


@pytest.mark.parametrize(
    ("finding", "told"),
    [
        (gap("aten.linalg_inv.default"), "invert by iteration"),
        (gap("aten.bincount.default", code="CK105"), "one_hot"),
        (gap("aten.nonzero.default", code="CK105"), "mask what does not count"),
        (gap("aten.add.Tensor", code="CK102"), "torch.int64"),
        (gap("aten.dropout.default", "it is random: call eval()", code="CK114"), "call `eval()`"),
        (gap("aten.randn_like.default", code="CK114"), "an input of the model"),
        (gap("my.domain.Swish"), "make_function"),
        (gap("my.domain::Swish"), "make_function"),
        (gap("ai.onnx.ml.ZipMap"), "zipmap"),
        (gap("torchvision.nms.default"), "torch's own operators"),
        (gap("torch.export"), GENERAL),
        (gap("Multinomial"), "an input of the graph"),
        (gap("aten.something_new.default"), GENERAL),
        (gap("aten.linalg_inv.default", hint="use another backend"), "use another backend"),
    ],
)
def test_a_gap_has_a_way_out(finding: Finding, told: str) -> None:
    assert told in way_out(finding)


def test_what_is_no_gap_needs_none() -> None:
    legal = Finding("Add", 1, Verdict.LEGAL)
    assert with_ways_out([legal, gap("Add")])[0] == legal


@pytest.mark.parametrize("name", ["custom operator → pytorch", "quantiles → onnx"])
def test_following_it_works(name: str, tmp_path: Path) -> None:
    (row,) = (r for r in benchmark.rows() if r.name == name)
    assert benchmark.judge(row, tmp_path) == ""
