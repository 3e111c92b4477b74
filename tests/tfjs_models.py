"""Small TF.js models written by hand: the topology as JSON, the weights as one shard."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convkit.signature import Signature, TensorSpec

_TITLES = {
    "float32": "DT_FLOAT",
    "int32": "DT_INT32",
    "int64": "DT_INT64",
    "bool": "DT_BOOL",
    "string": "DT_STRING",
    "complex64": "DT_COMPLEX64",
    "resource": "DT_RESOURCE",
}


def title(dtype: str) -> str:
    """numpy's name of a dtype as TensorFlow's enumeration has it."""
    return _TITLES[dtype]


def shape_json(shape: Sequence[int | str]) -> dict[str, Any]:
    return {"dim": [{"size": str(d if isinstance(d, int) else -1)} for d in shape]} if shape else {}


def node(name: str, op: str, inputs: Sequence[str] = (), dtype: str | None = "float32", **attributes: Any) -> dict[str, Any]:
    """A NodeDef as JSON; `dtype` becomes the attribute T, `attributes` are JSON as they are."""
    attr = {**({} if dtype is None else {"T": {"type": title(dtype)}}), **attributes}
    return {"name": name, "op": op, "input": list(inputs), "attr": attr}


def placeholder(spec: TensorSpec) -> dict[str, Any]:
    shape = {"shape": {"shape": shape_json(spec.shape or ())}}
    return {"name": spec.name, "op": "Placeholder", "attr": {"dtype": {"type": title(spec.dtype)}, **shape}}


def constant(name: str, array: np.ndarray) -> dict[str, Any]:
    dtype = title(array.dtype.name)
    tensor = {"tensor": {"dtype": dtype, "tensorShape": shape_json(array.shape)}}
    return {"name": name, "op": "Const", "attr": {"dtype": {"type": dtype}, "value": tensor}}


def write_model(directory: Path, model: Mapping[str, Any], weights: Mapping[str, np.ndarray] | None = None) -> Path:
    """Writes `model.json` with a manifest for the weights, and their shard."""
    directory.mkdir(parents=True, exist_ok=True)
    entries = [{"name": n, "shape": list(a.shape), "dtype": a.dtype.name} for n, a in (weights or {}).items()]
    (directory / "group1-shard1of1.bin").write_bytes(b"".join(a.tobytes() for a in (weights or {}).values()))
    manifest = [{"paths": ["group1-shard1of1.bin"], "weights": entries}] if entries else []
    file = directory / "model.json"
    file.write_text(json.dumps({**model, "weightsManifest": manifest}))
    return file


def write_graph(
    directory: Path,
    signature: Signature,
    nodes: Sequence[Mapping[str, Any]],
    weights: Mapping[str, np.ndarray] | None = None,
    functions: Sequence[Mapping[str, Any]] = (),
    **extras: Any,
) -> Path:
    """A graph model whose outputs are the nodes of their names; placeholders and constants are added.

    Args:
        directory: Made if it is not there.
        signature: With the order that matters.
        nodes: All but placeholders and constants.
        weights: By the name of the constant.
        functions: The function library.
        extras: Further entries of `model.json`.
    """
    constants = [constant(name, array) for name, array in (weights or {}).items()]
    topology: dict[str, Any] = {
        "node": [*map(placeholder, signature.inputs), *constants, *nodes],
        "library": {"function": list(functions)},
        "versions": {"producer": 1882},
    }

    def recorded(specs: Sequence[TensorSpec]) -> dict[str, Any]:
        return {t.name: {"name": f"{t.name}:0", "dtype": title(t.dtype), "tensorShape": shape_json(t.shape or ())} for t in specs}

    model = {
        "format": "graph-model",
        "modelTopology": topology,
        "signature": {"inputs": recorded(signature.inputs), "outputs": recorded(signature.outputs)},
        **extras,
    }
    return write_model(directory, model, weights)


def specs(*texts: str) -> tuple[TensorSpec, ...]:
    """`parse_spec` of each."""
    from convkit.signature import parse_spec

    return tuple(map(parse_spec, texts))


def function(name: str, output: str, result: str, nodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A FunctionDef with the float argument `x` and one output of dtype `output`, the tensor `result`."""
    return {
        "signature": {
            "name": name,
            "inputArg": [{"name": "x", "type": "DT_FLOAT"}],
            "outputArg": [{"name": "y", "type": title(output)}],
        },
        "nodeDef": list(nodes),
        "ret": {"y": result},
    }


def while_loop(directory: Path, bound: float) -> Path:
    """`while x < bound: x += x`, on a scalar: from 0 it never ends."""
    limit = np.array(bound, np.float32)
    condition = [constant("limit", limit), node("below", "Less", ["x", "limit"])]
    loop = node(
        "last",
        "StatelessWhile",
        ["x"],
        dtype=None,
        T={"list": {"type": ["DT_FLOAT"]}},
        cond={"func": {"name": "condition"}},
        body={"func": {"name": "body"}},
    )
    functions = [
        function("condition", "bool", "below:z:0", condition),
        function("body", "float32", "more:z:0", [node("more", "AddV2", ["x", "x"])]),
    ]
    return write_graph(directory, Signature(specs("x[]"), specs("last[]")), [loop], {"limit": limit}, functions)
