"""What rewrites compute themselves where values are known: weights are transposed once, not in the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from convkit.legalization.onnx.building import Builder

__all__ = ["attributes", "folded", "is_used", "known", "part", "rank", "sizes"]


def known(value: ir.Value | None) -> np.ndarray | None:
    """The values of a constant, None where they are computed (or there is no value)."""
    return None if value is None or value.const_value is None else value.const_value.numpy()


def folded(
    build: Builder, value: ir.Value, compute: Callable[[np.ndarray], np.ndarray], nodes: Callable[[ir.Value], ir.Value]
) -> ir.Value:
    """A function of a value: computed at once where it is a constant, by nodes where it is not."""
    array = known(value)
    return nodes(value) if array is None else build.constant(np.ascontiguousarray(compute(array)))


def part(build: Builder, value: ir.Value, axis: int, start: int, end: int) -> ir.Value:
    """A slice along one axis, of step 1."""
    index = (slice(None),) * axis + (slice(start, end),)
    return folded(build, value, lambda a: a[index], lambda v: build.slice(v, axis, start, end))


def sizes(value: ir.Value | None) -> list[int | None] | None:
    """The sizes of a value, None for each that is dynamic; None where not even the rank is known."""
    if value is None or value.shape is None:
        return None
    return [size if isinstance(size, int) else None for size in value.shape]


def rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def is_used(node: ir.Node, index: int) -> bool:
    """Whether a node has this output and something needs it."""
    if index >= len(node.outputs):
        return False
    output = node.outputs[index]
    return bool(output.name) and (bool(output.uses()) or output.is_graph_output())


def attributes(node: ir.Node) -> dict[str, Any]:
    """A node's attributes as Python values."""
    return {name: attribute.value for name, attribute in node.attributes.items()}
