"""TensorFlow functions through SavedModel → TF.js, and run in Node beside TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convkit import readers
from convkit.artifact import Artifact
from convkit.components import ConversionRequest
from convkit.converters import savedmodel_to_tfjs as converter
from convkit.formats import Variant
from convkit.legalization.target import Finding
from convkit.runtimes import tfjs

__all__ = ["assert_same", "checked", "request", "saved"]


def saved(directory: Path, call: Callable[..., Any], *inputs: str, tracked: Any = None) -> Artifact:
    """A SavedModel of a function of positional tensors; its inputs are given as "x:float32[n,3]", its outputs named y0, y1, ….

    `tracked` holds the variables that the function uses.
    """
    import tensorflow as tf

    from convkit.loading.tensorflow import tensor_specs
    from convkit.signature import parse_spec

    specs = [parse_spec(text) for text in inputs]

    class Model(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=tensor_specs(specs), autograph=False)  # type: ignore[misc]
        def run(self, *tensors: Any) -> dict[str, Any]:
            results = call(*tensors)
            results = results if isinstance(results, (list, tuple)) else [results]
            return {f"y{position}": result for position, result in enumerate(results)}

    model = Model()
    model.tracked = tracked
    path = directory / "source.savedmodel"
    tf.saved_model.save(model, str(path), signatures=model.run)
    return Artifact(Variant.SAVEDMODEL, path, readers.inspect(path).signature)


def request(source: Artifact, output: Path, **options: Any) -> ConversionRequest:
    return ConversionRequest(source, output, source.signature, None, options)


def checked(source: Artifact, output: Path) -> list[Finding]:
    return converter.check(request(source, output))


def assert_same(
    source: Artifact, output: Path, feeds: Sequence[dict[str, np.ndarray]], backend: str = "cpu", tolerance: float = 1e-5
) -> tuple[str, ...]:
    """Converts, runs both sides on every feed, and compares; returns the conversion's notes."""
    from convkit.runtimes import savedmodel

    notes = converter.convert(request(source, output)).notes
    session = tfjs.load(Artifact(Variant.TFJS_GRAPH, output, source.signature), backend)
    reference = savedmodel.load(source)
    for arrays in feeds:
        expected, got = reference.run(arrays), session.run(arrays)
        assert list(got) == list(expected)
        for name, want in expected.items():
            assert got[name].shape == want.shape
            if want.size:
                scale = max(1.0, float(np.abs(want[np.isfinite(want)].astype(np.float64)).max(initial=0.0)))
                np.testing.assert_allclose(got[name].astype(np.float64), want.astype(np.float64), rtol=0, atol=tolerance * scale)
    return notes
