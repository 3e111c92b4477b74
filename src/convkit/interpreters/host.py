"""Values that are known while a graph is traced, and the arithmetic of shapes on them.

ONNX computes shapes with the same operators as data: Shape, Gather, Concat, Mul, Reshape. Traced as tensors they would
become data-dependent; as Python ints (or the framework's symbolic ints) they stay what they are. Such a *host value* is a
numpy array that is computed at once: with onnx's own reference implementation where every element is a number, with the few
operators below where some are symbolic.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convkit.legalization.codes import Reason

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["DataDependentError", "Host", "evaluate", "is_shape_like", "maximum", "minimum", "register_symbol", "whole_if_equal"]

_LARGEST = 4096
"""Elements up to which an array is computed at once; larger ones are weights, left to the framework."""

_MOST_SYMBOLIC = 32
"""Elements up to which an array is computed with symbolic ints, one by one: no tensor has more dimensions, and what is longer is
compared with a size, but states none."""


class DataDependentError(Exception):
    """A value that must be known while tracing is computed from the model's inputs."""

    @property
    def reason(self) -> str:
        """Why the operator that needs it is refused."""
        return Reason(f"a shape or a parameter must be known before the model runs, and {self}", "CK105")


@dataclass(frozen=True)
class Host:
    """A value known while tracing.

    Attributes:
        array: Numbers, or objects of which some are the framework's symbolic ints.
        dtype: The ONNX value's dtype (an object array does not tell).
    """

    array: np.ndarray
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, values: Any, dtype: Any = np.int64) -> Host:
        """A host value of numbers and symbolic ints in (nested) lists; plain numbers become a plain array."""
        dtype = np.dtype(dtype)
        array = values if isinstance(values, np.ndarray) else _objects(values)
        if array.dtype == object and all(_is_number(v) for v in array.flat):
            array = np.array(list(array.flat), dtype).reshape(array.shape)
        elif array.dtype != object:
            array = array.astype(dtype, copy=False)
        return cls(array, dtype)

    @property
    def is_symbolic(self) -> bool:
        return self.array.dtype == object and self.dtype != object

    def known(self) -> np.ndarray:
        """The numbers.

        Raises:
            DataDependentError: Some are symbolic.
        """
        if self.is_symbolic:
            raise DataDependentError("it depends on a dynamic dimension")
        return self.array

    def sizes(self) -> list[Any]:
        """The elements in a flat list; plain ints where they are numbers."""
        return [v.item() if isinstance(v, np.generic) else v for v in self.array.flat]


def is_shape_like(array: np.ndarray) -> bool:
    """Whether a constant may take part in shape arithmetic: small."""
    return array.size <= _LARGEST


def evaluate(node: ir.Node, opset: int, values: Sequence[Host | None]) -> list[Host] | None:
    """Computes a node whose inputs are all known; None where it must be left to the framework.

    Raises:
        DataDependentError: It needs the number behind a symbolic int.
    """
    if not any(v is not None and v.is_symbolic for v in values):
        return _numbers(node, opset, values)
    if any(v is not None and v.array.size > _MOST_SYMBOLIC for v in values):
        return None
    is_real = any(v is not None and v.dtype.kind == "f" for v in values)
    operation = _of_sizes(node.op_type, is_real) if node.domain in ("", "ai.onnx") else None
    if operation is None:
        raise DataDependentError(f"{node.op_type} of a dynamic size")
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    attributes.setdefault("num_outputs", len(node.outputs))  # Split says it since opset 18
    result = operation([None if v is None else _exact(v) for v in values], attributes)
    results = result if isinstance(result, list) else [result]
    declared = [_declared(output, values) for output in node.outputs]
    return [Host.of(array, dtype) for array, dtype in zip(results, declared, strict=False)]


def _exact(value: Host) -> np.ndarray:
    """The elements as objects, so that numpy applies Python's own operators.

    Whole numbers are integers, those of floats too: frameworks know more of a size than of its float, and compute it exactly.
    """
    elements = value.array.astype(object)
    return _elementwise(whole_if_equal)([elements], {}) if value.dtype.kind == "f" else elements


def whole_if_equal(number: Any) -> Any:
    """The integer of a number, where it is one; anything else as it is."""
    return int(number) if isinstance(number, (float, np.floating)) and float(number).is_integer() else number


