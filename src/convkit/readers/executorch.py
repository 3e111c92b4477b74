"""ExecuTorch (`.pte`): a FlatBuffers file with the identifier "ET12", then segments with weights and delegate payloads.

Field numbers are those of executorch/schema/program.fbs, the extended header's layout that of
executorch/exir/_serialize/_program.py.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convkit.artifact import ModelInfo
from convkit.formats import Variant
from convkit.readers.damage import DamagedFileError
from convkit.readers.flatbuffer import FlatBuffer, Table, open_flatbuffer
from convkit.signature import Dim, Signature, TensorSpec, dynamic_dim

__all__ = ["SIGNATURE_METHOD", "matches", "read"]

# convkit writes the names that the format cannot hold into a constant method of this name, as `Signature.to_json`.
SIGNATURE_METHOD = "convkit_signature"

_DTYPES = {
    0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16", 6: "float32", 7: "float64", 11: "bool",
    12: "int8", 13: "uint8", 14: "int32", 15: "bfloat16", 23: "float8_e5m2", 24: "float8_e4m3fn", 27: "uint16",
    28: "uint32", 29: "uint64",
}  # fmt: skip
# enum KernelTypes, enum InstructionArguments
_INT, _BOOL, _DOUBLE, _TENSOR, _STRING = 2, 3, 4, 5, 6
_SCALARS = {_INT: "int64", _BOOL: "bool", _DOUBLE: "float64"}
_KERNEL_CALL, _DELEGATE_CALL = 1, 2
_SIZE = "aten.sym_size.int"


def matches(path: Path, head: bytes) -> Variant | None:
    return Variant.PTE if head[4:6] == b"ET" and head[6:8].isdigit() else None


def read(path: Path, variant: Variant) -> ModelInfo:
    with open_flatbuffer(path) as buffer:
        program = buffer.root()
        _check_segments(program, buffer)
        plans = program.children(1)
        if not plans:
            raise DamagedFileError("it has no method")
        methods = [_Method(plan) for plan in plans]
    names = next((m.recorded_signature for m in methods if m.recorded_signature is not None), None)
    methods = [m for m in methods if not m.is_constant]
    guessed = [m.name for m in methods if m.bounds and (names is None or names.name != m.name)]
    notes = []
    if names is None:
        notes.append("the format holds no tensor names: they are numbered")
    if guessed:
        notes.append(
            f"the format does not say which dimensions of {', '.join(guessed)} are dynamic: those that the method asks for are "
            "assumed, else the first; name them with --input where that is wrong"
        )
    operators: Counter[str] = sum((m.operators for m in methods), Counter())
    delegates = sorted({d for m in methods for d in m.delegates})
    elements = [m.constant_elements for m in methods]
    metadata: dict[str, Any] = {"program_version": program_version(path), "methods": [m.name for m in methods]}
    if delegates:
        metadata["delegates"] = delegates
    if bounds := {name: list(sizes) for m in methods for name, sizes in m.bounds.items()}:
        metadata["upper_bounds"] = bounds
    signatures = tuple(_named(m.signature, names) for m in methods)
    if ranges := _ranges(signatures, methods):
        metadata["dynamic_ranges"] = ranges
    return ModelInfo(
        variant,
        path,
        path.stat().st_size,
        signatures=signatures,
        operators=operators,
        parameters=None if delegates else sum(elements),
        metadata=metadata,
        requires=tuple(f"an ExecuTorch runtime with {delegate}" for delegate in delegates),
        notes=tuple(notes),
    )


def _ranges(signatures: Sequence[Signature], methods: Sequence[_Method]) -> dict[str, list[int]]:
    """The least and the largest size of dynamic dimensions: memory is planned for their upper bounds."""
    found: dict[str, list[int]] = {}
    for signature, method in zip(signatures, methods, strict=True):
        for spec, unnamed in zip(signature.inputs, method.signature.inputs, strict=True):
            for dim, bound in zip(spec.shape or (), method.bounds.get(unnamed.name, ()), strict=False):
                if isinstance(dim, str):
                    found[dim] = [1, min(bound, found[dim][1]) if dim in found else bound]
    return found


def program_version(path: Path) -> str:
    """The file identifier, for example "ET12"."""
    with path.open("rb") as stream:
        return stream.read(8)[4:].decode("ascii", "replace")


def _check_segments(program: Table, buffer: FlatBuffer) -> None:
    """Every segment lies inside the file; the extended header says where the first one starts."""
    segments = program.children(4)
    if not any(segment.number(1, "Q") for segment in segments):
        return  # a program without constants and delegates has an empty segment, and no extended header
    header = bytes(buffer.data[8:40])
    if header[:4] != b"eh00":
        raise DamagedFileError("it has segments but no extended header")
    base = struct.unpack_from("<Q", header, 16)[0]
    for index, segment in enumerate(segments):
        end = base + segment.number(0, "Q") + segment.number(1, "Q")
        if end > buffer.size:
            raise DamagedFileError(f"segment {index} ends at byte {end} of {buffer.size}")


class _Method:
    """One execution plan: everything that a description needs of it."""

    def __init__(self, plan: Table) -> None:
        self.name = plan.text(0) or "forward"
        self.operators: Counter[str] = Counter()
        self.bounds: dict[str, tuple[int, ...]] = {}
        values = plan.children(2)
        self._asked: dict[int, set[int]] = {}
        self._kernels = [_operator_name(operator) for operator in plan.children(6)]
        self.delegates = [delegate.text(0) for delegate in plan.children(7)]
        for chain in plan.children(5):
            for instruction in chain.children(2):
                self._count(instruction, values)
        inputs, outputs = ([_pick(values, i, "value") for i in plan.numbers(role, "i")] for role in (3, 4))
        self._symbols: dict[int, str] = {}
        asked = _with_shared_batch([self._asked.get(i, set()) for i in plan.numbers(3, "i")], inputs)
        taken = tuple(self._specs(inputs, "input", asked))
        given = tuple(self._specs(outputs, "output", [set()] * len(outputs)))
        self.signature = Signature(taken, given, self.name)
        self.is_constant = not inputs and not self.signature.outputs
        self.recorded_signature = _recorded_signature(outputs) if self.name == SIGNATURE_METHOD else None
        self.is_constant |= self.recorded_signature is not None or (
            not inputs and all(v.number(0, "B") != _TENSOR for v in outputs)
        )
        self.constant_elements = _constant_elements(values)

    def _count(self, instruction: Table, values: Sequence[Table]) -> None:
        kind, arguments = instruction.number(0, "B"), instruction.child(1)
        if arguments is None:
            raise DamagedFileError("an instruction has no arguments")
        if kind == _KERNEL_CALL:
            kernel = _pick(self._kernels, arguments.number(0, "i"), "operator")
            self.operators[kernel] += 1
            if kernel == _SIZE:
                tensor, axis = arguments.numbers(1, "i")[:2]
                number = _pick(values, axis, "value").child(1)
                self._asked.setdefault(tensor, set()).add(0 if number is None else number.number(0, "q"))
        elif kind == _DELEGATE_CALL:
            self.operators[f"delegate:{_pick(self.delegates, arguments.number(0, 'i'), 'delegate')}"] += 1

    def _specs(self, values: Sequence[Table], role: str, asked: Sequence[set[int]]) -> list[TensorSpec]:
        found = []
        for position, value in enumerate(values):
            name = f"{role}_{position}"
            kind, content = value.number(0, "B"), value.child(1)
            if kind in _SCALARS:
                found.append(TensorSpec(name, _SCALARS[kind], ()))
            elif kind == _TENSOR and content is not None:
                found.append(self._tensor_spec(name, content, asked[position]))
        return found

    def _tensor_spec(self, name: str, tensor: Table, asked: set[int]) -> TensorSpec:
        """A dynamic tensor has upper bounds for sizes, and nothing says which of them may shrink: those that the method asks for,
        else the first one that is not 1."""
        code = tensor.number(0, "b")
        if code not in _DTYPES:
            raise DamagedFileError(f"scalar type {code}")
        sizes = tensor.numbers(2, "i")
        shape: tuple[Dim, ...] = sizes
        if tensor.number(8, "b") and sizes:
            self.bounds[name] = sizes
            known = {axis % len(sizes) for axis in asked} or {next((a for a, size in enumerate(sizes) if size != 1), 0)}
            shape = tuple(dynamic_dim(name, axis) if axis in known else size for axis, size in enumerate(sizes))
            if name.startswith("input"):
                for size, dim in zip(sizes, shape, strict=True):
                    if isinstance(dim, str):
                        self._symbols.setdefault(size, dim)
            else:
                shape = self._with_symbols(sizes) or shape
        return TensorSpec(name, _DTYPES[code], shape)

    def _with_symbols(self, sizes: tuple[int, ...]) -> tuple[Dim, ...] | None:
        """An output's shape: sizes that are the bound of an input's dynamic dimension are that dimension, each one once."""
        left = dict(self._symbols)
        shape = tuple(left.pop(size, size) for size in sizes)
        return None if shape == sizes else shape


def _pick(items: Sequence[Any], index: int, what: str) -> Any:
    if not 0 <= index < len(items):
        raise DamagedFileError(f"{what} {index} of {len(items)}")
    return items[index]


def _with_shared_batch(asked: Sequence[set[int]], inputs: Sequence[Table]) -> list[set[int]]:
    """The axes that a method asks for by input; a first axis that it asks one input for counts for all that have its bound."""
    sizes = [v.child(1).numbers(2, "i") if v.number(0, "B") == _TENSOR and v.has(1) else () for v in inputs]  # type: ignore[union-attr]
    batches = {size[0] for axes, size in zip(asked, sizes, strict=True) if 0 in axes and size}
    return [axes | ({0} if axes and size[:1] and size[0] in batches else set()) for axes, size in zip(asked, sizes, strict=True)]


def _operator_name(operator: Table) -> str:
    return f"{operator.text(0).replace('::', '.')}.{operator.text(1) or 'default'}"


def _constant_elements(values: Sequence[Table]) -> int:
    """Elements of the tensors that have data in the file, each piece of data once."""
    found: dict[int, int] = {}
    for value in values:
        tensor = value.child(1) if value.number(0, "B") == _TENSOR else None
        if tensor is not None and tensor.number(5, "I") and not tensor.has(6):
            found[tensor.number(5, "I")] = math.prod(tensor.numbers(2, "i"))
    return sum(found.values())


def _recorded_signature(outputs: Sequence[Table]) -> Signature | None:
    """What convkit wrote into the file; None when the method holds something else."""
    content = outputs[0].child(1) if len(outputs) == 1 and outputs[0].number(0, "B") == _STRING else None
    if content is None:
        return None
    try:
        return Signature.from_json(json.loads(content.text(0)))
    except (KeyError, TypeError, ValueError):
        return None


def _named(found: Signature, recorded: Signature | None) -> Signature:
    """The recorded names and symbols on what the file really holds: same method, counts and ranks, or no names at all."""
    if recorded is None or recorded.name not in {found.name, "serving_default"}:
        return found
    if len(found.inputs) != len(recorded.inputs) or len(found.outputs) != len(recorded.outputs):
        return found
    return Signature(
        tuple(map(_named_tensor, found.inputs, recorded.inputs)),
        tuple(map(_named_tensor, found.outputs, recorded.outputs)),
        found.name,
    )


def _named_tensor(found: TensorSpec, recorded: TensorSpec) -> TensorSpec:
    same_rank = found.shape is not None and recorded.shape is not None and len(found.shape) == len(recorded.shape)
    return TensorSpec(recorded.name, found.dtype, recorded.shape if same_rank else found.shape)
