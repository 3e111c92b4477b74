"""The edge of onnx2tf's `ModelIR`: names, order, dtypes, layout and dynamic dimensions as the source's signature has
them.

What onnx2tf 2.6.9 changes there: scalars become vectors of one element, float16 becomes float32, some int64 outputs
become int32, outputs of rank 3 to 5 can come out channels-last, and an output that a pass has reshaped loses its
dynamic dimensions. Everything is undone on the `ModelIR`, before a file is written, so LiteRT and SavedModel profit
alike.

A channels-last output cannot be told by its shape (8 channels of 8 × 8 pixels), so none is let happen:
`flatten_outputs` ends the ONNX graph in vectors, whose order of elements no layout pass may change, and
`keep_signature` takes the vectors' operand where it has the right shape already, and reshapes them where it has not.
Inputs need no such care: with `transpose_inputs_to_nhwc=False` no pass touches them
(`passes/boundary_input_layout.py`: "never mutates model-input metadata").

A `ModelIR` (see `onnx2tf.tflite_builder.ir`) is LiteRT's model as dataclasses: `tensors` by name (dtype as in the
LiteRT schema, `shape` with 1 for a dynamic dimension, `shape_signature` with -1), `operators` in execution order, and
the names of `inputs` and `outputs`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from convkit.errors import ConversionError
from convkit.signature import Dim, Signature, TensorSpec

__all__ = ["flatten_outputs", "keep_signature"]

# LiteRT's names of numpy's dtypes; what is missing here has no LiteRT type that runs.
_DTYPES = {
    "bool": "BOOL",
    "float16": "FLOAT16",
    "float32": "FLOAT32",
    "float64": "FLOAT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
}

# The ranks that onnx2tf sees an image, a sequence or a volume in.
_RANKS_WITH_LAYOUT = range(3, 6)


def flatten_outputs(graph: Any) -> None:
    """Ends an ONNX graph in vectors where an output's rank could be mistaken for channels; in place, names kept.

    Args:
        graph: An `onnx.GraphProto`.
    """
    import onnx

    produced = {name for node in graph.node for name in node.output}
    for output in graph.output:
        tensor = output.type.tensor_type
        if len(tensor.shape.dim) not in _RANKS_WITH_LAYOUT or output.name not in produced:
            continue
        inner = f"{output.name}/unflattened"
        for node in graph.node:
            _replace_names(node, output.name, inner)
        graph.value_info.append(onnx.helper.make_tensor_value_info(inner, tensor.elem_type, None))
        graph.value_info[-1].type.tensor_type.shape.CopyFrom(tensor.shape)
        shape = f"{output.name}/flat_shape"
        graph.initializer.append(onnx.helper.make_tensor(shape, onnx.TensorProto.INT64, [1], [-1]))
        graph.node.append(onnx.helper.make_node("Reshape", [inner, shape], [output.name], f"{output.name}/flatten"))
        sizes = [d.dim_value for d in tensor.shape.dim]
        tensor.shape.Clear()
        dim = tensor.shape.dim.add()
        if all(sizes):
            dim.dim_value = math.prod(sizes)


def _replace_names(node: Any, old: str, new: str) -> None:
    """In a node and in the graphs of its attributes, which see the outer graph's names."""
    for names in (node.input, node.output):
        for position, name in enumerate(names):
            if name == old:
                names[position] = new
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                _replace_names(inner, old, new)


def keep_signature(ir: Any, signature: Signature, component: str) -> tuple[str, ...]:
    """Gives a `ModelIR` the edge of a signature, in place.

    Args:
        ir: The `ModelIR`.
        signature: The source's signature.
        component: The converter that errors name.

    Returns:
        What was changed, one sentence each.

    Raises:
        ConversionError: A tensor is missing, or a shape differs in a way that no operator at the edge undoes.
    """
    edge = _Edge(ir, component)
    edge.match("input", list(ir.inputs), signature.inputs)
    edge.match("output", list(ir.outputs), signature.outputs)
    for spec in signature.inputs:
        edge.keep_input(spec)
    for spec in signature.outputs:
        edge.keep_output(spec)
    ir.inputs[:] = signature.input_names
    ir.outputs[:] = signature.output_names
    return tuple(edge.notes)


