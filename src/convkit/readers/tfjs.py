"""TF.js: `model.json` with the topology, and binary shards with the weights beside it.

Formats: tfjs-core/src/io/types.ts (ModelJSON, WeightsManifestConfig) and tfjs-converter's docs.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from convkit.artifact import ModelInfo
from convkit.formats import Variant
from convkit.readers.damage import DamagedFileError
from convkit.readers.keras_arithmetic import domain_metadata
from convkit.readers.keras_config import describe_config
from convkit.readers.tfjs_layers import normalized_config
from convkit.readers.tfjs_signature import SIGNATURE_KEY, graph_edges
from convkit.readers.tfjs_weights import weight_groups
from convkit.signature import Signature

__all__ = ["SIGNATURE_KEY", "keras_config", "load_model", "matches", "read"]

_MODEL = "model.json"
_JSON_LIMIT = 1 << 30
_MOST_ELEMENTS = 1 << 31
"""Of a tensor: V8's arrays of numbers have at most 2^33 bytes."""
_STRUCTURAL = frozenset({"NoOp", "Placeholder"})


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
    layers = declared == "layers-model" or (declared is None and isinstance(topology, dict) and keras_config(topology))
    return Variant.TFJS_LAYERS if layers else Variant.TFJS_GRAPH


def load_model(path: Path) -> tuple[Path, dict[str, Any]]:
    """The `model.json` of a file or directory that `matches` has taken, and its content.

    Raises:
        DamagedFileError: It is no JSON, or no model.
    """
    file = path / _MODEL if path.is_dir() else path
    model = _load(file)
    if not isinstance(model, dict):
        raise DamagedFileError("it is no JSON object")
    return file, model


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


def keras_config(topology: dict[str, Any]) -> Any:
    """The configuration in the topology of a layers model, None in that of a graph model."""
    if "model_config" in topology:
        return topology["model_config"]
    return topology if "class_name" in topology else None


def read(path: Path, variant: Variant) -> ModelInfo:
    file, model = load_model(path)
    size, parameters, dtypes = _weights(file, model)
    metadata: dict[str, Any] = {key: str(model[key]) for key in ("generatedBy", "convertedBy") if model.get(key) is not None}
    metadata["weight_dtypes"] = dtypes
    topology = model["modelTopology"]
    if variant is Variant.TFJS_LAYERS:
        config = normalized_config(keras_config(topology))
        described = describe_config(config)
        metadata |= domain_metadata(config, described["signatures"])
    else:
        described = _describe_graph(model, topology)
    _refuse_endless_edges(described["signatures"])
    return ModelInfo(variant, path, file.stat().st_size + size, parameters=parameters, metadata=metadata, **described)


def _refuse_endless_edges(signatures: Iterable[Signature]) -> None:
    """Raises DamagedFileError for an input or output of more elements than a JavaScript array holds, before anybody makes one."""
    for spec in (s for signature in signatures for s in (*signature.inputs, *signature.outputs)):
        if math.prod(size for size in spec.shape or () if isinstance(size, int)) > _MOST_ELEMENTS:
            raise DamagedFileError(f"{spec.name!r} has the shape {list(spec.shape or ())}")


def _weights(file: Path, model: Any) -> tuple[int, int, dict[str, int]]:
    """Bytes of the shards, elements, and tensors per stored dtype."""
    groups = weight_groups(file, model)
    weights = [weight for group in groups for weight in group.weights]
    stored = Counter(weight.stored for weight in weights)
    return sum(group.size for group in groups), sum(weight.elements for weight in weights), dict(stored)


def _describe_graph(model: Any, topology: Any) -> dict[str, Any]:
    """Signature and operators of a graph model, as arguments of `ModelInfo`."""
    functions = (topology.get("library") or {}).get("function") or ()
    bodies = [node for function in functions for node in function.get("nodeDef") or ()]
    edges = graph_edges(model)
    operators = Counter(str(node["op"]) for node in (*topology["node"], *bodies) if node["op"] not in _STRUCTURAL)
    return {"signatures": (edges.signature,), "operators": operators, "notes": edges.notes}
