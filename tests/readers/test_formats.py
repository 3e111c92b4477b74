"""What the fixtures do not show of each format: names, dynamic dimensions, subgraphs, checkpoints."""

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import hostile_files
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from convkit.errors import UnreadableModelError
from convkit.formats import Variant
from convkit.readers import identify, inspect
from convkit.readers.pickles import Call, Global, mapping_of, read_pickle
from convkit.readers.traced_inputs import read_traced_inputs

CNN = hostile_files.FIXTURES


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def value(name: str, shape: Any) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def test_onnx_counts_subgraphs_and_functions(tmp_path: Path) -> None:
    def branch(name: str, operator: str) -> Any:
        return helper.make_graph([helper.make_node(operator, ["x"], [name])], name, [], [value(name, None)])

    nodes = [
        helper.make_node("Twice", ["x"], ["t"], domain="local"),
        helper.make_node("If", ["c"], ["y"], then_branch=branch("a", "Neg"), else_branch=branch("b", "Abs")),
        helper.make_node("FusedMatMul", ["t", "t"], ["z"], domain="com.microsoft"),
        helper.make_node("Sort", ["z"], ["s"], domain="acme"),
    ]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [2, 3], np.zeros(6))
    inputs = [value("x", ["rows", None, 4]), helper.make_tensor_value_info("c", TensorProto.BOOL, []), value("w", [2, 3])]
    graph = helper.make_graph(nodes, "g", inputs, [value("y", None), value("s", [-1])], [weight])
    twice = helper.make_function(
        "local", "Twice", ["i"], ["o"], [helper.make_node("Add", ["i", "i"], ["o"])], [helper.make_opsetid("", 18)]
    )
    opsets = [helper.make_opsetid(*o) for o in (("", 18), ("local", 1), ("com.microsoft", 1), ("acme", 1))]
    model = helper.make_model(graph, functions=[twice], opset_imports=opsets, producer_name="test")
    info = inspect(write(tmp_path / "m.onnx", model.SerializeToString()))
    assert dict(info.operators) == {"If": 1, "Neg": 1, "Abs": 1, "Add": 1, "com.microsoft::FusedMatMul": 1, "acme::Sort": 1}
    assert info.signature is not None
    assert str(info.signature) == "x: float32[rows,x_dim1,4], c: bool[] → y: float32[?], s: float32[batch]"
    assert info.parameters == 6
    assert "custom operator acme::Sort" in info.requires
    assert info.metadata["producer"] == "test"


def test_onnx_external_data_counts_and_is_not_read(tmp_path: Path) -> None:
    model = hostile_files.external_model("weights.bin")
    path = write(tmp_path / "m.onnx", model.SerializeToString())
    # A sparse file of 8 GiB: to read it would take minutes and more memory than there is.
    with (tmp_path / "weights.bin").open("wb") as stream:
        stream.truncate(8 << 30)
    info = inspect(path)
    assert info.size == path.stat().st_size + (8 << 30)
    assert info.metadata["external_data"] == ["weights.bin"]


def test_an_onnx_graph_alone_is_no_model(tmp_path: Path) -> None:
    graph = onnx.load(CNN / f"{CNN.name}.onnx").graph
    with pytest.raises(UnreadableModelError, match="no model"):
        identify(write(tmp_path / "graph.onnx", graph.SerializeToString()))


def test_executorch_takes_names_from_convkits_own_method() -> None:
    info = inspect(hostile_files.PTE)
    assert [str(s) for s in info.signatures] == ["features: float32[rows,4] → scores: float32[rows,3]"]
    assert info.operators["aten.addmm.out"] == 1
    assert info.parameters == 15
    assert info.metadata["methods"] == ["forward"]


def test_executorch_numbers_tensors_without_it(tmp_path: Path) -> None:
    content = hostile_files.PTE.read_bytes().replace(b"convkit_signature", b"another_signature")
    info = inspect(write(tmp_path / "m.pte", content))
    assert [str(s) for s in info.signatures] == ["input_0: float32[batch,4] → output_0: float32[batch,3]"]
    assert any("numbered" in note for note in info.notes)


def test_tfjs_graph_model(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(16))
    file = write(tmp_path / "model.json", json.dumps(hostile_files.tfjs_model(["w.bin"])).encode())
    for path in (tmp_path, file):
        info = inspect(path)
        assert info.variant is Variant.TFJS_GRAPH
        assert str(info.signature) == "x: float32[batch,4] → y: float32[batch,4]"
        assert (info.size, info.parameters) == (file.stat().st_size + 16, 4)
        assert dict(info.operators) == {"Const": 1, "Mul": 1}


