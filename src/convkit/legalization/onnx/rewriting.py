"""Rewrites what a target does not accept into operators that it does: the driver, and what a rewrite is made of.

A rewrite is a function that computes an operator with simpler ones:

    @rewrite("Hardmax", summary="one-hot of the first largest element")
    def hardmax(build: Builder, node: ir.Node) -> Outputs:
        ...
        return [build("Cast", equal, to=node.outputs[0].dtype)]

It returns None where it does not apply to this node. What no rewrite takes, but onnx itself defines by a function body
(https://onnx.ai/onnx/operators: "function body"), is replaced by that body through onnx's own inliner.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol, TypeAlias

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from convkit.legalization.onnx.building import Builder
from convkit.legalization.onnx.function_bodies import function_body
from convkit.legalization.onnx.inference import bodies, infer_nodes, infer_shapes, merge_shapes
from convkit.legalization.target import Finding, Verdict

__all__ = ["Builder", "OnnxTarget", "Outputs", "Rewrite", "legalize", "rewrite", "rewrites"]

Outputs: TypeAlias = Sequence[ir.Value | None] | None
"""One value per output of the node (None for one that nothing uses), or None where a rewrite does not apply."""

_MOST_ROUNDS = 12
"""How deep rewrites may nest: Attention → Softmax → … is three."""


class OnnxTarget(Protocol):
    """What an importer, or a converter of others, accepts."""

    name: str

    def refusal(self, node: ir.Node, opset: int) -> str | None:
        """Why a node is not legal, None where it is."""


@dataclass(frozen=True)
class Rewrite:
    """How an operator is computed with simpler ones.

    Attributes:
        operator: Its name.
        domain: Its domain, "" for ai.onnx.
        summary: What the rewrite does, one clause, for reports.
        apply: Builds the replacement of a node; None where it does not apply.
    """

    operator: str
    domain: str
    summary: str
    apply: Callable[[Builder, ir.Node], Outputs]


_registered: dict[tuple[str, str], list[Rewrite]] = {}

_Apply: TypeAlias = Callable[[Builder, ir.Node], Outputs]


def rewrite(*operators: str, summary: str, domain: str = "") -> Callable[[_Apply], _Apply]:
    """Registers a rewrite; of several for one operator the first that applies is taken."""

    def register(apply: _Apply) -> _Apply:
        for operator in operators:
            _registered.setdefault((domain, operator), []).append(Rewrite(operator, domain, summary, apply))
        return apply

    return register


@cache
def rewrites() -> dict[tuple[str, str], list[Rewrite]]:
    """Every registered rewrite by (domain, operator)."""
    package = importlib.import_module("convkit.legalization.onnx.rewrites")
    for info in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{info.name}")
    return _registered


def legalize(model: ir.Model, target: OnnxTarget) -> list[Finding]:
    """Rewrites a prepared model in place until a target accepts it.

    Returns:
        One finding per operator and reason: what was legal, what was rewritten, and the gaps that are left.
    """
    return _Legalization(model, target).findings()


@dataclass
class _Place:
    """A node of the model as it was given, and what became of it.

    Attributes:
        operator: Its operator, with the domain.
        name: Where it is.
        summary: The rewrite that replaced it; empty while it is as it was.
        gaps: Nodes, its own or its replacement's, that the target refuses and nothing replaces; with the reason.
    """

    operator: str
    name: str
    summary: str = ""
    gaps: list[tuple[ir.Node, int, str]] = field(default_factory=list)

    def verdict(self) -> tuple[Verdict, str]:
        if self.gaps:
            node, _, refusal = self.gaps[0]
            return Verdict.GAP, refusal if _name(node) == self.operator else f"it is computed with {_name(node)}: {refusal}"
        return (Verdict.REWRITTEN, self.summary) if self.summary else (Verdict.LEGAL, "")


class _Legalization:
    """One model on the way to one target."""

    def __init__(self, model: ir.Model, target: OnnxTarget) -> None:
        self._model, self._target = model, target
        self._opsets = {_normal(domain): version for domain, version in model.opset_imports.items()}
        self._names: set[str] | None = None
        self._places: list[_Place] = []

    def findings(self) -> list[Finding]:
        self._graph(self._model.graph)
        self._retry()
        if any(place.summary for place in self._places):
            self._model.graph.opset_imports.update(
                {d: v for d, v in self._opsets.items() if d and d not in self._model.opset_imports}
            )
            RemoveUnusedNodesPass()(self._model)
            used = {_normal(node.domain) for graph in self._model.graphs() for node in graph}
            for domain in [d for d in self._model.opset_imports if d and d not in used]:
                del self._model.opset_imports[domain]
        found: dict[tuple[str, Verdict, str], list[str]] = {}
        for place in self._places:
            found.setdefault((place.operator, *place.verdict()), []).append(place.name)
        order = [Verdict.GAP, Verdict.REWRITTEN, Verdict.LEGAL]
        every = [
            Finding(operator, len(names), verdict, reason, tuple(names[:5]) if verdict is Verdict.GAP else ())
            for (operator, verdict, reason), names in found.items()
        ]
        return sorted(every, key=lambda f: (order.index(f.verdict), f.operator, f.reason))

    def _graph(self, graph: ir.Graph) -> None:
        for node in list(graph):
            place = _Place(_name(node), node.name or str(node.outputs[0].name if node.outputs else ""))
            self._places.append(place)
            self._node(node, place, 0)
            if not place.summary:
                for body in bodies(node):
                    self._graph(body)

    def _node(self, node: ir.Node, place: _Place, depth: int) -> None:
        """Replaces one node, and what replaces it, until all is legal or a gap is left."""
        if node.graph is None:  # gone with a rewrite of several nodes
            return
        if depth and any(o.name and o.dtype is None for o in node.outputs):
            infer_nodes([node], self._opsets)
        refusal = self._target.refusal(node, self._opsets.get(_normal(node.domain), 1))
        if refusal is None:
            for body in bodies(node) if depth else ():
                for inner in list(body):
                    self._node(inner, place, depth + 1)
            return
        replaced = self._replaced(node) if depth < _MOST_ROUNDS else None
        if replaced is None:
            place.gaps.append((node, depth, refusal))
            return
        summary, nodes = replaced
        place.summary = place.summary or summary
        for inner in nodes:
            self._node(inner, place, depth + 1)

    def _retry(self) -> None:
        """Gives gaps another try while rewrites elsewhere have made shapes known that a rewrite may have lacked."""
        progress = any(place.summary for place in self._places)
        while progress and any(place.gaps for place in self._places):
            infer_shapes(self._model)
            progress = False
            for place in self._places:
                gaps, place.gaps = place.gaps, []
                for node, depth, _ in gaps:
                    self._node(node, place, depth)
                progress = progress or [g[0] for g in place.gaps] != [g[0] for g in gaps]

    def _replaced(self, node: ir.Node) -> tuple[str, list[ir.Node]] | None:
        """Replaces a node in its graph: the summary and the new nodes; None where nothing replaces it."""
        for summary, build, outputs in self._candidates(node):
            outputs = [*outputs, *[None] * (len(node.outputs) - len(outputs))]
            if any(new is None and _is_used(old) for old, new in zip(node.outputs, outputs, strict=False)):
                build.discard()
                continue
            self._make_names_unique(build)
            _substitute(node, build, outputs)
            for constant in build.constants:
                if constant.uses():
                    self._model.graph.register_initializer(constant)
            infer_nodes(build.nodes, self._opsets)
            return summary, build.nodes
        return None

    def _candidates(self, node: ir.Node) -> Iterator[tuple[str, Builder, Sequence[ir.Value | None]]]:
        opset, prefix = self._opsets.get("", 1), node.name or node.op_type
        for candidate in rewrites().get((_normal(node.domain), node.op_type), ()):
            build = Builder(opset, prefix)
            outputs = candidate.apply(build, node)
            if outputs is not None:
                yield candidate.summary, build, outputs
            else:
                build.discard()
        build = Builder(opset, prefix)
        outputs = function_body(build, node, self._opsets)
        if outputs is not None:
            yield f"replaced by onnx's own definition of {node.op_type}", build, outputs

    def _make_names_unique(self, build: Builder) -> None:
        """Renames new values whose names the model has already: it may itself be what a rewrite once wrote."""
        if self._names is None:
            self._names = set(_value_names(self._model.graph))
        for value in [*build.constants, *_values(build.nodes)]:
            name, number = value.name, 1
            while name in self._names:
                number += 1
                name = f"{value.name}_{number}"
            if name:
                value.name = name
                self._names.add(name)


def _substitute(node: ir.Node, build: Builder, outputs: list[ir.Value | None]) -> None:
    """Puts the new nodes in the node's place. Every new output takes the old one's name and what is known of it."""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    own = {v for n in build.nodes for v in n.outputs}
    taken: set[ir.Value] = set()
    renamed: list[tuple[ir.Value, str | None]] = []
    for old, new in zip(node.outputs, outputs, strict=False):
        if new is None or not old.name:
            continue
        if new not in own or new in taken:
            new = build("Identity", new)
        taken.add(new)
        new.type = old.type or new.type
        new.shape = merge_shapes(old.shape, new.shape)
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        renamed.append((new, old.name))
    graph.insert_after(node, build.nodes)
    graph.remove(node, safe=True)
    for new, name in renamed:
        new.name = name


def _is_used(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()


def _name(node: ir.Node) -> str:
    return f"{node.domain}.{node.op_type}" if _normal(node.domain) else node.op_type


def _normal(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _values(nodes: Sequence[ir.Node]) -> Iterator[ir.Value]:
    for node in nodes:
        yield from node.outputs
        for body in bodies(node):
            yield from body.inputs
            yield from _values(list(body))


def _value_names(graph: ir.Graph) -> Iterator[str]:
    for value in [*graph.inputs, *graph.initializers.values(), *_values(list(graph))]:
        if value.name:
            yield value.name
