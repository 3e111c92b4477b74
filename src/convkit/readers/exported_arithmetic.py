"""What the graph of an exported program does with its inputs first, in the words of `input_domains`."""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

from convkit.readers.archive import read_json, read_member
from convkit.readers.input_domains import MOST_CONSTANTS, Affine, Choice, Logarithm, Moved, Operand, Step, Truth, arithmetic

__all__ = ["small_constants", "steps"]

# torch._export.serde.schema.ScalarType of what can be a scale or an offset.
_KINDS = {4: "i", 5: "q", 7: "f", 8: "d"}
_MOVES = frozenset(
    (
        *("_to_copy", "clamp", "clone", "constant_pad_nd", "contiguous", "expand", "logical_and", "logical_not", "permute"),
        *("reshape", "select", "slice", "squeeze", "to", "transpose", "unsqueeze", "upsample_bilinear2d", "view"),
        *("upsample_nearest2d", "bitwise_and", "bitwise_not"),
    )
)
_MOST_BYTES = 32 << 20
_ROLES = {"buffer": "buffer_name", "parameter": "parameter_name", "tensor_constant": "tensor_constant_name"}


def small_constants(archive: zipfile.ZipFile, module: Any) -> dict[str, tuple[float, ...]]:
    """The values of the program's small tensors, by the names that its graph has for them; nothing is unpickled."""
    names = set(archive.namelist())
    stored: dict[str, tuple[float, ...]] = {}
    for folder, config in (("data/weights/", "weights_config.json"), ("data/constants/", "constants_config.json")):
        for member in (n for n in names if n.endswith(config) and folder in n):
            if archive.getinfo(member).file_size > _MOST_BYTES:
                continue
            for name, entry in read_json(archive, member).get("config", {}).items():
                if (values := _stored(archive, member.rpartition("/")[0], entry, names)) is not None:
                    stored[name] = values
    found = {}
    for spec in module["signature"]["input_specs"]:
        for role, key in _ROLES.items():
            if role in spec and spec[role].get(key) in stored:
                found[spec[role]["arg"]["name"]] = stored[spec[role][key]]
    return found


def _stored(archive: zipfile.ZipFile, folder: str, entry: Any, names: set[str]) -> tuple[float, ...] | None:
    meta = entry.get("tensor_meta") or {}
    if entry.get("use_pickle", True) or meta.get("dtype") not in _KINDS:
        return None
    sizes = [size.get("as_int") for size in meta.get("sizes", ())]
    member = f"{folder}/{entry.get('path_name')}"
    if not all(type(s) is int and s > 0 for s in sizes) or math.prod(sizes) > MOST_CONSTANTS or member not in names:
        return None
    kind, count = _KINDS[meta["dtype"]], math.prod(sizes)
    content = read_member(archive, member, 1 << 10)
    return tuple(map(float, struct.unpack(f"<{count}{kind}", content))) if len(content) == count * struct.calcsize(kind) else None


def steps(graph: Any, dtypes: Mapping[str, str], constants: Mapping[str, tuple[float, ...]]) -> Iterator[Step]:
    """The steps of a graph, in its order.

    Args:
        graph: As JSON has it.
        dtypes: Of its values.
        constants: The values of its small constants.
    """
    for node in graph["nodes"]:
        operator = (str(node["target"]).removeprefix("torch.ops.aten.").split(".") or [""])[0]
        given = {i["name"]: _operand(i["arg"], constants) for i in node["inputs"]}
        operands, outputs = list(given.values()), tuple(_operand(o, {})[0] for o in node["outputs"])
        if not operands or not outputs or not outputs[0]:
            continue
        source, output = operands[0][0], outputs[0]
        if operator in _MOVES and dtypes.get(output) == "bool" and dtypes.get(source) != "bool":
            yield Truth(source, output)
        elif operator in _MOVES:
            for name, _ in operands if operator.endswith("_and") else operands[:1]:
                yield Moved(name, outputs)
        elif operator in {"add", "sub", "mul", "div"} and len(operands) == 2:
            yield from arithmetic(operator, operands[0], operands[1], output)
        elif operator == "rsub" and len(operands) == 2:
            yield from arithmetic("sub", operands[1], operands[0], output)
        elif operator == "neg":
            yield Affine(source, output, (-1.0,))
        elif operator in {"eq", "ne"} and len(operands) == 2:
            pairs = (operands, operands[::-1])
            yield from (Truth(a[0], output) for a, b in pairs if b[1] is not None and tuple(b[1]) in ((0.0,), (1.0,)))
        elif operator == "masked_fill" and len(operands) == 3:
            yield Choice(operands[1][0], min(operands[2][1] or (), default=None))
        elif operator == "where" and len(operands) == 3:
            yield Choice(source, min([v for _, values in operands[1:] for v in values or ()], default=None))
        elif operator == "log":
            yield Logarithm(source)


def _operand(arg: Any, constants: Mapping[str, tuple[float, ...]]) -> Operand:
    """The name of a value, or the number that stands in its place."""
    ((kind, content),) = arg.items()
    if kind in {"as_int", "as_float"} and isinstance(content, int | float):
        return "", (float(content),)
    name = str(content.get("name") or content.get("as_name", "")) if isinstance(content, dict) else ""
    return name, constants.get(name)