def test_tfjs_layers_model(tmp_path: Path) -> None:
    with zipfile.ZipFile(CNN / f"{CNN.name}.keras") as archive:
        config = json.loads(archive.read("config.json"))
    model = {"format": "layers-model", "modelTopology": {"model_config": config}, "weightsManifest": []}
    (tmp_path / "model.json").write_text(json.dumps(model))
    info = inspect(tmp_path)
    assert info.variant is Variant.TFJS_LAYERS
    assert str(info.signature) == "image: float32[batch,1,8,8] → logits: float32[batch,10]"


def keras_archive(config: Any) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(CNN / f"{CNN.name}.keras") as source, zipfile.ZipFile(stream, "w") as target:
        target.writestr("config.json", json.dumps(config))
        for name in ("metadata.json", "model.weights.h5"):
            target.writestr(name, source.read(name))
    return stream.getvalue()


def test_keras_lambda_and_custom_layers_are_said(tmp_path: Path) -> None:
    def layer(kind: str, module: str, registered: str | None = None, **config: Any) -> dict[str, Any]:
        return {"class_name": kind, "module": module, "registered_name": registered, "config": {"name": kind.lower(), **config}}

    layers = [
        layer("InputLayer", "keras.layers", batch_shape=[None, 5, None], dtype="float32"),
        layer("Lambda", "keras.layers"),
        layer("Mine", "my.package", "my>Mine"),
        layer("Bidirectional", "keras.layers", layer=layer("LSTM", "keras.layers")),
    ]
    config = {"class_name": "Sequential", "module": "keras", "config": {"name": "m", "layers": layers}}
    info = inspect(write(tmp_path / "m.keras", keras_archive(config)))
    assert info.signature is not None
    assert str(info.signature.inputs[0]) == "inputlayer: float32[batch,5,inputlayer_dim2]"
    assert dict(info.operators) == {"Lambda": 1, "my>Mine": 1, "Bidirectional": 1, "LSTM": 1}
    assert any("my>Mine" in need for need in info.requires)
    assert "contains a Lambda layer: executes code when loaded" in info.notes


def torch_archive(data: bytes, prefix: str = "m") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(f"{prefix}/data.pkl", data)
    return stream.getvalue()


def test_a_checkpoint_is_a_state_dict_and_says_so(tmp_path: Path) -> None:
    with zipfile.ZipFile(CNN / f"{CNN.name}.state_dict.pt") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (pickled,) = (name for name in members if name.endswith("/data.pkl"))
    # {"epoch": 3, "model": <the state dict>}: its pickle without header and end stands in another one.
    inner = members[pickled][2:-1]
    members[pickled] = b"\x80\x02}(X\x05\0\0\0epochK\x03X\x05\0\0\0model" + inner + b"u."
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        for name, content in members.items():
            target.writestr(name, content)
    info = inspect(write(tmp_path / "checkpoint.pt", stream.getvalue()))
    assert info.variant is Variant.STATE_DICT
    assert info.parameters == inspect(CNN / f"{CNN.name}.state_dict.pt").parameters
    assert any("under 'model', beside epoch" in note for note in info.notes)


def rewritten_program(tmp_path: Path, added: dict[str, bytes], *, old_layout: bool = False) -> Path:
    """The exported program of the fixture with more members, or as torch before 2.8 laid it out."""
    stream = io.BytesIO()
    with zipfile.ZipFile(CNN / f"{CNN.name}.pt2") as source, zipfile.ZipFile(stream, "w") as target:
        if old_layout:
            (model,) = (name for name in source.namelist() if name.endswith("models/model.json"))
            target.writestr("serialized_exported_program.json", source.read(model))
        else:
            for name in source.namelist():
                target.writestr(name, source.read(name))
        for name, content in added.items():
            target.writestr(name, content)
    return write(tmp_path / "m.pt2", stream.getvalue())


def test_an_exported_program_takes_names_from_convkits_own_file(tmp_path: Path) -> None:
    kept = {
        "name": "serving_default",
        "inputs": [{"name": "pixels", "dtype": "float32", "shape": ["n", 1, 8, 8]}],
        "outputs": [{"name": "scores", "dtype": "float32", "shape": ["n", 10]}],
    }
    info = inspect(rewritten_program(tmp_path, {f"{CNN.name}/extra/convkit.json": json.dumps(kept).encode()}))
    assert str(info.signature) == "pixels: float32[n,1,8,8] → scores: float32[n,10]"


def test_names_that_do_not_fit_are_ignored(tmp_path: Path) -> None:
    info = inspect(rewritten_program(tmp_path, {f"{CNN.name}/extra/convkit.json": b'{"inputs": [], "outputs": []}'}))
    assert str(info.signature) == "image: float32[batch,1,8,8] → logits: float32[batch,10]"
    assert any("convkit.json" in note for note in info.notes)


