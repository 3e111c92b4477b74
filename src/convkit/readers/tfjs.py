"""TF.js: `model.json` with the topology, and binary shards with the weights beside it.

Formats: tfjs-core/src/io/types.ts (ModelJSON, WeightsManifestConfig) and tfjs-converter's docs.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convkit.artifact import ModelInfo
from convkit.errors import UnreadableModelError
from convkit.formats import Variant
from convkit.readers.companions import companion
from convkit.readers.damage import DamagedFileError
from convkit.readers.keras_config import describe_config
from convkit.signature import Dim, Signature, TensorSpec, dynamic_dim

__all__ = ["matches", "read"]

_MODEL = "model.json"
_JSON_LIMIT = 1 << 30
_BYTES = {"float32": 4, "int32": 4, "float16": 2, "uint16": 2, "uint8": 1, "bool": 1, "complex64": 8}
_DTYPES = {
    "DT_FLOAT": "float32", "DT_INT32": "int32", "DT_BOOL": "bool", "DT_STRING": "string", "DT_COMPLEX64": "complex64",
    "DT_INT64": "int64", "DT_HALF": "float16", "DT_DOUBLE": "float64", "DT_UINT8": "uint8", "DT_INT8": "int8",
    "DT_UINT16": "uint16", "DT_INT16": "int16", "DT_RESOURCE": "resource", "DT_VARIANT": "variant",
}  # fmt: skip


def matches(path: Path, head: bytes) -> Variant | None:
    file = path / _MODEL if path.is_dir() else path
    if path.is_dir():
        if not file.is_file():
            return None
    elif not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return None
    model = _load(file)
    if not isinstance(model, dict) or "modelTopology" not in model:
        return None
    topology = model["modelTopology"]
    declared = model.get("format")
    layers = declared == "layers-model" or (declared is None and isinstance(topology, dict) and _keras_config(topology))
    return Variant.TFJS_LAYERS if layers else Variant.TFJS_GRAPH


def _refuse_constant(name: str) -> None:
    raise DamagedFileError(f"it has the number {name}, which is no JSON")


def _load(file: Path) -> Any:
    """The JSON.

    Raises:
        DamagedFileError: when it is none; a bare JSON file that is no model is for others to explain.
    """
    if file.stat().st_size > _JSON_LIMIT:
        return None
    try:
        return json.loads(file.read_bytes(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        with file.open("rb") as stream:
            if b'"modelTopology"' not in stream.read(1 << 16):
                return None
        raise DamagedFileError(f"its JSON is broken: {error}") from error


def _keras_config(topology: dict[str, Any]) -> Any:
    """The configuration in the topology of a layers model, None in that of a graph model."""
    if "model_config" in topology:
        return topology["model_config"]
    return topology if "class_name" in topology else None


def read(path: Path, variant: Variant) -> ModelInfo:
    file = path / _MODEL if path.is_dir() else path
    model = _load(file)
    size, parameters, dtypes = _weights(file, model)
    metadata: dict[str, Any] = {key: str(model[key]) for key in ("generatedBy", "convertedBy") if model.get(key) is not None}
    metadata["weight_dtypes"] = dtypes
    topology = model["modelTopology"]
    if variant is Variant.TFJS_LAYERS:
        config = _keras_config(topology)
        described = describe_config(json.loads(config) if isinstance(config, str) else config)
    else:
        described = _describe_graph(model, topology)
    return ModelInfo(variant, path, file.stat().st_size + size, parameters=parameters, metadata=metadata, **described)


def _weights(file: Path, model: Any) -> tuple[int, int, dict[str, int]]:
    """Bytes of the shards, elements, and tensors per stored dtype; the shards hold exactly the weights.

    Raises:
        UnreadableModelError: when a shard lies elsewhere, is missing, or is too short or too long.
    """
    total = elements = 0
    dtypes: Counter[str] = Counter()
    for group in model.get("weightsManifest") or ():
        shards = [companion(file, str(location), "a weight group") for location in group["paths"]]
        held = sum(shard.stat().st_size for shard in shards)
        needed: int | None = 0
        for weight in group["weights"]:
            count = _elements(weight)
            stored = str((weight.get("quantization") or {}).get("dtype") or weight["dtype"])
            dtypes[stored] += 1
            elements += count
            # Strings have lengths of their own, which only the shard knows.
            needed = None if needed is None or stored == "string" else needed + count * _bytes_of(stored)
        if needed is not None and needed != held:
            names = ", ".join(shard.name for shard in shards)
            raise UnreadableModelError(
                f"the weights of {file} take {needed} bytes, and {names} have {held}",
                hint="a shard is truncated or belongs to another model: fetch model.json and its shards again",
            )
        total += held
    return total, elements, dict(dtypes)


def _bytes_of(dtype: str) -> int:
    if dtype not in _BYTES:
        raise DamagedFileError(f"a weight has the unknown dtype {dtype!r}")
    return _BYTES[dtype]


def _elements(weight: Any) -> int:
    if not all(type(d) is int and d >= 0 for d in weight["shape"]):
        raise DamagedFileError(f"the weight {weight.get('name')!r} has the shape {weight['shape']}")
    return math.prod(weight["shape"])


def _describe_graph(model: Any, topology: Any) -> dict[str, Any]:
    """Signature and operators of a graph model, as arguments of `ModelInfo`."""
    functions = (topology.get("library") or {}).get("function") or ()
    nodes = list(topology["node"])
    bodies = [node for function in functions for node in function.get("nodeDef") or ()]
    notes = []
    recorded = model.get("signature") or (model.get("userDefinedMetadata") or {}).get("signature")
    if recorded:
        signature = Signature(
            tuple(_recorded(name, info) for name, info in (recorded.get("inputs") or {}).items()),
            tuple(_recorded(name, info) for name, info in (recorded.get("outputs") or {}).items()),
        )
    else:
        signature = _signature_of_nodes(nodes)
        notes.append("no signature: inputs and outputs are the graph's placeholders and its unused results")
    operators = Counter(str(node["op"]) for node in (*nodes, *bodies) if node["op"] not in {"NoOp", "Placeholder"})
    return {"signatures": (signature,), "operators": operators, "notes": tuple(notes)}


def _recorded(name: str, info: Any) -> TensorSpec:
    return TensorSpec(name, _dtype(info.get("dtype")), _shape(name, info.get("tensorShape")))


def _signature_of_nodes(nodes: list[Any]) -> Signature:
    used = {_node_of(str(source)) for node in nodes for source in node.get("input") or ()}
    inputs = [_placeholder(node) for node in nodes if node["op"] == "Placeholder"]
    outputs = [node for node in nodes if node["name"] not in used and node["op"] not in {"Placeholder", "Const", "NoOp"}]
    return Signature(
        tuple(inputs), tuple(TensorSpec(str(n["name"]), _dtype(_attribute(n, "T").get("type")), None) for n in outputs)
    )


def _node_of(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]


def _attribute(node: Any, name: str) -> Any:
    return (node.get("attr") or {}).get(name) or {}


def _placeholder(node: Any) -> TensorSpec:
    name = str(node["name"])
    return TensorSpec(name, _dtype(_attribute(node, "dtype").get("type")), _shape(name, _attribute(node, "shape").get("shape")))


def _dtype(title: Any) -> str:
    """numpy's name; the converter leaves the dtype out where it is the default."""
    return _DTYPES.get(str(title or "DT_FLOAT"), "variant")


def _shape(name: str, shape: Any) -> tuple[Dim, ...] | None:
    if not isinstance(shape, dict) or shape.get("unknownRank"):
        return None
    return tuple(_dims(name, shape))


def _dims(name: str, shape: Any) -> Iterator[Dim]:
    """Sizes are 64-bit numbers, which JSON has as strings; -1 is dynamic."""
    for axis, dim in enumerate(shape.get("dim") or ()):
        size = int(dim.get("size", -1))
        yield size if size >= 0 else dynamic_dim(name, axis)
