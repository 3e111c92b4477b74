"""The operators of a torch exported program, and where in the user's own model they come from. Worker side.

torch.export keeps for each node the stack of modules that it was traced through (`nn_module_stack`) and the Python
stack (`stack_trace`); both survive `torch.export.save`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convkit.legalization.target import Finding, Verdict

if TYPE_CHECKING:
    import torch

__all__ = [
    "NODE_KEY",
    "Place",
    "calls",
    "copied",
    "findings",
    "operator_name",
    "operators",
    "place_of",
    "source_operator",
    "state_updates",
    "told",
    "without_batch_heuristics",
]

NODE_KEY = "onnx_node"
"""Under which a program imported from ONNX keeps, in each node's `custom` metadata, the name of the node in the ONNX file."""

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
# Frames below the user's own code: the framework's, and convkit's wrapper around the root module.
_FOREIGN = re.compile(r"(^|[/\\])(torch|convkit[/\\](loading|interpreters))[/\\]")


@dataclass(frozen=True)
class Place:
    """Where a node comes from: the path of the innermost module ("layers.0.attention"), or the node of the ONNX file that
    the program was imported from; and "file.py:line".
    """

    module: str
    line: str

    def __str__(self) -> str:
        return f"{self.module} ({self.line})" if self.module and self.line else self.module or self.line


def operator_name(target: Any) -> str:
    """The name of a node's target as readers spell it: `aten.conv2d.default`, `_operator.mul`, `higher_order.cond`."""
    import torch

    if isinstance(target, torch._ops.OpOverload):
        return str(target)
    if isinstance(target, torch._ops.HigherOrderOperator):
        return f"higher_order.{target.name()}"
    return f"{getattr(target, '__module__', None) or 'builtins'}.{getattr(target, '__name__', target)}"


def calls(program: torch.export.ExportedProgram) -> Iterator[torch.fx.Node]:
    """Every operator node, those of control-flow branches included; picking from a tuple is no operator."""
    import operator

    import torch

    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                if node.op == "call_function" and node.target is not operator.getitem:
                    yield node


def copied(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """A program with a graph of its own; the weights are shared."""
    import copy

    result = copy.copy(program)
    result._graph_module = copy.deepcopy(program.graph_module)
    result._range_constraints = dict(program.range_constraints)
    # Copying renames nodes that are called like Python's builtins (`input`), and the graph signature goes by name.
    for old, new in zip(program.graph.nodes, result.graph.nodes, strict=True):
        new.name = old.name
    return result


def place_of(node: torch.fx.Node) -> Place:
    """Where a node comes from; empty parts where the program does not record it."""
    imported = (node.meta.get("custom") or {}).get(NODE_KEY)
    if imported:
        return Place(str(imported), "")
    module = ""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if stack and not str(stack[-1][0]).startswith("_empty_nn_module_stack"):  # nodes that torch itself inserted
        module = str(stack[-1][0]).removeprefix("L['self'].")
        if "ConvkitRoot" in str(stack[0][1]):
            module = "" if module == "model" else module.removeprefix("model.")
    return Place(module, _line(node.meta.get("stack_trace") or ""))


def _line(stack_trace: str) -> str:
    """The innermost frame of the user's own code."""
    frames = [m for m in _FRAME.finditer(stack_trace) if not _FOREIGN.search(m["file"])]
    if not frames:
        return ""
    file = re.split(r"[/\\]", frames[-1]["file"])[-1]
    return f"{file}:{frames[-1]['line']}"


def source_operator(node: torch.fx.Node) -> str:
    """The operator of the undecomposed program that a node was made of; its own where that is not recorded."""
    origin = next(iter(node.meta.get("from_node") or ()), None)
    while origin is not None and origin.from_node:
        origin = origin.from_node[0]
    target = str(origin.target) if origin is not None else ""
    return target if re.fullmatch(r"\w+\.\w+\.\w+", target) else operator_name(node.target)


def operators(program: torch.export.ExportedProgram) -> dict[str, list[Place]]:
    """Every operator's places, one per node, in the order of the graph."""
    found: dict[str, list[Place]] = {}
    for node in calls(program):
        found.setdefault(operator_name(node.target), []).append(place_of(node))
    return found


def findings(program: torch.export.ExportedProgram, gaps: Mapping[torch.fx.Node, str]) -> list[Finding]:
    """The verdicts on a program's operators, gaps first; `gaps` are nodes, of it or left after decomposition, and reasons."""
    counts = {name: len(places) for name, places in operators(program).items()}
    where: dict[tuple[str, str], dict[str, None]] = {}
    for node, reason in gaps.items():
        where.setdefault((source_operator(node), reason), {})[str(place_of(node))] = None
    hint = "rewrite it with other operators in the model"
    refused = {name for name, _ in where}
    return [
        Finding(name, counts.get(name, len(places)), Verdict.GAP, reason, tuple(p for p in places if p), hint)
        for (name, reason), places in sorted(where.items())
    ] + [Finding(name, count, Verdict.LEGAL) for name, count in sorted(counts.items()) if name not in refused]


def state_updates(program: torch.export.ExportedProgram) -> list[torch.fx.Node]:
    """The nodes that give a buffer a new value for the next run: in place, or once decomposed as outputs of their own.

    A target without variables computes every run from the first values, so that only the first run is right.
    """
    import torch
    from torch.export.graph_signature import InputKind

    signature = program.graph_signature
    buffers = {s.arg.name for s in signature.input_specs if s.kind is InputKind.BUFFER}
    found = [node for node in program.graph.nodes if node.name in signature.buffers_to_mutate]
    for node in program.graph.nodes:
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable:
            found += [node] if any(a.name in buffers for a in node.all_input_nodes[:1]) else []
    return found


def told(nodes: Iterable[torch.fx.Node]) -> str:
    """The operators of nodes in one line, each with its first place; empty where there is none."""
    found: dict[str, str] = {}
    for node in nodes:
        found.setdefault(source_operator(node), str(place_of(node)))
    return ", ".join(f"{name} at {place}" if place else name for name, place in found.items())


@contextmanager
def without_batch_heuristics() -> Iterator[None]:
    """Keeps torch from choosing a convolution kernel while a program is traced again.

    The choice between oneDNN and NNPACK asks whether the batch is below 16, and the answer becomes a guard: a program
    exported for batches of 1 to 64 comes out for 2 to 15, without a word (aten/src/ATen/native/Convolution.cpp). What is
    known of a dimension belongs to the program and all its copies, so every converter decorates its work with this.
    """
    import torch

    with torch.backends.mkldnn.flags(enabled=False), torch.backends.nnpack.flags(enabled=False):
        yield
