"""Narrow integers in a `ModelIR`: LiteRT takes int8 and its kin for quantized values, and aborts where no scale is given.

ONNX computes with int8, uint8, int16, uint16 and uint32 as they are. In LiteRT's arithmetic and comparisons such a tensor without
quantization parameters ends the process (SIGABRT: ADD of uint8, GREATER_EQUAL of int8) or is refused (LESS of uint16), so these
operators work on a wider type between casts. A cast back wraps around, as ONNX's arithmetic does.
"""

from __future__ import annotations

from typing import Any

__all__ = ["widen_integers"]

_WIDER = {"INT8": "INT32", "UINT8": "INT32", "INT16": "INT32", "UINT16": "INT32", "UINT32": "INT64"}
_OPERATORS = frozenset(
    (
        "ADD",
        "SUB",
        "MUL",
        "DIV",
        "MAXIMUM",
        "MINIMUM",
        "EQUAL",
        "NOT_EQUAL",
        "GREATER",
        "GREATER_EQUAL",
        "LESS",
        "LESS_EQUAL",
        "SUM",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "REDUCE_PROD",
    )
)


def widen_integers(ir: Any) -> None:
    """Puts casts around the operators that cannot do with a narrow integer; in place."""
    operators: list[Any] = []
    for operator in ir.operators:
        if operator.op_type in _OPERATORS and _is_narrow(ir.tensors[operator.inputs[0]]):
            operators += _widened(ir, operator)
        else:
            operators.append(operator)
    ir.operators[:] = operators


def _is_narrow(tensor: Any) -> bool:
    return tensor.dtype in _WIDER and tensor.quantization is None


def _widened(ir: Any, operator: Any) -> list[Any]:
    before: list[Any] = []
    after: list[Any] = []
    for position, name in enumerate(operator.inputs):
        if name and _is_narrow(ir.tensors[name]):
            wide = _twin(ir, name)
            before.append(_cast(ir, name, wide))
            operator.inputs[position] = wide
    for position, name in enumerate(operator.outputs):
        if _is_narrow(ir.tensors[name]):
            wide = _twin(ir, name)
            after.append(_cast(ir, wide, name))
            operator.outputs[position] = wide
    return [*before, operator, *after]


def _twin(ir: Any, name: str) -> str:
    """A tensor of the same shape and the wider type."""
    from onnx2tf.tflite_builder.ir import TensorIR

    tensor, twin = ir.tensors[name], f"{name}/wide"
    while twin in ir.tensors:
        twin += "_"
    ir.tensors[twin] = TensorIR(twin, _WIDER[tensor.dtype], list(tensor.shape), list(tensor.shape_signature or tensor.shape))
    return twin


def _cast(ir: Any, source: str, target: str) -> Any:
    from onnx2tf.tflite_builder.ir import OperatorIR

    types = {"inDataType": ir.tensors[source].dtype, "outDataType": ir.tensors[target].dtype}
    return OperatorIR("CAST", [source], [target], types)
