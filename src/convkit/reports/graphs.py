"""The graph of a checked model with the verdict on every node, for faces that draw it or hand it to a viewer.

Read from the model's own file without a framework: ONNX files and exported programs have graphs of operators that people know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convkit.errors import ConvkitError
from convkit.formats import Variant
from convkit.legalization.places import recorded_place
from convkit.legalization.target import Finding, Verdict

__all__ = ["Node", "marked"]

_MOST_NODES = 20_000
_BLOCK = "higher_order.wrap_with_set_grad_enabled"
_SEVERITY = (Verdict.LEGAL, Verdict.REWRITTEN, Verdict.GAP)


@dataclass(frozen=True)
class Node:
    """One operator of the main graph.

    Attributes:
        key: What viewers know it by: its name; Model Explorer calls a node without one "<node_7>" after its place in the file.
        operator: As findings spell it.
        place: As findings spell it; empty where the file does not say.
        inputs: The keys of the nodes whose results it takes.
        verdict, reason: On the best route.
    """

    key: str
    operator: str
    place: str
    inputs: tuple[str, ...]
    verdict: Verdict = Verdict.LEGAL
    reason: str = ""


def marked(model: str, findings: Sequence[Finding]) -> tuple[Node, ...]:
    """The nodes of a model's file with the verdicts of findings; none for formats without such a graph, or where it is gone."""
    nodes: list[Node] = []
    with suppress(ConvkitError, OSError, LookupError, TypeError, ValueError):
        nodes = _read(Path(model))
    return tuple(replace(node, verdict=f.verdict, reason=f.reason) if (f := _finding(node, findings)) else node for node in nodes)


def _finding(node: Node, findings: Iterable[Finding]) -> Finding | None:
    """The gravest finding on a node: one that names its place, or its operator and no place."""
    told = [f for f in findings if f.operator == node.operator and (not f.where or node.place in f.where)]
    return max(told, key=lambda f: _SEVERITY.index(f.verdict), default=None)


def _read(path: Path) -> list[Node]:
    from convkit.readers import identify

    variant = identify(path)
    if variant is Variant.ONNX:
        return _of_onnx(path)
    return _of_program(path) if variant is Variant.EXPORTED_PROGRAM else []


def _of_onnx(path: Path) -> list[Node]:
    import onnx

    from convkit.readers.protobuf import parse

    graph = parse(onnx.ModelProto(), path.read_bytes()).graph
    keys: dict[str, Any] = {}
    for index, node in enumerate(graph.node):
        if node.op_type != "Constant" and len(node.output) and len(keys) < _MOST_NODES:
            keys[node.name if node.name and node.name not in keys else f"<node_{index}>"] = node
    producers = {name: key for key, n in keys.items() for name in n.output if name}

    def spelt(node: Any) -> str:
        return str(node.op_type) if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"

    return [
        Node(key, spelt(n), n.name or n.output[0], _distinct(producers.get(name, "") for name in n.input))
        for key, n in keys.items()
    ]


def _of_program(path: Path) -> list[Node]:
    from convkit.readers.archive import open_archive, read_json
    from convkit.readers.exported_program import model_member

    with open_archive(path) as archive:
        member = model_member(archive.namelist())
        graph = read_json(archive, member or "", 512 << 20)["graph_module"]["graph"]
    producers: dict[str, str] = {}
    nodes: list[Node] = []
    _add_nodes(graph, producers, nodes)
    return nodes


def _add_nodes(graph: Mapping[str, Any], producers: dict[str, str], nodes: list[Node]) -> None:
    """Adds the nodes of a graph, those under `torch.no_grad()` among them; `producers` are the nodes behind its values."""
    for entry in graph["nodes"][: _MOST_NODES - len(nodes)]:
        names = list(_value_names(entry["outputs"]))
        key = str(entry.get("name") or (names[0] if names else ""))
        operator = str(entry["target"]).removeprefix("torch.ops.")
        inputs = _distinct(producers.get(name, "") for name in _value_names([i["arg"] for i in entry["inputs"]]))
        if operator == "_operator.getitem" and inputs:
            producers.update(dict.fromkeys(names, inputs[0]))
            continue
        if operator == _BLOCK:
            _add_block(entry, names, producers, nodes)
            continue
        producers.update(dict.fromkeys(names, key))
        nodes.append(Node(key, operator, recorded_place(entry.get("metadata", {})), inputs))


def _add_block(entry: Mapping[str, Any], names: Sequence[str], producers: dict[str, str], nodes: list[Node]) -> None:
    _, body, *operands = (given["arg"] for given in entry["inputs"])
    graph = body["as_graph"]["graph"]
    within = {
        mine: producers.get(theirs, "")
        for mine, theirs in zip(_value_names(graph["inputs"]), _value_names(operands), strict=False)
    }
    _add_nodes(graph, within, nodes)
    for name, result in zip(names, _value_names(graph["outputs"]), strict=False):
        producers[name] = within.get(result, "")


def _value_names(values: Any) -> Iterable[str]:
    """The names of the values that arguments of the archive's JSON refer to, whatever holds them."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            if key in ("name", "as_name") and isinstance(value, str):
                yield value
            elif key != "as_graph":
                yield from _value_names(value)
    elif isinstance(values, list):
        for value in values:
            yield from _value_names(value)


def _distinct(keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, keys)))
