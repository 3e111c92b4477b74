"""SavedModel → ONNX, read back by onnx and run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from tensorflow_models import SIGNATURES, artifact, assert_agree, feeds, saved_model, signature

from convkit.artifact import Artifact
from convkit.components import ConversionRequest
from convkit.converters import savedmodel_to_onnx as converter
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.legalization.target import Verdict
from convkit.loading.savedmodel_writer import write_saved_model
from convkit.runtimes import savedmodel as runtime
from convkit.signature import Signature, TensorSpec


def edge(model: onnx.ModelProto) -> tuple[list[tuple[str, int, list[object]]], ...]:
    """Names, element types and dimensions, as the file has them."""
    return tuple(
        [
            (v.name, v.type.tensor_type.elem_type, [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim])
            for v in values
        ]
        for values in (model.graph.input, model.graph.output)
    )


def expected_edge(of: Signature) -> tuple[list[tuple[str, int, list[object]]], ...]:
    return tuple(
        [(s.name, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(s.dtype)), list(s.shape or ())) for s in specs]
        for specs in (of.inputs, of.outputs)
    )


def run(path: Path, of: Signature, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return dict(zip(of.output_names, session.run(list(of.output_names), arrays), strict=True))


@pytest.mark.parametrize("name", SIGNATURES)
def test_edge_and_values(name: str, tmp_path: Path) -> None:
    source = artifact(Variant.SAVEDMODEL, saved_model(name), name)
    wanted = SIGNATURES[name]
    output = tmp_path / "model.onnx"
    converter.convert(ConversionRequest(source, output, wanted))
    model = onnx.load(output)
    onnx.checker.check_model(model, full_check=True)
    assert edge(model) == expected_edge(wanted)
    assert model.opset_import[0].version == 18
    for batch in (1, 2, 5):
        arrays = feeds(wanted, batch)
        assert_agree(runtime.load(source).run(arrays), run(output, wanted, arrays))
    # The conversion must leave the shared, loaded model intact: convert and run once more.
    converter.convert(ConversionRequest(source, tmp_path / "again.onnx", wanted, options={"opset": "15"}))
    assert onnx.load(tmp_path / "again.onnx").opset_import[0].version == 15


def test_static_sizes_of_the_signature_are_applied(tmp_path: Path) -> None:
    wanted = signature(["tokens:int64[4,7]"], ["scores:float32[4,3]"])
    source = artifact(Variant.SAVEDMODEL, saved_model("attention"), "attention")
    converter.convert(ConversionRequest(source, tmp_path / "m.onnx", wanted))
    assert edge(onnx.load(tmp_path / "m.onnx")) == expected_edge(wanted)
    arrays = feeds(wanted)
    assert_agree(runtime.load(source).run(arrays), run(tmp_path / "m.onnx", wanted, arrays))


def test_outputs_that_are_inputs_or_one_tensor(tmp_path: Path) -> None:
    wanted = signature(["y[n,3]", "x[n,3]"], ["same[n,3]", "double[n,3]", "again[n,3]"])
    write_saved_model(tmp_path / "m", wanted, lambda t: [t[0], t[1] * 2.0, t[1] * 2.0])
    source = Artifact(Variant.SAVEDMODEL, tmp_path / "m", wanted)
    converter.convert(ConversionRequest(source, tmp_path / "m.onnx", wanted))
    assert edge(onnx.load(tmp_path / "m.onnx")) == expected_edge(wanted)
    arrays = feeds(wanted)
    assert_agree(runtime.load(source).run(arrays), run(tmp_path / "m.onnx", wanted, arrays), 0)


def test_unused_input_is_kept(tmp_path: Path) -> None:
    wanted = signature(["unused[n,3]", "x[n,3]"], ["y[n,3]"])
    write_saved_model(tmp_path / "m", wanted, lambda t: [t[1] * 2.0])
    source = Artifact(Variant.SAVEDMODEL, tmp_path / "m", wanted)
    converter.convert(ConversionRequest(source, tmp_path / "m.onnx", wanted))
    assert edge(onnx.load(tmp_path / "m.onnx")) == expected_edge(wanted)


def test_table_survives_and_leaves_the_loaded_model_usable(tmp_path: Path) -> None:
    """tf2onnx empties a function's captures when it has tables; the runtime shares the loaded model."""
    import tensorflow as tf

    wanted = signature(["keys:int64[n]"], ["values:float32[n]"])
    keys, values = tf.constant([1, 2, 3], tf.int64), tf.constant([0.5, 0.25, 4.0])
    holder = tf.Module()
    holder.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), -1.0)
    write_saved_model(tmp_path / "m", wanted, lambda t: [holder.table.lookup(t[0])], holder)
    source = Artifact(Variant.SAVEDMODEL, tmp_path / "m", wanted)
    session = runtime.load(source)
    request = ConversionRequest(source, tmp_path / "m.onnx", wanted)
    # No list of operators says so: a table of strings would do.
    gaps = {f.operator: f for f in converter.check(request) if f.verdict is Verdict.GAP}
    assert "LookupTableFindV2" in gaps
    assert gaps["LookupTableFindV2"].where
    with pytest.raises(ConversionError):  # what counts is the session below
        converter.convert(request)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    np.testing.assert_array_equal(session.run({"keys": np.array([3, 9])})["values"], [4.0, -1.0])


