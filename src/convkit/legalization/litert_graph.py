"""Edits the main subgraph of a LiteRT model: new constants, new operators, and sizes that are computed at run time.

Works on the object tree (`ModelT`) of `ai_edge_litert.schema_py_generated`. Operators that compute sizes go to the start
of the subgraph, so that every operator of the model can use them.
Source: https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from convkit.errors import ConversionError

if TYPE_CHECKING:
    import sympy  # type: ignore[import-untyped]

    from convkit.legalization.prime_sizes import DynamicSizes

__all__ = ["GraphEditor", "remove_unused_tensors", "text"]


def text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""


class GraphEditor:
    """Adds tensors and operators to a subgraph.

    Attributes:
        graph: The subgraph (`SubGraphT`).
        prologue: The operators added so far; `finish` puts them before the others.
    """

    def __init__(self, model: Any, graph: Any, sizes: DynamicSizes, inputs: Sequence[int]) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.model, self.graph, self.sizes, self._inputs = model, graph, sizes, list(inputs)
        self.schema = schema
        self.prologue: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], int] = {}
        self._computed: dict[Any, int] = {}
        self._types = {
            np.dtype(dtype): getattr(schema.TensorType, dtype.upper())
            for dtype in ["float32", "float16", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"]
        }

    def finish(self) -> None:
        """Puts the new operators before the existing ones."""
        self.graph.operators = [*self.prologue, *self.graph.operators]
        self.prologue = []

    def builtin(self, operator: Any) -> str:
        """The name of an operator's builtin, for example "RESHAPE"."""
        code = self.model.operatorCodes[operator.opcodeIndex]
        number = max(int(code.builtinCode), int(code.deprecatedBuiltinCode))
        return _builtin_names(self.schema)[number]

    def shape(self, tensor: int) -> list[int]:
        found = self.graph.tensors[tensor].shape
        return [] if found is None else [int(d) for d in found]

    def dtype(self, tensor: int) -> np.dtype[Any]:
        number = self.graph.tensors[tensor].type
        for dtype, known in self._types.items():
            if known == number:
                return dtype
        raise KeyError(number)

    def value(self, tensor: int) -> np.ndarray | None:
        """The data of a constant tensor, None where it is none (or of a type that numpy lacks)."""
        if tensor < 0:
            return None
        data = self.model.buffers[self.graph.tensors[tensor].buffer].data
        if data is None or not len(data) or self.graph.tensors[tensor].sparsity is not None:
            return None
        try:
            dtype = self.dtype(tensor)
        except KeyError:
            return None
        return np.frombuffer(memoryview(data).cast("B"), dtype).reshape(self.shape(tensor))

    def constant(self, value: np.ndarray) -> int:
        """A constant tensor with that value; equal constants are one tensor."""
        value = np.asarray(value, order="C")
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._constants:
            buffer = self.schema.BufferT()
            buffer.data = np.frombuffer(key[2], np.uint8)
            self.model.buffers.append(buffer)
            self._constants[key] = self._tensor(value.dtype, value.shape, len(self.model.buffers) - 1)
        return self._constants[key]

    def _tensor(self, dtype: np.dtype[Any], shape: Sequence[int], buffer: int = 0) -> int:
        tensor = self.schema.TensorT()
        tensor.name = f"size/{len(self.graph.tensors)}"
        tensor.type, tensor.buffer = self._types[np.dtype(dtype)], buffer
        tensor.shape = np.array([max(1, d) for d in shape], np.int32)
        if any(d < 0 for d in shape):
            tensor.shapeSignature = np.array(shape, np.int32)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def add(self, name: str, inputs: Sequence[int], dtype: Any, shape: Sequence[int], **options: Any) -> int:
        """Appends an operator to the prologue; `shape` has -1 for what varies. Returns its output tensor."""
        operator = self.schema.OperatorT()
        operator.opcodeIndex = self._opcode(name)
        operator.inputs = np.array(inputs, np.int32)
        operator.outputs = np.array([self._tensor(np.dtype(dtype), shape)], np.int32)
        if (kind := _OPTIONS.get(name)) is not None:
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, kind)
            operator.builtinOptions = getattr(self.schema, kind + "T")()
            for option, value in options.items():
                setattr(operator.builtinOptions, option, value)
        self.prologue.append(operator)
        return int(operator.outputs[0])

    def add_before(
        self, operator: Any, name: str, inputs: Sequence[int], dtype: Any, shape: Sequence[int], **options: Any
    ) -> int:
        """As `add`, but directly before an operator of the model, because an input is computed by the model."""
        found = self.add(name, inputs, dtype, shape, **options)
        position = next(i for i, o in enumerate(self.graph.operators) if o is operator)
        self.graph.operators.insert(position, self.prologue.pop())
        return found

    def _opcode(self, name: str) -> int:
        number = getattr(self.schema.BuiltinOperator, name)
        for index, code in enumerate(self.model.operatorCodes):
            if max(int(code.builtinCode), int(code.deprecatedBuiltinCode)) == number:
                return index
        code = self.schema.OperatorCodeT()
        # Before builtin codes outgrew a byte there was the deprecated field only; readers take the larger one.
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), _VERSIONS.get(name, 1)
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def size(self, size: int | sympy.Expr) -> int:
        """An int32 vector of one element that holds a size.

        Raises:
            ConversionError: The expression has an operation that has no int32 operator in LiteRT.
        """
        if isinstance(size, int) or size.is_Integer:
            return self.constant(np.array([int(size)], np.int32))
        if size not in self._computed:
            self._computed[size] = self._compute(size)
        return self._computed[size]

    def _compute(self, size: sympy.Expr) -> int:
        import sympy

        if isinstance(size, sympy.Symbol):
            return self._symbol(size.name)
        kind = type(size).__name__
        if isinstance(size, sympy.Pow) and size.exp.is_Integer and size.exp > 0:
            return reduce(lambda a, b: self._binary("MUL", a, b), [self.size(size.base)] * int(size.exp))
        if kind not in _ARITHMETIC:
            rational = sympy.fraction(sympy.together(size))
            if isinstance(size, sympy.Add | sympy.Mul) and rational[1].is_Integer and rational[1] != 1:
                return self._binary("FLOOR_DIV", self.size(rational[0]), self.size(rational[1]))
            raise ConversionError(
                f"the size {size} cannot be computed with LiteRT's operators", hint="make that dimension static"
            )
        if kind == "Mul" and (fraction := sympy.fraction(size))[1] != 1:
            return self._binary("FLOOR_DIV", self.size(fraction[0]), self.size(fraction[1]))
        if kind == "Add" and (fraction := sympy.fraction(sympy.together(size)))[1] != 1:
            return self._binary("FLOOR_DIV", self.size(fraction[0]), self.size(fraction[1]))
        return reduce(lambda a, b: self._binary(_ARITHMETIC[kind], a, b), [self.size(a) for a in size.args])

    def _binary(self, name: str, left: int, right: int) -> int:
        return self.add(name, [left, right], np.int32, [1])

    def _symbol(self, symbol: str) -> int:
        origin = self.sizes.origins[symbol]
        source = self._inputs[origin.position]
        rank = len(self.shape(source))
        shape = self._computed.get(("shape", source))
        if shape is None:
            shape = self.add("SHAPE", [source], np.int32, [rank], outType=self.schema.TensorType.INT32)
            self._computed["shape", source] = shape
        begin, end, step = (self.constant(np.array([v], np.int32)) for v in (origin.axis, origin.axis + 1, 1))
        found = self.add("STRIDED_SLICE", [shape, begin, end, step], np.int32, [1])
        if origin.offset:
            found = self._binary("SUB", found, self.size(origin.offset))
        return found if origin.scale == 1 else self._binary("FLOOR_DIV", found, self.size(origin.scale))

    def vector(self, entries: Sequence[int | sympy.Expr], dtype: Any = np.int32) -> int:
        """A vector of sizes; a constant where all are static."""
        if all(isinstance(e, int) for e in entries):
            return self.constant(np.array(entries, dtype))
        key = ("vector", tuple(entries))
        if key not in self._computed:
            parts = [self.size(e) for e in entries]
            self._computed[key] = (
                parts[0] if len(parts) == 1 else self.add("CONCATENATION", parts, np.int32, [len(parts)], axis=0)
            )
        return self._computed[key] if np.dtype(dtype) == np.int32 else self.cast(self._computed[key], dtype)

    def cast(self, tensor: int, dtype: Any) -> int:
        had = self.dtype(tensor)
        if had == np.dtype(dtype):
            return tensor
        key = ("cast", tensor, np.dtype(dtype))
        if key not in self._computed:
            shape = self.graph.tensors[tensor]
            signature = shape.shapeSignature if shape.shapeSignature is not None else shape.shape
            self._computed[key] = self.add(
                "CAST", [tensor], dtype, [int(d) for d in signature],
                inDataType=self._types[had], outDataType=self._types[np.dtype(dtype)],
            )  # fmt: skip
        return self._computed[key]

    def range(self, size: int | sympy.Expr) -> int:
        """The int32 vector 0, 1, …, size - 1."""
        key = ("range", size)
        if key not in self._computed:
            scalar = self.add("SQUEEZE", [self.size(size)], np.int32, [], squeezeDims=[0])
            bounds = [self.constant(np.array(0, np.int32)), scalar, self.constant(np.array(1, np.int32))]
            self._computed[key] = self.add("RANGE", bounds, np.int32, [-1])
        return self._computed[key]

    def broadcast(self, tensor: int, shape: Sequence[int | sympy.Expr]) -> int:
        """The tensor broadcast to a shape that is known at run time.

        Raises:
            ConversionError: The rank exceeds what BROADCAST_TO takes (8).
        """
        if len(shape) > 8:
            raise ConversionError(
                f"a constant of rank {len(shape)} has dynamic dimensions", hint="LiteRT broadcasts up to rank 8"
            )
        signature = [s if isinstance(s, int) else -1 for s in shape]
        return self.add("BROADCAST_TO", [tensor, self.vector(shape)], self.dtype(tensor), signature)


