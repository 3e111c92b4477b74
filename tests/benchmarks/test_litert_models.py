"""The list of LiteRT files that packages ship."""

from __future__ import annotations

from benchmarks.litert_models import LIST
from benchmarks.onnx_real_models import models


def test_the_list_is_long_and_has_no_model_twice() -> None:
    """Packages copy each other's files: a copy would count twice."""
    listed = models(LIST)
    assert len(listed) >= 20
    assert len({m.name for m in listed}) == len({m.sha256 for m in listed}) == len(listed)
    assert all("==" in m.package and m.path.endswith(".tflite") and m.about for m in listed)
