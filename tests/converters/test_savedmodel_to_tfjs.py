"""SavedModel → TF.js, run in Node by TF.js itself on both of its backends there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tensorflow_models import SIGNATURES, artifact, assert_agree, feeds, saved_model, signature
from tfjs_graphs import assert_same, checked, request, saved

from convkit import readers
from convkit.artifact import Artifact
from convkit.components import ConversionRequest
from convkit.converters import savedmodel_to_tfjs as converter
from convkit.errors import ConversionError, UsageError
from convkit.formats import Variant
from convkit.legalization.target import Verdict
from convkit.loading.savedmodel_writer import write_saved_model
from convkit.runtimes import savedmodel as runtime
from convkit.runtimes import tfjs
from convkit.workers import toolchains


@pytest.fixture(scope="module", autouse=True)
def toolchain():
    toolchains.ensure("tfjs", auto=True)


@pytest.mark.parametrize("backend", tfjs.BACKENDS)
@pytest.mark.parametrize("name", SIGNATURES)
def test_signature_and_values_at_several_batch_sizes(name: str, backend: str, tmp_path: Path) -> None:
    source, wanted = artifact(Variant.SAVEDMODEL, saved_model(name), name), SIGNATURES[name]
    converter.convert(request(source, tmp_path / "m.tfjs"))
    assert readers.inspect(tmp_path / "m.tfjs").signature == wanted  # the symbols of dynamic dimensions and int64 included
    session = tfjs.load(Artifact(Variant.TFJS_GRAPH, tmp_path / "m.tfjs", wanted), backend)
    original = runtime.load(source)
    for batch in (1, 3):
        arrays = feeds(wanted, batch)
        assert_agree(original.run(arrays), session.run(arrays))


def test_order_and_names_that_tensorflow_does_not_take(tmp_path: Path) -> None:
    wanted = signature(["serving_default_b:float32[n,3]", "A 1[n,3]", "10[n,3]", "9[n,3]"], ["z/out[n,3]", "10[n,3]", "9[n,3]"])
    write_saved_model(tmp_path / "m", wanted, lambda t: [t[0] - t[1], t[2] * 2.0, t[3] / t[0]])
    source = Artifact(Variant.SAVEDMODEL, tmp_path / "m", wanted)
    arrays = {name: np.full((2, 3), 2.0 + k, np.float32) for k, name in enumerate(wanted.input_names)}
    assert_same(source, tmp_path / "m.tfjs", [arrays])
    assert readers.inspect(tmp_path / "m.tfjs").signature == wanted


def test_outputs_that_are_inputs_constants_or_one_tensor(tmp_path: Path) -> None:
    import tensorflow as tf

    source = saved(tmp_path, lambda x, _unused: [x, x * 2.0, x * 2.0, tf.constant([1.0, 2.0])], "x[n,3]", "unused[n]")
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert_same(source, tmp_path / "m.tfjs", [{"x": x, "unused": x[:, 0]}])


def test_narrowed_dtypes_are_declared(tmp_path: Path) -> None:
    import tensorflow as tf

    source = saved(tmp_path, lambda i, d: [i * 2, tf.cast(i, tf.float64)[:, None] * d], "i:int64[n]", "d:float64[n,2]")
    arrays = {"i": np.array([1, -5, 7]), "d": np.ones((3, 2))}
    notes = assert_same(source, tmp_path / "m.tfjs", [arrays])
    assert any("int64 is int32 in TF.js" in note for note in notes)
    assert any("float64 is float32 in TF.js" in note for note in notes)
    model = json.loads((tmp_path / "m.tfjs" / "model.json").read_text())
    assert model["signature"]["inputs"]["i"]["dtype"] == "DT_INT32"
    assert [t.dtype for t in readers.inspect(tmp_path / "m.tfjs").signature.inputs] == ["int64", "float64"]


def test_small_integers_wrap_around(tmp_path: Path) -> None:
    source = saved(tmp_path, lambda x, y: [x + y, x * y], "x:uint8[4]", "y:uint8[4]")
    assert_same(source, tmp_path / "m.tfjs", [{"x": np.uint8([250, 3, 255, 0]), "y": np.uint8([10, 100, 255, 1])}])


def test_empty_tensors(tmp_path: Path) -> None:
    import tensorflow as tf

    source = saved(tmp_path, lambda x: [tf.reduce_max(x, 1), tf.reduce_sum(x, 1), tf.concat([x, x], 0)], "x[2,0,3]")
    assert_same(source, tmp_path / "m.tfjs", [{"x": np.zeros((2, 0, 3), np.float32)}])


def test_every_gap_is_named_before_any_work(tmp_path: Path) -> None:
    import tensorflow as tf

    def call(x):
        return [tf.linalg.cholesky(x, name="factor"), tf.strings.length(tf.strings.as_string(x, name="text"))]

    source = saved(tmp_path, call, "x[3,3]")
    findings = checked(source, tmp_path / "m.tfjs")
    gaps = {f.operator: f for f in findings if f.verdict is Verdict.GAP}
    assert {"Cholesky", "AsString"} <= set(gaps)
    assert gaps["Cholesky"].where == ("factor",)
    assert "TF.js 4.22.0 does not have it" in gaps["Cholesky"].reason
    with pytest.raises(ConversionError, match="Cholesky"):
        converter.convert(request(source, tmp_path / "m.tfjs"))
    assert not list(tmp_path.glob("m*"))


def test_a_variable_that_changes_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    class Counter(tf.Module):
        def __init__(self) -> None:
            self.count = tf.Variable(0.0)

        @tf.function(input_signature=[tf.TensorSpec([2], tf.float32, "x")])
        def run(self, x):
            return {"y": x + self.count.assign_add(1.0)}

    model = Counter()
    tf.saved_model.save(model, str(tmp_path / "m"), signatures=model.run)
    source = Artifact(Variant.SAVEDMODEL, tmp_path / "m", readers.inspect(tmp_path / "m").signature)
    assert any("variables that a model changes" in str(f) for f in checked(source, tmp_path / "m.tfjs"))


def test_an_edge_that_tfjs_has_no_dtype_for(tmp_path: Path) -> None:
    source = Artifact(Variant.SAVEDMODEL, tmp_path, signature(["x:float8_e5m2[2]"], ["y[2]"]))
    (finding,) = checked(source, tmp_path / "m.tfjs")
    assert finding.verdict is Verdict.GAP and finding.where == ("x",)


def test_backends_that_lack_a_kernel_are_named(tmp_path: Path) -> None:
    import tensorflow as tf

    source = saved(tmp_path, lambda x: tf.math.real(tf.signal.fft(tf.complex(x, x))), "x[4]")
    notes = converter.convert(request(source, tmp_path / "m.tfjs")).notes
    assert any(note.startswith("FFT") and "wasm" in note and "webgl" not in note for note in notes)


def test_shards_have_the_size_asked_for(tmp_path: Path) -> None:
    source = artifact(Variant.SAVEDMODEL, saved_model("nchw"), "nchw")
    converter.convert(request(source, tmp_path / "m.tfjs", shard_size=100))
    (group,) = json.loads((tmp_path / "m.tfjs" / "model.json").read_text())["weightsManifest"]
    sizes = [(tmp_path / "m.tfjs" / name).stat().st_size for name in group["paths"]]
    assert len(sizes) > 3 and set(sizes[:-1]) == {100} and 0 < sizes[-1] <= 100
    assert {p.name for p in (tmp_path / "m.tfjs").iterdir()} == {*group["paths"], "model.json"}
    session = tfjs.load(Artifact(Variant.TFJS_GRAPH, tmp_path / "m.tfjs", source.signature))
    arrays = feeds(SIGNATURES["nchw"])
    assert_agree(runtime.load(source).run(arrays), session.run(arrays))


@pytest.mark.parametrize(
    ("how", "error"), [("float16", 2e-3), ("uint16", 1e-3), ("uint8", 0.1), ("uint8=*no such*,float16=*", 2e-3)]
)
def test_quantized_weights(how: str, error: float, tmp_path: Path) -> None:
    source = artifact(Variant.SAVEDMODEL, saved_model("two_branches"), "two_branches")
    converter.convert(request(source, tmp_path / "m.tfjs", quantize_weights=how))
    (group,) = json.loads((tmp_path / "m.tfjs" / "model.json").read_text())["weightsManifest"]
    stored = {w["quantization"]["dtype"] for w in group["weights"] if w["dtype"] == "float32"}
    assert stored == {how.rpartition(",")[2].partition("=")[0]}
    session = tfjs.load(Artifact(Variant.TFJS_GRAPH, tmp_path / "m.tfjs", source.signature))
    arrays = feeds(SIGNATURES["two_branches"])
    assert_agree(runtime.load(source).run(arrays), session.run(arrays), error)


@pytest.mark.parametrize("options", [{"quantize_weights": "int4"}, {"shard_size": 0}, {"shard_size": "big"}])
def test_options_that_make_no_sense(options: dict[str, object], tmp_path: Path) -> None:
    source = artifact(Variant.SAVEDMODEL, saved_model("nchw"), "nchw")
    with pytest.raises(UsageError):
        converter.convert(ConversionRequest(source, tmp_path / "m.tfjs", source.signature, None, options))
    assert not (tmp_path / "m.tfjs").exists()


@pytest.mark.parametrize("name", ["digits_cnn", "digits_lstm", "digits_transformer"])
def test_fixtures(name: str, model, tmp_path: Path) -> None:
    path = model(name, "savedmodel")
    source = Artifact(Variant.SAVEDMODEL, path, readers.inspect(path).signature)
    arrays = feeds(source.signature)
    assert_same(source, tmp_path / "m.tfjs", [arrays])


@pytest.mark.parametrize("name", SIGNATURES)
def test_weights_beyond_what_a_graph_holds(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from convkit.legalization.tfjs import retracing

    monkeypatch.setattr(retracing, "_MOST_EMBEDDED", -1)
    monkeypatch.setattr(retracing, "_LARGE", 64)
    source = artifact(Variant.SAVEDMODEL, saved_model(name), name)
    converter.convert(request(source, tmp_path / "m.tfjs"))
    session = tfjs.load(Artifact(Variant.TFJS_GRAPH, tmp_path / "m.tfjs", source.signature))
    arrays = feeds(SIGNATURES[name])
    assert_agree(runtime.load(source).run(arrays), session.run(arrays))


@pytest.mark.parametrize("backend", tfjs.BACKENDS)
def test_reductions_of_what_may_be_empty_are_named_where_they_are_wrong(backend: str, tmp_path: Path) -> None:
    """TF.js does what the note says; along a fixed dimension there is none."""
    import tensorflow as tf

    def call(x):
        return [
            tf.reduce_sum(x, 1),
            tf.reduce_prod(x, 1),
            tf.matmul(x, x, transpose_a=True),
            tf.reduce_max(x, 2),
            x @ tf.ones([3, 3]),
        ]

    source = saved(tmp_path, call, "x[2,n,3]")
    findings = {f.operator: f for f in converter.check(request(source, tmp_path / "m.tfjs"))}
    notes = converter.convert(request(source, tmp_path / "m.tfjs")).notes
    for operator in ("Sum", "Prod", "BatchMatMulV2"):
        assert "dynamic dimension is wrong" in findings[operator].reason
        assert any(note.startswith(f"{operator} along") and "backend wasm" in note for note in notes)
    assert findings["Max"].reason == ""
    session = tfjs.load(Artifact(Variant.TFJS_GRAPH, tmp_path / "m.tfjs"), backend)
    results = list(session.run({"x": np.zeros((2, 0, 3), np.float32)}).values())
    right = [np.array_equal(results[0], np.zeros((2, 3))), np.array_equal(results[1], np.ones((2, 3)))]
    assert right == [True, True] if backend == "cpu" else right[1] is False
