"""The list of real models, and what one row of its table is made of."""

from __future__ import annotations

import argparse
import hashlib

import numpy as np
import pytest

import convkit
from benchmarks.onnx_real_models import Model, Row, convert, models, table

OPTIONS = argparse.Namespace(timeout=300.0, route=None)


@pytest.fixture
def digits(model) -> Model:
    """A shipped model in place of a downloaded one."""
    path = model("digits_cnn", "onnx")
    image = convkit.inspect(path).signatures[0].inputs[0]
    batch = image.dynamic_dims[0]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    suits = {image.name: {"low": 0, "high": 1}}
    return Model("digits", "none==0", str(path), digest, "digits", ({batch: 2}, {batch: 3}), inputs=suits)


def test_the_list_is_long_and_has_no_model_twice():
    listed = models()
    assert len(listed) >= 20
    assert len({m.name for m in listed}) == len({m.sha256 for m in listed}) == len(listed)
    assert all("==" in m.package and m.sizes for m in listed)


def test_feeds_have_the_sizes_and_the_range_that_were_asked_for(digits):
    digits.check()
    for sizes in digits.sizes:
        (array,) = digits.feeds(sizes).values()
        assert array.shape[0] in sizes.values()
        assert array.dtype == np.float32
        assert 0 <= array.min() < array.max() <= 1


def test_a_file_that_changed_is_not_used(digits):
    with pytest.raises(SystemExit, match="SHA-256"):
        Model("digits", "none==0", digits.path, "0" * 64, "digits").check()


def test_a_model_is_proved_at_every_size(digits, tmp_path, pool):
    row = convert(digits, "pytorch", tmp_path, pool, OPTIONS)
    assert (row.verdict, row.reason) == ("proved", "")
    assert row.difference is not None
    assert row.difference < 1e-5
    assert row.peak > 0


def test_the_table_says_what_is_proved_and_why_the_rest_is_not(digits):
    rows = [Row("digits", "litert", "proved", 1.2, 2**20, "a", 1e-7), Row("digits", "savedmodel", "refused", reason="no Foo")]
    told = table(rows, [digits])
    assert "| digits | digits | proved, 1e-07, 1 s, 1 MB | refused, 0 s |" in told
    assert "**1 of 1** | **0 of 1**" in told
    assert "- digits → savedmodel, refused: no Foo" in told
