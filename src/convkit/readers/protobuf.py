"""Protocol buffers without generated code: a walk over the wire format, and message classes made at run time.

Wire format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from convkit.readers.damage import DamagedFileError

__all__ = ["BYTES", "VARINT", "message_classes", "parse", "top_level_fields"]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

Data = bytes | mmap.mmap


def _varint(data: Data, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise DamagedFileError("it ends within a number")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise DamagedFileError("a number is longer than ten bytes")


def top_level_fields(data: Data) -> Iterator[tuple[int, int, int, int]]:
    """Field number, wire type, and first and last byte of the content of each field; the content itself is skipped.

    Raises:
        DamagedFileError: where the bytes are no protocol buffer, for example because the last field is cut off.
    """
    position, size = 0, len(data)
    while position < size:
        tag, position = _varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        start = position
        if wire_type == VARINT:
            _, position = _varint(data, position)
        elif wire_type == FIXED64:
            position += 8
        elif wire_type == FIXED32:
            position += 4
        elif wire_type == BYTES:
            length, start = _varint(data, position)
            position = start + length
        else:
            raise DamagedFileError(f"field {number} has the unknown wire type {wire_type}")
        if position > size or not number:
            raise DamagedFileError(f"field {number} ends at byte {position} of {size}")
        yield number, wire_type, start, position


def parse(message: Any, data: bytes) -> Any:
    """Fills a message.

    Raises:
        DamagedFileError: where the bytes are no such message; nesting deeper than protobuf's own limit of 100 is one.
    """
    from google.protobuf.message import DecodeError

    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise DamagedFileError(str(error)) from error
    return message


_SCALARS = ("bool", "bytes", "float", "int32", "int64", "string")


@cache
def message_classes(package: str, schema: str) -> Mapping[str, Any]:
    """Message classes by name from a schema of lines `Message: name=number type, …`.

    A type is a scalar or a message of the schema; `*` before it makes the field repeated, `%` a map from strings. Fields
    that the schema leaves out are skipped when a message is read. One registry per package keeps these classes apart
    from those of the frameworks.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for line in schema.strip().splitlines():
        title, _, fields = line.strip().partition(":")
        message = file.message_type.add(name=title)
        for entry in filter(None, (part.strip() for part in fields.split(","))):
            assignment, kind = entry.split()
            name, number = assignment.split("=")
            _add_field(message, f".{package}", name, int(number), kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        message.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{message.name}"))
        for message in file.message_type
    }


def _add_field(message: Any, scope: str, name: str, number: int, kind: str) -> None:
    repeated, mapped = kind.startswith("*"), kind.startswith("%")
    kind = kind.lstrip("*%")
    if mapped:
        entry = message.nested_type.add(name="".join(part.title() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        _add_field(entry, scope, "key", 1, "string")
        _add_field(entry, scope, "value", 2, kind)
        scope, kind = f"{scope}.{message.name}", entry.name
    field = message.field.add(name=name, number=number)
    field.label = field.LABEL_REPEATED if repeated or mapped else field.LABEL_OPTIONAL
    if kind in _SCALARS:
        field.type = getattr(field, f"TYPE_{kind.upper()}")
    else:
        field.type, field.type_name = field.TYPE_MESSAGE, f"{scope}.{kind}"
