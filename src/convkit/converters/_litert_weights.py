"""Weights that are put into a LiteRT file after it was made.

TFLiteConverter copies every constant some twenty times: it takes 7 GB and half a minute for a model with 350 MB of weights.
So a function is converted with its large weights as further inputs, which costs what the graph costs, and they become
constants here. What the converter would have computed from constant weights (transposed kernels, reshaped ones, casts) is
computed here too, by LiteRT itself: each such operator runs once, alone, on the weights.

Source: the schema, https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convkit.errors import ConversionError

__all__ = ["WeightSource", "insert_weights"]

WeightSource = Callable[[], np.ndarray]
"""Reads a weight when it is needed."""

# Operators with bodies or state, and those whose result is larger than the weights that it is made of.
_NOT_FOLDED = frozenset(
    ("BROADCAST_TO", "CALL", "CALL_ONCE", "FILL", "GATHER", "IF", "MULTINOMIAL", "RANDOM_UNIFORM", "TILE", "WHILE")
) | {"ASSIGN_VARIABLE", "RANDOM_STANDARD_NORMAL", "READ_VARIABLE", "VAR_HANDLE"}


def insert_weights(model: Any, weights: Sequence[WeightSource]) -> None:
    """Turns the last inputs of subgraph 0 into constants.

    Args:
        model: The object tree (`ModelT`) of a LiteRT file; changed in place.
        weights: One per input that becomes a constant, in order.
    """
    from ai_edge_litert import schema_py_generated as schema

    if not weights:
        return
    graph = model.subgraphs[0]
    kept = len(graph.inputs) - len(weights)
    held = {int(index): source for index, source in zip(graph.inputs[kept:], weights, strict=True)}
    graph.inputs = [int(index) for index in graph.inputs[:kept]]
    _use_fully_connected(model, set(held))
    folder = _Folder(model, held)
    for index in folder.needed():
        buffer = schema.BufferT()
        buffer.data = _Late(folder, index, graph.tensors[index])
        graph.tensors[index].buffer = len(model.buffers)
        model.buffers.append(buffer)
    _drop_unused_tensors(graph, model)
    _drop_unused_buffers(model)


class _Late:
    """The bytes of a constant, which are computed when the file is written: no more than one weight at a time is in memory."""

    def __init__(self, folder: _Folder, index: int, tensor: Any) -> None:
        self._folder, self._index = folder, index
        self._shape = [int(n) for n in tensor.shape]
        self._dtype = _dtype(tensor)

    def __len__(self) -> int:
        return math.prod(self._shape) * self._dtype.itemsize

    def __call__(self) -> np.ndarray:
        array = self._folder.array(self._index)
        if list(array.shape) != self._shape or array.dtype != self._dtype:
            raise ConversionError(
                f"a weight is {array.dtype}{list(array.shape)}, and {self._dtype}{self._shape} in the LiteRT file"
            )
        return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _constants(model: Any) -> set[int]:
    tensors = model.subgraphs[0].tensors
    return {k for k, t in enumerate(tensors) if model.buffers[t.buffer].data is not None and not t.isVariable}


def _foldable(model: Any, weights: set[int]) -> tuple[list[Any], set[int]]:
    """The operators that depend on weights and constants alone, in order; and the weights with what these compute."""
    known, derived = _constants(model) | weights, set(weights)
    found = []
    for operator in model.subgraphs[0].operators:
        inputs = _operands(operator)
        if derived.intersection(inputs) and known.issuperset(inputs) and _name(model, operator) not in _NOT_FOLDED:
            found.append(operator)
            known.update(int(k) for k in operator.outputs)
            derived.update(int(k) for k in operator.outputs)
    return found, derived


class _Folder:
    """Takes the operators that depend on weights alone out of the graph, and runs them when their results are asked for."""

    def __init__(self, model: Any, held: Mapping[int, WeightSource]) -> None:
        self._model, self._sources = model, held
        self._constants = _constants(model)
        graph = model.subgraphs[0]
        folded, self._derived = _foldable(model, set(held))
        self._makers = {int(k): operator for operator in folded for k in operator.outputs}
        gone = set(map(id, folded))
        graph.operators = [o for o in graph.operators if id(o) not in gone]
        # What is dropped from the model afterwards is still needed here.
        self._tensors = list(graph.tensors)
        self._data = {k: model.buffers[graph.tensors[k].buffer] for k in self._constants}

    def needed(self) -> list[int]:
        """The weights, and results of weights, that the rest of the graph uses."""
        graph = self._model.subgraphs[0]
        used = {k for operator in graph.operators for k in _operands(operator)}
        return sorted(self._derived.intersection(used.union(int(k) for k in graph.outputs)))

    def array(self, index: int) -> np.ndarray:
        """A weight, or what its operators make of it."""
        if index in self._sources:
            return self._sources[index]()
        operator = self._makers[index]
        variable = [k for k in dict.fromkeys(_operands(operator)) if k not in self._constants]
        results = _run(self._lone(operator, variable), [self.array(k) for k in variable])
        return results[[int(k) for k in operator.outputs].index(index)]

    def _lone(self, operator: Any, inputs: list[int]) -> bytes:
        """A file of one operator; what is no input is a constant."""
        import flatbuffers
        from ai_edge_litert import schema_py_generated as schema

        used = list(dict.fromkeys([*_operands(operator), *(int(k) for k in operator.outputs)]))
        lone, inner = schema.ModelT(), schema.SubGraphT()
        lone.version, lone.operatorCodes, lone.buffers = 3, [self._model.operatorCodes[operator.opcodeIndex]], [schema.BufferT()]
        inner.tensors = []
        for index in used:
            tensor = self._tensors[index]
            twin = schema.TensorT()
            twin.name, twin.type, twin.shape, twin.hasRank = tensor.name, tensor.type, tensor.shape, True
            twin.quantization, twin.buffer = tensor.quantization, 0
            if index in self._data:
                twin.buffer = len(lone.buffers)
                lone.buffers.append(self._data[index])
            inner.tensors.append(twin)
        step = schema.OperatorT()
        step.opcodeIndex, step.builtinOptions, step.builtinOptionsType = 0, operator.builtinOptions, operator.builtinOptionsType
        step.builtinOptions2, step.builtinOptions2Type = operator.builtinOptions2, operator.builtinOptions2Type
        step.inputs = [used.index(int(k)) if k >= 0 else -1 for k in operator.inputs]
        step.outputs = [used.index(int(k)) for k in operator.outputs]
        inner.inputs, inner.outputs = [used.index(k) for k in inputs], step.outputs
        inner.operators, lone.subgraphs = [step], [inner]
        builder = flatbuffers.Builder(1 << 12)
        builder.Finish(lone.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


def _run(file: bytes, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(model_content=file, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    interpreter.allocate_tensors()
    for detail, array in zip(interpreter.get_input_details(), arrays, strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def _dtype(tensor: Any) -> np.dtype[Any]:
    from ai_edge_litert import schema_py_generated as schema

    names = {code: key.lower() for key, code in vars(schema.TensorType).items() if not key.startswith("_")}
    found: np.dtype[Any] = np.dtype(names[tensor.type])
    return found


def _operands(operator: Any) -> list[int]:
    return [int(k) for k in operator.inputs if k >= 0]


def _name(model: Any, operator: Any) -> str:
    from ai_edge_litert import schema_py_generated as schema

    code = model.operatorCodes[operator.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return next((key for key, value in vars(schema.BuiltinOperator).items() if value == number), "CUSTOM")


def _set_data(model: Any, tensor: Any, array: np.ndarray) -> None:
    """Gives a tensor a buffer of its own with these values."""
    from ai_edge_litert import schema_py_generated as schema

    buffer = schema.BufferT()
    buffer.data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    tensor.buffer = len(model.buffers)
    model.buffers.append(buffer)
    tensor.shape, tensor.shapeSignature, tensor.hasRank = np.array(array.shape, np.int32), None, True


def _drop_unused_tensors(graph: Any, model: Any) -> None:
    """Takes out tensors that nothing refers to: weights that were folded or not used."""
    used = {
        int(k) for operator in graph.operators for k in (*operator.inputs, *operator.outputs, *(operator.intermediates or ()))
    }
    used.update(int(k) for k in (*graph.inputs, *graph.outputs))
    for definition in model.signatureDefs or ():
        if definition.subgraphIndex == 0:
            definition.inputs = [m for m in definition.inputs if m.tensorIndex in used]
            definition.outputs = [m for m in definition.outputs if m.tensorIndex in used]
    order = [k for k in range(len(graph.tensors)) if k in used]
    moved = {old: new for new, old in enumerate(order)} | {-1: -1}
    graph.tensors = [graph.tensors[k] for k in order]
    graph.inputs, graph.outputs = ([moved[int(k)] for k in edge] for edge in (graph.inputs, graph.outputs))
    for operator in graph.operators:
        operator.inputs = [moved[int(k)] for k in operator.inputs]
        operator.outputs = [moved[int(k)] for k in operator.outputs]
        operator.intermediates = [moved[int(k)] for k in operator.intermediates or ()] or None
    for definition in model.signatureDefs or ():
        if definition.subgraphIndex == 0:
            for entry in (*definition.inputs, *definition.outputs):
                entry.tensorIndex = moved[int(entry.tensorIndex)]


def _drop_unused_buffers(model: Any) -> None:
    used = {
        0,
        *(int(t.buffer) for graph in model.subgraphs for t in graph.tensors),
        *(int(m.buffer) for m in model.metadata or ()),
    }
    order = [k for k in range(len(model.buffers)) if k in used]
    moved = {old: new for new, old in enumerate(order)}
    model.buffers = [model.buffers[k] for k in order]
    for holder in (*(t for graph in model.subgraphs for t in graph.tensors), *(model.metadata or ())):
        holder.buffer = moved[int(holder.buffer)]


@dataclass(frozen=True)
class _Product:
    """A product of activations with a weight, and the addition of a constant row that follows it, if one does."""

    operator: Any
    addition: Any | None
    bias: int


def _use_fully_connected(model: Any, weights: set[int]) -> None:
    """Products with a weight become FULLY_CONNECTED with bias, as the converter makes them of constants."""
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    operators = {id(o): [o] for o in graph.operators}
    transposed: dict[int, int] = {}
    for product in list(_products(model, _foldable(model, weights)[1])):
        operator = product.operator
        matrix = int(operator.inputs[1])
        if not operator.builtinOptions.adjY:
            if matrix not in transposed:
                step = _transpose(model, matrix)
                transposed[matrix] = step.outputs[0]
                operators[id(operator)].insert(0, step)
            matrix = transposed[matrix]
        options = schema.FullyConnectedOptionsT()
        options.keepNumDims = True
        operator.opcodeIndex = _code(model, schema.BuiltinOperator.FULLY_CONNECTED, 5)
        operator.builtinOptions, operator.builtinOptionsType = options, schema.BuiltinOptions.FullyConnectedOptions
        operator.inputs = [int(operator.inputs[0]), matrix, product.bias]
        if product.addition is not None:
            options.fusedActivationFunction = product.addition.builtinOptions.fusedActivationFunction
            operator.outputs = product.addition.outputs
            operators[id(product.addition)] = []
    graph.operators = [o for group in operators.values() for o in group]


def _transpose(model: Any, matrix: int) -> Any:
    """An operator that transposes a matrix, not yet in the graph."""
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    source = graph.tensors[matrix]
    order, result = schema.TensorT(), schema.TensorT()
    order.name, order.type = f"{_text(source.name)}/order", schema.TensorType.INT32
    _set_data(model, order, np.array([1, 0], np.int32))
    result.name, result.type, result.buffer, result.hasRank = f"{_text(source.name)}/transposed", source.type, 0, True
    result.shape = np.array([source.shape[1], source.shape[0]], np.int32)
    step = schema.OperatorT()
    step.opcodeIndex = _code(model, schema.BuiltinOperator.TRANSPOSE, 1)
    step.builtinOptions, step.builtinOptionsType = schema.TransposeOptionsT(), schema.BuiltinOptions.TransposeOptions
    step.inputs, step.outputs = [matrix, len(graph.tensors)], [len(graph.tensors) + 1]
    graph.tensors += [order, result]
    return step


def _products(model: Any, weights: set[int]) -> Iterator[_Product]:
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    users: dict[int, list[Any]] = {}
    for operator in graph.operators:
        for index in set(_operands(operator)):
            users.setdefault(index, []).append(operator)
    outputs = {int(k) for k in graph.outputs}
    for operator in list(graph.operators):
        if _name(model, operator) != "BATCH_MATMUL" or operator.builtinOptions.adjX:
            continue
        left, right = (graph.tensors[int(k)] for k in operator.inputs)
        held = int(operator.inputs[1]) in weights and len(right.shape) == 2
        if not held or {left.type, right.type} != {schema.TensorType.FLOAT32} or len(left.shape) < 2:
            continue
        result = int(operator.outputs[0])
        width = int(right.shape[0 if operator.builtinOptions.adjY else 1])
        following = users.get(result, [])
        addition, bias = None, -1
        if len(following) == 1 and result not in outputs and _name(model, following[0]) == "ADD":
            other = next((k for k in _operands(following[0]) if k != result), -1)
            if other >= 0 and _is_row(model, graph.tensors[other], width):
                addition, bias = following[0], other
        yield _Product(operator, addition, bias)


def _is_row(model: Any, tensor: Any, width: int) -> bool:
    return model.buffers[tensor.buffer].data is not None and [int(n) for n in tensor.shape] == [width]


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""


def _code(model: Any, builtin: int, version: int) -> int:
    """The index of an operator's code, added where the model lacks it."""
    from ai_edge_litert import schema_py_generated as schema

    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin:
            code.version = max(code.version, version)
            return index
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
