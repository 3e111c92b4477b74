"""What is known of an ONNX model's values before it runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["OF_SHAPES", "Knowledge"]

OF_SHAPES = frozenset({"Shape", "Size"})
"""Operators that do not look at data, whatever they are given."""


@dataclass(frozen=True)
class Knowledge:
    """The values that do not depend on data.

    Attributes:
        numbers: They follow from constants and from static shapes.
        sizes: They follow from the sizes of dynamic dimensions too.
    """

    numbers: set[ir.Value] = field(default_factory=set)
    sizes: set[ir.Value] = field(default_factory=set)

    @classmethod
    def of(cls, nodes: Iterable[ir.Node]) -> Knowledge:
        """What is known of the values of nodes, given in an order in which they can be computed."""
        known = cls()
        for node in nodes:
            if node.op_type in OF_SHAPES:
                shape = node.inputs[0].shape if node.inputs and node.inputs[0] is not None else None
                (known.numbers if shape is not None and shape.is_static() else known.sizes).update(node.outputs)
            elif all(known.is_number(value) for value in node.inputs):
                known.numbers.update(node.outputs)
            elif all(known.is_size(value) for value in node.inputs):
                known.sizes.update(node.outputs)
        return known

    def is_number(self, value: ir.Value | None) -> bool:
        """Whether a value (None: one that is left out) is known as numbers."""
        return value is None or value.const_value is not None or value in self.numbers

    def is_size(self, value: ir.Value | None) -> bool:
        """Whether a value is known, if only as an expression of dynamic dimensions."""
        return self.is_number(value) or value in self.sizes
