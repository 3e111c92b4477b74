"""TorchScript: the archive of `torch.jit.save`, with the program as Python-like text in `code/`.

Layout: torch/csrc/jit/docs/serialization.md.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convkit.artifact import ModelInfo
from convkit.formats import Variant
from convkit.readers.archive import read_member
from convkit.readers.damage import DamagedFileError
from convkit.readers.pickles import Call, Global, read_pickle
from convkit.readers.pytorch_tensors import TensorRecord, tensors_of
from convkit.readers.traced_inputs import read_traced_inputs, traced_input_records
from convkit.signature import Signature, TensorSpec

__all__ = ["describe"]

_CODE_LIMIT = 256 << 20
_OPERATOR = re.compile(r"(?<![\w.])(?:torch|ops\.(?P<namespace>\w+))\.(?P<name>\w+)\(")
_CONTROL_FLOW = (("prim.If", re.compile(r"^\s+if ", re.M)), ("prim.Loop", re.compile(r"^\s+(?:for|while) ", re.M)))
# Every repetition has a limit and a stop of its own: hostile text cannot make the search quadratic.
_FORWARD = re.compile(r"^  def forward\((?P<parameters>[^()]{0,20000})\) -> (?P<returns>[^:\n]{0,2000}):\n", re.M)
_KEY = re.compile(r'"((?:[^"\\]|\\.)*)"\s*:')


@dataclass(frozen=True)
class _Forward:
    """What the text of `forward` says: names of its arguments, names of its outputs."""

    arguments: tuple[str, ...]
    outputs: tuple[str, ...]


def describe(path: Path, archive: zipfile.ZipFile, prefix: str) -> ModelInfo:
    pickle = read_pickle(read_member(archive, f"{prefix}data.pkl", _CODE_LIMIT))
    sources = {
        name.removeprefix(f"{prefix}code/"): read_member(archive, name, _CODE_LIMIT).decode("utf-8")
        for name in archive.namelist()
        if name.startswith(f"{prefix}code/") and name.endswith(".py")
    }
    if not sources:
        raise DamagedFileError("it has no code")
    operators = _operators(sources.values())
    forward = _forward(sources, pickle.value)
    records = traced_input_records(archive)
    notes = []
    if forward is None:
        notes.append("its code has no forward method")
    if records is None:
        notes.append("scripted: the file records no input shapes, give them with --input NAME:DTYPE[DIM,…]")
    else:
        notes.append("traced: it records the inputs' shapes, and branches of the source model that were not taken are lost")
    signatures: tuple[Signature, ...] = ()
    if records is not None and forward is not None:
        signatures = (_signature(forward, records),)
        notes.append("the file records no output shapes: the outputs' dtype is assumed")
    namespaces = sorted({name for name in operators if name.partition(".")[0] not in {"aten", "prim"}})
    weights = tensors_of(pickle)
    metadata: dict[str, Any] = {
        "capture": "script" if records is None else "trace",
        "archive_version": _version(archive, prefix),
        "tensors": len(weights),
    }
    if forward is not None:
        metadata["arguments"] = list(forward.arguments)
    if f"{prefix}bytecode.pkl" in archive.namelist():
        metadata["mobile"] = True
    return ModelInfo(
        Variant.TORCHSCRIPT,
        path,
        path.stat().st_size,
        signatures=signatures,
        operators=operators,
        parameters=sum(tensor.elements for tensor in weights),
        metadata=metadata,
        requires=tuple(f"custom operator {name} (import the library that registers it)" for name in namespaces),
        notes=tuple(notes),
        has_examples=records is not None and read_traced_inputs(path) is not None,
    )


def _version(archive: zipfile.ZipFile, prefix: str) -> str:
    """The number of the archive's layout, which has moved within it."""
    for name in (f"{prefix}version", f"{prefix}.data/version"):
        if name in archive.namelist():
            return read_member(archive, name).decode("ascii", "replace").strip()
    return ""


def _operators(sources: Any) -> Counter[str]:
    """Calls in the text. `torch.add` is aten's; the text does not say which overload."""
    found: Counter[str] = Counter()
    for text in sources:
        for match in _OPERATOR.finditer(text):
            found[f"{match['namespace'] or 'aten'}.{match['name']}"] += 1
        for name, pattern in _CONTROL_FLOW:
            if count := len(pattern.findall(text)):
                found[name] += count
    return found


def _forward(sources: dict[str, str], module: Any) -> _Forward | None:
    """`forward` of the module that the file holds: `__torch__.models.Net` is in `code/__torch__/models.py`."""
    if not isinstance(module, Call):
        return None
    function = module.function
    if not isinstance(function, Global) and isinstance(module.args, tuple) and module.args:
        function = module.args[0]
    if not isinstance(function, Global):
        return None
    text = sources.get(function.module.replace(".", "/") + ".py", "")
    owner = text.partition(f"class {function.name}(")[2].partition("\nclass ")[0]
    match = _FORWARD.search(owner)
    if match is None:
        return None
    body = owner[match.end() :].partition("\n  def ")[0]
    arguments = [part.partition(":")[0].strip() for part in _split(match["parameters"])]
    outputs = _output_names(match["returns"].strip(), body, sources)
    return _Forward(tuple(name for name in arguments if name != "self"), outputs)


def _split(text: str) -> list[str]:
    """The parts between commas that stand in no bracket."""
    parts, depth, current = [], 0, ""
    for character in text:
        depth += (character in "[({") - (character in "])}")
        if character == "," and not depth:
            parts.append(current)
            current = ""
        else:
            current += character
    return [*parts, current] if current.strip() else parts


def _output_names(annotation: str, body: str, sources: dict[str, str]) -> tuple[str, ...]:
    """Names by the return type: keys of a dict, fields of a named tuple, numbers in a tuple."""
    if annotation.startswith("Tuple["):
        return tuple(f"output_{index}" for index in range(len(_split(annotation[len("Tuple[") : -1]))))
    if annotation.startswith("Dict["):
        return _dictionary_keys(body)
    if annotation.startswith("__torch__."):
        module, _, name = annotation.rpartition(".")
        text = sources.get(module.replace(".", "/") + ".py", "").partition(f"class {name}(NamedTuple):\n")[2]
        return tuple(re.findall(r"^  (\w+) : ", text.partition("\nclass ")[0], re.M))
    return ("output",)


def _dictionary_keys(body: str) -> tuple[str, ...]:
    """The keys of the dict literal that is returned, also when a variable holds it; none when it is built otherwise."""
    returned = re.findall(r"^    return (.*)$", body, re.M)
    value = returned[-1].strip() if returned else ""
    if re.fullmatch(r"\w+", value):
        assigned = re.findall(rf"^    {value} = (\{{.*\}})$", body, re.M)
        value = assigned[-1] if assigned else ""
    return tuple(_KEY.findall(value)) if value.startswith("{") else ()


def _signature(forward: _Forward, records: Sequence[TensorRecord]) -> Signature:
    """The traced shapes. Arguments that hold several tensors make the names fall back to numbers."""
    names: Sequence[str] = forward.arguments
    if len(names) != len(records):
        names = [f"input_{index}" for index in range(len(records))]
    inputs = tuple(TensorSpec(name, r.dtype, r.shape) for name, r in zip(names, records, strict=True))
    return Signature(inputs, tuple(TensorSpec(name, "float32", None) for name in forward.outputs))
