"""What the nodes of a TF.js graph model compute, in Node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convkit.artifact import Artifact
from convkit.components import Host, Tracer
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.traces import Recorder, TracedOperator, fetched

if TYPE_CHECKING:
    import numpy as np

    from convkit.runtimes.tfjs import TfjsSession

__all__ = ["TRACER", "recorded", "trace"]

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
    from convkit.runtimes.tfjs import load

    recorded(load(artifact), artifact, feeds, record)


def recorded(session: TfjsSession, artifact: Artifact, feeds: Mapping[str, np.ndarray], record: Recorder) -> None:
    """What `trace` does, with a model that is loaded into any process that runs TF.js."""
    from convkit.readers.tfjs import load_model

    _, model = load_model(artifact.path)
    nodes = [n for n in model["modelTopology"]["node"] if n["op"] not in _SILENT]
    outputs = _outputs_used(nodes)
    for node in nodes:
        if node["op"] != "Const":
            record.operator(_operator(node, outputs))
    inputs, results = (_as_nodes(session.edges[role], _keyed(model, role)) for role in ("inputs", "outputs"))
    for name, own in inputs.items():
        record.tensor(own, feeds[name])
    # Weights first, which Node has without a run: few runs hand out all the rest.
    weights = [n["name"] for n in nodes if n["op"] == "Const"]
    computed = [o for n in nodes if n["op"] != "Const" for o in outputs.get(n["name"], [n["name"]])]
    told = 0
    for wanted in (weights, computed):
        for name, array in fetched(wanted, lambda names: _fetched(session, feeds, names), _BUDGET):
            record.tensor(name, array, constant=wanted is weights)
            told += 1
    if hidden := len(weights) + len(computed) - told:
        record.note(f"TF.js does not hand out {hidden} of {hidden + told} tensors inside {artifact.path.name}")
    for name, array in session.run(feeds).items():
        record.tensor(results[name], array)
    record.edges(inputs, results)


def _fetched(session: TfjsSession, feeds: Mapping[str, np.ndarray], names: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    """Tensors by name, without those that TF.js cannot give: it frees some that share their memory with others, and branches
    that are not taken have none. Which these are only trying tells.
    """
    try:
        return [*session.intermediates(feeds, names).items()]
    except ConversionError:
        half = len(names) // 2
        return [] if not half else [*_fetched(session, feeds, names[:half]), *_fetched(session, feeds, names[half:])]


def _keyed(model: Mapping[str, Any], role: str) -> dict[str, str]:
    """The tensors behind the keys of the model's own signature: TF.js knows outputs by them."""
    recorded = (model.get("signature") or (model.get("userDefinedMetadata") or {}).get("signature") or {}).get(role) or {}
    return {key: spec["name"] for key, spec in recorded.items() if isinstance(spec, dict) and isinstance(spec.get("name"), str)}


def _as_nodes(edges: Mapping[str, str], keyed: Mapping[str, str]) -> dict[str, str]:
    return {name: _plain(keyed.get(own, own)) for name, own in edges.items()}


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
