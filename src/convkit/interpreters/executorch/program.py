"""A `.pte` as data: methods with their values and instructions, constants and delegates' payloads. No framework.

Read with the bounds-checking tables of `convkit.readers.flatbuffer`; executorch's own deserialiser believes every offset and
count of a file. Field numbers are those of executorch/schema/program.fbs, the header's layout that of
executorch/exir/_serialize/_program.py.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from convkit.readers.damage import DamagedFileError
from convkit.readers.flatbuffer import FlatBuffer, Table

__all__ = [
    "Delegate",
    "DelegateCall",
    "Indices",
    "Instruction",
    "JumpFalse",
    "KernelCall",
    "Method",
    "Move",
    "Program",
    "TensorValue",
    "Value",
]

# ScalarType (executorch/schema/scalar_type.fbs) → the size of an element; torch's names are in `tensors.py`.
ITEM_SIZES = {
    0: 1, 1: 1, 2: 2, 3: 4, 4: 8, 5: 2, 6: 4, 7: 8, 8: 4, 9: 8, 10: 16, 11: 1, 12: 1, 13: 1, 14: 4, 15: 2, 23: 1, 24: 1,
    27: 2, 28: 4, 29: 8,
}  # fmt: skip

# enum KernelTypes
_NULL, _INT, _BOOL, _DOUBLE, _TENSOR, _STRING, _INT_LIST, _DOUBLE_LIST, _BOOL_LIST, _TENSOR_LIST, _OPTIONAL_TENSOR_LIST = range(
    1, 12
)
# enum InstructionArguments
_KERNEL_CALL, _DELEGATE_CALL, _MOVE, _JUMP_FALSE, _FREE = range(1, 6)


@dataclass(frozen=True)
class TensorValue:
    """What the file says of a tensor.

    Attributes:
        scalar_type: The number of its dtype.
        sizes: Logical sizes (NCHW also where memory is NHWC); upper bounds where `dynamic`.
        dim_order: The logical axes in memory order.
        location: (memory id, offset) in planned memory; None for constants, and for what has no memory of its own.
        buffer: Index of its data among the constants, 0 for none.
        mutable_segment: Where planned memory has an initial state: the index among the segments of mutable data.
        name: Its name in the source module, "" where the file has none.
        external: Its data are in another file (`.ptd`) under its name.
        dynamic: Whether sizes may shrink.
    """

    scalar_type: int
    sizes: tuple[int, ...]
    dim_order: tuple[int, ...]
    location: tuple[int, int] | None = None
    buffer: int = 0
    mutable_segment: int = 0
    name: str = ""
    external: bool = False
    dynamic: bool = False

    @property
    def byte_count(self) -> int:
        return math.prod(self.sizes) * ITEM_SIZES[self.scalar_type]

    @property
    def is_constant(self) -> bool:
        return self.location is None and (self.buffer > 0 or self.external)


@dataclass(frozen=True)
class Indices:
    """A list whose elements are other values, by index; -1 is None. Lists of ints are such lists too: sizes are values."""

    items: tuple[int, ...]


Value = None | int | float | bool | str | TensorValue | Indices | tuple[float, ...] | tuple[bool, ...]


@dataclass(frozen=True)
class KernelCall:
    """Arguments are indices of values: the operator's own in the schema's order, then those that it returns."""

    operator: str
    arguments: tuple[int, ...]


@dataclass(frozen=True)
class DelegateCall:
    """Arguments are indices of values: the delegate's inputs, then its outputs."""

    delegate: int
    arguments: tuple[int, ...]


@dataclass(frozen=True)
class Move:
    source: int
    target: int


@dataclass(frozen=True)
class JumpFalse:
    """Goes on at another instruction when a value is false; at the next one otherwise."""

    condition: int
    destination: int


Instruction = KernelCall | DelegateCall | Move | JumpFalse | None
"""None frees memory: nothing to compute."""


@dataclass(frozen=True)
class Delegate:
    """A part of a method that another library compiled: its name, and what that library made of it."""

    id: str
    payload: bytes


@dataclass(frozen=True)
class Method:
    """One execution plan."""

    name: str
    values: Sequence[Value]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    instructions: Sequence[Instruction]
    delegates: Sequence[Delegate]

    def tensor(self, index: int) -> TensorValue:
        """The tensor of that index.

        Raises:
            DamagedFileError: There is none.
        """
        value = self.values[index]
        if not isinstance(value, TensorValue):
            raise DamagedFileError(f"value {index} of {self.name} is no tensor")
        return value


