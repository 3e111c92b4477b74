"""The arithmetic of shapes: operators whose inputs are all known while tracing, some elements of them symbolic.

Functions take the inputs as object arrays, so that numpy applies Python's own operators, and the options under the schema's
names.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from convkit.interpreters.host import DataDependentError, Host, maximum, minimum
from convkit.interpreters.litert.model import Operator
from convkit.interpreters.litert.slices import numpy_slices

__all__ = ["evaluate"]

_LARGEST = 4096
_Inputs = list[Any]
_Options = Mapping[str, Any]


def evaluate(operator: Operator, values: Sequence[Host | None]) -> list[Host] | None:
    """Computes an operator whose inputs are all known; None where that is left to torch."""
    function = _FUNCTIONS.get(operator.name)
    if function is None or operator.options.get("fused_activation_function", "NONE") != "NONE":
        return None
    try:
        result = function([None if v is None else v.array.astype(object) for v in values], operator.options)
    except DataDependentError:
        return None
    results = result if isinstance(result, list) else [result]
    if any(np.asarray(r).size > _LARGEST for r in results):
        return None
    return [Host.of(np.asarray(r, object), np.dtype(t.dtype)) for r, t in zip(results, operator.outputs, strict=False)]


def _elementwise(function: Callable[..., Any]) -> Callable[[_Inputs, _Options], np.ndarray]:
    def apply(inputs: _Inputs, _: _Options) -> np.ndarray:
        arrays = np.broadcast_arrays(*inputs)
        results = np.empty(arrays[0].shape, object)
        for index in np.ndindex(results.shape):
            results[index] = function(*(a[index] for a in arrays))
        return results

    return apply


def _number(value: Any) -> int:
    if not isinstance(value, (int, np.integer)):
        raise DataDependentError("an index is a dynamic size")
    return int(value)


def _numbers(array: np.ndarray) -> list[int]:
    return [_number(v) for v in np.asarray(array, object).flat]


def _divide(a: Any, b: Any) -> Any:
    """Integers truncate towards zero; sizes are not negative."""
    if isinstance(a, (int, np.integer)) and isinstance(b, (int, np.integer)):
        return int(a / b) if b else 0
    return a / b if isinstance(a, float) or isinstance(b, float) else a // b


def _reduce(function: Callable[[Any, Any], Any]) -> Callable[[_Inputs, _Options], np.ndarray]:
    def apply(inputs: _Inputs, options: _Options) -> np.ndarray:
        data = inputs[0]
        axes = {a % max(data.ndim, 1) for a in _numbers(inputs[1])} if data.ndim else set()
        for axis in sorted(axes, reverse=True):
            parts = [np.take(data, k, axis) for k in range(data.shape[axis])]
            if not parts:
                raise DataDependentError("a reduction of nothing")
            data = np.asarray(functools.reduce(lambda a, b: _elementwise(function)([np.asarray(a), np.asarray(b)], {}), parts))
            if options.get("keep_dims", False):
                data = np.expand_dims(data, axis)
        return np.asarray(data)

    return apply


def _expand(inputs: _Inputs, _: _Options) -> np.ndarray:
    return np.expand_dims(inputs[0], _number(inputs[1].reshape(-1)[0]))


def _squeeze(inputs: _Inputs, options: _Options) -> np.ndarray:
    axes = tuple(a % inputs[0].ndim for a in options.get("squeeze_dims", ()))
    return np.asarray(np.squeeze(inputs[0], axes or None))


def _slice(inputs: _Inputs, _: _Options) -> np.ndarray:
    starts, sizes = _numbers(inputs[1]), _numbers(inputs[2])
    where = tuple(slice(b, None if n < 0 else b + n) for b, n in zip(starts, sizes, strict=True))
    return np.asarray(inputs[0][where])


def _strided_slice(inputs: _Inputs, options: _Options) -> np.ndarray:
    begin, end, strides = (_numbers(v) for v in inputs[1:4])
    return np.asarray(inputs[0][numpy_slices(begin, end, strides, inputs[0].ndim, options)])


def _range(inputs: _Inputs, _: _Options) -> np.ndarray:
    start, limit, step = (_number(v.reshape(-1)[0]) for v in inputs)
    if not step or abs((limit - start) // step) > _LARGEST:
        raise DataDependentError("a long range")
    return np.arange(start, limit, step).astype(object)


def _fill(inputs: _Inputs, _: _Options) -> np.ndarray:
    sizes = _numbers(inputs[0])
    if np.prod(sizes, dtype=np.float64) > _LARGEST:
        raise DataDependentError("a large array")
    return np.full(sizes, inputs[1], object)


def _gather(inputs: _Inputs, options: _Options) -> np.ndarray:
    if options.get("batch_dims", 0):
        raise DataDependentError("a gather in batches")
    return np.asarray(
        np.take(inputs[0], np.array(_numbers(inputs[1]), np.int64).reshape(inputs[1].shape), options.get("axis", 0))
    )


def _pack(inputs: _Inputs, options: _Options) -> np.ndarray:
    return np.stack(inputs, options.get("axis", 0))


def _unpack(inputs: _Inputs, options: _Options) -> list[np.ndarray]:
    axis = options.get("axis", 0)
    return [np.asarray(np.take(inputs[0], k, axis)) for k in range(inputs[0].shape[axis])]


def _split(inputs: _Inputs, options: _Options) -> list[np.ndarray]:
    return np.split(inputs[1], options["num_splits"], _number(inputs[0].reshape(-1)[0]))


def _split_in_sizes(inputs: _Inputs, _: _Options) -> list[np.ndarray]:
    data, axis = inputs[0], _number(inputs[2].reshape(-1)[0])
    sizes = _numbers(inputs[1])
    rest = data.shape[axis] - sum(n for n in sizes if n >= 0)  # at most one is -1: what is left
    ends = np.cumsum([rest if n < 0 else n for n in sizes])
    return np.split(data, ends[:-1], axis)


def _tile(inputs: _Inputs, _: _Options) -> np.ndarray:
    times = _numbers(inputs[1])
    if np.prod(times, dtype=np.float64) * inputs[0].size > _LARGEST:
        raise DataDependentError("a large array")
    return np.tile(inputs[0], times)


def _cast(inputs: _Inputs, options: _Options) -> np.ndarray:
    out = options.get("out_data_type", "FLOAT32")
    if out.startswith(("INT", "UINT")):
        return _elementwise(lambda v: int(v) if isinstance(v, (bool, float, int, np.generic)) else v)(inputs, {})
    if all(isinstance(v, (bool, float, int, np.generic)) for v in inputs[0].flat):
        return np.asarray(inputs[0])
    raise DataDependentError("a cast of a dynamic size")


def _broadcast_args(inputs: _Inputs, _: _Options) -> np.ndarray:
    shapes = [list(v) for v in inputs]
    rank = max(map(len, shapes))
    padded = [[1] * (rank - len(s)) + s for s in shapes]
    return np.array([a if isinstance(b, int) and b == 1 else b for a, b in zip(*padded, strict=True)], object)


_FUNCTIONS: dict[str, Callable[[_Inputs, _Options], Any]] = {
    "ABS": _elementwise(abs),
    "ADD": _elementwise(lambda a, b: a + b),
    "BROADCAST_ARGS": _broadcast_args,
    "CAST": _cast,
    "CONCATENATION": lambda inputs, options: np.concatenate(inputs, options.get("axis", 0)),
    "DIV": _elementwise(_divide),
    "EQUAL": _elementwise(lambda a, b: a == b),
    "EXPAND_DIMS": _expand,
    "FILL": _fill,
    "FLOOR_DIV": _elementwise(lambda a, b: a // b),
    "FLOOR_MOD": _elementwise(lambda a, b: a % b),
    "GATHER": _gather,
    "GREATER": _elementwise(lambda a, b: a > b),
    "GREATER_EQUAL": _elementwise(lambda a, b: a >= b),
    "LESS": _elementwise(lambda a, b: a < b),
    "LESS_EQUAL": _elementwise(lambda a, b: a <= b),
    "LOGICAL_AND": _elementwise(lambda a, b: a and b),
    "LOGICAL_NOT": _elementwise(lambda a: not a),
    "LOGICAL_OR": _elementwise(lambda a, b: a or b),
    "MAXIMUM": _elementwise(maximum),
    "MINIMUM": _elementwise(minimum),
    "MUL": _elementwise(lambda a, b: a * b),
    "NEG": _elementwise(lambda a: -a),
    "NOT_EQUAL": _elementwise(lambda a, b: a != b),
    "PACK": _pack,
    "RANGE": _range,
    "REDUCE_ALL": _reduce(lambda a, b: a and b),
    "REDUCE_ANY": _reduce(lambda a, b: a or b),
    "REDUCE_MAX": _reduce(maximum),
    "REDUCE_MIN": _reduce(minimum),
    "REDUCE_PROD": _reduce(lambda a, b: a * b),
    "RESHAPE": lambda inputs, options: inputs[0].reshape(_numbers(inputs[1]) if len(inputs) > 1 else options["new_shape"]),
    "REVERSE_V2": lambda inputs, _: np.flip(inputs[0], tuple(_numbers(inputs[1]))),
    "SELECT": _elementwise(lambda c, a, b: a if bool(c) else b),
    "SELECT_V2": _elementwise(lambda c, a, b: a if bool(c) else b),
    "SLICE": _slice,
    "SPLIT": _split,
    "SPLIT_V": _split_in_sizes,
    "SQUEEZE": _squeeze,
    "STRIDED_SLICE": _strided_slice,
    "SUB": _elementwise(lambda a, b: a - b),
    "SUM": _reduce(lambda a, b: a + b),
    "TILE": _tile,
    "UNPACK": _unpack,
}
