"""The TF.js runtime in Node: names, dtypes, sizes, control flow, tables, and what happens when Node fails."""

from __future__ import annotations

import base64
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tfjs_models import constant, node, placeholder, specs, title, while_loop, write_graph, write_model

from convkit.artifact import Artifact
from convkit.errors import ConversionError, InputSpecError, ToolchainError, UnreadableModelError, UsageError
from convkit.formats import Variant
from convkit.javascript.node import NodeProcess
from convkit.runtimes import tfjs
from convkit.signature import Signature, parse_spec
from convkit.workers import toolchains


@pytest.fixture(scope="module", autouse=True)
def toolchain():
    toolchains.ensure("tfjs", auto=True)


def loaded(path: Path, signature: Signature | None = None, backend: str | None = None) -> tfjs.TfjsSession:
    return tfjs.load(Artifact(Variant.TFJS_GRAPH, path, signature), backend)


def identity(directory: Path, dtype: str, shape: str) -> Path:
    signature = Signature(specs(f"x:{dtype}{shape}"), specs(f"y:{dtype}{shape}"))
    return write_graph(directory, signature, [node("y", "Identity", ["x"], dtype)])


@pytest.fixture(scope="module")
def difference(tmp_path_factory) -> Path:
    """Two inputs of one shape and two outputs, neither in the order of their names."""
    signature = Signature(specs("right[batch,3]", "left[batch,3]"), specs("sum[batch,3]", "difference[batch,3]"))
    nodes = [node("difference", "Sub", ["right", "left"]), node("sum", "AddV2", ["right", "left"])]
    return write_graph(tmp_path_factory.mktemp("difference"), signature, nodes)


def test_names_order_and_dynamic_sizes(difference):
    session = loaded(difference)
    assert str(session.signature) == (
        "right: float32[batch,3], left: float32[batch,3] → sum: float32[batch,3], difference: float32[batch,3]"
    )
    for batch in (1, 4, 0, 2):
        right, left = np.arange(batch * 3, dtype=np.float32).reshape(batch, 3), np.ones((batch, 3), np.float32)
        results = session.run({"left": left, "right": right})
        assert list(results) == ["sum", "difference"]
        np.testing.assert_array_equal(results["sum"], right + left)
        np.testing.assert_array_equal(results["difference"], right - left)


def test_the_order_and_names_are_the_artifacts(difference):
    swapped = Signature(specs("left[n,3]", "right[n,3]"), specs("difference[n,3]", "sum[n,3]"))
    session = loaded(difference, swapped)
    feeds = {"left": np.ones((2, 3), np.float32), "right": np.full((2, 3), 5, np.float32)}
    assert [a[0, 0] for a in session.run(feeds).values()] == [4, 6]
    renamed = Signature(specs("a[n,3]", "b[n,3]"), specs("c[n,3]", "d[n,3]"))
    results = loaded(difference, renamed).run({"a": feeds["right"], "b": feeds["left"]})
    assert {name: a[0, 0] for name, a in results.items()} == {"c": 6, "d": 4}
    with pytest.raises(ConversionError, match="right"):
        loaded(difference, Signature(specs("a[n,3]"), specs("c[n,3]", "d[n,3]")))


_VALUES = [
    np.array([math.nan, math.inf, -math.inf, -0.0, 1e-42, 3.4e38], np.float32),
    np.array([2**31 - 1, -(2**31), 0], np.int32),
    np.array([[True], [False]]),
    np.array(["", "héllo", "日本\0x"]),
    np.array(7.5, np.float32),
    np.array(True),
    np.zeros((2, 0, 3), np.float32),
    np.zeros((0,), np.int32),
    np.empty((0,), np.str_),
]
_COMPLEX = np.array([1 + 2j, complex(math.nan, -math.inf)], np.complex64)  # the wasm backend has none


@pytest.mark.parametrize(
    ("array", "backend"),
    [*((array, backend) for backend in tfjs.BACKENDS for array in _VALUES), (_COMPLEX, "cpu")],
    ids=lambda value: value if isinstance(value, str) else f"{value.dtype.name}{list(value.shape)}",
)
def test_values_come_back_as_they_went_in(tmp_path, array, backend):
    dtype = "string" if array.dtype.kind == "U" else array.dtype.name
    session = loaded(identity(tmp_path, dtype, str(list(array.shape)).replace(" ", "")), backend=backend)
    result = session.run({"x": array})["y"]
    assert result.shape == array.shape
    assert result.dtype.kind == array.dtype.kind
    np.testing.assert_array_equal(result, array)
    if dtype == "float32":
        np.testing.assert_array_equal(np.signbit(result), np.signbit(array))