@dataclass
class Program:
    """A whole file, which stays mapped as long as this object lives.

    Raises (constructor, and whatever reads on):
        DamagedFileError: An offset, a length or an index leads out of its range.
    """

    path: Path
    _data: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        with self.path.open("rb") as stream:
            self._data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        if self._data[4:6] != b"ET":
            raise DamagedFileError("it has not the identifier of an ExecuTorch program")
        self._root = FlatBuffer(self._data).root()
        self._segments = [(s.number(0, "Q"), s.number(1, "Q")) for s in self._root.children(4)]
        self._base = _segments_start(bytes(self._data[8:40]))

    @property
    def method_names(self) -> list[str]:
        return [plan.text(0) or "forward" for plan in self._root.children(1)]

    def method(self, name: str) -> Method:
        """The method of that name; the first one where there is none."""
        plans = self._root.children(1)
        if not plans:
            raise DamagedFileError("it has no method")
        plan = next((p for p in plans if (p.text(0) or "forward") == name), plans[0])
        return _method(self, plan)

    @cached_property
    def named_data(self) -> Mapping[str, int]:
        """The segments of data that delegates and external constants refer to by key."""
        return {entry.text(0): entry.number(1, "I") for entry in self._root.children(7)}

    def named(self, key: str) -> bytes | None:
        """The data of a key, None where this file has none."""
        return self.segment(self.named_data[key]) if key in self.named_data else None

    def segment(self, index: int) -> bytes:
        if not 0 <= index < len(self._segments):
            raise DamagedFileError(f"segment {index} of {len(self._segments)}")
        offset, size = self._segments[index]
        return self._bytes(self._base + offset, size, f"segment {index}")

    def constant(self, tensor: TensorValue) -> bytes:
        """The content of a constant, or the initial state of memory that has one."""
        if tensor.external:
            data = self.named(tensor.name)
            if data is None:
                raise DamagedFileError(f"the data of {tensor.name} are in another file")
            return _first(data, tensor.byte_count, tensor.name)
        if tensor.location is not None:
            return self._subsegment(self._mutable_segments(tensor.mutable_segment), tensor)
        subsegments = self._root.child(5)
        if subsegments is not None and subsegments.length(1, 8):
            return self._subsegment(subsegments, tensor)
        buffers = self._root.children(2)
        if not tensor.buffer < len(buffers):
            raise DamagedFileError(f"constant {tensor.buffer} of {len(buffers)}")
        return _first(buffers[tensor.buffer].raw(0), tensor.byte_count, f"constant {tensor.buffer}")

    def _mutable_segments(self, index: int) -> Table:
        segments = self._root.children(6)
        if not 0 <= index < len(segments):
            raise DamagedFileError(f"segment of mutable data {index} of {len(segments)}")
        return segments[index]

    def _subsegment(self, subsegments: Table, tensor: TensorValue) -> bytes:
        offsets = subsegments.numbers(1, "Q")
        if not tensor.buffer < len(offsets):
            raise DamagedFileError(f"constant {tensor.buffer} of {len(offsets)}")
        index, offset = subsegments.number(0, "I"), offsets[tensor.buffer]
        if not index < len(self._segments):
            raise DamagedFileError(f"segment {index} of {len(self._segments)}")
        start, size = self._segments[index]
        if offset + tensor.byte_count > size:
            raise DamagedFileError(f"constant {tensor.buffer} ends behind its segment")
        return self._bytes(self._base + start + offset, tensor.byte_count, f"constant {tensor.buffer}")

    def inline_payload(self, index: int) -> bytes:
        payloads = self._root.children(3)
        if not 0 <= index < len(payloads):
            raise DamagedFileError(f"payload {index} of {len(payloads)}")
        return payloads[index].raw(0)

    def _bytes(self, start: int, size: int, what: str) -> bytes:
        if start + size > len(self._data):
            raise DamagedFileError(f"{what} ends at byte {start + size} of {len(self._data)}")
        return bytes(self._data[start : start + size])


def _first(data: bytes, size: int, what: str) -> bytes:
    if len(data) < size:
        raise DamagedFileError(f"{what} has {len(data)} bytes of {size}")
    return data[:size]


def _segments_start(header: bytes) -> int:
    """Where the first segment begins; a file without extended header has no segments."""
    return int(struct.unpack_from("<Q", header, 16)[0]) if header[:4] == b"eh00" and len(header) >= 24 else 0


