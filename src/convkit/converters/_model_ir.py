"""The edge of onnx2tf's `ModelIR`: names, order, dtypes, layout and dynamic dimensions as the source's signature has them.

What onnx2tf 2.6.9 changes there: scalars become vectors of one element, float16 becomes float32, some int64 outputs become
int32, rank-3 to rank-5 outputs can come out channels-last, and an output that a pass has reshaped loses its dynamic
dimensions. Everything is undone on the `ModelIR`, before a file is written, so LiteRT and SavedModel profit alike.

A `ModelIR` (see `onnx2tf.tflite_builder.ir`) is LiteRT's model as dataclasses: `tensors` by name (dtype as in the LiteRT
schema, `shape` with 1 for a dynamic dimension, `shape_signature` with -1), `operators` in execution order, and the names of
`inputs` and `outputs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convkit.errors import ConversionError
from convkit.signature import Dim, Signature, TensorSpec

__all__ = ["keep_signature"]

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

# What turns a channels-last tensor of that rank into the channels-first one of the source.
_TO_CHANNELS_FIRST = {3: (0, 2, 1), 4: (0, 3, 1, 2), 5: (0, 4, 1, 2, 3)}


def keep_signature(ir: Any, signature: Signature, graph_inputs: Sequence[str], component: str) -> tuple[str, ...]:
    """Gives a `ModelIR` the edge of a signature, in place.

    Args:
        ir: The `ModelIR`.
        signature: The source's signature.
        graph_inputs: The names of the ONNX graph's inputs, in the order of the signature's.
        component: The converter that errors name.

    Returns:
        What was changed, one sentence each.

    Raises:
        ConversionError: A tensor is missing, or a shape differs in a way that no operator at the edge undoes.
    """
    edge = _Edge(ir, component)
    edge.match("input", ir.inputs, signature.inputs, graph_inputs)
    edge.match("output", ir.outputs, signature.outputs, list(ir.outputs))
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

    def match(self, role: str, found: Sequence[str], wanted: Sequence[TensorSpec], order: Sequence[str]) -> None:
        """Renames the tensors of one side to the signature's names: by name where they are the same set, else by position."""
        names = [t.name for t in wanted]
        if sorted(found) != sorted(order) or len(names) != len(order):
            raise self._error(
                f"onnx2tf's model has the {role}s {', '.join(found) or 'none'}, the source has {', '.join(names)}"
            )
        if sorted(names) != sorted(order):
            for old, new in zip(order, names, strict=True):
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
        permutation = self._permutation(shape, inner)
        is_input = name in self.ir.inputs
        if dtype == inner.dtype and len(shape) == len(inner.shape) and permutation is None and not is_input:
            self._set_shape(inner, shape)
            return
        self._rename(name, self._unused(f"{name}/edge"))
        current = inner.name
        if permutation is not None:
            current = self._append("transpose", name, current, inner.dtype, shape, permutation)
            self.notes.append(f"output '{name}' was channels-last and is transposed back to the source's layout")
        elif len(shape) != len(inner.shape):
            current = self._append("reshape", name, current, inner.dtype, shape)
        if dtype != inner.dtype:
            current = self._append("cast", name, current, dtype, shape)
        self._rename(current, name)

    def _append(
        self, kind: str, name: str, source: str, dtype: str, shape: Sequence[Dim], permutation: Sequence[int] = ()
    ) -> str:
        target = self._unused(f"{name}/{kind}")
        tensor = self._add_tensor(target, dtype, shape)
        if kind == "transpose":
            operator = self._operator("TRANSPOSE", [source, self._constant(f"{target}/permutation", permutation)], target)
        elif kind == "reshape":
            operator = self._reshape(source, target, tensor)
        else:
            operator = self._cast(source, target)
        self.ir.operators.append(operator)
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

    def _permutation(self, shape: Sequence[Dim], inner: Any) -> tuple[int, ...] | None:
        """How to permute the axes of what the graph gives, None where they are in the source's order.

        Raises:
            ConversionError: The shapes differ in another way.
        """
        have = tuple(inner.shape_signature or inner.shape)
        if _fits(shape, have):
            return None
        permutation = _TO_CHANNELS_FIRST.get(len(shape))
        if permutation and len(have) == len(shape) and _fits(shape, tuple(have[p] for p in permutation)):
            return permutation
        raise self._error(
            f"onnx2tf's model gives '{inner.name}' the shape {list(have)}, the source's is {list(shape)}"
        )

    def _error(self, message: str) -> ConversionError:
        return ConversionError(f"the signature cannot be kept: {message}", component=self.component)


def _fits(wanted: Sequence[Dim], have: Sequence[int]) -> bool:
    """Whether a tensor of shape `have` (-1: unknown) can be one of shape `wanted`; a scalar fits a vector of one element."""
    if len(wanted) != len(have):
        return len(wanted) == 0 and tuple(have) in {(1,), (-1,)}
    return all(isinstance(w, str) or h < 0 or w == h for w, h in zip(wanted, have, strict=True))