def test_64_bits_are_narrowed_at_the_edge_and_declared_again(tmp_path):
    session = loaded(identity(tmp_path, "int64", "[n]"))
    assert session.signature.inputs[0].dtype == "int64"
    result = session.run({"x": np.array([-5, 2**31 - 1])})["y"]
    assert result.dtype == np.int64
    assert result.tolist() == [-5, 2**31 - 1]
    for beyond in (2**31, -(2**31) - 1):
        with pytest.raises(InputSpecError, match="beyond 32 bits"):
            session.run({"x": np.array([beyond])})
    with pytest.raises(InputSpecError, match="float64"):
        session.run({"x": np.array([1.0])})


def test_wrong_arrays_are_refused_before_node_sees_them(difference):
    session = loaded(difference)
    right = np.zeros((2, 3), np.float32)
    for bad in (np.zeros((2, 4), np.float32), np.zeros((2, 3), np.int32), np.zeros(3, np.float32)):
        with pytest.raises(InputSpecError, match="left"):
            session.run({"right": right, "left": bad})
    with pytest.raises(InputSpecError, match="left"):
        session.run({"right": right})


@pytest.mark.parametrize("backend", tfjs.BACKENDS)
def test_a_loop_runs_until_its_condition_ends_it(tmp_path, backend):
    session = loaded(while_loop(tmp_path, 100.0), backend=backend)
    assert session.run({"x": np.array(3, np.float32)})["last"] == 192
    assert session.run({"x": np.array(200, np.float32)})["last"] == 200


def test_sizes_that_depend_on_values(tmp_path):
    signature = Signature(specs("x:bool[n]"), specs("where:int32[m,1]"))
    session = loaded(write_graph(tmp_path, signature, [node("where", "Where", ["x"], "bool")]))
    for x in ([True, False, True], [False, False], [True]):
        assert session.run({"x": np.array(x)})["where"].ravel().tolist() == np.flatnonzero(x).tolist()


def test_a_hash_table_is_filled_by_the_initialiser(tmp_path):
    keys, values = np.array([3, 5], np.int32), np.array([30, 50], np.int32)
    dtypes = {"key_dtype": {"type": title("int32")}, "value_dtype": {"type": title("int32")}}
    table = node("table", "HashTableV2", dtype=None, **dtypes)
    shared = {"Tin": {"type": title("int32")}, "Tout": {"type": title("int32")}}
    filled = node("filled", "LookupTableImportV2", ["table", "keys", "values"], dtype=None, **shared)
    lookup = node("y", "LookupTableFindV2", ["table_handle", "x", "default"], dtype=None, **shared)
    handle = parse_spec("table_handle:resource[]")
    x = parse_spec("x:int32[n]")
    weights = {"keys": keys, "values": values, "default": np.array(-1, np.int32)}
    model = {
        "format": "graph-model",
        "modelTopology": {
            "node": [placeholder(x), placeholder(handle), constant("default", weights["default"]), lookup],
            "library": {},
            "versions": {"producer": 1882},
        },
        "signature": {
            "inputs": {
                "x": {"name": "x:0", "dtype": "DT_INT32", "tensorShape": {"dim": [{"size": "-1"}]}},
                "table_handle": {"name": "table_handle:0", "dtype": "DT_RESOURCE", "tensorShape": {}, "resourceId": 7},
            },
            "outputs": {"y": {"name": "y:0", "dtype": "DT_INT32", "tensorShape": {"dim": [{"size": "-1"}]}}},
        },
        "modelInitializer": {
            "node": [constant("keys", keys), constant("values", values), table, filled],
            "versions": {"producer": 1882},
        },
        "initializerSignature": {
            "outputs": {"filled": {"name": "filled:0", "dtype": "DT_RESOURCE", "tensorShape": {}, "resourceId": 7}}
        },
    }
    session = loaded(write_model(tmp_path, model, weights))
    assert session.signature.input_names == ("x",)
    for _ in range(2):
        assert session.run({"x": np.array([5, 4, 3], np.int32)})["y"].tolist() == [50, -1, 30]


def live_tensors() -> int:
    return tfjs._process().call("memory", {})[0]["count"]


def test_models_that_nobody_holds_are_forgotten(network):
    session = loaded(network)
    feeds = {"x": np.ones((1, 4), np.float32)}
    session.run(feeds)
    held = live_tensors()
    for _ in range(5):
        session = loaded(network)
        session.run(feeds)
    assert live_tensors() <= held


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    """Two dense layers and a split."""
    generator = np.random.default_rng(0)
    weights = {
        "kernel": generator.standard_normal((4, 6)).astype(np.float32),
        "bias": generator.standard_normal(6).astype(np.float32),
        "axis": np.array(1, np.int32),
    }
    signature = Signature(specs("x[n,4]"), specs("first[n,3]", "second[n,3]"))
    nodes = [
        node("product", "MatMul", ["x", "kernel"]),
        node("dense", "BiasAdd", ["product", "bias"]),
        node("parts", "Split", ["axis", "dense"], num_split={"i": "2"}),
        node("first", "Relu", ["parts"]),
        node("second", "Tanh", ["parts:1"]),
    ]
    return write_graph(tmp_path_factory.mktemp("network"), signature, nodes, weights)


