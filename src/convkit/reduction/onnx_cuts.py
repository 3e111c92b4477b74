"""Some nodes of an ONNX model as a model of their own. Worker side; needs onnx only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from convkit.errors import ConversionError
from convkit.probing.onnx_graph import OnnxGraph, declared, domains, ordered, outer_names

if TYPE_CHECKING:
    import onnx

__all__ = ["cut", "order"]


def order(path: str) -> list[tuple[str, str]]:
    """Name and operator of every node, in the order of the graph."""
    nodes = _graph(path, _stamp(path)).model.graph.node
    return [(node.name or next(iter(node.output), ""), node.op_type) for node in nodes]


def cut(path: str, kept: Sequence[int], file: str) -> int:
    """Writes the nodes of these positions, and those that compute the sizes that they need, to a file.

    Returns:
        How many nodes these are.

    Raises:
        ConversionError: What goes in or comes out is no tensor, or its dtype and rank are not known.
    """
    import onnx

    graph = _graph(path, _stamp(path))
    nodes = [graph.model.graph.node[k] for k in sorted(kept)]
    own = {n for node in nodes for n in node.output if n}
    chains = [c for node in nodes for n in outer_names(node) if n not in own and graph.is_size(n) and (c := graph.chain(n))]
    nodes = [node for node in graph.model.graph.node if id(node) in {id(n) for n in (*ordered(chains), *nodes)}]
    model = _model(graph, nodes, graph.named) or _model(graph, nodes, graph.fixed_types())
    if model is None:
        raise ConversionError("not all shapes and dtypes around these nodes are known", component="onnx")
    onnx.save(model, file)
    return len(nodes)


def _model(graph: OnnxGraph, nodes: Sequence[onnx.NodeProto], types: Mapping[str, onnx.TypeProto]) -> onnx.ModelProto | None:
    """The nodes with declared edges; None where the type of one is not known."""
    import onnx

    own = {n for node in nodes for n in node.output if n}
    used = [n for node in nodes for n in outer_names(node) if n]
    made = onnx.GraphProto(name="reduced", node=nodes)
    symbols: dict[str, str] = {}
    for name in dict.fromkeys(n for n in used if n not in own):
        if name in graph.constants:
            made.initializer.add().CopyFrom(graph.constants[name])
            made.initializer[-1].name = name
        elif (info := declared(name, types.get(name), symbols)) is not None:
            made.input.append(info)
        else:
            return None
    for name in own:
        if name in graph.results or name not in used:
            info = declared(name, types.get(name), symbols, is_result=True)
            if info is None:
                return None
            made.output.append(info)
    if not made.output or not made.input:
        return None
    held = set(domains(nodes))
    opsets = [onnx.OperatorSetIdProto(domain=d, version=v) for d, v in graph.opsets.items() if d in held or not d]
    return onnx.ModelProto(ir_version=graph.model.ir_version, producer_name="convkit", graph=made, opset_import=opsets)


@lru_cache(maxsize=1)
def _graph(path: str, stamp: tuple[int, int]) -> OnnxGraph:
    """The graph with its weights: the ones that the failure may depend on."""
    import onnx

    model = onnx.load(path, load_external_data=True)
    return OnnxGraph(onnx.inliner.inline_local_functions(model) if model.functions else model)


def _stamp(path: str) -> tuple[int, int]:
    status = Path(path).stat()
    return status.st_mtime_ns, status.st_size