def _declared(output: ir.Value, values: Sequence[Host | None]) -> np.dtype[Any]:
    if output.dtype is not None:
        declared: np.dtype[Any] = output.dtype.numpy()
        return declared
    return next(v.dtype for v in values if v is not None)


def _numbers(node: ir.Node, opset: int, values: Sequence[Host | None]) -> list[Host] | None:
    """A node on numbers, by onnx's reference implementation; None for control flow, randomness and large results."""
    import onnx_ir as ir

    has_body = any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values())
    if has_body or node.op_type in _NOT_FOLDED:
        return None
    for output in node.outputs:
        if output.shape is not None and output.shape.is_static() and math.prod(output.shape.numpy()) > _LARGEST:
            return None
    try:
        results = _reference(node, opset).run(None, {f"i{k}": v.array for k, v in enumerate(values) if v is not None})
    except Exception:
        return None  # not in the reference implementation; the framework computes it
    if not all(isinstance(r, (np.ndarray, np.generic)) for r in results):
        return None
    arrays = [np.asarray(r) for r in results]
    return [Host(array, array.dtype) for array in arrays] if all(is_shape_like(a) for a in arrays) else None


def _reference(node: ir.Node, opset: int) -> Any:
    import onnx
    import onnx_ir as ir
    from onnx.reference import ReferenceEvaluator

    proto = ir.to_proto(node)
    names = ["" if value is None else f"i{k}" for k, value in enumerate(node.inputs)]
    del proto.input[:], proto.output[:]
    proto.input.extend(names)
    proto.output.extend(f"o{k}" for k in range(len(node.outputs)))
    inputs = [
        onnx.helper.make_tensor_value_info(name, (value.dtype or ir.DataType.UNDEFINED).value, None)
        for name, value in zip(names, node.inputs, strict=True)
        if value is not None
    ]
    outputs = [onnx.helper.make_tensor_value_info(name, 0, None) for name in proto.output]
    graph = onnx.helper.make_graph([proto], "known", inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid(node.domain, opset)])
    return ReferenceEvaluator(model)


_NOT_FOLDED = frozenset(
    ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout")
)


def _objects(values: Any) -> np.ndarray:
    """An object array of nested lists; numpy's own constructor would look into symbolic ints."""
    if not isinstance(values, (list, tuple)):
        array = np.empty((), object)
        array[()] = values
        return array
    rows = [_objects(v) for v in values]
    array = np.empty((len(rows), *(rows[0].shape if rows else ())), object)
    for index, row in enumerate(rows):
        array[index] = row[()] if row.shape == () else row
    return array


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, bool, np.generic))


# What exporters compute shapes with. Every function takes the inputs as object arrays and the attributes.

_Inputs = list[Any]
_Attributes = Mapping[str, Any]


def _elementwise(function: Callable[..., Any]) -> Callable[[_Inputs, _Attributes], np.ndarray]:
    def apply(inputs: _Inputs, _: _Attributes) -> np.ndarray:
        arrays = np.broadcast_arrays(*inputs)
        results = np.empty(arrays[0].shape, object)
        for index in np.ndindex(results.shape):
            results[index] = function(*(a[index] for a in arrays))
        return results

    return apply


def _divide(a: Any, b: Any) -> Any:
    """ONNX's Div: integers truncate towards zero, and sizes are not negative."""
    return a // b if _is_whole(a) and _is_whole(b) else a / b


def _axes(inputs: _Inputs, attributes: _Attributes, rank: int) -> list[int]:
    axes = attributes.get("axes")
    if axes is None and len(inputs) > 1 and inputs[1] is not None:
        axes = [_index(v) for v in inputs[1].flat]
    return [int(a) % rank for a in axes] if axes is not None else []


def _index(value: Any) -> int:
    if not _is_number(value):
        raise DataDependentError("an index is a dynamic size")
    return int(value)


def _numpy(array: np.ndarray) -> np.ndarray:
    return np.array([_index(v) for v in array.flat], np.int64).reshape(array.shape)


def _unsqueeze(inputs: _Inputs, attributes: _Attributes) -> np.ndarray:
    axes = attributes.get("axes")
    count = len(axes) if axes is not None else inputs[1].size
    rank = inputs[0].ndim + count
    return np.expand_dims(inputs[0], tuple(_axes(inputs, attributes, rank)))