def test_backends_agree_and_leave_nothing_behind(network):
    feeds = {"x": np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)}
    results = {}
    for backend in tfjs.BACKENDS:
        session = loaded(network, backend=backend)
        results[backend] = session.run(feeds)
        held = live_tensors()
        session.run(feeds)
        assert live_tensors() == held
    for name, array in results["cpu"].items():
        np.testing.assert_allclose(results["wasm"][name], array, rtol=1e-6)


def test_tensors_inside_by_node_name(network):
    session = loaded(network)
    feeds = {"x": np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)}
    inside = session.intermediates(feeds, ["dense", "parts", "parts:1", "second"])
    assert list(inside) == ["dense", "parts", "parts:1", "second"]
    np.testing.assert_array_equal(np.concatenate([inside["parts"], inside["parts:1"]], 1), inside["dense"])
    np.testing.assert_array_equal(inside["second"], session.run(feeds)["second"])
    with pytest.raises(ConversionError, match="no node nowhere"):
        session.intermediates(feeds, ["nowhere"])


def test_errors_name_the_operator(tmp_path, network):
    signature = Signature(specs("x[2]"), specs("y[2]"))
    for operator in ("NoSuchOp", "Digamma"):
        session = loaded(write_graph(tmp_path / operator, signature, [node("y", operator, ["x"])]))
        with pytest.raises(ConversionError, match=f"TF.js has no operator {operator}"):
            session.run({"x": np.zeros(2, np.float32)})
    product = [node("y", "MatMul", ["x", "x"])]
    session = loaded(write_graph(tmp_path / "product", Signature(specs("x[2,3]"), specs("y[2,3]")), product))
    with pytest.raises(ConversionError, match="MatMul"):
        session.run({"x": np.zeros((2, 3), np.float32)})
    # It is the model that failed: the same process goes on with others.
    assert len(loaded(network).run({"x": np.zeros((1, 4), np.float32)})) == 2


def test_a_kernel_that_a_backend_lacks(tmp_path):
    text = base64.b64encode(b"ij,jk->ik").decode()
    product = node("y", "Einsum", ["x", "x"], equation={"s": text}, N={"i": "2"})
    path = write_graph(tmp_path, Signature(specs("x[2,2]"), specs("y[2,2]")), [product])
    x = np.array([[1, 2], [3, 4]], np.float32)
    np.testing.assert_array_equal(loaded(path).run({"x": x})["y"], x @ x)
    with pytest.raises(ConversionError, match="the backend wasm has no kernel for the operator Einsum"):
        loaded(path, backend="wasm").run({"x": x})


def dense(name: str, units: int, source: str, activation: str) -> dict:
    config = {"name": name, "units": units, "activation": activation, "use_bias": True, "dtype": "float32"}
    return {"class_name": "Dense", "name": name, "config": config, "inbound_nodes": [[[source, 0, 0, {}]]]}


def test_a_layers_model(tmp_path):
    generator = np.random.default_rng(0)
    weights = {
        f"{layer}/{part}": generator.standard_normal(shape).astype(np.float32)
        for layer, sizes in (("hidden", (3, 8)), ("scores", (8, 2)))
        for part, shape in (("kernel", sizes), ("bias", sizes[1:]))
    }
    entry = {"name": "x", "batch_input_shape": [None, 3], "dtype": "float32", "sparse": False}
    config = {
        "name": "net",
        "layers": [
            {"class_name": "InputLayer", "name": "x", "config": entry, "inbound_nodes": []},
            dense("hidden", 8, "x", "tanh"),
            dense("scores", 2, "hidden", "linear"),
        ],
        "input_layers": [["x", 0, 0]],
        "output_layers": [["scores", 0, 0]],
    }
    topology = {
        "keras_version": "2.15.0",
        "backend": "tensorflow",
        "model_config": {"class_name": "Functional", "config": config},
    }
    path = write_model(tmp_path, {"format": "layers-model", "modelTopology": topology}, weights)
    session = tfjs.load(Artifact(Variant.TFJS_LAYERS, path))
    assert session.signature.input_names == ("x",)
    assert session.signature.output_names == ("scores",)
    x = generator.standard_normal((40, 3)).astype(np.float32)  # more than one batch of the default size
    hidden = np.tanh(x @ weights["hidden/kernel"] + weights["hidden/bias"])
    np.testing.assert_allclose(session.intermediates({"x": x}, ["hidden"])["hidden"], hidden, rtol=1e-5)
    expected = hidden @ weights["scores/kernel"] + weights["scores/bias"]
    np.testing.assert_allclose(session.run({"x": x})["scores"], expected, rtol=1e-5, atol=1e-6)


