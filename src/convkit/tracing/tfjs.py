"""What the nodes of a TF.js graph model compute, in Node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from convkit.artifact import Artifact
from convkit.components import Host, Tracer
from convkit.formats import Variant
from convkit.traces import Recorder, TracedOperator, fetched

if TYPE_CHECKING:
    import numpy as np

__all__ = ["TRACER", "trace"]

TRACER = Tracer(
    name="TF.js",
    variants=(Variant.TFJS_GRAPH,),
    host=Host(group="tfjs", preload=("numpy", "convkit.javascript.node"), tools=("tfjs",)),
)

_BUDGET = 128 << 20
"""Bytes of tensors on their way from Node at a time."""
_SILENT = {"NoOp", "Placeholder", "PlaceholderWithDefault"}


def trace(artifact: Artifact, feeds: Mapping[str, np.ndarray], record: Recorder) -> None:
    """Records every node of the graph; those of functions are inside the node that calls them.

    Raises:
        ConversionError: TF.js fails.
        UnreadableModelError: The model is damaged.
    """
    from convkit.readers.tfjs import load_model
    from convkit.runtimes.tfjs import load

    session = load(artifact)
    _, model = load_model(artifact.path)
    nodes = [n for n in model["modelTopology"]["node"] if n["op"] not in _SILENT]
    outputs = _outputs_used(nodes)
    for node in nodes:
        if node["op"] != "Const":
            record.operator(_operator(node, outputs))
    pairs = dict(session.edges)
    for name, own in pairs["inputs"].items():
        record.tensor(_plain(own), feeds[name])
    constant = {n["name"] for n in nodes if n["op"] == "Const"}
    wanted = [o for n in nodes for o in outputs.get(n["name"], [n["name"]])]
    for name, array in fetched(wanted, lambda names: [*session.intermediates(feeds, names).items()], _BUDGET):
        record.tensor(name, array, constant=name in constant)
    for name, array in session.run(feeds).items():
        record.tensor(_plain(pairs["outputs"][name]), array)  # TF.js may know an output by its key in the signature
    record.edges(*({n: _plain(own) for n, own in pairs[role].items()} for role in ("inputs", "outputs")))


def _plain(name: str) -> str:
    """The name of a tensor without the ":0" of a first output."""
    return name.removesuffix(":0")


def _outputs_used(nodes: list[dict[str, Any]]) -> dict[str, list[str]]:
    """By node the outputs that others read, and its first."""
    found: dict[str, list[str]] = {n["name"]: [n["name"]] for n in nodes}
    for node in nodes:
        for name in map(_plain, node.get("input", ())):
            owner, _, index = name.partition(":")
            if index and name not in found.get(owner, [name]):
                found[owner].append(name)
    return found


def _operator(node: Mapping[str, Any], outputs: Mapping[str, list[str]]) -> TracedOperator:
    inputs = tuple(_plain(n) for n in node.get("input", ()) if not n.startswith("^"))
    return TracedOperator(node["name"], node["op"], inputs, tuple(outputs[node["name"]]))
