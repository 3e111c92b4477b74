"""The payload of the XNNPACK delegate as data: a header "XH00", a flatbuffer, constants. No framework.

Field numbers are those of executorch/backends/xnnpack/serialization/schema.fbs, the header's layout that of
xnnpack_graph_serialize.py beside it. Payloads from before the header ("XN00", "XN01" in the flatbuffer's own place) have the
fields of the same numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from convkit.readers.damage import DamagedFileError
from convkit.readers.flatbuffer import FlatBuffer, Table

__all__ = [
    "ABSENT",
    "PAYLOAD_ID",
    "Constant",
    "DataType",
    "Graph",
    "Node",
    "PerChannel",
    "PerTensor",
    "PerToken",
    "Value",
    "parsed",
]

PAYLOAD_ID = "XnnpackBackend"

ABSENT = 0xFFFFFFFF
"""The id of a value that a node does not have (XNN_INVALID_VALUE_ID)."""


class DataType:
    """enum XNNDatatype, as far as values of it are computed."""

    FP32, FP16, QINT8, QUINT8, QINT32, QCINT8, QCINT32, QCINT4, QDINT8, QBINT4, QPINT8, INT32, PFP32, BF16 = range(1, 15)


@dataclass(frozen=True)
class PerTensor:
    scale: float
    zero_point: int


@dataclass(frozen=True)
class PerChannel:
    """One scale per index of an axis, or per group of `group` elements of the other axis of a matrix.

    Attributes:
        scales: Index of their data among the graph's constants.
        inline: The scales themselves, where they are not among the constants.
        count: How many there are.
        axis: The channels' axis.
        group: Elements per group; 0 for one scale per channel.
    """

    scales: int
    inline: tuple[float, ...]
    count: int
    axis: int
    group: int = 0


@dataclass(frozen=True)
class PerToken:
    """Quantised while it runs: one scale and zero point for all of the last `axes` axes."""

    axes: int


Quantization = PerTensor | PerChannel | PerToken | None


@dataclass(frozen=True)
class Value:
    """One tensor of the graph, in the order of axes that XNNPACK has it in (images are NHWC).

    Attributes:
        datatype: One of `DataType`.
        sizes: Upper bounds where sizes may shrink.
        constant: Index of its data among the graph's constants, 0 for none.
        external: Its position among the arguments of the delegate's call, `ABSENT` for what stays inside.
        quantization: How its integers stand for numbers.
    """

    datatype: int
    sizes: tuple[int, ...]
    constant: int
    external: int
    quantization: Quantization = None


@dataclass(frozen=True)
class Node:
    """One operator.

    Attributes:
        kind: The name in the schema without its prefix ("FullyConnected").
        fields: Its fields by name.
        limits: What its result is clamped to, None for no limits.
    """

    kind: str
    fields: Mapping[str, Any]
    limits: tuple[float, float] | None = None

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]


@dataclass(frozen=True)
class Constant:
    """Where the data of a constant are: under a key among the program's named data, or at an offset behind the graph."""

    key: str
    offset: int
    size: int


@dataclass(frozen=True)
class Graph:
    """A payload.

    Attributes:
        nodes: In the order that they run.
        values: By their ids.
        inputs: Ids of the values that a call gives.
        outputs: Ids of the values that it takes.
        constants: Where data are; the first one is none.
        data: What lies behind the flatbuffer.
    """

    nodes: tuple[Node, ...]
    values: Mapping[int, Value]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    constants: tuple[Constant, ...]
    data: bytes = field(default=b"", repr=False)


_U, _F, _UV = "I", "f", "*I"
"""Kinds of fields: unsigned, float, vector of unsigned."""

