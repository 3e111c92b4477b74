"""ONNX Runtime as convkit runs it: signatures, numbers, and errors that say what to do."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from convkit.artifact import Artifact
from convkit.errors import ConversionError, InputSpecError, UsageError
from convkit.formats import Variant
from convkit.runtimes.onnx import load


def save(path, nodes, inputs, outputs, weights=(), opsets=(("", 17),)):
    """Inputs and outputs are (name, element type, shape)."""
    infos = [[helper.make_tensor_value_info(*t) for t in side] for side in (inputs, outputs)]
    graph = helper.make_graph(nodes, "graph", *infos, list(weights))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid(*o) for o in opsets], ir_version=8), path)
    return Artifact(Variant.ONNX, path)


@pytest.fixture
def two(tmp_path):
    return save(
        tmp_path / "two.onnx",
        [
            helper.make_node("Sub", ["right", "left"], ["zeta"]),
            helper.make_node("Cast", ["left"], ["alpha"], to=TensorProto.INT64),
        ],
        [("right", TensorProto.FLOAT, ["batch", 3]), ("left", TensorProto.FLOAT, ["batch", 3])],
        [("zeta", TensorProto.FLOAT, ["batch", 3]), ("alpha", TensorProto.INT64, [None, 3])],
    )


def test_signature_is_the_graph_s(two):
    signature = load(two).signature
    assert str(signature) == ("right: float32[batch,3], left: float32[batch,3] → zeta: float32[batch,3], alpha: int64[batch,3]")


def test_runs_by_name_and_answers_in_order(two):
    right, left = np.full((2, 3), 5, np.float32), np.full((2, 3), 2, np.float32)
    got = load(two).run({"left": left, "right": right})
    assert list(got) == ["zeta", "alpha"]
    np.testing.assert_array_equal(got["zeta"], right - left)
    assert got["alpha"].dtype == np.int64


def test_a_missing_or_unfitting_array_is_an_error(two):
    session = load(two)
    with pytest.raises(InputSpecError, match="left"):
        session.run({"right": np.zeros((2, 3), np.float32)})
    with pytest.raises(ConversionError, match=r"left: float32\[2, 4\]"):
        session.run({"right": np.zeros((2, 3), np.float32), "left": np.zeros((2, 4), np.float32)})


@pytest.mark.parametrize("level", ["disabled", "basic", "extended", "all"])
def test_a_zero_pad_before_max_pooling_is_right_at_every_level(tmp_path, monkeypatch, level):
    pads = helper.make_tensor("pads", TensorProto.INT64, [8], [0, 0, 1, 1, 0, 0, 1, 1])
    artifact = save(
        tmp_path / "pad.onnx",
        [
            helper.make_node("Pad", ["x", "pads"], ["p"]),
            helper.make_node("MaxPool", ["p"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
        ],
        [("x", TensorProto.FLOAT, [1, 2, 6, 6])],
        [("y", TensorProto.FLOAT, [1, 2, 4, 4])],
        [pads],
    )
    feeds = {"x": -1 - np.abs(np.random.default_rng(0).standard_normal((1, 2, 6, 6)).astype(np.float32))}
    wanted = ReferenceEvaluator(str(artifact.path)).run(None, feeds)[0]
    assert (wanted == 0).any()
    monkeypatch.setenv("CONVKIT_ORT_OPTIMIZATION", level)
    np.testing.assert_array_equal(load(artifact).run(feeds)["y"], wanted)


def test_an_unknown_level_is_a_usage_error(two, monkeypatch):
    monkeypatch.setenv("CONVKIT_ORT_OPTIMIZATION", "best")
    with pytest.raises(UsageError, match="best") as caught:
        load(two)
    assert "extended" in caught.value.hint


def test_a_custom_domain_is_named(tmp_path):
    node = helper.make_node("Magic", ["x"], ["y"], domain="my.domain")
    info = ("x", TensorProto.FLOAT, [1]), ("y", TensorProto.FLOAT, [1])
    artifact = save(tmp_path / "magic.onnx", [node], info[:1], info[1:], opsets=(("", 17), ("my.domain", 1)))
    with pytest.raises(ConversionError, match="Magic") as caught:
        load(artifact)
    assert "custom domain" in caught.value.hint
    assert caught.value.component == "ONNX Runtime"


def test_a_sequence_is_no_tensor(tmp_path):
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [2]))
    graph = helper.make_graph(
        [helper.make_node("SequenceConstruct", ["x"], ["pieces"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_value_info("pieces", kind)],
    )
    path = tmp_path / "sequence.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    with pytest.raises(ConversionError, match=r"'pieces' is a seq\(tensor\(float\)\)"):
        load(Artifact(Variant.ONNX, path))


def test_a_file_that_is_no_model(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(ConversionError, match=r"cannot load .*bad\.onnx"):
        load(Artifact(Variant.ONNX, tmp_path / "bad.onnx"))
