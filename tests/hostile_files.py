"""Makes files that no reader may trip over: truncated, bit-flipped, mislabelled, and made to do harm.

They are derived from the real models in `fixtures/` and a small ExecuTorch program; nothing here needs a framework.
`make(directory)` writes them all in under a second and says of each what a reader has to answer.
"""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
from onnx import TensorProto, helper

from convkit.errors import ConvkitError, UnreadableModelError, UntrustedPickleError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "digits_cnn"
PTE = Path(__file__).parent / "readers" / "data" / "linear.pte"
MARKER = "executed"


@dataclass(frozen=True)
class HostileFile:
    """One file.

    Attributes:
        name: Unique, in words.
        path: The file or directory.
        why: What is wrong with it.
        error: What a reader must raise; None for a file that it must describe without harm.
        says: What the error's message (or for a described file, its notes) must contain.
    """

    name: str
    path: Path
    why: str
    error: type[ConvkitError] | None = UnreadableModelError
    says: str = ""


def base_models() -> dict[str, bytes]:
    """The intact single-file models by the suffix that tells their variants apart."""
    names = "pt2 traced.pt scripted.pt pickled.pt state_dict.pt safetensors onnx keras h5 tflite".split()  # noqa: SIM905
    return {name: (FIXTURES / f"{FIXTURES.name}.{name}").read_bytes() for name in names} | {"pte": PTE.read_bytes()}