def test_the_old_layout_of_exported_programs(tmp_path: Path) -> None:
    info = inspect(rewritten_program(tmp_path, {}, old_layout=True))
    assert info.variant is Variant.EXPORTED_PROGRAM
    assert str(info.signature) == "image: float32[batch,1,8,8] → logits: float32[batch,10]"
    assert not info.has_examples


def test_pickles_are_read_as_data() -> None:
    content = {"a": [1, (2, "x")], "b": np.dtype("float32"), "c": {1, 2}, "d": b"raw"}
    for protocol in range(6):
        found = read_pickle(pickle.dumps(content, protocol=protocol))
        items = mapping_of(found.value)
        assert items is not None
        assert items["a"] == [1, (2, "x")]
        assert isinstance(items["b"], Call)
        assert items["b"].function == Global("numpy", "dtype")
        assert "numpy.dtype" in found.globals


def traced_archive(storage: bytes) -> bytes:
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0"
        b"0X\x03\0\0\0cpuK\x06tQ"
        b"K\x00(K\x03K\x02t(K\x01K\x03t\x89ccollections\nOrderedDict\n)RtR"
    )
    forward = b"ctorch.jit._pickle\nrestore_type_tag\n]" + tensor + b"aX\x09\0\0\0List[Any]\x86R"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("m/traced_inputs.pkl", b"\x80\x02}X\x07\0\0\0forward" + forward + b"s.")
        archive.writestr("m/traced_inputs/0", storage)
    return stream.getvalue()


def test_traced_inputs_are_read_with_their_strides(tmp_path: Path) -> None:
    storage = np.arange(6, dtype=np.float32)
    arrays = read_traced_inputs(write(tmp_path / "m.pt", traced_archive(storage.tobytes())))
    assert arrays is not None
    np.testing.assert_array_equal(arrays[0], storage.reshape(2, 3).T)


def test_traced_inputs_without_values_are_none(tmp_path: Path) -> None:
    assert read_traced_inputs(write(tmp_path / "m.pt", traced_archive(b""))) is None
    assert read_traced_inputs(CNN / f"{CNN.name}.scripted.pt") is None


def test_hostile_traced_inputs_are_refused(tmp_path: Path) -> None:
    files = {file.name: file for file in hostile_files.make(tmp_path)}
    with pytest.raises(UnreadableModelError, match=r"\.system"):
        read_traced_inputs(files["command_in_inputs.pt"].path)
    assert not (tmp_path / hostile_files.MARKER).exists()


def test_safetensors_metadata(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "b": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [4, 12]},
        "a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
    }
    text = json.dumps(header).encode()
    info = inspect(write(tmp_path / "w.safetensors", struct.pack("<Q", len(text)) + text + bytes(12)))
    assert info.parameters == 5
    assert info.metadata == {"tensors": 2, "dtypes": {"F32": 1, "BF16": 1}, "metadata": {"format": "pt"}}


def test_onnx_question_marks_are_dimensions_that_need_not_be_equal(tmp_path: Path) -> None:
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value("x", ["?", 3, "?"])], [value("y", None)])
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    (spec,) = inspect(tmp_path / "m.onnx").signatures[0].inputs
    assert len(spec.dynamic_dims) == 2


def test_executorch_programs_of_integers_have_an_empty_segment_and_no_header(tmp_path: Path) -> None:
    import torch
    from executorch.exir import to_edge_transform_and_lower

    class Sum(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x + y

    example = torch.ones(2, 3, dtype=torch.int16)
    program = to_edge_transform_and_lower(torch.export.export(Sum(), (example, example))).to_executorch()
    info = inspect(write(tmp_path / "sum.pte", bytes(program.buffer)))
    assert [(t.dtype, t.shape) for t in info.signatures[0].inputs] == [("int16", (2, 3))] * 2


def test_operations_of_keras_have_the_dtype_of_what_they_compute(tmp_path):
    """Their configuration names none, and the trace would refuse another one than the signature's."""
    import keras
    from keras import ops

    x = keras.Input((4,), name="x")
    hidden = keras.layers.Dense(3)(x)
    made = [ops.argmax(hidden, -1), hidden > 0, ops.cast(hidden, "int32"), ops.sign(hidden), ops.argsort(hidden)]
    model = keras.Model(x, [*made, ops.floor_divide(ops.cast(hidden, "int32"), 2)])
    model.save(tmp_path / "m.keras")
    assert [t.dtype for t in inspect(tmp_path / "m.keras").signature.outputs] == [t.dtype for t in model.outputs]
