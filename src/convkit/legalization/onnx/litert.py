"""What LiteRT's kernels run of ONNX, and what is rewritten so that they do.

LiteRT's arithmetic is made for float32 and int32; for other dtypes it has few kernels, and on some (int8 without quantization
parameters) it ends the process. Which operator computes which dtype is measured and kept as data (`VERDICTS`). Where a dtype is
not right, the node works on a wider one between casts: narrow integers on int32, whose narrowing cast wraps around as ONNX's
arithmetic does; float16 and float64 on float32. The edges of the model keep their dtypes, for LiteRT's CAST knows them all; of
uint64, which it does not know, the bits are taken for int64.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir import DataType
from onnx_ir.passes.common import RemoveUnusedNodesPass

from convkit.legalization.onnx import rewriting
from convkit.legalization.onnx.inference import bodies
from convkit.legalization.onnx.litert_division import EXPANDED, divide_exactly
from convkit.legalization.target import Finding, Verdict
from convkit.legalization.verdicts import Verdicts

__all__ = ["VERDICTS", "legalize"]

VERDICTS = Path(__file__).with_name("litert_verdicts.json")

_SIGN = np.int64(-(1 << 63))

_WIDER: Mapping[DataType, tuple[DataType, ...]] = {
    **dict.fromkeys((DataType.INT8, DataType.UINT8, DataType.INT16, DataType.UINT16), (DataType.INT32, DataType.FLOAT)),
    **dict.fromkeys((DataType.UINT32, DataType.UINT64), (DataType.INT64,)),
    **dict.fromkeys((DataType.FLOAT16, DataType.BFLOAT16, DataType.DOUBLE), (DataType.FLOAT,)),
    DataType.INT64: (DataType.INT32,),
    DataType.INT32: (DataType.INT64,),
    DataType.BOOL: (DataType.INT32,),
}
"""What a dtype is computed in where LiteRT has no kernel for it, in order of preference."""

_COMMON = (DataType.FLOAT, DataType.INT32, DataType.INT64, DataType.BOOL)
"""The dtypes that are left alone where nothing was measured."""

_HALVES = (DataType.FLOAT16, DataType.BFLOAT16, DataType.DOUBLE)

# Float32 holds integers of 16 bits; of these operators the results are whole again.
_EXACT_IN_FLOAT = frozenset(("Abs", "Clip", "GlobalMaxPool", "Max", "MaxPool", "Min", "Neg", "Pad", "Relu", "Sign", "Where"))

# Results stay in the range of the operands, so that a cast there and back does nothing.
_KEEPS_RANGE = _EXACT_IN_FLOAT - {"Abs", "Neg"} | {
    *("Compress", "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "ReduceMax"),
    *("ReduceMin", "Reshape", "ReverseSequence", "ScatterElements", "ScatterND", "Slice", "SpaceToDepth", "Split", "Squeeze"),
    *("Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "CenterCropPad", "Cast"),
}

# The order of unsigned numbers is that of signed ones with the highest bit flipped.
_ORDERING = frozenset(
    (
        "ArgMax",
        "ArgMin",
        "Clip",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "Max",
        "Min",
        "ReduceMax",
        "ReduceMin",
        "TopK",
    )
)

# The results of others (sums, products, bits) are the same bits for signed and unsigned numbers.
_SIGN_COUNTS = frozenset(("Cast", "Div", "Mod", "Pow", "ReduceMean", "Sign"))

# Dtypes are what these are about, or they hold graphs, or sequences.
_LEFT_ALONE = frozenset(("BitCast", "CastLike", "Constant", "If", "Loop", "Optional", "Scan", "SequenceMap", "StringNormalizer"))
_QUANTIZING = frozenset(("ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QuantizeLinear"))

# The attributes that name an output's dtype.
_DTYPE_ATTRIBUTES = ("to", "dtype", "output_dtype")

_Place: TypeAlias = tuple[ir.Graph, ir.Value, DataType, bool]


def legalize(model: ir.Model, as_is: bool = False) -> list[Finding]:
    """Rewrites a prepared model in place until LiteRT runs it; the verdict on every operator.

    Args:
        model: The model.
        as_is: Leave the dtypes as they are, to see what LiteRT makes of them.
    """
    from convkit.interpreters.tensorflow.table import operators

    findings = rewriting.legalize(model, operators())
    if as_is or any(f.verdict is Verdict.GAP for f in findings):
        return findings
    widened = _Widening(model).widen()
    return _reported(findings, widened)


def _reported(findings: list[Finding], widened: Mapping[tuple[str, str], int]) -> list[Finding]:
    """The findings with the operators that work on another dtype told as rewritten."""
    left = Counter({f.operator: f.count for f in findings if f.verdict is Verdict.LEGAL})
    added = []
    for (operator, reason), count in widened.items():
        if count := min(count, left[operator]):
            left[operator] -= count
            added.append(Finding(operator, count, Verdict.REWRITTEN, reason))
    kept = [f if f.verdict is not Verdict.LEGAL else replace(f, count=left[f.operator]) for f in findings]
    order = [Verdict.GAP, Verdict.REWRITTEN, Verdict.LEGAL]
    return sorted([*added, *(f for f in kept if f.count)], key=lambda f: (order.index(f.verdict), f.operator, f.reason))


@cache
def _verdicts() -> Verdicts:
    return Verdicts.load(VERDICTS)


class _Widening:
    """One model whose nodes are given dtypes that LiteRT has kernels for."""

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._wide: dict[_Place, ir.Value] = {}
        self._told: Counter[tuple[str, str]] = Counter()

    def widen(self) -> Mapping[tuple[str, str], int]:
        """Inserts the casts; how often which operator was computed in another dtype, and why."""
        self._graph(self._model.graph)
        if self._told:
            RemoveUnusedNodesPass()(self._model)
        divide_exactly(self._model)
        return self._told

    def _graph(self, graph: ir.Graph) -> None:
        for node in list(graph):
            if (chosen := _chosen(node)) is not None:
                narrow, wide = chosen
                self._node(graph, node, narrow, wide)
                self._told[node.op_type, _reason(node, narrow, wide)] += 1
            for body in bodies(node):
                self._graph(body)

    def _node(self, graph: ir.Graph, node: ir.Node, narrow: DataType, wide: DataType) -> None:
        flipped = narrow is DataType.UINT64 and node.op_type in _ORDERING
        inputs, outputs = _typed_alike(node, narrow)
        for position in inputs:
            value = node.inputs[position]
            assert value is not None
            node.replace_input_with(position, self._widened(graph, node, value, wide, flipped))
        for name in _DTYPE_ATTRIBUTES:
            if name in node.attributes and node.attributes[name].value == narrow:
                node.attributes.add(ir.AttrInt64(name, wide))
        for position in outputs:
            self._narrowed(graph, node, node.outputs[position], narrow, wide, flipped)

    def _widened(self, graph: ir.Graph, node: ir.Node, value: ir.Value, wide: DataType, flipped: bool) -> ir.Value:
        """The value in a wider dtype; computed once in a graph."""
        place = (graph, value, wide, flipped)
        if place not in self._wide:
            made = _wide_constant(value, wide, flipped)
            if made is not None:
                self._model.graph.register_initializer(made)
            else:
                new = self._casts(value, wide, flipped)
                graph.insert_before(node, new)
                made = new[-1].outputs[0]
            self._wide[place] = made
        return self._wide[place]

    def _narrowed(self, graph: ir.Graph, node: ir.Node, value: ir.Value, narrow: DataType, wide: DataType, flipped: bool) -> None:
        """Makes an output wide, and what uses it use the narrow dtype still."""
        name, shape = value.name, value.shape
        value.name, value.type = f"{name}/{_spelled(wide)}", ir.TensorType(wide)
        new = self._casts(value, narrow, flipped)
        result = new[-1].outputs[0]
        value.replace_all_uses_with(result, replace_graph_outputs=True)
        new[0].replace_input_with(0, value)
        result.name, result.shape = name, shape
        graph.insert_after(node, new)
        if narrow in _HALVES or node.op_type in _KEEPS_RANGE:
            self._wide[graph, result, wide, flipped] = value

    def _casts(self, value: ir.Value, to: DataType, flipped: bool) -> list[ir.Node]:
        """Nodes that cast; between uint64 and int64 the bits stay (LiteRT's CAST has no uint64), or all but the highest."""
        cast, bits, add = (partial(_step, operator) for operator in ("Cast", "BitCast", "Add"))
        if DataType.UINT64 not in (value.dtype, to):
            return [cast(value, to)]
        if not flipped:
            return [bits(value, to)]
        if to is DataType.UINT64:
            signed = add(value, DataType.INT64, self._highest_bit)
            return [signed, bits(signed.outputs[0], to)]
        signed = bits(value, DataType.INT64)
        return [signed, add(signed.outputs[0], DataType.INT64, self._highest_bit)]

    @cached_property
    def _highest_bit(self) -> ir.Value:
        tensor = ir.tensor(_SIGN, name="highest_bit_of_int64")
        value = ir.Value(name=tensor.name, const_value=tensor, type=ir.TensorType(DataType.INT64), shape=ir.Shape(()))
        self._model.graph.register_initializer(value)
        return value


def _step(operator: str, source: ir.Value, dtype: DataType, *others: ir.Value) -> ir.Node:
    node = ir.node(
        operator, [source, *others], {} if others else {"to": dtype}, name=f"{source.name}/{operator}_{_spelled(dtype)}"
    )
    result = node.outputs[0]
    result.name, result.type, result.shape = f"{node.name}/output", ir.TensorType(dtype), source.shape
    return node


def _wide_constant(value: ir.Value, wide: DataType, flipped: bool) -> ir.Value | None:
    """A constant in a wider dtype, read when it is needed; None for what is no constant."""
    held = value.const_value
    if held is None or held.dtype is DataType.STRING:
        return None
    name = f"{value.name}/{_spelled(wide)}{'/flipped' if flipped else ''}"

    def read() -> ir.TensorProtocol:
        array = held.numpy()
        array = array.view(np.int64) if array.dtype == np.uint64 else array.astype(wide.numpy())
        return ir.tensor(array ^ _SIGN if flipped else array)

    tensor = ir.LazyTensor(read, dtype=wide, shape=ir.Shape(held.shape), name=name)
    return ir.Value(name=name, const_value=tensor, type=ir.TensorType(wide), shape=ir.Shape(held.shape))


def _chosen(node: ir.Node) -> tuple[DataType, DataType] | None:
    """The dtype that LiteRT does not compute a node in, and the one that it is computed in; None where it stays as it is."""
    if node.op_type in _LEFT_ALONE or node.domain not in ("", "ai.onnx"):
        return None
    if any(not isinstance(v.type, ir.TensorType) for v in (*node.inputs, *node.outputs) if v is not None and v.name):
        return None
    if node.op_type == "Cast":
        dtypes = {v.dtype for v in (*node.inputs, *node.outputs) if v is not None}
        return (DataType.UINT64, DataType.INT64) if DataType.UINT64 in dtypes else None
    narrow = _data_dtype(node)
    if node.op_type in _QUANTIZING or node.op_type.startswith("QLinear"):
        halves = [v.dtype for v in (*node.inputs, *node.outputs) if v is not None and v.dtype in _HALVES]
        return (halves[0], DataType.FLOAT) if halves else None
    if narrow is None or narrow not in _WIDER:
        return None
    if node.op_type == "Pow" and (wide := _dtype_of_power(node)) is not None:
        return narrow, wide
    if not _trouble(node, narrow):
        return None
    for wide in _WIDER[narrow]:
        if wide is DataType.FLOAT and narrow not in _HALVES and node.op_type not in _EXACT_IN_FLOAT:
            continue
        if not _trouble(node, wide):
            return narrow, wide
    return None


def _trouble(node: ir.Node, dtype: DataType) -> bool:
    """Whether LiteRT does not compute a node in a dtype, as far as was measured.

    Halves are not for arithmetic even where there is a kernel: a model's neighbouring nodes shall not cast in between.
    """
    if (node.op_type, dtype) in EXPANDED:
        return False
    measured = _verdicts().reason(node.op_type, _spelled(dtype), _rank(node))
    return dtype in _HALVES or (dtype not in _COMMON if measured is None else bool(measured))


def _dtype_of_power(node: ir.Node) -> DataType | None:
    """What a whole number to the power of a tensor is computed in: LiteRT's POW has float32 and int32."""
    base, exponent = node.inputs[:2]
    if base is None or exponent is None or base.dtype is None or exponent.dtype is None or not base.dtype.is_integer():
        return None
    if not exponent.dtype.is_integer():
        return DataType.FLOAT
    alone = exponent.const_value is not None and exponent.const_value.size == 1  # a square, a cube: no POW
    return DataType.INT32 if base.dtype is DataType.INT64 and not alone else None


def _reason(node: ir.Node, narrow: DataType, wide: DataType) -> str:
    reason = f"computed in {_spelled(wide)}, as LiteRT has no kernel for {_spelled(narrow)}"
    if narrow is DataType.INT64:
        return f"{reason}: numbers beyond 32 bits wrap around"
    if narrow is DataType.UINT64 and node.op_type in _SIGN_COUNTS:
        return f"{reason}: numbers from 2^63 on count as negative"
    return reason


def _spelled(dtype: DataType) -> str:
    return str(dtype.numpy().name)


def _rank(node: ir.Node) -> int | None:
    ranks = [None if v.shape is None else len(v.shape) for v in node.inputs if v is not None]
    return None if not ranks or ranks[0] is None else max(r or 0 for r in ranks)


def _data_dtype(node: ir.Node) -> DataType | None:
    """The dtype that an operator works on: its first input's, behind the condition of a Where."""
    position = 1 if node.op_type == "Where" else 0
    values = node.inputs[position : position + 1] or node.outputs[:1]
    return values[0].dtype if values and values[0] is not None else None


def _typed_alike(node: ir.Node, dtype: DataType) -> tuple[list[int], list[int]]:
    """The positions of inputs and outputs with a dtype; of those that share the data's type parameter, where it has one."""
    inputs = [k for k, v in enumerate(node.inputs) if v is not None and v.dtype == dtype]
    outputs = [k for k, v in enumerate(node.outputs) if v.name and v.dtype == dtype]
    if node.op_type in _QUANTIZING or node.op_type == "Cast" or not onnx.defs.has(node.op_type):
        return inputs, outputs
    schema = onnx.defs.get_schema(node.op_type)
    own = schema.inputs[1 if node.op_type == "Where" else 0].type_str if schema.inputs else schema.outputs[0].type_str
    if not schema.type_constraints or own not in {c.type_param_str for c in schema.type_constraints}:
        return inputs, outputs

    def alike(position: int, formal: list[onnx.defs.OpSchema.FormalParameter]) -> bool:
        return bool(formal) and formal[min(position, len(formal) - 1)].type_str == own

    return [k for k in inputs if alike(k, schema.inputs)], [k for k in outputs if alike(k, schema.outputs)]
