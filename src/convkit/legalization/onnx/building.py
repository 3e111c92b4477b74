"""Makes the nodes of a replacement: the one way in which rewrites build graphs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from convkit.legalization.onnx.inference import bodies

__all__ = ["Builder"]


class Builder:
    """Makes the nodes of a replacement, in the model's opset.

    Attributes:
        opset: The version of ai.onnx that the nodes are in.
        nodes: What was built, in order.
        constants: The initializers that it needs. They are the main graph's, also where a body uses them.
    """

    _numbers = itertools.count()

    def __init__(self, opset: int, prefix: str, constants: list[ir.Value] | None = None) -> None:
        self.opset = opset
        self.nodes: list[ir.Node] = []
        self.constants: list[ir.Value] = [] if constants is None else constants
        self._prefix = prefix

    def __call__(self, operator: str, *inputs: Any, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        """Adds a node.

        Args:
            operator: For example "Add".
            inputs: Values, None for a left-out optional one, or numpy arrays, which become constants.
            outputs: How many outputs it has.
            attributes: ONNX's attributes; those that are None are left out.

        Returns:
            Its output, or a list where there are several.
        """
        values = [v if v is None or isinstance(v, ir.Value) else self.constant(v) for v in inputs]
        node = ir.node(
            operator,
            values,
            {k: v for k, v in attributes.items() if v is not None},
            domain=domain,
            num_outputs=outputs,
            name=f"{self._prefix}/{operator}_{next(self._numbers)}",
        )
        for index, output in enumerate(node.outputs):
            output.name = f"{node.name}_output_{index}"
        self.nodes.append(node)
        return node.outputs[0] if outputs == 1 else list(node.outputs)

    def constant(self, array: Any, dtype: Any = None) -> ir.Value:
        """A constant; Python ints are int64, floats float32, unless told otherwise."""
        given = array
        array = np.asarray(given, dtype)
        if dtype is None and array.dtype == np.float64 and not isinstance(given, (np.ndarray, np.generic)):
            array = array.astype(np.float32)
        name = f"{self._prefix}/constant_{next(self._numbers)}"
        tensor = ir.tensor(array, name=name)
        value = ir.Value(name=name, const_value=tensor, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape))
        self.constants.append(value)
        return value

    def adopt(self, node: ir.Node) -> None:
        """Adds a node made elsewhere, under a name of its own, its outputs' and its bodies' values likewise."""
        self.nodes.append(node)
        for inner in (node, *(n for body in bodies(node) for n in ir.traversal.RecursiveGraphIterator(body))):
            inner.name = f"{self._prefix}/{inner.op_type}_{next(self._numbers)}"
            for index, output in enumerate(inner.outputs):
                if output.name:
                    output.name = f"{inner.name}_output_{index}"
            for body in bodies(inner):
                for value in body.inputs:
                    value.name = f"{inner.name}/{value.name}"

    def discard(self) -> None:
        """Forgets what was built: nodes count as users of their inputs for as long as they refer to them."""
        for node in self.nodes:
            for inner in (node, *(n for body in bodies(node) for n in ir.traversal.RecursiveGraphIterator(body))):
                inner.resize_inputs(0)
        self.nodes.clear()
        self.constants.clear()

    def body(self, inputs: Sequence[tuple[str, ir.DataType, Sequence[Any]]], make: Callable[..., Sequence[ir.Value]]) -> ir.Graph:
        """The graph of a loop's body, to be given to Scan, Loop or If as an attribute.

        Args:
            inputs: Name, dtype and shape of what the body is called with.
            make: Called with a builder and the inputs; returns the outputs.
        """
        inner = Builder(self.opset, self._prefix, self.constants)
        number = next(self._numbers)
        values = [
            ir.Value(name=f"{self._prefix}/{name}_{number}", type=ir.TensorType(dtype), shape=ir.Shape(shape))
            for name, dtype, shape in inputs
        ]
        outputs = list(make(inner, *values))
        for index, output in enumerate(outputs):  # a body's outputs must be its own, and distinct
            if output in values or output in outputs[:index] or output.producer() not in inner.nodes:
                outputs[index] = inner("Identity", output)
        return ir.Graph(values, outputs, nodes=inner.nodes, name=f"{self._prefix}/body_{number}")

    # What has its axes as an attribute in older opsets and as an input in newer ones.

    def reduce(self, operator: str, value: ir.Value, axes: Sequence[int] | None, keepdims: bool = True) -> ir.Value:
        """ReduceSum, ReduceMean, …"""
        if axes is None:
            return self(operator, value, keepdims=int(keepdims))
        if self.opset >= (13 if operator == "ReduceSum" else 18):
            return self(operator, value, self.constant(list(axes)), keepdims=int(keepdims))
        return self(operator, value, axes=list(axes), keepdims=int(keepdims))

    def unsqueeze(self, value: ir.Value, axes: Sequence[int]) -> ir.Value:
        return self._with_axes("Unsqueeze", value, axes)

    def squeeze(self, value: ir.Value, axes: Sequence[int]) -> ir.Value:
        return self._with_axes("Squeeze", value, axes)

    def _with_axes(self, operator: str, value: ir.Value, axes: Sequence[int]) -> ir.Value:
        if self.opset >= 13:
            return self(operator, value, self.constant(list(axes)))
        return self(operator, value, axes=list(axes))

    def slice(self, value: ir.Value, axis: int, start: int, end: int, step: int = 1) -> ir.Value:
        """`value[..., start:end:step, ...]` along one axis.

        Raises:
            ValueError: A step in an opset that has none.
        """
        if self.opset >= 10:
            bounds = [self.constant([v]) for v in (start, end, axis, step)]
            return self("Slice", value, *bounds)
        if step != 1:
            raise ValueError("Slice has no steps before opset 10")
        return self("Slice", value, axes=[axis], starts=[start], ends=[end])

    def pad(self, value: ir.Value, begins: Sequence[int], ends: Sequence[int]) -> ir.Value:
        """Adds zeros around; one begin and one end per dimension."""
        if self.opset >= 11:
            return self("Pad", value, self.constant([*begins, *ends]))
        return self("Pad", value, pads=[*begins, *ends])

    def cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """The value in a dtype; itself where it has it already."""
        return value if value.dtype is dtype else self("Cast", value, to=dtype)

    def reshape(self, value: ir.Value, shape: Sequence[int] | ir.Value) -> ir.Value:
        """Reshape; 0 keeps a size, -1 is worked out."""
        return self("Reshape", value, shape if isinstance(shape, ir.Value) else self.constant(list(shape), np.int64))

    def transpose(self, value: ir.Value, order: Sequence[int]) -> ir.Value:
        return value if list(order) == list(range(len(order))) else self("Transpose", value, perm=list(order))

    def size(self, value: ir.Value, axis: int) -> ir.Value:
        """One size of a value, as a vector of one element; a constant where it is known."""
        known = None if value.shape is None else value.shape[axis]
        if isinstance(known, int):
            return self.constant([known])
        return self("Gather", self("Shape", value), self.constant([axis]), axis=0)
