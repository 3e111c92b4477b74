"""Dynamic dimensions out of two static lowerings.

onnx2tf lowers static models best: with a dynamic batch it computes shapes at run time (which LiteRT's XNNPACK delegate
freezes at the first size it sees), or bakes in the placeholder size 1. So a dynamic model is lowered twice, with every
dynamic dimension pinned to two different primes, and the two results are compared: a tensor dimension that differs is
dynamic, and a constant that differs has to be one whose meaning is "whatever the input has" (`-1` in RESHAPE, the
rest in SLICE, a broadcast constant) or a multiple of an input's dimension, which is then computed from that input.
Anything else is refused, because then the size has an influence that a comparison cannot explain.

The primes are unlikely as sizes of anything else, so that no other dimension is mistaken for a dynamic one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from convkit.signature import Signature, TensorSpec

__all__ = ["NotUniformError", "any_sizes", "merge", "pinned", "probe_sizes"]

_PRIMES = ((13, 29), (17, 31), (19, 37), (23, 41))
_TO_THE_END = 2**31 - 1

# Operators that broadcast: one row stands for many.
_BROADCASTING = frozenset(
    [
        "ADD",
        "SUB",
        "MUL",
        "DIV",
        "MAXIMUM",
        "MINIMUM",
        "POW",
        "SQUARED_DIFFERENCE",
        "EQUAL",
        "NOT_EQUAL",
        "GREATER",
        "GREATER_EQUAL",
        "LESS",
        "LESS_EQUAL",
        "LOGICAL_AND",
        "LOGICAL_OR",
        "SELECT_V2",
        "FULLY_CONNECTED",
        "BATCH_MATMUL",
    ]
)

# Operators with an operand that is a shape, and its position.
_SHAPE_OPERANDS = {"RESHAPE": 1, "BROADCAST_TO": 1, "FILL": 0, "TRANSPOSE_CONV": 0}


class NotUniformError(Exception):
    """The two lowerings differ by more than sizes."""


def probe_sizes(signature: Signature) -> tuple[dict[str, int], dict[str, int]]:
    """Two sizes for each dynamic dimension of the inputs.

    Raises:
        NotUniformError: There are more dynamic dimensions than primes.
    """
    symbols = signature.dynamic_dims
    if len(symbols) > len(_PRIMES):
        raise NotUniformError(f"{len(symbols)} dynamic dimensions")
    pairs = list(zip(symbols, _PRIMES, strict=False))
    return {s: p[0] for s, p in pairs}, {s: p[1] for s, p in pairs}


def any_sizes(signature: Signature) -> dict[str, int]:
    """One size for each dynamic dimension of the inputs, however many there are."""
    return {symbol: _PRIMES[k % len(_PRIMES)][0] for k, symbol in enumerate(signature.dynamic_dims)}


def pinned(signature: Signature, sizes: Mapping[str, int]) -> Signature:
    """The signature with the sizes in place of the symbols; an output dimension of another symbol becomes unknown."""

    def pin(spec: TensorSpec) -> TensorSpec:
        if spec.shape is None:
            return spec
        return replace(spec, shape=tuple(sizes.get(d, d) if isinstance(d, str) else d for d in spec.shape))

    return replace(signature, inputs=tuple(map(pin, signature.inputs)), outputs=tuple(map(pin, signature.outputs)))


def merge(first: Any, second: Any) -> Any:
    """Turns the first of two `ModelIR`s of one model into one with dynamic dimensions.

    Args:
        first: Lowered with one set of sizes; changed in place and returned.
        second: Lowered with the other.

    Raises:
        NotUniformError: They differ in more than sizes.
    """
    if first.subgraphs or second.subgraphs:
        raise NotUniformError("control flow")
    if first.tensors.keys() != second.tensors.keys() or len(first.operators) != len(second.operators):
        raise NotUniformError("the graphs differ")
    sizes = _input_sizes(first, second)
    consumers: dict[str, list[tuple[Any, int]]] = {}
    for one, other in zip(first.operators, second.operators, strict=True):
        if (one.op_type, one.inputs, one.outputs) != (other.op_type, other.inputs, other.outputs):
            raise NotUniformError(f"{one.op_type} became {other.op_type}")
        for position, name in enumerate(one.inputs):
            consumers.setdefault(name, []).append((one, position))
    derived: list[tuple[str, Any, Any]] = []
    for name, tensor in first.tensors.items():
        _merge_tensor(first, second, tensor, second.tensors[name], consumers.get(name, []), derived)
    for one, other in zip(first.operators, second.operators, strict=True):
        _merge_options(first, one, other)
    for name, mine, theirs in derived:
        _derive_from_inputs(first, name, mine, theirs, sizes)
    return first


def _input_sizes(first: Any, second: Any) -> dict[tuple[int, int], tuple[str, int]]:
    """For each pair of probe sizes, an input and the axis that has it."""
    return {
        (a, b): (name, axis)
        for name in first.inputs
        for axis, (a, b) in enumerate(zip(first.tensors[name].shape, second.tensors[name].shape, strict=True))
        if a != b
    }


def _merge_tensor(
    first: Any,
    second: Any,
    tensor: Any,
    twin: Any,
    consumers: Sequence[tuple[Any, int]],
    derived: list[tuple[str, Any, Any]],
) -> None:
    import numpy as np

    if tensor.dtype != twin.dtype or len(tensor.shape) != len(twin.shape) or (tensor.data is None) != (twin.data is None):
        raise NotUniformError(f"'{tensor.name}' differs in kind")
    differing = [axis for axis, (a, b) in enumerate(zip(tensor.shape, twin.shape, strict=True)) if a != b]
    if tensor.data is None:
        if differing and tensor.is_variable:
            # An initial state that nothing writes to: zeros.
            if not all(op.op_type in _BROADCASTING for op, _ in consumers):
                raise NotUniformError(f"the state '{tensor.name}' has one row per sample")
            tensor.shape = [1 if axis in differing else d for axis, d in enumerate(tensor.shape)]
            tensor.shape_signature = list(tensor.shape)
            tensor.data = np.zeros(tensor.shape, tensor.dtype.lower())
            tensor.is_variable = False
            return
        tensor.shape_signature = [-1 if axis in differing else d for axis, d in enumerate(tensor.shape)]
        tensor.shape = [1 if axis in differing else d for axis, d in enumerate(tensor.shape)]
        return
    mine, other = np.asarray(tensor.data), np.asarray(twin.data)
    if mine.shape == other.shape:
        if not np.array_equal(mine, other, equal_nan=mine.dtype.kind == "f"):
            merged = _merged_parameter(first, second, tensor.name, mine, other, consumers)
            if merged is not None:
                tensor.data = merged
            elif mine.ndim == 1 and all(_SHAPE_OPERANDS.get(op.op_type) == k for op, k in consumers):
                derived.append((tensor.name, mine, other))
            else:
                kinds = ", ".join(sorted({op.op_type for op, _ in consumers}))
                raise NotUniformError(f"{kinds} takes a size from '{tensor.name}'")
        return
    if not all(op.op_type in _BROADCASTING for op, _ in consumers):
        raise NotUniformError(f"the constant '{tensor.name}' grows with the input")
    for axis in differing:
        mine, other = (np.unique(a, axis=axis) for a in (mine, other))
    if mine.shape != other.shape or any(mine.shape[a] != 1 for a in differing) or not np.array_equal(mine, other):
        raise NotUniformError(f"the constant '{tensor.name}' differs from row to row")
    tensor.data = mine
    tensor.shape = list(mine.shape)
    tensor.shape_signature = list(mine.shape)


def _merged_parameter(
    first: Any, second: Any, name: str, mine: Any, other: Any, consumers: Sequence[tuple[Any, int]]
) -> Any | None:
    """A constant operand that says a size, said without it; None where two operators differ about it, or it cannot be."""
    merged = None
    for operator, position in consumers:
        value = mine.copy()
        differing = [int(k) for k in (mine != other).nonzero()[0]] if mine.ndim == 1 else []
        source, twin = first.tensors[operator.inputs[0]], second.tensors[operator.inputs[0]]
        if operator.op_type == "RESHAPE" and position == 1 and len(differing) == 1 and not (mine < 0).any():
            value[differing] = -1
        elif operator.op_type in {"SLICE", "STRIDED_SLICE"} and position == 2 and differing:
            sized = operator.op_type == "SLICE"
            begin = first.tensors[operator.inputs[1]].data if sized else mine * 0
            if begin is None or not all(_is_rest(k, mine, other, begin, source, twin) for k in differing):
                return None
            value[differing] = -1 if sized else _TO_THE_END
        else:
            return None
        if merged is not None and (merged != value).any():
            return None
        merged = value
    return merged


def _derive_from_inputs(ir: Any, name: str, mine: Any, theirs: Any, sizes: Mapping[tuple[int, int], tuple[str, int]]) -> None:
    """Replaces a constant shape by one that is computed from the inputs' shapes.

    Raises:
        NotUniformError: An element is no multiple of an input's dimension.
    """
    import numpy as np
    from onnx2tf.tflite_builder.ir import OperatorIR, TensorIR

    operators: list[Any] = []

    def add(suffix: str, shape: list[int], data: Any = None) -> str:
        key = f"{name}/{suffix}"
        ir.tensors[key] = TensorIR(key, "INT32", shape, list(shape), data)
        return key

    def emit(kind: str, inputs: list[str], suffix: str, shape: list[int], options: dict[str, Any]) -> str:
        output = add(suffix, shape)
        operators.append(OperatorIR(kind, inputs, [output], options))
        return output

    parts = []
    for position, (a, b) in enumerate(zip(mine.tolist(), theirs.tolist(), strict=True)):
        if a == b:
            parts.append(add(f"{position}", [1], np.asarray([a], np.int32)))
            continue
        found = next((w for (p, q), w in sizes.items() if a % p == 0 and a // p * q == b), None)
        if found is None:
            raise NotUniformError(f"'{name}' has the sizes {a} and {b}")
        source, axis = found
        factor = a // next(p for (p, _), w in sizes.items() if w == found)
        shape = emit("SHAPE", [source], f"{position}/shape", [len(ir.tensors[source].shape)], {"outType": "INT32"})
        begin = add(f"{position}/begin", [1], np.asarray([axis], np.int32))
        length = add(f"{position}/length", [1], np.asarray([1], np.int32))
        part = emit("SLICE", [shape, begin, length], f"{position}/size", [1], {})
        if factor != 1:
            times = add(f"{position}/factor", [1], np.asarray([factor], np.int32))
            part = emit("MUL", [part, times], f"{position}/product", [1], {"fusedActivationFunction": "NONE"})
        parts.append(part)
    del ir.tensors[name]
    joined = emit("CONCATENATION", parts, "joined", [len(parts)], {"axis": 0, "fusedActivationFunction": "NONE"})
    for operator in ir.operators:
        operator.inputs = [joined if n == name else n for n in operator.inputs]
    ir.operators[:0] = operators


def _is_rest(axis: int, mine: Any, other: Any, begin: Any, source: Any, twin: Any) -> bool:
    """Whether a slice ends where its input ends. `source` may be merged already (shape 1, signature -1), its twin never is."""
    offset = 0 if begin is None else int(begin[axis])
    return bool(other[axis] + offset == twin.shape[axis]) and source.shape[axis] in {1, mine[axis] + offset}


def _merge_options(ir: Any, one: Any, other: Any) -> None:
    if one.op_type == "RESHAPE":
        # Of its options the file holds `newShape` only, and LiteRT that only where there is no operand.
        shape = ir.tensors[one.inputs[1]].data if len(one.inputs) > 1 else None
        if shape is not None:
            one.options["newShape"] = [int(d) for d in shape]
        elif one.options.get("newShape") != other.options.get("newShape"):
            one.options["newShape"] = []
    elif repr(one.options) != repr(other.options):
        raise NotUniformError(f"{one.op_type} has the options {one.options} and {other.options}")