def _method(program: Program, plan: Table) -> Method:
    values = [_value(v) for v in plan.children(2)]
    operators = [f"{o.text(0)}.{o.text(1)}" if o.text(1) else o.text(0) for o in plan.children(6)]
    delegates = [_delegate(program, d) for d in plan.children(7)]
    chains = plan.children(5)
    if len(chains) > 1:
        raise DamagedFileError(f"a method of {len(chains)} chains of instructions")  # no runtime has ever run a second one
    tables = chains[0].children(2) if chains else []
    method = Method(
        plan.text(0) or "forward",
        values,
        _in_range(plan.numbers(3, "i"), len(values), "value"),
        _in_range(plan.numbers(4, "i"), len(values), "value"),
        [_instruction(t, len(values), operators, len(delegates), len(tables)) for t in tables],
        delegates,
    )
    for value in values:
        if isinstance(value, Indices) and any(not -1 <= i < len(values) for i in value.items):
            raise DamagedFileError("a list refers to values that are not there")
    return method


def _in_range(indices: tuple[int, ...], count: int, what: str) -> tuple[int, ...]:
    for index in indices:
        if not 0 <= index < count:
            raise DamagedFileError(f"{what} {index} of {count}")
    return indices


def _delegate(program: Program, table: Table) -> Delegate:
    reference = table.child(1)
    if reference is None:
        raise DamagedFileError("a delegate has no payload")
    inline, index = reference.number(0, "b") == 0, reference.number(1, "I")
    return Delegate(table.text(0), program.inline_payload(index) if inline else program.segment(index))


def _value(table: Table) -> Value:
    kind, content = table.number(0, "B"), table.child(1)
    if kind in (0, _NULL) or content is None:
        return None
    if kind == _INT:
        return content.number(0, "q")
    if kind == _BOOL:
        return bool(content.number(0, "B"))
    if kind == _DOUBLE:
        return float(content.number(0, "d"))
    if kind == _STRING:
        return content.text(0)
    if kind == _TENSOR:
        return _tensor(content)
    if kind == _INT_LIST:
        return Indices(tuple(int(i) for i in content.numbers(0, "q")))
    if kind in (_TENSOR_LIST, _OPTIONAL_TENSOR_LIST):
        return Indices(content.numbers(0, "i"))
    if kind == _DOUBLE_LIST:
        return tuple(float(i) for i in content.numbers(0, "d"))
    if kind == _BOOL_LIST:
        return tuple(bool(i) for i in content.numbers(0, "B"))
    raise DamagedFileError(f"a value of kind {kind}")


def _tensor(table: Table) -> TensorValue:
    scalar_type, sizes = table.number(0, "b"), table.numbers(2, "i")
    if scalar_type not in ITEM_SIZES:
        raise DamagedFileError(f"scalar type {scalar_type}")
    dim_order = table.numbers(3, "B") or tuple(range(len(sizes)))
    if sorted(dim_order) != list(range(len(sizes))) or any(s < 0 for s in sizes):
        raise DamagedFileError(f"a tensor of sizes {sizes} in the order {dim_order}")
    if table.number(1, "i"):
        raise DamagedFileError("a tensor that begins inside its storage")  # no runtime takes one
    allocation, extra = table.child(6), table.child(9)
    return TensorValue(
        scalar_type,
        sizes,
        dim_order,
        None if allocation is None else (allocation.number(0, "I"), allocation.number(1, "I") | allocation.number(2, "I") << 32),
        table.number(5, "I"),
        0 if extra is None else extra.number(0, "Q"),
        "" if extra is None else extra.text(1),
        extra is not None and extra.number(2, "b") == 1,
        table.number(8, "b") != 0,
    )


def _instruction(table: Table, values: int, operators: Sequence[str], delegates: int, instructions: int) -> Instruction:
    kind, content = table.number(0, "B"), table.child(1)
    if content is None:
        raise DamagedFileError("an instruction has no arguments")
    if kind == _KERNEL_CALL:
        (index,) = _in_range((content.number(0, "i"),), len(operators), "operator")
        return KernelCall(operators[index], _in_range(content.numbers(1, "i"), values, "value"))
    if kind == _DELEGATE_CALL:
        (index,) = _in_range((content.number(0, "i"),), delegates, "delegate")
        return DelegateCall(index, _in_range(content.numbers(1, "i"), values, "value"))
    if kind == _MOVE:
        return Move(*_in_range((content.number(0, "i"), content.number(1, "i")), values, "value"))
    if kind == _JUMP_FALSE:
        (condition,) = _in_range((content.number(0, "i"),), values, "value")
        (destination,) = _in_range((content.number(1, "i"),), instructions + 1, "instruction")
        return JumpFalse(condition, destination)
    if kind == _FREE:
        return None
    raise DamagedFileError(f"an instruction of kind {kind}")