def _squeeze(inputs: _Inputs, attributes: _Attributes) -> np.ndarray:
    return np.asarray(np.squeeze(inputs[0], tuple(_axes(inputs, attributes, inputs[0].ndim)) or None))


def _slice(inputs: _Inputs, attributes: _Attributes) -> np.ndarray:
    data = inputs[0]
    if len(inputs) == 1:
        starts, ends = attributes["starts"], attributes["ends"]
        axes, steps = attributes.get("axes"), None
    else:
        starts, ends = (_numpy(v) for v in inputs[1:3])
        axes, steps = (None if len(inputs) <= k or inputs[k] is None else _numpy(inputs[k]) for k in (3, 4))
    where = [slice(None)] * data.ndim
    for position, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = position if axes is None else int(axes[position])
        step = 1 if steps is None else int(steps[position])
        # An end before the first element, going backwards, is what numpy spells None.
        stop = None if step < 0 and end < -data.shape[axis] else int(end)
        where[axis] = slice(int(start), stop, step)
    return np.asarray(data[tuple(where)])


def _split(inputs: _Inputs, attributes: _Attributes) -> list[np.ndarray]:
    axis = attributes.get("axis", 0)
    sizes = attributes.get("split", [_index(v) for v in inputs[1].flat] if len(inputs) > 1 else None)
    if sizes is None:  # equal parts, of which the last may be smaller
        size, parts = inputs[0].shape[axis], attributes["num_outputs"]
        sizes = [-(-size // parts)] * parts
    return np.split(inputs[0], np.cumsum(sizes)[:-1], axis)


def _reduce(function: Callable[[Any, Any], Any]) -> Callable[[_Inputs, _Attributes], np.ndarray]:
    def apply(inputs: _Inputs, attributes: _Attributes) -> np.ndarray:
        data = inputs[0]
        axes = _axes(inputs, attributes, data.ndim) or range(data.ndim)
        for axis in sorted(axes, reverse=True):
            parts = [np.take(data, k, axis) for k in range(data.shape[axis])]
            data = np.asarray(functools.reduce(lambda a, b: _elementwise(function)([np.asarray(a), np.asarray(b)], {}), parts))
            if attributes.get("keepdims", 1):
                data = np.expand_dims(data, axis)
        return np.asarray(data)

    return apply


def _truth(condition: Any) -> bool:
    """Whether a comparison of sizes holds.

    Raises:
        DataDependentError: Only the model's inputs tell; frameworks have errors of their own for that.
    """
    try:
        return bool(condition)
    except Exception as error:
        raise DataDependentError("a comparison with a size that is computed") from error


def _both(a: Any, b: Any) -> Any:
    """Whether two comparisons of sizes hold, undecided as they are."""
    for known, other in ((a, b), (b, a)):
        if isinstance(known, bool | np.bool_):
            return other if known else False
    return a & b


def _where(condition: Any, yes: Any, no: Any) -> Any:
    return yes if _truth(condition) else no


def _constant_of_shape(inputs: _Inputs, attributes: _Attributes) -> np.ndarray:
    raise DataDependentError("an array of a dynamic size")


def _range(inputs: _Inputs, _: _Attributes) -> np.ndarray:
    raise DataDependentError("an array of a dynamic size")


def _scatter_nd(inputs: _Inputs, _: _Attributes) -> np.ndarray:
    data, indices, updates = inputs[0].copy(), _numpy(inputs[1]), inputs[2]
    for where in np.ndindex(indices.shape[:-1]):
        data[tuple(indices[where])] = updates[where]
    return np.asarray(data)


def _floor(value: Any) -> Any:
    return value if _is_whole(value) else math.floor(value)


def _ceil(value: Any) -> Any:
    return value if _is_whole(value) else math.ceil(value)


def _is_whole(value: Any) -> bool:
    """Whether a number, or a symbol (of torch or of TensorFlow), is an integer."""
    if _is_number(value):
        return isinstance(value, (int, np.integer))
    is_integer = getattr(value, "is_integer", None)  # a method of torch's symbols, a property of TensorFlow's
    return is_integer if isinstance(is_integer, bool) else type(value).__name__ == "SymInt"


def _cast(inputs: _Inputs, attributes: _Attributes) -> np.ndarray:
    import onnx_ir as ir

    dtype = ir.DataType(attributes["to"]).numpy()
    inputs = [_elementwise(lambda v: _truth(v) if type(v).__name__ == "SymBool" else v)(inputs[:1], {})]
    if dtype.kind in "iu":
        return _elementwise(lambda v: v if _is_whole(v) else int(v) if _is_number(v) else math.trunc(v))(inputs, {})
    if dtype.kind == "f":
        return np.asarray(inputs[0])  # see `_exact`
    raise DataDependentError("a cast of a dynamic size to a truth value")


_Operation = Callable[[_Inputs, _Attributes], Any]


def _of_sizes(operator: str, is_real: bool) -> _Operation | None:
    """How an operator is computed of sizes, or of floats that were sizes; None where it needs their numbers."""
    return _elementwise(lambda a, b: a / b) if is_real and operator == "Div" else _SYMBOLIC.get(operator)


_SYMBOLIC: dict[str, _Operation] = {
    "Abs": _elementwise(lambda a: a),  # sizes are not negative
    "Add": _elementwise(lambda a, b: a + b),
    "And": _elementwise(_both),
    "Cast": _cast,
    "Ceil": _elementwise(_ceil),
    "Concat": lambda inputs, attributes: np.concatenate(inputs, attributes["axis"]),
    "ConstantOfShape": _constant_of_shape,
    "Div": _elementwise(_divide),
    "Equal": _elementwise(lambda a, b: a == b),
    "Flatten": lambda inputs, attributes: inputs[0].reshape(math.prod(inputs[0].shape[: attributes.get("axis", 1)]), -1),
    "Floor": _elementwise(_floor),
    "Gather": lambda inputs, attributes: np.take(inputs[0], _numpy(inputs[1]), attributes.get("axis", 0)),
    "Greater": _elementwise(lambda a, b: a > b),
    "GreaterOrEqual": _elementwise(lambda a, b: a >= b),
    "Identity": lambda inputs, _: inputs[0],
    "Less": _elementwise(lambda a, b: a < b),
    "LessOrEqual": _elementwise(lambda a, b: a <= b),
    "Max": _elementwise(lambda *sizes: functools.reduce(maximum, sizes)),
    "Min": _elementwise(lambda *sizes: functools.reduce(minimum, sizes)),
    "Mod": _elementwise(lambda a, b: a % b),
    "Mul": _elementwise(lambda a, b: a * b),
    "Neg": _elementwise(lambda a: -a),
    "Not": _elementwise(lambda a: not _truth(a)),
    "Range": _range,
    "ReduceMax": _reduce(lambda a, b: maximum(a, b)),
    "ReduceMin": _reduce(lambda a, b: minimum(a, b)),
    "ReduceProd": _reduce(lambda a, b: a * b),
    "ReduceSum": _reduce(lambda a, b: a + b),
    "Reshape": lambda inputs, attributes: inputs[0].reshape([_index(v) for v in inputs[1].flat]),
    "ScatterND": _scatter_nd,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Sub": _elementwise(lambda a, b: a - b),
    "Transpose": lambda inputs, attributes: inputs[0].transpose(attributes.get("perm")),
    "Unsqueeze": _unsqueeze,
    "Where": _elementwise(_where),
}


def maximum(a: Any, b: Any) -> Any:
    """The larger of two sizes of which either may be symbolic."""
    return max(a, b) if _is_number(a) and _is_number(b) else _extremes(a, b)[0](a, b)


def minimum(a: Any, b: Any) -> Any:
    """The smaller of two sizes of which either may be symbolic."""
    return min(a, b) if _is_number(a) and _is_number(b) else _extremes(a, b)[1](a, b)


_Extreme = Callable[[Any, Any], Any]
_EXTREMES: dict[type, tuple[_Extreme, _Extreme]] = {}


def register_symbol(kind: type, maximum: _Extreme, minimum: _Extreme) -> None:
    """Tells how the larger and the smaller of two sizes is taken where one is a symbol of this type."""
    _EXTREMES[kind] = (maximum, minimum)


def _extremes(a: Any, b: Any) -> tuple[_Extreme, _Extreme]:
    kind = type(b) if _is_number(a) else type(a)
    if kind not in _EXTREMES:
        raise DataDependentError(f"the larger of two sizes of type {kind.__name__}")
    return _EXTREMES[kind]
