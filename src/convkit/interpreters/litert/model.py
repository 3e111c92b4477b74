"""A LiteRT file as plain objects: subgraphs, tensors, operators with their options, and the weights' arrays.

Nothing in the file is trusted: every index is checked before it is used, a constant has exactly the bytes that its shape needs,
and subgraphs do not call each other in circles. Field numbers and option names are those of
https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from convkit.errors import ConversionError
from convkit.interpreters.litert.blocks import numbers_of
from convkit.interpreters.litert.constants import Sparsity, array_of
from convkit.interpreters.litert.options import callees, decoded
from convkit.readers.damage import PARSER_ERRORS, DamagedFileError, damaged
from convkit.readers.flatbuffer import FlatBuffer, Table
from convkit.readers.litert_operators import BUILTIN_OPERATORS

__all__ = ["Model", "Operator", "Quantization", "Subgraph", "Tensor", "read_model"]

_DTYPE_NAMES = """
float32 float16 int32 uint8 int64 string bool int16 complex64 int8 float64 complex128 uint64 resource variant uint32
uint16 int4 bfloat16 int2 uint4 float8_e4m3fn float8_e5m2
"""
_DTYPES = tuple(_DTYPE_NAMES.split())
_CUSTOM = BUILTIN_OPERATORS.index("CUSTOM")
_OUTSIDE = 1
"""Offsets beyond this point behind the flatbuffer; 0 and 1 are placeholders of the converter."""
_MOST_DEPTH = 32
_SPARSE_INDICES = ("", "i", "H", "B")
_BLOCKWISE = 2
"""`QuantizationDetails`: none, a custom one, one scale per block, several axes."""
_HANDLES = frozenset(("resource", "variant"))
_QUANTIZED = frozenset(("int8", "uint8", "int16", "int4", "uint4", "int2", "int32", "int64"))


@dataclass(frozen=True, eq=False)
class Quantization:
    """real = scale * (level - zero point).

    Attributes:
        scales: float32, one, or one per slice along `axis`.
        zero_points: int64, as many.
        axis: The axis of the slices.
    """

    scales: np.ndarray
    zero_points: np.ndarray
    axis: int

    @property
    def is_per_channel(self) -> bool:
        return len(self.scales) > 1

    def same_as(self, other: Quantization | None) -> bool:
        """Whether levels mean the same under both."""
        return other is not None and (
            np.array_equal(self.scales, other.scales) and np.array_equal(self.zero_points, other.zero_points)
        )


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor of a subgraph.

    Attributes:
        index: In its subgraph.
        name: As in the file, may be empty.
        dtype: numpy's name for it.
        shape: The sizes that the converter saw; dynamic ones are -1.
        quantization: None where values mean themselves.
        is_variable: Whether its value outlives a run (a recurrent state).
        data: The constant's array in `dtype` (4-bit integers as int8), None for what is computed.
        has_rank: Whether `shape` is known; an empty one is a scalar then.
    """

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    quantization: Quantization | None
    is_variable: bool
    data: np.ndarray | None
    has_rank: bool

    @property
    def is_static(self) -> bool:
        return self.has_rank and all(size >= 0 for size in self.shape)


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator of a subgraph.

    Attributes:
        name: The built-in operator's, or the custom operator's own.
        is_custom: Whether it is a custom one.
        inputs: Tensors of the subgraph, None for optional ones that are left out.
        outputs: Tensors of the subgraph.
        intermediates: Tensors that only carry quantization parameters.
        options: Under the schema's names; those at the schema's defaults are left out.
        custom_options: A custom operator's bytes.
        place: Where it is, in words.
    """

    name: str
    is_custom: bool
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    intermediates: tuple[Tensor, ...]
    options: Mapping[str, Any]
    custom_options: bytes
    place: str


@dataclass(frozen=True, eq=False)
class Subgraph:
    """A function: its tensors, which of them are inputs and outputs, and its operators in order."""

    index: int
    name: str
    tensors: tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: tuple[Operator, ...]


@dataclass(frozen=True, eq=False)
class Model:
    """A file.

    Attributes:
        subgraphs: All of them.
        entries: Per signature its subgraph and the tensors of its named inputs and outputs.
    """

    subgraphs: tuple[Subgraph, ...]
    entries: Mapping[str, Entry] = field(default_factory=dict)

    def entry(self, name: str) -> Entry:
        """The signature of that name; where the file has none at all, subgraph 0.

        Raises:
            ConversionError: The file has signatures, and none of that name.
        """
        if not self.entries:
            first = self.subgraphs[0]
            return Entry(first, first.inputs, first.outputs)
        if name not in self.entries:
            raise ConversionError(f"the file has no signature {name!r}", hint=f"it has {', '.join(self.entries)}")
        return self.entries[name]

    def called(self, entry: Entry) -> list[Subgraph]:
        """The subgraphs that an entry runs, itself first."""
        found: dict[int, Subgraph] = {}
        waiting = [entry.subgraph]
        while waiting:
            graph = waiting.pop()
            if graph.index not in found:
                found[graph.index] = graph
                waiting += [self.subgraphs[i] for o in graph.operators for i in callees(o.options)]
        return list(found.values())


@dataclass(frozen=True, eq=False)
class Entry:
    """What a signature runs: a subgraph, and its inputs and outputs in the signature's order."""

    subgraph: Subgraph
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def read_model(path: Path) -> Model:
    """Reads a file.

    Raises:
        UnreadableModelError: It is damaged.
    """
    try:
        with path.open("rb") as stream:
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        return _Reader(FlatBuffer(data)).model()
    except PARSER_ERRORS as error:
        raise damaged(path, "LiteRT", error) from error


