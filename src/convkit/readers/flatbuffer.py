"""Reads FlatBuffers tables by field number, and trusts nothing in them.

The generated readers of the format do no bounds checks: on a damaged file they raise IndexError, read far outside of the
table, or loop for hours over a vector that claims four billion elements. Here every offset and every length is checked
against the buffer, and the total work is bounded by its size.

Layout: https://flatbuffers.dev/internals/ (a table starts with the signed offset back to its vtable; the vtable holds
its own size, the table's size, then one 16-bit offset per field, 0 where the field is absent).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from convkit.readers.damage import DamagedFileError

__all__ = ["FlatBuffer", "Table", "open_flatbuffer"]

Bytes = bytes | mmap.mmap

# Small files may share tables more than their size suggests.
_FREE_TABLES = 10_000
_BYTES_PER_TABLE = 4
# Readers look at a string or a vector of numbers a few times at most.
_FREE_BYTES = 1 << 20
_READS_PER_BYTE = 4


class FlatBuffer:
    """A buffer, and the budget of work that a file of its size can justify.

    Every table of an honest file takes at least four bytes of its own. A hostile one points thousands of vector
    elements at one and the same table: then the visits outnumber the bytes.
    """

    def __init__(self, data: Bytes) -> None:
        self.data = data
        self.size = len(data)
        self._visits_left = self.size // _BYTES_PER_TABLE + _FREE_TABLES
        self._bytes_left = self.size * _READS_PER_BYTE + _FREE_BYTES

    def unpack(self, kind: str, position: int) -> int:
        """One little-endian number of that `struct` kind."""
        if not 0 <= position <= self.size - struct.calcsize("<" + kind):
            raise DamagedFileError(f"a value lies at byte {position} of {self.size}")
        value: int = struct.unpack_from("<" + kind, self.data, position)[0]
        return value

    def follow(self, position: int) -> int:
        """The position that the unsigned offset stored there points to."""
        return position + self.unpack("I", position)

    def vector(self, position: int, element_size: int) -> tuple[int, int]:
        """First byte and length of the vector at that position, which lies wholly inside the buffer."""
        length = self.unpack("I", position)
        if length * element_size > self.size - position - 4:
            raise DamagedFileError(f"a vector of {length} elements at byte {position} exceeds the file")
        return position + 4, length

    def spend(self, byte_count: int) -> None:
        """Charges the reading of a vector's content."""
        self._bytes_left -= byte_count
        if self._bytes_left < 0:
            raise DamagedFileError("too many of its tables share one vector")

    def table(self, position: int) -> Table:
        self._visits_left -= 1
        if self._visits_left < 0:
            raise DamagedFileError("its tables refer to each other without end")
        vtable = position - self.unpack("i", position)
        size = self.unpack("H", vtable)
        if size < 4 or size % 2 or vtable + size > self.size:
            raise DamagedFileError(f"the table at byte {position} has no valid field list")
        return Table(self, position, vtable, size)

    def root(self) -> Table:
        return self.table(self.follow(0))


@dataclass(frozen=True, slots=True)
class Table:
    """One table. Fields are addressed by their number in the schema; an absent field has the schema's default."""

    buffer: FlatBuffer
    position: int
    vtable: int
    vtable_size: int

    def _field(self, number: int) -> int | None:
        entry = 4 + 2 * number
        if entry + 2 > self.vtable_size:
            return None
        offset = self.buffer.unpack("H", self.vtable + entry)
        return self.position + offset if offset else None

    def has(self, number: int) -> bool:
        return self._field(number) is not None

    def number(self, number: int, kind: str, default: int = 0) -> int:
        """A scalar field of that `struct` kind."""
        position = self._field(number)
        return default if position is None else self.buffer.unpack(kind, position)

    def child(self, number: int) -> Table | None:
        """A table (or union) field."""
        position = self._field(number)
        return None if position is None else self.buffer.table(self.buffer.follow(position))

    def _vector(self, number: int, element_size: int) -> tuple[int, int]:
        position = self._field(number)
        return (0, 0) if position is None else self.buffer.vector(self.buffer.follow(position), element_size)

    def length(self, number: int, element_size: int) -> int:
        """The length of a vector field, 0 where it is absent."""
        return self._vector(number, element_size)[1]

    def raw(self, number: int) -> bytes:
        """A vector of bytes."""
        start, length = self._vector(number, 1)
        self.buffer.spend(length)
        return bytes(self.buffer.data[start : start + length])

    def span(self, number: int) -> tuple[int, int]:
        """Where a vector of bytes starts in the buffer, and how many there are; its content is not read."""
        return self._vector(number, 1)

    def text(self, number: int) -> str:
        """A string field, "" where it is absent."""
        try:
            return self.raw(number).decode("utf-8")
        except UnicodeDecodeError:
            raise DamagedFileError(f"the string of the table at byte {self.position} is no UTF-8") from None

    def numbers(self, number: int, kind: str) -> tuple[int, ...]:
        """A vector of scalars."""
        start, length = self._vector(number, struct.calcsize("<" + kind))
        self.buffer.spend(length * struct.calcsize("<" + kind))
        return struct.unpack_from(f"<{length}{kind}", self.buffer.data, start) if length else ()

    def children(self, number: int) -> list[Table]:
        """A vector of tables."""
        start, length = self._vector(number, 4)
        return [self.buffer.table(self.buffer.follow(start + 4 * index)) for index in range(length)]


@contextmanager
def open_flatbuffer(path: Path) -> Iterator[FlatBuffer]:
    """Maps a file (nothing is read that is not asked for)."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield FlatBuffer(data)