_UNARY = {"input_id": _U, "output_id": _U, "flags": _U}
_BINARY = {"input1_id": _U, "input2_id": _U, "output_id": _U, "flags": _U}
_CONCATENATE = {
    "axis": _U, "input1_id": _U, "input2_id": _U, "input3_id": _U, "input4_id": _U, "output_id": _U, "flags": _U,
    "input5_id": _U,
}  # fmt: skip
_PADDING = {"padding_top": _U, "padding_right": _U, "padding_bottom": _U, "padding_left": _U}
_CONVOLUTION = {
    **_PADDING, "kernel_height": _U, "kernel_width": _U, "subsampling_height": _U, "subsampling_width": _U,
    "dilation_height": _U, "dilation_width": _U, "group_input_channels": _U, "group_output_channels": _U, "groups": _U,
    "adjustment_height": _U, "adjustment_width": _U, "input1_id": _U, "filter_id": _U, "bias_id": _U, "output_id": _U,
    "flags": _U,
}  # fmt: skip
_POOLING = {
    **_PADDING, "pooling_height": _U, "pooling_width": _U, "stride_height": _U, "stride_width": _U, "dilation_height": _U,
    "dilation_width": _U, **_UNARY,
}  # fmt: skip

# union XNodeUnion, in order, with the fields of each table in the order of their numbers.
_NODES: tuple[tuple[str, Mapping[str, str]], ...] = (
    ("Add", _BINARY),
    ("FullyConnected", {"input1_id": _U, "filter_id": _U, "bias_id": _U, "output_id": _U, "flags": _U}),
    ("Softmax", _UNARY),
    ("Sigmoid", _UNARY),
    ("StaticTranspose", {"num_dims": _U, "perm": _UV, **_UNARY}),
    ("Clamp", _UNARY),
    ("Conv2d", _CONVOLUTION),
    ("Div", _BINARY),
    ("StaticResizeBilinear2D", {"new_height": _U, "new_width": _U, **_UNARY}),
    ("StaticConstantPad", {"pre_paddings": _UV, "post_paddings": _UV, "padding_value": _F, **_UNARY}),
    ("AvgPooling2d", _POOLING),
    ("Minimum", _BINARY),
    ("DepthwiseConv2d", _CONVOLUTION),
    ("MaxPooling2d", _POOLING),
    ("Multiply", _BINARY),
    ("Subtract", _BINARY),
    ("Floor", _UNARY),
    ("Convert", _UNARY),
    ("GlobalAvgPooling2d", _UNARY),
    ("StaticReshape", {"num_dims": _U, "new_shape": _UV, **_UNARY}),
    (
        "ArgMaxPooling2d",
        {
            **_PADDING, "pooling_height": _U, "pooling_width": _U, "input_id": _U, "output_value_id": _U,
            "output_index_id": _U, "flags": _U,
        },
    ),
    ("SquareRoot", _UNARY),
    ("Ceiling", _UNARY),
    ("Hardswish", _UNARY),
    ("LeakyReLU", {"negative_slope": _F, **_UNARY}),
    ("Maximum", _BINARY),
    ("Negate", _UNARY),
    ("Square", _UNARY),
    ("ELU", {"alpha": _F, **_UNARY}),
    ("Abs", _UNARY),
    ("PReLU", _BINARY),
    ("Concatenate2", _CONCATENATE),
    ("Concatenate3", _CONCATENATE),
    ("Concatenate4", _CONCATENATE),
    ("StaticSlice", {"num_dims": _U, "offsets": _UV, "sizes": _UV, **_UNARY}),
    (
        "ScaledDotProductAttention",
        {"query_id": _U, "key_id": _U, "value_id": _U, "scale_id": _U, "mask_id": _U, "output_id": _U, "flags": _U},
    ),
    ("BatchMatrixMultiply", _BINARY),
    ("Concatenate5", _CONCATENATE),
    ("ConvTranspose2d", _CONVOLUTION),
    ("ReciprocalSquareRoot", _UNARY),
    ("Log", _UNARY),
    ("Gelu", _UNARY),
    ("Tanh", _UNARY),
    ("Exp", _UNARY),
    ("Sin", _UNARY),
    ("Copy", _UNARY),
    ("Cos", _UNARY),
)  # fmt: skip


