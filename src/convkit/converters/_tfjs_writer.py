"""Writes a TF.js graph model: `model.json` and the shards of its weights.

Formats: tfjs-core/src/io/types.ts (ModelJSON, WeightsManifestConfig), tfjs-converter/src/data/compiled_api.ts (IGraphDef),
and for quantized weights tfjs-core/src/io/io_utils.ts (decodeWeights).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from convkit.errors import UsageError
from convkit.readers.tfjs import SIGNATURE_KEY
from convkit.signature import Signature, TensorSpec

__all__ = ["QUANTIZED", "SHARD_SIZE", "Quantization", "write_graph_model"]

SHARD_SIZE = 4 << 20
QUANTIZED = ("float16", "uint16", "uint8")

_MODEL = "model.json"
_DT = {"float32": "DT_FLOAT", "int32": "DT_INT32", "bool": "DT_BOOL", "string": "DT_STRING", "complex64": "DT_COMPLEX64"}


@dataclass(frozen=True)
class Quantization:
    """Which weights are stored in a narrower dtype: pairs of a pattern of names (`*` for all) and the dtype; the first counts."""

    rules: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str | None) -> Quantization:
        """Reads "uint8" or "float16=*dense*,uint8=*".

        Raises:
            UsageError: An unknown dtype.
        """
        rules = []
        for part in (text or "").split(","):
            dtype, _, pattern = part.strip().partition("=")
            if not dtype:
                continue
            if dtype not in QUANTIZED:
                raise UsageError(
                    f"TF.js stores no weights as {dtype!r}", hint=f"one of {', '.join(QUANTIZED)}, or dtype=pattern,…"
                )
            rules.append((pattern or "*", dtype))
        return cls(tuple(rules))

    def of(self, name: str, array: np.ndarray) -> str | None:
        """The dtype that a weight is stored in, None for its own. Only floating-point numbers lose precision for size."""
        if array.dtype != np.float32 or array.size == 0:
            return None
        return next((dtype for pattern, dtype in self.rules if fnmatchcase(name, pattern)), None)


def write_graph_model(
    output: Path,
    graph: Any,
    signature: Signature,
    edges: tuple[Sequence[tuple[str, TensorSpec]], Sequence[tuple[str, TensorSpec]]],
    *,
    converted_by: str,
    generated_by: str,
    weights: Mapping[str, np.ndarray] | None = None,
    shard_size: int = SHARD_SIZE,
    quantization: Quantization = Quantization(),
) -> None:
    """Writes the directory `output`, which does not exist yet.

    Args:
        output: The directory.
        graph: A `GraphDef`; the values of its constants move into the shards, and it is left without them.
        signature: The source's, to be kept as metadata.
        edges: Inputs and outputs in order: the tensor in the graph ("x:0"), and the spec that TF.js sees.
        converted_by: For the file.
        generated_by: For the file.
        weights: Constants for which the graph has placeholders, by name.
        shard_size: Bytes of a shard.
        quantization: Of the weights.
    """
    output.mkdir()
    shards = _Shards(output, shard_size)
    entries = [shards.add(name, array, quantization) for name, array in _constants(graph, weights or {})]
    paths = shards.close()
    inputs, outputs = edges
    model = {
        "format": "graph-model",
        "generatedBy": generated_by,
        "convertedBy": converted_by,
        "signature": {
            "inputs": {spec.name: _tensor_info(tensor, spec) for tensor, spec in inputs},
            "outputs": {spec.name: _tensor_info(tensor, spec) for tensor, spec in outputs},
        },
        "userDefinedMetadata": {SIGNATURE_KEY: signature.to_json()},
        "modelTopology": _topology(graph),
        "weightsManifest": [{"paths": paths, "weights": entries}],
    }
    text = json.dumps(model, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    (output / _MODEL).write_text(text, encoding="utf-8")


def _topology(graph: Any) -> Mapping[str, Any]:
    """As JSON, with what protobuf leaves out and TF.js needs: sizes of 0, and the arguments of functions without any."""
    from google.protobuf.json_format import MessageToDict

    topology: dict[str, Any] = MessageToDict(graph)
    for node in topology.get("node", ()):
        for dim in node.get("attr", {}).get("shape", {}).get("shape", {}).get("dim", ()):
            dim.setdefault("size", "0")
    for function in topology.get("library", {}).get("function", ()):
        function["signature"].setdefault("inputArg", [])
    return topology


def _tensor_info(tensor: str, spec: TensorSpec) -> Mapping[str, Any]:
    shape: dict[str, Any] = {"unknownRank": True}
    if spec.shape is not None:
        shape = {"dim": [{"size": str(d) if isinstance(d, int) else "-1"} for d in spec.shape]} if spec.shape else {}
    return {"name": tensor, "dtype": _DT[spec.dtype], "tensorShape": shape}


def _constants(graph: Any, outside: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """The constants of a graph and its functions under names of their own, one at a time; each is taken out of the graph."""
    import tensorflow as tf

    taken = {node.name for node in graph.node}
    for node in graph.node:
        if node.name in outside:
            node.op = "Const"
            del node.attr["shape"]
            yield node.name, outside[node.name]
        elif node.op == "Const":
            yield node.name, tf.make_ndarray(node.attr["value"].tensor)
            _hollow(node)
    for function in graph.library.function:
        for old, new in _unique_constants(function, taken).items():
            node = next(n for n in function.node_def if n.name == old)
            node.name = new
            yield new, tf.make_ndarray(node.attr["value"].tensor)
            _hollow(node)


def _hollow(node: Any) -> None:
    """Leaves the dtype of a constant, and takes its value."""
    del node.attr["value"]


def _unique_constants(function: Any, taken: set[str]) -> Mapping[str, str]:
    """Names for a function's constants that no other node has: TF.js keeps all weights in one map. References follow."""
    names = {}
    for node in function.node_def:
        if node.op == "Const":
            name, number = f"{function.signature.name}/{node.name}", 0
            while name in taken:
                number += 1
                name = f"{function.signature.name}/{node.name}_{number}"
            taken.add(name)
            names[node.name] = name
    for node in function.node_def:
        node.input[:] = [_renamed(i, names) for i in node.input]
    for key, value in function.ret.items():
        function.ret[key] = _renamed(value, names)
    return names


