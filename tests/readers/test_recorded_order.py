"""The order that a SavedModel cannot hold is kept beside its graph, and believed only where it fits."""

from __future__ import annotations

import json
import shutil

import pytest

from convkit import inspect
from convkit.signature import Signature


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "model"
    shutil.copytree(model("digits_transformer", "savedmodel"), path)
    (path / "assets.extra").mkdir(exist_ok=True)
    return path


def record(path, signature):
    (path / "assets.extra" / "convkit_signature.json").write_text(json.dumps({"serving_default": signature.to_json()}))


def test_the_recorded_order_and_symbols_are_taken(saved):
    found = inspect(saved).signature
    turned = Signature(found.inputs, tuple(reversed(found.outputs)))
    record(saved, turned)
    assert inspect(saved).signature.output_names == tuple(reversed(found.output_names))


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"serving_default": {}}', '{"serving_default": 3}', "nonsense"])
def test_what_is_no_record_is_ignored(saved, content):
    before = inspect(saved).signature
    (saved / "assets.extra" / "convkit_signature.json").write_text(content)
    assert inspect(saved).signature == before


def test_a_record_of_another_model_is_ignored(saved):
    before = inspect(saved).signature
    record(saved, before.renamed(["other"], before.output_names))
    assert inspect(saved).signature == before