def parsed(payload: bytes) -> Graph:
    """The graph of a payload.

    Raises:
        DamagedFileError: It is not one, or something in it lies out of its range.
    """
    if payload[4:8] == b"XH00":
        if len(payload) < 30:
            raise DamagedFileError("the XNNPACK payload ends in its header")
        start, size, data_start, data_size = struct.unpack_from("<IIIQ", payload, 10)
        if start + size > len(payload) or data_start + data_size > len(payload):
            raise DamagedFileError("the XNNPACK payload ends before its header says")
        flatbuffer, data = payload[start : start + size], payload[data_start : data_start + data_size]
    else:
        flatbuffer, data = payload, b""
    if flatbuffer[4:8] not in (b"XN00", b"XN01"):
        raise DamagedFileError("the payload of XNNPACK has another identifier than XN01")
    root = FlatBuffer(flatbuffer).root()
    values = dict(_value(table) for table in root.children(2))
    graph = Graph(
        tuple(_node(table) for table in root.children(1)),
        values,
        root.numbers(4, "I"),
        root.numbers(5, "I"),
        tuple(_constant(table) for table in root.children(8)),
        data,
    )
    _check(graph)
    return graph


def _check(graph: Graph) -> None:
    """Every id has its value, every constant its place."""
    used = {*graph.inputs, *graph.outputs}
    for node in graph.nodes:
        used |= {i for name, i in node.fields.items() if name.endswith("_id") and i != ABSENT}
    if missing := used - set(graph.values):
        raise DamagedFileError(f"the XNNPACK graph has no value {min(missing)}")
    for value in graph.values.values():
        places = [value.constant] + ([value.quantization.scales] if isinstance(value.quantization, PerChannel) else [])
        if max(places) >= max(1, len(graph.constants)):
            raise DamagedFileError(f"the XNNPACK graph has no constant {max(places)}")


def _node(table: Table) -> Node:
    union = table.child(1)
    kind = table.number(0, "B")
    if union is None or not 1 <= kind <= len(_NODES):
        raise DamagedFileError(f"an XNNPACK node of kind {kind}")
    name, fields = _NODES[kind - 1]
    limits = table.child(3)
    return Node(
        name,
        {field: _field(union, number, kind) for number, (field, kind) in enumerate(fields.items())},
        None if limits is None else (limits.number(0, "f"), limits.number(1, "f")),
    )


def _field(table: Table, number: int, kind: str) -> Any:
    return table.numbers(number, kind[1]) if kind[0] == "*" else table.number(number, kind)


def _value(table: Table) -> tuple[int, Value]:
    kind, union = table.number(0, "B"), table.child(1)
    if union is None or kind not in (1, 2):
        raise DamagedFileError(f"an XNNPACK value of kind {kind}")
    tensor = union if kind == 1 else union.child(0)
    if tensor is None:
        raise DamagedFileError("a quantised XNNPACK value without tensor")
    value = Value(
        tensor.number(0, "h"),
        tensor.numbers(2, "I"),
        tensor.number(3, "I"),
        tensor.number(4, "I"),
        _quantization(union) if kind == 2 else None,
    )
    return tensor.number(6, "I"), value


def _quantization(table: Table) -> Quantization:
    kind, union = table.number(1, "B"), table.child(2)
    readers: dict[int, Callable[[Table], Quantization]] = {
        1: lambda t: PerChannel(t.number(2, "I"), t.numbers(0, "f"), t.number(3, "I"), t.number(1, "i")),
        2: lambda t: PerTensor(t.number(0, "f"), t.number(1, "i")),
        3: lambda t: PerToken(t.number(0, "i")),
        4: lambda t: PerChannel(t.number(4, "I"), t.numbers(0, "f"), t.number(5, "I"), t.number(1, "i"), t.number(2, "i")),
    }
    if union is None or kind not in readers:
        raise DamagedFileError(f"an XNNPACK value quantised in the way {kind}")
    return readers[kind](union)


def _constant(table: Table) -> Constant:
    return Constant(table.text(2), table.number(0, "Q"), table.number(1, "Q"))
