"""Rewriting the edge of LiteRT files, checked with the interpreter and with the project's own reader."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow_models import FIXTURES, assert_agree, feeds, signature

from convkit.artifact import Artifact
from convkit.errors import ConversionError, UnreadableModelError
from convkit.formats import Variant
from convkit.loading.tflite_signature import rename_edges, tensor_order
from convkit.readers import inspect
from convkit.runtimes import litert


@pytest.fixture
def unnamed(tmp_path: Path) -> Path:
    """b - 2·a and the sum of b over its rows; no SignatureDef."""
    import tensorflow as tf

    specs = [tf.TensorSpec([None, 3], tf.float32, name=name) for name in ("b", "a")]
    traced = tf.function(lambda b, a: (b - 2 * a, tf.reduce_sum(b, 1)), input_signature=specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()])
    (tmp_path / "m.tflite").write_bytes(converter.convert())
    return tmp_path / "m.tflite"


def test_positions_by_default(unnamed: Path) -> None:
    wanted = signature(["x[n,3]", "y[n,3]"], ["difference[n,3]", "total[n]"])
    assert rename_edges(unnamed, wanted).differences(wanted) == []
    order = tensor_order(unnamed)
    assert order.inputs == order.signature_inputs == ("x", "y")
    assert order.outputs == order.signature_outputs == ("difference", "total")
    assert order.signature_key == "serving_default"
    assert unnamed.read_bytes()[4:8] == b"TFL3"
    found = inspect(unnamed).signature
    assert found is not None
    assert wanted.differences(found) == []
    arrays = feeds(wanted)
    result = litert.load(Artifact(Variant.TFLITE, unnamed, wanted)).run(arrays)
    expected = {"difference": arrays["x"] - 2 * arrays["y"], "total": arrays["x"].sum(1)}
    assert_agree(expected, result)


def test_names_and_an_explicit_order(unnamed: Path) -> None:
    swapped = signature(["a[n,3]", "b[n,3]"], ["total[n]", "difference[n,3]"])
    rename_edges(unnamed, swapped, outputs=[1, 0])
    arrays = feeds(swapped)
    expected = {"total": arrays["b"].sum(1), "difference": arrays["b"] - 2 * arrays["a"]}
    assert_agree(expected, litert.load(Artifact(Variant.TFLITE, unnamed, swapped)).run(arrays))
    # Now by the names of the SignatureDef, which the first call wrote.
    again = signature(["second[n,3]", "first[n,3]"], ["d[n,3]", "t[n]"])
    rename_edges(unnamed, again, inputs=["b", "a"], outputs=["difference", "total"])
    arrays = feeds(again)
    expected = {"d": arrays["second"] - 2 * arrays["first"], "t": arrays["second"].sum(1)}
    assert_agree(expected, litert.load(Artifact(Variant.TFLITE, unnamed, again)).run(arrays))


def test_static_sizes(unnamed: Path) -> None:
    wanted = signature(["x[4,3]", "y[4,3]"], ["difference[4,3]", "total[4]"])
    rename_edges(unnamed, wanted)
    assert wanted.differences(litert.load(Artifact(Variant.TFLITE, unnamed)).signature) == []


@pytest.mark.parametrize("model", ["digits_cnn", "digits_lstm", "digits_transformer"])
def test_values_and_alignment_survive(model: str, tmp_path: Path) -> None:
    """Kernels map constants in place: each must stay at a multiple of 16 bytes."""
    from ai_edge_litert import schema_py_generated as schema

    path = tmp_path / "m.tflite"
    shutil.copyfile(FIXTURES / model / f"{model}.tflite", path)
    before = litert.load(Artifact(Variant.TFLITE, path))
    renamed = before.signature.renamed(
        [f"in/{n}:0" for n in before.signature.input_names], [f"out {n}" for n in before.signature.output_names]
    )
    arrays = feeds(before.signature)
    expected = before.run(arrays)
    rename_edges(path, renamed, inputs=before.signature.input_names, outputs=before.signature.output_names)
    result = litert.load(Artifact(Variant.TFLITE, path, renamed)).run({f"in/{n}:0": a for n, a in arrays.items()})
    assert_agree({f"out {n}": a for n, a in expected.items()}, result, 0)
    content = path.read_bytes()
    flat = schema.Model.GetRootAs(content, 0)
    starts = [
        b.DataAsNumpy().__array_interface__["data"][0]
        for b in (flat.Buffers(i) for i in range(flat.BuffersLength()))
        if b.DataLength()
    ]
    base = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    assert len(starts) > 5
    assert {(start - base) % 16 for start in starts} == {0}


def move_data_outside(path: Path) -> None:
    """Puts every constant behind the flatbuffer, as converters do for models over 2 GB."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    moved: list[tuple[Any, bytes]] = []
    for buffer in model.buffers:
        if buffer.data is not None and len(buffer.data):
            moved.append((buffer, bytes(buffer.data)))
            buffer.data, buffer.offset, buffer.size = None, 1 << 20, len(buffer.data)

    def packed() -> bytes:
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    content = packed()
    offset = -(-len(content) // 16) * 16
    places = []
    for buffer, data in moved:
        buffer.offset = offset
        places.append((offset, data))
        offset = -(-(offset + len(data)) // 16) * 16
    whole = bytearray(packed().ljust(offset, b"\0"))
    for start, data in places:
        whole[start : start + len(data)] = data
    path.write_bytes(whole)


def test_data_outside_the_flatbuffer(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    shutil.copyfile(FIXTURES / "digits_cnn" / "digits_cnn.tflite", path)
    original = litert.load(Artifact(Variant.TFLITE, path))
    arrays = feeds(original.signature)
    expected = original.run(arrays)
    move_data_outside(path)
    assert_agree(expected, litert.load(Artifact(Variant.TFLITE, path)).run(arrays), 0)
    # Longer names move everything that stands behind the flatbuffer.
    wanted = original.signature.renamed(["image_" * 20], ["logits_" * 30])
    rename_edges(path, wanted)
    result = litert.load(Artifact(Variant.TFLITE, path, wanted)).run({"image_" * 20: arrays["image"]})
    assert_agree({"logits_" * 30: expected["logits"]}, result, 0)


def test_refusals_leave_the_file_alone(unnamed: Path, tmp_path: Path) -> None:
    before = unnamed.read_bytes()
    for bad in (
        signature(["x[n,3]"], ["y[n,3]", "z[n]"]),
        signature(["x[n,4]", "y[n,3]"], ["d[n,3]", "t[n]"]),
        signature(["x[n,3,1]", "y[n,3]"], ["d[n,3]", "t[n]"]),
    ):
        with pytest.raises(ConversionError):
            rename_edges(unnamed, bad)
    fitting = signature(["x[n,3]", "y[n,3]"], ["d[n,3]", "t[n]"])
    with pytest.raises(ConversionError, match="nowhere"):
        rename_edges(unnamed, fitting, inputs=["nowhere", "a"])
    assert unnamed.read_bytes() == before
    (tmp_path / "no.tflite").write_bytes(b"nothing of the kind")
    with pytest.raises(UnreadableModelError, match="not a LiteRT"):
        tensor_order(tmp_path / "no.tflite")
    (tmp_path / "cut.tflite").write_bytes(before[: len(before) // 2])
    with pytest.raises(UnreadableModelError, match="truncated"):
        tensor_order(tmp_path / "cut.tflite")
