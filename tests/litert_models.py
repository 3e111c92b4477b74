"""Small LiteRT files that the tests make with TensorFlow's converter, and the importer's answer to them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convkit import readers
from convkit.artifact import Artifact
from convkit.components import ConversionRequest
from convkit.converters import litert_to_pytorch as converter
from convkit.formats import Variant
from convkit.runtimes import litert as litert_runtime
from convkit.runtimes import pytorch as pytorch_runtime

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

Arrays = Mapping[str, np.ndarray]


def floats(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def litert_file(
    function: Callable[..., Any],
    examples: Sequence[np.ndarray],
    *,
    dynamic: Sequence[Sequence[int]] = (),
    configure: Callable[[Any], None] | None = None,
) -> Path:
    """A function of TensorFlow as a LiteRT file.

    Args:
        function: Takes one tensor per example.
        examples: What they are like.
        dynamic: For each one its dynamic axes.
        configure: Sets options of the converter.
    """
    import tensorflow as tf

    axes = [*dynamic, *[()] * (len(examples) - len(dynamic))]
    specs = [
        tf.TensorSpec([None if axis in mine else size for axis, size in enumerate(e.shape)], e.dtype, name=f"x{k}")
        for k, (e, mine) in enumerate(zip(examples, axes, strict=True))
    ]
    module = tf.Module()
    module.call = tf.function(function, input_signature=specs)
    lite = tf.lite.TFLiteConverter.from_concrete_functions([module.call.get_concrete_function()], module)
    if configure is not None:
        configure(lite)
    path = Path(tempfile.mkdtemp(prefix="convkit-tests-")) / "model.tflite"
    path.write_bytes(lite.convert())
    return path


def artifact(path: Path) -> Artifact:
    info = readers.inspect(path)
    return Artifact(Variant.TFLITE, path, info.signature)


def imported(path: Path, **options: Any) -> Artifact:
    """The file as an exported program, saved and to be loaded again."""
    source = artifact(path)
    output = path.with_suffix(".pt2")
    output.unlink(missing_ok=True)
    converter.convert(ConversionRequest(source, output, source.signature, None, options))
    return Artifact(Variant.EXPORTED_PROGRAM, output, source.signature)


def compared(path: Path, runs: Sequence[Sequence[np.ndarray]], **options: Any) -> tuple[list[Arrays], list[Arrays]]:
    """What LiteRT's interpreter and the imported program compute, run after run; arrays in the signature's order of names."""
    source, target = artifact(path), imported(path, **options)
    assert source.signature is not None
    # The converter's order of inputs is its own: the names count.
    names = sorted(source.signature.input_names)
    feeds = [dict(zip(names, run, strict=True)) for run in runs]
    expected, got = litert_runtime.load(source), pytorch_runtime.load(target)
    return [expected.run(f) for f in feeds], [got.run(f) for f in feeds]


def assert_close(expected: Sequence[Arrays], got: Sequence[Arrays], tolerance: float = 1e-5) -> None:
    """Same names, shapes and dtypes; numbers within `tolerance` of the largest one."""
    for reference, result in zip(expected, got, strict=True):
        assert list(reference) == list(result)
        for name, array in reference.items():
            assert (result[name].shape, result[name].dtype) == (array.shape, array.dtype)
            scale = np.abs(array.astype(np.float64)).max()
            assert scale > 0, f"{name} is all zeros: the comparison would say nothing"
            difference = np.abs(result[name].astype(np.float64) - array.astype(np.float64)).max()
            assert difference <= tolerance * scale, f"{name} is off by {difference / scale:.2g}"


def operators_of(path: Path) -> set[str]:
    return set(readers.inspect(path).operators)