class _Edge:
    def __init__(self, ir: Any, component: str) -> None:
        self.ir = ir
        self.component = component
        self.notes: list[str] = []

    def match(self, role: str, found: Sequence[str], wanted: Sequence[TensorSpec]) -> None:
        """Renames the tensors of one side to the signature's names: by name where they are the same set, else by position."""
        names = [t.name for t in wanted]
        if len(names) != len(found):
            raise self._error(f"onnx2tf's model has the {role}s {', '.join(found) or 'none'}, the source has {', '.join(names)}")
        if sorted(names) != sorted(found):
            for old, new in zip(found, names, strict=True):
                self._rename(old, f"{new}/{role}")  # in two steps, since the names may be permuted
            for new in names:
                self._rename(f"{new}/{role}", new)

    def keep_input(self, spec: TensorSpec) -> None:
        """Makes the input `spec.name` one of that dtype and shape; what the graph works on is derived from it."""
        name = spec.name
        inner = self.ir.tensors[name]
        dtype, shape = self._dtype(spec, inner), self._shape(spec, inner)
        if dtype == inner.dtype and len(shape) == len(inner.shape):
            self._set_shape(inner, shape)
            return
        self._rename(name, self._unused(f"{name}/edge"))
        inner_name = inner.name
        self._add_tensor(name, dtype, shape)
        current = name
        before: list[Any] = []
        if dtype != inner.dtype:
            cast = self._unused(f"{name}/cast")
            self._add_tensor(cast, inner.dtype, shape)
            before.append(self._cast(current, cast))
            current = cast
        if len(shape) != len(inner.shape):
            before.append(self._reshape(current, inner_name, inner))
        else:
            self._redirect_output(before[-1], inner_name)
        self.ir.operators[:0] = before

    def keep_output(self, spec: TensorSpec) -> None:
        """Makes the output `spec.name` one of that dtype and shape, derived from what the graph gives."""
        name = spec.name
        inner = self.ir.tensors[name]
        dtype, shape = self._dtype(spec, inner), self._shape(spec, inner)
        if not _fits(shape, inner):
            self._unflatten(name, shape)
            inner = self.ir.tensors[name]
        if dtype == inner.dtype and len(shape) == len(inner.shape) and name not in self.ir.inputs:
            self._set_shape(inner, shape)
            return
        self._rename(name, self._unused(f"{name}/edge"))
        current = inner.name
        if len(shape) != len(inner.shape) or dtype == inner.dtype:
            current = self._append("reshape", name, current, inner.dtype, shape)
        if dtype != inner.dtype:
            current = self._append("cast", name, current, dtype, shape)
        self._rename(current, name)

    def _unflatten(self, name: str, shape: tuple[Dim, ...]) -> None:
        """Gives the vector that `flatten_outputs` made its shape back.

        Raises:
            ConversionError: It is none, or several dimensions are dynamic and the vector's operand has others.
        """
        flat = self.ir.tensors[name]
        producer = next((op for op in self.ir.operators if name in op.outputs), None)
        if producer is not None and producer.op_type == "RESHAPE" and len(flat.shape) == 1:
            operand = self.ir.tensors[producer.inputs[0]]
            if _fits(shape, operand) and operand.name not in self.ir.inputs and operand.name not in self.ir.outputs:
                self.ir.operators.remove(producer)
                del self.ir.tensors[name]
                self._rename(operand.name, name)
                self.ir.outputs[:] = [name if n == operand.name else n for n in self.ir.outputs]
                return
        if len(flat.shape) != 1 or sum(isinstance(d, str) for d in shape) > 1:
            have = list(flat.shape_signature or flat.shape)
            raise self._error(f"onnx2tf's model gives '{name}' the shape {have}, the source's is {list(shape)}")
        inner = self._unused(f"{name}/flat")
        self._rename(name, inner)
        self._rename(self._append("reshape", name, inner, flat.dtype, shape), name)
        self.ir.outputs[:] = [name if n == inner else n for n in self.ir.outputs]

    def _append(self, kind: str, name: str, source: str, dtype: str, shape: Sequence[Dim]) -> str:
        target = self._unused(f"{name}/{kind}")
        tensor = self._add_tensor(target, dtype, shape)
        self.ir.operators.append(self._reshape(source, target, tensor) if kind == "reshape" else self._cast(source, target))
        return target

    # Operators and tensors.

    def _operator(self, kind: str, inputs: list[str], output: str, options: dict[str, Any] | None = None) -> Any:
        from onnx2tf.tflite_builder.ir import OperatorIR

        return OperatorIR(op_type=kind, inputs=inputs, outputs=[output], options=options or {})

    def _cast(self, source: str, target: str) -> Any:
        types = {"inDataType": self.ir.tensors[source].dtype, "outDataType": self.ir.tensors[target].dtype}
        return self._operator("CAST", [source], target, types)

    def _reshape(self, source: str, target: str, tensor: Any) -> Any:
        shape = list(tensor.shape_signature or tensor.shape)
        return self._operator("RESHAPE", [source, self._constant(f"{target}/shape", shape)], target, {"newShape": shape})

    def _constant(self, name: str, values: Sequence[int]) -> str:
        import numpy as np

        name = self._unused(name)
        self._add_tensor(name, "INT32", (len(values),)).data = np.asarray(values, np.int32)
        return name

    def _add_tensor(self, name: str, dtype: str, shape: Sequence[Dim]) -> Any:
        from onnx2tf.tflite_builder.ir import TensorIR

        tensor = TensorIR(name, dtype, [])
        self._set_shape(tensor, shape)
        self.ir.tensors[name] = tensor
        return tensor

    @staticmethod
    def _set_shape(tensor: Any, shape: Sequence[Dim]) -> None:
        tensor.shape = [d if isinstance(d, int) else 1 for d in shape]
        tensor.shape_signature = [d if isinstance(d, int) else -1 for d in shape]

    @staticmethod
    def _redirect_output(operator: Any, name: str) -> None:
        operator.outputs = [name]

    def _rename(self, old: str, new: str) -> None:
        if old == new:
            return
        if new in self.ir.tensors:
            self._rename(new, self._unused(f"{new}/inner"))
        tensor = self.ir.tensors.pop(old)
        tensor.name = new
        self.ir.tensors[new] = tensor
        for operator in self.ir.operators:
            operator.inputs = [new if n == old else n for n in operator.inputs]
            operator.outputs = [new if n == old else n for n in operator.outputs]
        self.ir.inputs[:] = [new if n == old else n for n in self.ir.inputs]
        self.ir.outputs[:] = [new if n == old else n for n in self.ir.outputs]

    def _unused(self, name: str) -> str:
        while name in self.ir.tensors:
            name += "_"
        return name

    # What the edge should be.

    def _dtype(self, spec: TensorSpec, inner: Any) -> str:
        dtype = _DTYPES.get(spec.dtype)
        if dtype is None:
            self.notes.append(f"'{spec.name}' is {inner.dtype.lower()}: LiteRT has no {spec.dtype}")
            return str(inner.dtype)
        return dtype

    def _shape(self, spec: TensorSpec, inner: Any) -> tuple[Dim, ...]:
        if spec.shape is None:
            return tuple(d if d >= 0 else f"dim{a}" for a, d in enumerate(inner.shape_signature or inner.shape))
        return spec.shape

    def _error(self, message: str) -> ConversionError:
        return ConversionError(f"the signature cannot be kept: {message}", component=self.component)


def _fits(wanted: Sequence[Dim], tensor: Any) -> bool:
    """Whether a tensor has the shape, up to which dimensions it knows to be dynamic; a scalar fits a vector of one element."""
    have = list(tensor.shape_signature or tensor.shape)
    if len(wanted) != len(have):
        return len(wanted) == 0 and have in ([1], [-1])
    return all(isinstance(w, str) or w == h for w, h in zip(wanted, have, strict=True))