class _Writer:
    """Writes files into the directory and remembers what is expected of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files: list[HostileFile] = []

    def add(self, name: str, content: bytes, why: str, **expected: Any) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.expect(name, path, why, **expected)

    def expect(self, name: str, path: Path, why: str, **expected: Any) -> None:
        self.files.append(HostileFile(name, path, why, **expected))


def make(directory: Path) -> list[HostileFile]:
    """Writes every hostile file below `directory`."""
    writer = _Writer(directory)
    models = base_models()
    for group in (_truncated, _flipped, _mislabelled, _pickles, _onnx, _zips, _safetensors, _tfjs, _savedmodels, _flatbuffers):
        group(writer, models)
    _special_files(writer)
    names = [file.name for file in writer.files]
    assert len(set(names)) == len(names)
    return writer.files


def patched(content: bytes, position: int, new: bytes) -> bytes:
    """The content with some bytes replaced."""
    return content[:position] + new + content[position + len(new) :]


def _truncated(writer: _Writer, models: dict[str, bytes]) -> None:
    for suffix, content in models.items():
        for percent in (10, 50, 90):
            cut = content[: len(content) * percent // 100]
            writer.add(
                f"cut_at_{percent}.{suffix}", cut, f"the first {percent} % of a .{suffix} file", says="truncated or corrupt"
            )
    for suffix in ("onnx", "safetensors", "keras", "pt2", "h5"):
        writer.add(f"without_last_byte.{suffix}", models[suffix][:-1], "one byte is missing", says="truncated or corrupt")


def _flipped(writer: _Writer, models: dict[str, bytes]) -> None:
    for suffix in ("pt2", "traced.pt", "state_dict.pt", "keras"):
        content = models[suffix]
        directory = content.rindex(b"PK\x01\x02")
        flipped = patched(content, directory, b"PK\x01\x03")
        writer.add(f"directory_flipped.{suffix}", flipped, "a bit of the zip directory is flipped", says="truncated or corrupt")
    for suffix, inside in {"pt2": b'"graph_module"', "keras": b'"class_name"', "pickled.pt": b"OrderedDict"}.items():
        position = models[suffix].index(inside) + 2
        content = patched(models[suffix], position, bytes([models[suffix][position] ^ 4]))
        writer.add(f"member_flipped.{suffix}", content, "a member does not have its checksum", says="truncated or corrupt")
    content = models["onnx"]
    graph = _top_level_position(content, 7)
    writer.add("group_tag.onnx", patched(content, graph, b"\x3b"), "the graph's tag has a wire type that is gone")
    writer.add(
        "graph_too_long.onnx", patched(content, graph + 1, b"\xff\xff\xff\x7f"), "the graph is longer than the file",
        says="truncated or corrupt",
    )  # fmt: skip
    writer.add("root_block_lost.h5", patched(models["h5"], 8, b"\xff" * 88), "the HDF5 superblock is overwritten", says="libhdf5")


def _top_level_position(content: bytes, field: int) -> int:
    """Where a ModelProto has the tag of a length-delimited field: found by skipping what comes before."""
    position = 0
    while True:
        tag, start = content[position], position
        position += 1
        value = shift = 0
        while True:
            byte = content[position]
            position += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        if tag >> 3 == field:
            return start
        if tag & 7 == 2:
            position += value


def _mislabelled(writer: _Writer, models: dict[str, bytes]) -> None:
    for suffix in ("onnx", "tflite", "pt", "h5", "pt2", "pte", "keras", "safetensors"):
        writer.add(f"empty.{suffix}", b"", "an empty file", says="empty file")
    html = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>gone</body></html>\n"
    writer.add("page.onnx", html, "an error page saved in place of the model", says="HTML")
    writer.add("notes.pte", b"The model is on the other disk.\n" * 20, "a text file", says="text file")
    writer.add("image.tflite", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4, "a PNG image", says="PNG")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0f3a\nsize 12345\n"
    writer.add("pointer.pt2", pointer, "a git-LFS pointer", says="git-LFS")
    writer.add("zeros.onnx", bytes(100_000), "zero bytes", says="zero bytes")
    writer.add("noise.pt", np.random.default_rng(0).bytes(50_000), "random bytes", says="no model")
    writer.add("settings.json", b'{"learning_rate": 0.1, "layers": [1, 2, 3]}', "some JSON", says="JSON")
    writer.add(
        "model.py.pt", b"import torch\n\ndef build():\n    return torch.nn.Linear(2, 2)\n", "Python source", says="Python source"
    )
    writer.add("packed.onnx", b"\x1f\x8b\x08\0" + bytes(100), "a gzip archive", says="gzip")
    arrays = io.BytesIO()
    np.savez(arrays, x=np.zeros(3))
    writer.add("arrays.pt", arrays.getvalue(), "a NumPy archive", says="NumPy")
    writer.add(
        "wrapped.tflite", _zip({"inside/model.tflite": models["tflite"]}), "a zip around a model", says="inside/model.tflite"
    )
    writer.add("office.pt", _zip({"word/document.xml": b"<x/>"}), "a zip of something else", says="no model")
    writer.add("library.pte", b"\x7fELF\x02\x01\x01" + bytes(100), "a native library", says="native library")
    writer.add("nothing.pt2", _zip({}), "a zip without members", says="no model")
    graph = onnx.NodeProto(name="x", op_type="Relu", input=["a"]).SerializeToString()
    writer.add("part.onnx", graph, "one serialized node instead of a model")


def _zip(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _rewritten(content: bytes, change: Callable[[str, bytes], bytes]) -> bytes:
    """The archive with its members' contents changed, checksums fitting."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return _zip({name: change(name, archive.read(name)) for name in archive.namelist()})


class _Command:
    """Pickles to a call of os.system that leaves a marker."""

    def __init__(self, directory: Path) -> None:
        self.command = f"touch {directory / MARKER}"

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


