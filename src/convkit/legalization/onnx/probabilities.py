"""Small probabilities that ONNX Runtime keeps.

Its Sigmoid is a rational approximation with an absolute error of 3e-8 (onnxruntime/core/mlas/lib/logistic.cpp): of a probability
of 3e-7 a sixth is wrong, and below 1e-8 nothing is left. Where a model gives probabilities out, their logarithm counts, and so
these sigmoids are written as 1 / (1 + exp(-x)), which is right to the last bits. Those inside of a model keep their operator,
which is faster.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["keep_small_probabilities"]

_PASSING = frozenset(("Concat", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"))


def keep_small_probabilities(graph: Any) -> None:
    """Rewrites, in place, the Sigmoids of float32 that the outputs of a GraphProto give out as they are."""
    sigmoids = {node.output[0] for node in _giving(graph)}
    nodes = [made for node in graph.node for made in (_exactly(node) if node.output[0] in sigmoids else [node])]
    del graph.node[:]
    graph.node.extend(nodes)


def _giving(graph: Any) -> Iterator[Any]:
    """The Sigmoids behind the outputs, with nothing in between but operators that move elements."""
    from onnx import TensorProto

    made_by = {name: node for node in graph.node for name in node.output}
    pending = [v.name for v in graph.output if v.type.tensor_type.elem_type == TensorProto.FLOAT]
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        node = made_by.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type == "Sigmoid":
            yield node
        elif node.op_type in _PASSING:
            pending += node.input if node.op_type == "Concat" else node.input[:1]


def _exactly(node: Any) -> list[Any]:
    from onnx import TensorProto, helper

    (x,), (y,) = node.input, node.output
    place = node.name or y
    one = helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])
    return [
        helper.make_node("Constant", [], [f"{y}__one"], name=f"{place}__one", value=one),
        helper.make_node("Neg", [x], [f"{y}__negated"], name=f"{place}__negated"),
        helper.make_node("Exp", [f"{y}__negated"], [f"{y}__exp"], name=f"{place}__exp"),
        helper.make_node("Add", [f"{y}__exp", f"{y}__one"], [f"{y}__sum"], name=f"{place}__sum"),
        helper.make_node("Reciprocal", [f"{y}__sum"], [y], name=node.name),
    ]