class _Reader:
    """Reads one file; see `readers.flatbuffer` for how it is kept from reading outside of it."""

    def __init__(self, buffer: FlatBuffer) -> None:
        self._buffer = buffer
        root = buffer.root()
        self._root = root
        self._codes = [(max(c.number(3, "i"), c.number(0, "b")), c.text(1)) for c in root.children(1)]
        self._buffers = root.children(4)
        self._options: dict[tuple[int, int, int], Mapping[str, Any]] = {}

    def model(self) -> Model:
        graphs = self._root.children(2)
        if not graphs:
            raise DamagedFileError("it has no subgraph")
        subgraphs = tuple(self._subgraph(index, graph) for index, graph in enumerate(graphs))
        _refuse_circles(subgraphs)
        entries: dict[str, Entry] = {}
        for definition in self._root.children(7):
            graph = _pick(subgraphs, definition.number(4, "I"), "subgraph")
            inputs, outputs = (
                tuple(_pick(graph.tensors, m.number(1, "I"), "tensor") for m in definition.children(role)) for role in (0, 1)
            )
            if {t.index for t in inputs} != {t.index for t in graph.inputs}:
                raise DamagedFileError("a signature's inputs are not those of its subgraph")
            entries[definition.text(2) or "serving_default"] = Entry(graph, inputs, outputs)
        return Model(subgraphs, entries)

    def _subgraph(self, index: int, table: Table) -> Subgraph:
        listed = table.children(0)
        tensors = tuple(self._tensor(number, t, listed) for number, t in enumerate(listed))

        def named(numbers: tuple[int, ...]) -> tuple[Tensor, ...]:
            return tuple(_pick(tensors, n, "tensor") for n in numbers)

        operators = tuple(
            self._operator(f"operator {position}" + (f" of subgraph {index}" if index else ""), operator, tensors)
            for position, operator in enumerate(table.children(3))
        )
        inputs, outputs = named(table.numbers(1, "i")), named(table.numbers(2, "i"))
        return Subgraph(index, table.text(4), tensors, inputs, outputs, operators)

    def _tensor(self, index: int, table: Table, listed: list[Table]) -> Tensor:
        dtype: str = _pick(_DTYPES, table.number(1, "b"), "tensor type")
        sizes = table.numbers(7, "i") or table.numbers(0, "i")
        shape = tuple(-1 if size < 0 else size for size in sizes)
        name = table.text(3)
        data, quantization = self._constant(table), _quantization(table.child(4), dtype, shape)
        details = table.child(4)
        if quantization is None and details is not None and (kind := details.number(4, "B")):
            if kind != _BLOCKWISE or data is None:
                raise ConversionError(
                    f"tensor {index} ({name or 'unnamed'}) is quantized in a way that the importer does not know"
                )
            data, dtype = self._of_blocks(data, details.child(5), listed), "float32"
        return Tensor(
            index,
            name,
            dtype,
            shape,
            quantization,
            bool(table.number(5, "?")),
            data,
            table.has(0) or table.has(7) or bool(table.number(8, "?")),
        )

    def _of_blocks(self, levels: np.ndarray, details: Table | None, listed: list[Table]) -> np.ndarray:
        """The numbers of a constant whose scales are another constant."""
        if details is None:
            raise DamagedFileError("a constant that is quantized in blocks has no scales")
        scales = self._constant(_pick(listed, details.number(0, "i"), "tensor"))
        zero_points = details.number(1, "i")  # 0, the schema's default, is none
        offsets = self._constant(_pick(listed, zero_points, "tensor")) if zero_points > 0 else None
        if scales is None:
            raise DamagedFileError("the scales of a constant's blocks are no constant")
        return numbers_of(levels, scales, offsets, details.number(2, "i"))

    def _constant(self, table: Table) -> np.ndarray | None:
        """A tensor's constant data; None for what is computed, and for texts."""
        raw, dtype = self._raw(table.number(2, "I")), _pick(_DTYPES, table.number(1, "b"), "tensor type")
        shape, name = table.numbers(0, "i"), table.text(3)
        if raw is None and 0 in shape and min(table.numbers(7, "i"), default=0) >= 0 and dtype not in _HANDLES:
            raw = np.empty(0, np.uint8)  # the shape of a scalar, say, has no bytes
        if raw is None or dtype == "string":
            return None
        sparsity = table.child(6)
        if min(shape, default=0) < 0:
            raise DamagedFileError(f"the constant {name!r} has the shape {list(shape)}")
        if dtype in _HANDLES:
            raise DamagedFileError(f"the constant {name!r} is a {dtype}")
        return array_of(raw, dtype, shape, None if sparsity is None else _sparsity(sparsity))

    def _raw(self, number: int) -> np.ndarray | None:
        """The bytes of a constant, None for what is computed."""
        table = _pick(self._buffers, number, "buffer")
        offset, size = table.number(1, "Q"), table.number(2, "Q")
        if offset > _OUTSIDE:
            if offset + size > self._buffer.size:
                raise DamagedFileError(f"buffer {number} ends at byte {offset + size} of {self._buffer.size}")
        else:
            offset, size = table.span(0)
        return np.frombuffer(self._buffer.data, np.uint8, size, offset) if number and size else None

    def _operator(self, where: str, table: Table, tensors: tuple[Tensor, ...]) -> Operator:
        code, custom = _pick(self._codes, table.number(0, "I"), "operator code")
        builtin = BUILTIN_OPERATORS[code] if 0 <= code < len(BUILTIN_OPERATORS) else f"BUILTIN_{code}"
        outputs = tuple(_pick(tensors, n, "tensor") for n in table.numbers(2, "i"))
        made = next((t.name for t in outputs if t.name), "")
        return Operator(
            custom or builtin if code == _CUSTOM else builtin,
            code == _CUSTOM,
            tuple(None if n == -1 else _pick(tensors, n, "tensor") for n in table.numbers(1, "i")),
            outputs,
            tuple(_pick(tensors, n, "tensor") for n in table.numbers(8, "i")),
            {**self._union(table, 3, 4, "BuiltinOptionsCreator"), **self._union(table, 11, 12, "BuiltinOptions2Creator")},
            self._custom_options(table),
            f"{where}: {made}" if made else where,
        )

    def _custom_options(self, table: Table) -> bytes:
        offset, size = table.number(9, "Q"), table.number(10, "Q")
        if offset <= _OUTSIDE:
            return table.raw(5)
        if offset + size > self._buffer.size:
            raise DamagedFileError(f"an operator's options end at byte {offset + size} of {self._buffer.size}")
        return bytes(self._buffer.data[offset : offset + size])

    def _union(self, table: Table, kind_field: int, value_field: int, creator: str) -> Mapping[str, Any]:
        kind, value = table.number(kind_field, "B"), table.child(value_field)
        if not kind or value is None:
            return {}
        key = (value_field, kind, value.position)
        if key not in self._options:
            self._options[key] = decoded(self._buffer.data, kind, value.position, creator)
        return self._options[key]