def _pickles(writer: _Writer, models: dict[str, bytes]) -> None:
    evil = pickle.dumps(_Command(writer.directory), protocol=2)
    system = f"{os.system.__module__}.system"
    writer.add("command.pkl", evil, "a bare pickle that runs a command", error=UntrustedPickleError, says=system)
    writer.add("command_as.onnx", evil, "the same under another suffix", error=UntrustedPickleError, says=system)

    def replaced(ending: str) -> Callable[[str, bytes], bytes]:
        return lambda name, content: evil if name.endswith(ending) else content

    content = _rewritten(models["state_dict.pt"], replaced("/data.pkl"))
    writer.add("command_inside.pt", content, "a state dict whose pickle runs a command", error=None, says=system)
    content = _rewritten(models["traced.pt"], replaced("/traced_inputs.pkl"))
    writer.add("command_in_inputs.pt", content, "TorchScript whose example inputs run a command", says=system)
    legacy = b"".join(
        pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, {}, _Command(writer.directory), [])
    )
    writer.add("command_legacy.pt", legacy, "an old torch file that runs a command", error=None, says=system)
    hidden = b"\x80\x04\x8c\x05posix\x8c\x06system\x8c\x0bcollections0\x93\x8c\x04true\x85R."
    writer.add(
        "hidden_name.pkl", hidden, "a command behind discarded stack entries", error=UntrustedPickleError, says="posix.system"
    )
    computed = b"\x80\x04(\x8c\x05posix\x8c\x06systeml\x8c\x01xN\x93)R."
    writer.add("computed_name.pkl", computed, "an import of a computed name", error=UntrustedPickleError, says="computes")
    for name, content, why in (
        ("stack_underflow", b"\x80\x02R.", "a pickle that takes from an empty stack"),
        ("memo_bomb", b"\x80\x02N\x72\xff\xff\xff\x7f\x6a\xfe\xff\xff\x7f.", "a pickle with a memo of two billion entries"),
        ("endless_string", b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc", "a pickle with a string of exabytes"),
        ("no_stop", b"\x80\x02]q\0", "a pickle without an end"),
    ):
        archive = _zip({"m/data.pkl": content, "m/version": b"3\n"})
        writer.add(f"{name}.pt", archive, why, says="the pickle")
    doubling = b"\x80\x02)" + b"2\x86" * 60
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n"
    storage = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nK\x01tQ"
    in_shape = b"\x80\x02" + rebuild + b"(" + storage + b"K\x00" + doubling[2:] + b"\x85K\x01\x85tR."
    writer.add("endless_shape.pt", _zip({"m/data.pkl": in_shape}), "a shape that takes for ever to print", says="no sizes")
    bomb = b"\x80\x02}" + doubling[2:] + b"Ns."
    writer.add("hash_bomb.pt", _zip({"m/data.pkl": bomb}), "a dictionary key that takes for ever to hash", error=None)


def _tensor_model(tensor: TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Add", ["x", tensor.name], ["y"])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy"]
    return helper.make_model(helper.make_graph([node], "g", values[:1], values[1:], [tensor]))


def external_model(location: str, length: int = 8) -> onnx.ModelProto:
    """A model with one tensor whose data is said to be at that location."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": "0", "length": str(length)}.items():
        tensor.external_data.add(key=key, value=value)
    return _tensor_model(tensor)


def _onnx(writer: _Writer, models: dict[str, bytes]) -> None:
    outside = {
        "parents": "../../x", "absolute": "/etc/passwd", "windows": "C:\\weights.bin", "backslashes": "..\\x", "nowhere": "",
        "inner_parents": "data/../../x",
    }  # fmt: skip
    for name, location in outside.items():
        content = external_model(location).SerializeToString()
        writer.add(f"external_{name}.onnx", content, f"external data at {location!r}", says="'w'")
    writer.add(
        "external_missing.onnx", external_model("gone.bin").SerializeToString(), "external data that is not there", says="'w'"
    )
    (writer.directory / "short.bin").write_bytes(bytes(4))
    writer.add(
        "external_short.onnx", external_model("short.bin").SerializeToString(), "external data that is too short", says="'w'"
    )
    link = writer.directory / "link.bin"
    link.symlink_to("/etc/hostname")
    writer.add("external_link.onnx", external_model("link.bin").SerializeToString(), "external data behind a link", says="'w'")
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[-2])
    writer.add("negative_size.onnx", _tensor_model(tensor).SerializeToString(), "a tensor of negative size", says="'w'")
    nested = b""
    for _ in range(300):
        # GraphProto.node > NodeProto.attribute > AttributeProto.g, again and again.
        attribute = b"\x32" + _varint(len(nested)) + nested
        node = b"\x2a" + _varint(len(attribute)) + attribute
        nested = b"\x0a" + _varint(len(node)) + node
    writer.add("nested.onnx", b"\x08\x08\x3a" + _varint(len(nested)) + nested, "three hundred nested subgraphs", says="corrupt")
    loop = b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"
    writer.add("endless_number.onnx", loop, "a number of more than ten bytes")


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _zips(writer: _Writer, models: dict[str, bytes]) -> None:
    with zipfile.ZipFile(io.BytesIO(models["keras"])) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as bomb:
        with bomb.open("config.json", "w") as target:
            for _ in range(300):
                target.write(b" " * (1 << 20))
        bomb.writestr("metadata.json", b"{}")
        bomb.writestr("model.weights.h5", members["model.weights.h5"])
    writer.add("bomb.keras", stream.getvalue(), "300 MiB of spaces in 300 KiB", says="zip bomb")
    for suffix, name in {"keras": "../../evil.py", "state_dict.pt": "/etc/evil", "pt2": "a\\..\\..\\evil"}.items():
        with zipfile.ZipFile(io.BytesIO(models[suffix])) as archive:
            content = {member: archive.read(member) for member in archive.namelist()} | {name: b"x"}
        writer.add(f"escaping_member.{suffix}", _zip(content), f"a member called {name}", says="leaves the archive")
    deep = b'{"config": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    writer.add("deep.keras", _zip(members | {"config.json": deep}), "JSON that is nested 200 000 times")
    writer.add("list.keras", _zip(members | {"config.json": b"[1, 2]"}), "a configuration that is a list")
    config = json.loads(members["config.json"])
    config["config"]["layers"][0]["config"]["batch_shape"] = [None, -8]
    writer.add("negative_shape.keras", _zip(members | {"config.json": json.dumps(config).encode()}), "an input of negative size")
    writer.add("no_weights.keras", _zip({k: members[k] for k in ("config.json", "metadata.json")}), "no weights")
    writer.add("false_weights.keras", _zip(members | {"model.weights.h5": b"weights"}), "weights that are no HDF5")
    unknown = bytearray(_zip(members))
    position = unknown.rindex(b"PK\x01\x02", 0, unknown.rindex(b"PK\x01\x02"))
    unknown[position + 10 : position + 12] = b"\x63\0"
    writer.add("unknown_compression.keras", bytes(unknown), "a compression method that does not exist")
    for name, model in {"null_program": b"null", "no_graph": b'{"graph_module": {}}', "deep_program": deep}.items():
        writer.add(f"{name}.pt2", _zip({"p/models/model.json": model}), "a program that is none", says="corrupt")


def _safetensors(writer: _Writer, models: dict[str, bytes]) -> None:
    def file(header: Any, data: bytes = bytes(8), length: int | None = None) -> bytes:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(text) if length is None else length) + text + data

    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    for name, content, why in (
        ("header_of_exabytes", file({"w": entry}, length=1 << 60), "a header of 2^60 bytes"),
        ("header_past_end", file({"w": entry}, length=500), "a header that is longer than the file"),
        ("broken_header", file(b'{"w": {"dtype": }}'), "a header that is no JSON"),
        ("deep_header", file(b'{"w":' + b"[" * 100_000), "a header that is nested 100 000 times"),
        ("overlap", file({"v": entry, "w": entry}), "two tensors in the same bytes"),
        ("wrong_size", file({"w": entry | {"shape": [3]}}), "a shape that does not fit the bytes"),
        ("negative", file({"w": entry | {"shape": [-2]}}), "a negative size"),
        ("offsets_past_end", file({"w": entry | {"shape": [200], "data_offsets": [0, 800]}}), "bytes past the end"),
        ("trailing", file({"w": entry}, bytes(99)), "bytes that belong to no tensor"),
        ("no_shape", file({"w": {"dtype": "F32", "data_offsets": [0, 8]}}), "a tensor without a shape"),
        ("not_utf8", file(b'{"\xff\xfe": 1}'), "a header that is no UTF-8"),
    ):
        writer.add(f"{name}.safetensors", content, why, says="truncated or corrupt")


def tfjs_model(paths: list[str]) -> dict[str, Any]:
    """A graph model: y = x * w, with w in the shards of those names (16 bytes in all)."""

    def tensor(name: str) -> dict[str, Any]:
        return {"name": f"{name}:0", "dtype": "DT_FLOAT", "tensorShape": {"dim": [{"size": "-1"}, {"size": "4"}]}}

    nodes = [
        {"name": "x", "op": "Placeholder", "attr": {"dtype": {"type": "DT_FLOAT"}}},
        {"name": "w", "op": "Const", "attr": {"dtype": {"type": "DT_FLOAT"}}},
        {"name": "y", "op": "Mul", "input": ["x", "w"], "attr": {"T": {"type": "DT_FLOAT"}}},
    ]
    return {
        "format": "graph-model",
        "generatedBy": "test",
        "signature": {"inputs": {"x": tensor("x")}, "outputs": {"y": tensor("y")}},
        "modelTopology": {"node": nodes, "library": {}},
        "weightsManifest": [{"paths": paths, "weights": [{"name": "w", "shape": [4], "dtype": "float32"}]}],
    }


def _tfjs(writer: _Writer, models: dict[str, bytes]) -> None:
    def add(name: str, text: str | dict[str, Any], why: str, shard: int = 16, **expected: Any) -> None:
        folder = writer.directory / name
        folder.mkdir()
        (folder / "w.bin").write_bytes(bytes(shard))
        (folder / "model.json").write_text(text if isinstance(text, str) else json.dumps(text))
        writer.expect(name, folder, why, **expected)

    outside = {
        "parents": "../w.bin", "absolute": "/etc/passwd", "url": "https://example.org/w.bin", "file_url": "file:///etc/hostname",
        "inner_parents": "sub/../../w.bin", "windows": "C:\\w.bin", "network": "\\\\host\\w.bin", "nowhere": "",
    }  # fmt: skip
    for name, location in outside.items():
        add(f"tfjs_{name}", tfjs_model([location]), f"weights at {location!r}", says="outside")
    add("tfjs_missing", tfjs_model(["gone.bin"]), "a shard that is not there", says="gone.bin")
    add("tfjs_short", tfjs_model(["w.bin"]), "a shard that is too short", shard=12, says="16 bytes")
    add("tfjs_long", tfjs_model(["w.bin"]), "a shard that is too long", shard=20, says="16 bytes")
    good = json.dumps(tfjs_model(["w.bin"]))
    add("tfjs_nan", good.replace('"shape": [4]', '"shape": [NaN]'), "NaN, which JSON does not have", says="NaN")
    add("tfjs_negative", good.replace('"shape": [4]', '"shape": [-4]'), "a negative size", says="'w'")
    add("tfjs_cut", good[: len(good) // 2], "half of the JSON")
    add("tfjs_dtype", good.replace('"float32"', '"float128"'), "a dtype that does not exist", says="float128")
    add("tfjs_null_topology", good.replace('"node": [', '"nodes": ['), "a topology without nodes")
    add("tfjs_link", tfjs_model(["link.bin"]), "a shard behind a link that leaves the directory", says="link")
    (writer.directory / "tfjs_link" / "link.bin").symlink_to("/etc/hostname")
    add("tfjs_linked_folder", tfjs_model(["etc/hostname"]), "a folder that is a link to another place", says="link")
    (writer.directory / "tfjs_linked_folder" / "etc").symlink_to("/etc")
    add("tfjs_pipe", tfjs_model(["pipe"]), "a shard that is a pipe, on which a reader would wait for ever", says="pipe")
    os.mkfifo(writer.directory / "tfjs_pipe" / "pipe")
    add("tfjs_folder", tfjs_model(["sub"]), "a shard that is a folder", says="sub")
    (writer.directory / "tfjs_folder" / "sub").mkdir()
    add("tfjs_letters", good.replace('["w.bin"]', '"w.bin"'), "a string where a list of shards belongs", says="'w'")
    # One shard a million times is a file of terabytes in a folder of bytes.
    twice = good.replace('["w.bin"]', '["w.bin", "w.bin"]').replace('"shape": [4]', '"shape": [8]')
    add("tfjs_twice", twice, "one shard named twice", says="twice")
    _tfjs_numbers(add, good)


def _tfjs_numbers(add: Callable[..., None], good: str) -> None:
    """Numbers that JSON does not have, and sizes that no memory has."""
    add(
        "tfjs_infinity",
        good.replace('"shape": [4]', '"shape": [Infinity]'),
        "Infinity, which JSON does not have",
        says="Infinity",
    )
    add("tfjs_overflow", good.replace('"shape": [4]', '"shape": [1e999]'), "a number beyond all", says="inf")
    add("tfjs_digits", good.replace('"shape": [4]', f'"shape": [{"9" * 5000}]'), "a number of 5,000 digits", says="digits")
    add("tfjs_exabytes", good.replace('"shape": [4]', f'"shape": [4, {1 << 62}]'), "a weight of exabytes", says="bytes")
    large = good.replace('"size": "4"', '"size": "2147483647"').replace('"size": "-1"', '"size": "2147483647"')
    add("tfjs_input_of_exabytes", large, "an input of exabytes", says="2147483647")
    scale = '"float32", "quantization": {"dtype": "uint8", "scale": SCALE, "min": 0}}'
    for name, value, says in (("nan", "NaN", "NaN"), ("infinite", "1e999", "scale"), ("worded", '"1"', "scale")):
        content = good.replace('"float32"}', scale.replace("SCALE", value))
        add(f"tfjs_{name}_scale", content, f"a quantised weight with the scale {value}", says=says)
    add("tfjs_deep", good.replace("[4]", "[" * 200_000 + "]" * 200_000), "lists nested 200,000 times", says="JSON")
    nodes = '"node": ['
    add("tfjs_node_twice", good.replace(nodes, nodes + '{"name": "w", "op": "Const"}, '), "two nodes of one name", says="'w'")
    weights = '"weights": ['
    add("tfjs_weight_twice", good.replace(weights, weights + '{"name": "w", "shape": [0], "dtype": "float32"}, '),
        "two weights of one name", says="'w'")  # fmt: skip


def _savedmodels(writer: _Writer, models: dict[str, bytes]) -> None:
    good = FIXTURES / f"{FIXTURES.name}.savedmodel" / "saved_model.pb"
    graph = good.read_bytes()
    for name, content, why in (
        ("savedmodel_empty", b"", "an empty saved_model.pb"),
        ("savedmodel_cut", graph[: len(graph) // 2], "half of saved_model.pb"),
        ("savedmodel_noise", np.random.default_rng(1).bytes(5000), "random bytes as saved_model.pb"),
        ("savedmodel_text", b"meta_graphs {}\n", "text as saved_model.pb"),
        ("savedmodel_without_variables", graph, "a graph without its variables"),
    ):
        folder = writer.directory / name
        folder.mkdir()
        (folder / "saved_model.pb").write_bytes(content)
        writer.expect(name, folder, why)
    for name, inside in {"pretender": "saved_model.pb", "pretender_tfjs": "model.json"}.items():
        (writer.directory / name / inside).mkdir(parents=True)
        writer.expect(name, writer.directory / name, f"a directory whose {inside} is a directory", says="without saved_model.pb")
    (writer.directory / "nothing_inside").mkdir()
    writer.expect("nothing_inside", writer.directory / "nothing_inside", "an empty directory", says="without saved_model.pb")
    writer.add("lone/saved_model.pb", graph, "saved_model.pb without its directory", says="graph file of a SavedModel")
    node = b"\x0a\x01x\x12\x0bPlaceholder"
    frozen = b"\x0a" + _varint(len(node)) + node
    writer.add("frozen.pb", frozen * 3, "a frozen graph of TensorFlow 1", says="GraphDef")
    writer.add("text_form/saved_model.pbtxt", b"saved_model_schema_version: 1\n", "a lone text proto", says="text file")
    writer.expect("text_form", writer.directory / "text_form", "a SavedModel in text form", says="text form")


def _fan_out(identifier: bytes, width: int) -> bytes:
    """A model whose subgraphs are all one, and whose tensors are all one: width² visits in `8 * width` bytes."""
    builder = flatbuffers.Builder(1024)
    builder.StartObject(9)
    tensor = builder.EndObject()
    tensors = _vector(builder, [tensor] * width)
    builder.StartObject(5)
    builder.PrependUOffsetTRelativeSlot(0, tensors, 0)
    graphs = _vector(builder, [builder.EndObject()] * width)
    builder.StartObject(8)
    # Field 2 holds LiteRT's subgraphs, field 1 ExecuTorch's plans.
    builder.PrependUOffsetTRelativeSlot(2 if identifier == b"TFL3" else 1, graphs, 0)
    builder.Finish(builder.EndObject(), file_identifier=identifier)
    return bytes(builder.Output())


def _vector(builder: flatbuffers.Builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in offsets:
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _flatbuffers(writer: _Writer, models: dict[str, bytes]) -> None:
    for suffix, graphs in {"tflite": 2, "pte": 1}.items():
        content = models[suffix]
        for name, changed, why in (
            ("root_past_end", patched(content, 0, b"\xff\xff\xff\x7f"), "a root outside of the file"),
            ("root_in_header", patched(content, 0, b"\x02\0\0\0"), "a root inside of the header"),
            ("huge_vector", patched(content, _field(content, graphs), b"\xff" * 4), "a vector of four billion elements"),
            ("self_reference", patched(content, _field(content, graphs) + 4, b"\0" * 4), "a table that is its own vector"),
            ("header_only", content[:8], "a header without a body"),
        ):
            writer.add(f"{name}.{suffix}", changed, why, says="truncated or corrupt")
    writer.add("fan_out.tflite", _fan_out(b"TFL3", 40_000), "1.6 billion references to one table", says="without end")
    writer.add(
        "no_segment_header.pte", patched(models["pte"], 8, b"xx"), "segments without their header", says="truncated or corrupt"
    )
    writer.add("bundled.pte", models["pte"][:4] + b"BP08" + models["pte"][8:], "a bundled program", says="bundled program")


def _field(content: bytes, number: int) -> int:
    """Where the vector in a field of the root table starts."""
    (root,) = struct.unpack_from("<I", content)
    (back,) = struct.unpack_from("<i", content, root)
    (offset,) = struct.unpack_from("<H", content, root - back + 4 + 2 * number)
    return root + offset + int(struct.unpack_from("<I", content, root + offset)[0])


def _special_files(writer: _Writer) -> None:
    pipe = writer.directory / "pipe.onnx"
    os.mkfifo(pipe)
    writer.expect("pipe.onnx", pipe, "a named pipe, which blocks whoever opens it", says="not a regular file")
    loop = writer.directory / "loop.onnx"
    loop.symlink_to("loop.onnx")
    writer.expect("loop.onnx", loop, "a link to itself")
    writer.expect("absent.onnx", writer.directory / "absent.onnx", "no file at all", says="there is no file")


def mutations(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Random damage of five kinds, the same for the same seed."""
    random = np.random.default_rng(seed)
    for index in range(count):
        data = bytearray(content)
        position = int(random.integers(len(data)))
        kind = index % 5
        if kind == 0:
            data[position] ^= 1 << int(random.integers(8))
        elif kind == 1:
            # Structure is mostly at the ends of a file.
            position = int(random.integers(min(len(data), 200)))
            data[position if random.integers(2) else -1 - position] = int(random.integers(256))
        elif kind == 2:
            del data[position:]
        elif kind == 3:
            data[position : position + 4] = random.bytes(4)
        else:
            del data[position : position + int(random.integers(1, 64))]
        yield bytes(data)
