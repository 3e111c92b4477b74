"""Reasons to refuse a node that several families share; see `accepts` in `convkit.interpreters.operators`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import onnx_ir as ir

from convkit.interpreters.operators import Accepts, UnsupportedError
from convkit.interpreters.tensorflow.backend import tensorflow_dtype

__all__ = ["attribute_of", "is_used", "one_of", "unknown_dtype"]


def attribute_of(node: ir.Node, name: str, default: Any = None) -> Any:
    """The value of a node's attribute."""
    return node.attributes[name].value if name in node.attributes else default


def one_of(name: str, values: Collection[Any]) -> Accepts:
    """Refuses an attribute, where it is given, with another value than these."""

    def accepts(node: ir.Node) -> str | None:
        value = attribute_of(node, name)
        return None if value is None or value in values else f"{name}={value}"

    return accepts


_NOMINAL = ("float8_e4m3fnuz", "float8_e5m2fnuz", "float4_e2m1fn", "int2", "uint2", "int4", "uint4")
"""Dtypes that TensorFlow knows by name, and does not compute with."""


def unknown_dtype(dtype: ir.DataType | int | None) -> str | None:
    """Why TensorFlow cannot hold a dtype, None where it can."""
    if dtype is None:
        return None
    if ir.DataType(dtype) is ir.DataType.STRING:
        return "string tensors"
    try:
        name = tensorflow_dtype(dtype).name
    except UnsupportedError as error:
        return str(error)
    return f"TensorFlow has no kernels for {name}" if name in _NOMINAL else None


def is_used(node: ir.Node, output: int) -> bool:
    """Whether anything reads an output."""
    if output >= len(node.outputs) or not node.outputs[output].name:
        return False
    value = node.outputs[output]
    return bool(value.uses()) or value.is_graph_output()