def _pick(items: Any, index: int, what: str) -> Any:
    if not 0 <= index < len(items):
        raise DamagedFileError(f"{what} {index} of {len(items)}")
    return items[index]


def _quantization(table: Table | None, dtype: str, shape: tuple[int, ...]) -> Quantization | None:
    if table is None or dtype not in _QUANTIZED:
        return None
    scales = np.array(table.numbers(2, "f"), np.float32)
    zero_points = np.array(table.numbers(3, "q"), np.int64)
    if not len(scales):
        return None
    axis = table.number(6, "i")
    zero_points = np.resize(zero_points, scales.shape) if len(zero_points) else np.zeros(scales.shape, np.int64)
    if not np.isfinite(scales).all() or (len(scales) > 1 and not (0 <= axis < len(shape) and shape[axis] == len(scales))):
        raise DamagedFileError(f"{len(scales)} scales along axis {axis} of a tensor of the shape {list(shape)}")
    return Quantization(scales, zero_points, axis)


def _sparsity(table: Table) -> Sparsity:
    def numbers(dimension: Table, kind_field: int) -> tuple[int, ...]:
        kind, vector = dimension.number(kind_field, "B"), dimension.child(kind_field + 1)
        return () if vector is None else vector.numbers(0, _pick(_SPARSE_INDICES, kind, "kind of sparse index"))

    dimensions = table.children(2)
    return Sparsity(
        table.numbers(0, "i"),
        table.numbers(1, "i"),
        tuple((numbers(d, 2), numbers(d, 4)) if d.number(0, "b") else d.number(1, "i") for d in dimensions),
    )


def _refuse_circles(subgraphs: tuple[Subgraph, ...]) -> None:
    """Raises DamagedFileError where subgraphs call each other in circles, or a missing one."""
    calls = {g.index: sorted({i for o in g.operators for i in callees(o.options)}) for g in subgraphs}
    depth: dict[int, int] = {}

    def visit(index: int, trail: tuple[int, ...]) -> int:
        _pick(subgraphs, index, "subgraph")
        if index in trail or len(trail) > _MOST_DEPTH:
            raise DamagedFileError(f"subgraph {index} calls itself")
        if index not in depth:
            depth[index] = 1 + max((visit(i, (*trail, index)) for i in calls[index]), default=0)
        return depth[index]

    for index in calls:
        visit(index, ())