def test_no_path_leaves_the_models_directory(tmp_path, network):
    text = network.read_text()
    (tmp_path / "elsewhere.bin").write_bytes((network.parent / "group1-shard1of1.bin").read_bytes())
    (tmp_path / "model").mkdir()
    for location in ("../elsewhere.bin", str(tmp_path / "elsewhere.bin"), "http://localhost/elsewhere.bin", "missing.bin"):
        bad = tmp_path / "model" / "model.json"
        bad.write_text(text.replace("group1-shard1of1.bin", location))
        with pytest.raises(UnreadableModelError):
            loaded(bad)


def test_settings_are_checked(network, monkeypatch, tmp_path):
    monkeypatch.setenv("CONVKIT_TFJS_BACKEND", "cuda")
    with pytest.raises(UsageError, match="cuda"):
        loaded(network)
    monkeypatch.setenv("CONVKIT_CACHE", str(tmp_path))
    with pytest.raises(ToolchainError, match="not installed") as caught:
        NodeProcess(toolchains.node_toolchain("tfjs"), "TF.js", 10).call("memory", {})
    assert "convkit toolchain install tfjs" in caught.value.hint


def test_the_toolchain_is_installed_at_first_use_unless_that_is_forbidden(network, monkeypatch, tmp_path):
    from convkit import api

    monkeypatch.setenv("CONVKIT_CACHE", str(tmp_path))
    monkeypatch.setenv("CONVKIT_OFFLINE", "1")
    with pytest.raises(ToolchainError, match=r"'tfjs' .* is not installed, and CONVKIT_OFFLINE is set") as caught:
        api.validate(network, network)
    assert "--wheelhouse" in caught.value.hint


def test_two_models_are_compared_in_a_worker(network, pool):
    from convkit import api

    report = api.validate(network, network, pool=pool)
    assert report.verdict.value == "proved"
    assert report.target_runtime == "TF.js 4.22.0"
    assert report.max_abs == 0


def own_process(patience: float) -> NodeProcess:
    return NodeProcess(toolchains.node_toolchain("tfjs"), "TF.js", patience)


def load_loop(process: NodeProcess, path: Path) -> dict:
    shards = [[str(path.with_name("group1-shard1of1.bin"))]]
    process.call("load", {"id": 1, "backend": "cpu", "model": str(path), "shards": shards})
    return {"id": 1, "backend": "cpu"}


def test_a_run_that_never_ends_is_given_up(tmp_path):
    process = own_process(3)
    model = load_loop(process, while_loop(tmp_path, 1e38))
    with pytest.raises(ConversionError, match="no answer within 3 s"):
        process.call("run", model, {"x": np.array(0, np.float32)})
    assert process.pid is None
    load_loop(process, tmp_path / "model.json")  # a new one
    process.close()


def test_the_death_of_node_is_an_error(tmp_path):
    process = own_process(60)
    model = load_loop(process, while_loop(tmp_path, 1e38))
    threading.Timer(0.5, os.kill, (process.pid, signal.SIGKILL)).start()
    with pytest.raises(ConversionError, match="SIGKILL"):
        process.call("run", model, {"x": np.array(0, np.float32)})
    load_loop(process, tmp_path / "model.json")
    process.close()


def test_a_session_outlives_its_process(network):
    session = loaded(network)
    feeds = {"x": np.ones((1, 4), np.float32)}
    before = session.run(feeds)
    os.kill(tfjs._process().pid, signal.SIGKILL)
    with pytest.raises(ConversionError, match="SIGKILL"):
        session.run(feeds)
    np.testing.assert_array_equal(session.run(feeds)["first"], before["first"])


def test_node_ends_with_its_worker_even_in_an_endless_loop(tmp_path):
    path = while_loop(tmp_path, 1e38)
    script = f"""
import numpy as np
from convkit.artifact import Artifact
from convkit.formats import Variant
from convkit.runtimes import tfjs
session = tfjs.load(Artifact(Variant.TFJS_GRAPH, __import__("pathlib").Path({str(path)!r})))
print(tfjs._process().pid, flush=True)
session.run({{"x": np.array(0, np.float32)}})
print("ended")
"""
    worker = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert worker.stdout is not None
    pid = int(worker.stdout.readline())
    time.sleep(0.5)
    worker.kill()
    assert worker.stdout.read() == ""
    worker.wait()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and alive(pid):
        time.sleep(0.1)
    assert not alive(pid)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