def test_all_unsupported_operators_are_listed_before_and_after(tmp_path: Path) -> None:
    import tensorflow as tf

    wanted = signature(["x[n,4]"], ["y[n,4]"])
    write_saved_model(tmp_path / "m", wanted, lambda t: [tf.math.lgamma(t[0]) + tf.math.igamma(1.0 + t[0] ** 2, 0.5)])
    request = ConversionRequest(Artifact(Variant.SAVEDMODEL, tmp_path / "m", wanted), tmp_path / "m.onnx", wanted)
    gaps = [f.operator for f in converter.check(request) if f.verdict is Verdict.GAP]
    assert sorted(gaps) == ["Igamma", "Lgamma"]
    with pytest.raises(ConversionError, match="Lgamma") as caught:
        converter.convert(request)
    assert "Igamma" in caught.value.message
    assert not request.output.exists()


@pytest.mark.parametrize("name", SIGNATURES)
def test_check_reports_no_false_gap(name: str, tmp_path: Path) -> None:
    source = artifact(Variant.SAVEDMODEL, saved_model(name), name)
    findings = converter.check(ConversionRequest(source, tmp_path / "m.onnx", SIGNATURES[name]))
    assert len(findings) > 5
    assert [f.operator for f in findings if f.verdict is Verdict.GAP] == []


def test_large_weights_go_to_external_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converter, "_EXTERNAL_FROM", 100)
    import tensorflow as tf

    weights = tf.Variable(np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32))
    wanted = signature(["x[n,64]"], ["y[n,32]"])
    write_saved_model(tmp_path / "m", wanted, lambda t: [t[0] @ weights])
    source = Artifact(Variant.SAVEDMODEL, tmp_path / "m", wanted)
    converter.convert(ConversionRequest(source, tmp_path / "m.onnx", wanted))
    assert (tmp_path / "m.onnx").stat().st_size < 64 * 32 * 4 <= (tmp_path / "m.onnx.data").stat().st_size
    onnx.checker.check_model(str(tmp_path / "m.onnx"))
    arrays = feeds(wanted)
    assert_agree(runtime.load(source).run(arrays), run(tmp_path / "m.onnx", wanted, arrays))


def test_impossible_opset(tmp_path: Path) -> None:
    source = artifact(Variant.SAVEDMODEL, saved_model("nchw"), "nchw")
    with pytest.raises(ConversionError, match="99") as caught:
        converter.convert(ConversionRequest(source, tmp_path / "m.onnx", SIGNATURES["nchw"], options={"opset": 99}))
    assert "--option opset" in caught.value.hint


def test_small_probabilities_are_kept(tmp_path: Path) -> None:
    """ONNX Runtime's Sigmoid has nothing left of them; what is inside of a model keeps it."""
    import tensorflow as tf

    wanted = Signature(
        (TensorSpec("x", "float32", ("n", 4)),), (TensorSpec("p", "float32", (4, "n")), TensorSpec("y", "float32", ("n", 4)))
    )

    def call(tensors: list[Any]) -> list[Any]:
        probability = tf.sigmoid(tensors[0])
        return [tf.transpose(probability), tensors[0] * tf.sigmoid(tensors[0] + 1.0)]

    write_saved_model(tmp_path / "model", wanted, call)
    converter.convert(
        ConversionRequest(Artifact(Variant.SAVEDMODEL, tmp_path / "model", wanted), tmp_path / "model.onnx", wanted)
    )
    x = np.array([[-8, -15, -18, -40], [-2, 0, 3, 100]], np.float32)
    result = run(tmp_path / "model.onnx", wanted, {"x": x})["p"].T
    np.testing.assert_allclose(result, 1 / (1 + np.exp(-x.astype(np.float64))), rtol=1e-6)
    operators = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert operators.count("Sigmoid") == 1


def test_quotients_and_remainders_of_negative_integers(tmp_path: Path) -> None:
    """tf2onnx's own handlers cut towards zero, which random indices never show."""
    import tensorflow as tf

    names = ("floor", "rest", "floor_of_negative", "rest_of_negative")
    whole = Signature((TensorSpec("x", "int64", (6,)),), tuple(TensorSpec(name, "int64", (6,)) for name in names))
    write_saved_model(tmp_path / "model", whole, lambda x: [x[0] // 4, x[0] % 4, x[0] // -3, x[0] % -3], tf.Module())
    request = ConversionRequest(Artifact(Variant.SAVEDMODEL, tmp_path / "model", whole), tmp_path / "model.onnx", whole)
    converter.convert(request)
    x = np.array([7, -7, -1, 0, 8, 2**40 + 1])
    got = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(list(names), {"x": x})
    for mine, expected in zip(got, (x // 4, x % 4, x // -3, x % -3), strict=True):
        np.testing.assert_array_equal(mine, expected)