def _renamed(tensor: str, names: Mapping[str, str]) -> str:
    name, colon, rest = tensor.partition(":")
    return f"{names.get(name, name)}{colon}{rest}"


class _Shards:
    """The weight files, each filled up to a size; a weight may span several."""

    def __init__(self, directory: Path, size: int) -> None:
        self._directory, self._size = directory, size
        self._files: list[Path] = []
        self._stream: BinaryIO | None = None
        self._room = 0

    def add(self, name: str, array: np.ndarray, quantization: Quantization) -> dict[str, Any]:
        """Writes a weight; its entry in the manifest."""
        entry: dict[str, Any] = {"name": name, "shape": list(array.shape), "dtype": array.dtype.name}
        if array.dtype == object:
            entry["dtype"] = "string"
            self._write(_encoded_strings(array))
            return entry
        stored = quantization.of(name, array)
        if stored is not None:
            array, how = _quantized(array, stored)
            if how is not None:
                entry["quantization"] = how
        array = np.ascontiguousarray(array)
        self._write(array.reshape(-1).view(np.uint8).data if array.size else b"")
        return entry

    def close(self) -> list[str]:
        """The names of the files, under which they end up once their number is known."""
        if self._stream is None:
            self._open()
        assert self._stream is not None
        self._stream.close()
        names = []
        for number, file in enumerate(self._files, 1):
            names.append(f"group1-shard{number}of{len(self._files)}.bin")
            file.rename(self._directory / names[-1])
        return names

    def _write(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        while len(rest):
            if self._room == 0:
                self._open()
            assert self._stream is not None
            part = rest[: self._room]
            self._stream.write(part)
            self._room -= len(part)
            rest = rest[len(part) :]

    def _open(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._files.append(self._directory / f"shard{len(self._files) + 1}")
        self._stream, self._room = self._files[-1].open("wb"), self._size


def _encoded_strings(array: np.ndarray) -> bytes:
    """Each string behind its length in four bytes (tfjs-core/src/io/io_utils.ts, encodeWeights)."""
    texts = [t if isinstance(t, bytes) else str(t).encode() for t in array.ravel()]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def _quantized(array: np.ndarray, stored: str) -> tuple[np.ndarray, dict[str, Any] | None]:
    """A weight in a narrower dtype, and how to get it back: value = stored × scale + min."""
    how: dict[str, Any] = {"dtype": stored, "original_dtype": "float32"}
    if stored == "float16":
        half = array.astype(np.float16)
        return (half, how) if np.isfinite(half).all() or not np.isfinite(array).all() else (array, None)
    low, high = float(array.min()), float(array.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        return array, None
    # Zero keeps its place exactly: padding and sparse weights stay zeros.
    low, high = min(low, 0.0), max(high, 0.0)
    levels = int(np.iinfo(stored).max)
    scale = (high - low) / levels or 1.0
    zero = round(-low / scale)
    low = -zero * scale
    steps = np.clip(np.rint((array - low) / scale), 0, levels).astype(stored)
    return steps, how | {"min": low, "scale": scale}