_ARITHMETIC = {
    "Add": "ADD", "Mul": "MUL", "FloorDiv": "FLOOR_DIV", "Mod": "FLOOR_MOD", "PythonMod": "FLOOR_MOD",
    "Max": "MAXIMUM", "Min": "MINIMUM",
}  # fmt: skip

_OPTIONS = {
    "ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions", "FLOOR_DIV": "FloorDivOptions",
    "FLOOR_MOD": "FloorModOptions", "MAXIMUM": "MaximumMinimumOptions", "MINIMUM": "MaximumMinimumOptions",
    "SHAPE": "ShapeOptions", "STRIDED_SLICE": "StridedSliceOptions", "CONCATENATION": "ConcatenationOptions",
    "CAST": "CastOptions", "RESHAPE": "ReshapeOptions", "RANGE": "RangeOptions", "BROADCAST_TO": "BroadcastToOptions",
    "SQUEEZE": "SqueezeOptions", "PAD": "PadOptions", "PADV2": "PadV2Options",
}  # fmt: skip

_VERSIONS = {"BROADCAST_TO": 3, "STRIDED_SLICE": 4, "FLOOR_DIV": 2, "FLOOR_MOD": 1, "CAST": 2, "MUL": 2}


def remove_unused_tensors(model: Any, graph: Any) -> None:
    """Takes tensors that nothing reads or writes out of a subgraph, and the data of buffers that no tensor has any more.

    A constant whose users have got another one keeps data of its old shape, over which other tools stumble.
    """
    ends = [int(t) for t in (*graph.inputs, *graph.outputs)]
    used = {int(t) for o in graph.operators for t in (*o.inputs, *o.outputs, *_intermediates(o)) if t >= 0}
    signatures = [d for d in model.signatureDefs or () if model.subgraphs[d.subgraphIndex] is graph]
    entries = [entry for d in signatures for entry in (*(d.inputs or ()), *(d.outputs or ()))]
    used |= {*ends, *(int(entry.tensorIndex) for entry in entries)}
    moved = {-1: -1} | {old: new for new, old in enumerate(sorted(used))}
    graph.tensors = [graph.tensors[old] for old in sorted(used)]
    for operator in graph.operators:
        operator.inputs = np.array([moved[int(t)] for t in operator.inputs], np.int32)
        operator.outputs = np.array([moved[int(t)] for t in operator.outputs], np.int32)
        if len(_intermediates(operator)):
            operator.intermediates = np.array([moved[int(t)] for t in operator.intermediates], np.int32)
    graph.inputs = np.array([moved[int(t)] for t in graph.inputs], np.int32)
    graph.outputs = np.array([moved[int(t)] for t in graph.outputs], np.int32)
    for entry in entries:
        entry.tensorIndex = moved[int(entry.tensorIndex)]
    held = {int(t.buffer) for g in model.subgraphs for t in g.tensors} | {int(m.buffer) for m in model.metadata or ()}
    for index, buffer in enumerate(model.buffers):
        if index not in held:
            buffer.data = None


def _intermediates(operator: Any) -> Sequence[int]:
    return () if operator.intermediates is None else operator.intermediates


def _builtin_names(schema: Any) -> dict[int, str]:
    return {number: name for name, number in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
