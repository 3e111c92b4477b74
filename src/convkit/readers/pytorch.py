"""PyTorch files: zip archives of `torch.save`, `torch.jit.save` and `torch.export.save`, and the pickles of old versions.

No pickle is loaded here: see `pickles`. The layouts are those of torch/serialization.py and of
torch/export/pt2_archive/constants.py.
"""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

from convkit.artifact import ModelInfo
from convkit.errors import UnreadableModelError, UntrustedPickleError
from convkit.formats import Variant
from convkit.readers import exported_program, torchscript
from convkit.readers.archive import is_zip, open_archive, read_member
from convkit.readers.damage import DamagedFileError
from convkit.readers.pickles import Global, Persistent, Pickle, mapping_of, read_pickle
from convkit.readers.pytorch_tensors import WEIGHTS_ONLY_GLOBALS, is_weights_only, tensor_record, tensors_of

__all__ = ["matches", "read"]

# The first of the five pickles that torch.save wrote before 1.6: torch.serialization.MAGIC_NUMBER.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_HEAD = (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e")
_PICKLE_LIMIT = 256 << 20
# Keys under which training scripts keep a state dict.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "ema", "params", "weights")
_SHOWN_GLOBALS = 12
_SHOWN_NAMES = 8


def matches(path: Path, head: bytes) -> Variant | None:
    if is_zip(head):
        return _zip_variant(path)
    if head.startswith(_LEGACY_HEAD):
        return _pickle_variant(_legacy_pickle(path)[0])
    if head[:1] == b"\x80" and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        raise _foreign_pickle(path)
    return None


def _zip_variant(path: Path) -> Variant | None:
    with open_archive(path) as archive:
        names = archive.namelist()
        if exported_program.model_member(names):
            return Variant.EXPORTED_PROGRAM
        if any(name.endswith("/data/aotinductor") or "/data/aotinductor/" in name for name in names):
            raise UnreadableModelError(
                f"{path} is an AOTInductor package: compiled code for one machine, without the program",
                hint="save the exported program itself with torch.export.save(program, path)",
            )
        prefix = _prefix(names, "data.pkl")
        if prefix is None:
            return None
        if f"{prefix}constants.pkl" in names or any(name.startswith(f"{prefix}code/") for name in names):
            return Variant.TORCHSCRIPT
        return _pickle_variant(_zip_pickle(archive, prefix))


def _prefix(names: list[str], member: str) -> str | None:
    """The archive's own top directory with its slash ("" in none), told by a member of it."""
    return next((n.removesuffix(member) for n in names if n == member or (n.endswith("/" + member) and n.count("/") == 1)), None)


def _zip_pickle(archive: zipfile.ZipFile, prefix: str) -> Pickle:
    return read_pickle(read_member(archive, f"{prefix}data.pkl", _PICKLE_LIMIT))


def _pickle_variant(pickle: Pickle) -> Variant:
    return Variant.STATE_DICT if is_weights_only(pickle) else Variant.PICKLED_MODULE


def _foreign_pickle(path: Path) -> UnreadableModelError:
    """A pickle that torch.save did not write; what it imports tells its owner what it is."""
    with path.open("rb") as stream:
        imports = read_pickle(stream.read(_PICKLE_LIMIT)).globals
    named = ", ".join(imports[:_SHOWN_GLOBALS]) or "nothing"
    message = f"{path} is a Python pickle that torch.save did not write; loading it would import {named}"
    hint = "do not load it unless you know its origin; convkit reads models, saved by the library that made them"
    return UntrustedPickleError(message, hint=hint) if imports else UnreadableModelError(message, hint=hint)


def _legacy_pickle(path: Path) -> tuple[Pickle, list[Any], int]:
    """The object of an old file, the keys of its storages, and the number of bytes that follow for them."""
    with path.open("rb") as stream:
        data = BytesIO(stream.read(_PICKLE_LIMIT))
    if read_pickle(data).value != _LEGACY_MAGIC:
        raise DamagedFileError("its magic number is wrong")
    for _ in ("protocol version", "system information"):
        read_pickle(data)
    pickle = read_pickle(data)
    keys = read_pickle(data).value
    if not isinstance(keys, list):
        raise DamagedFileError("it has no list of storages")
    return pickle, keys, path.stat().st_size - data.tell()


def read(path: Path, variant: Variant) -> ModelInfo:
    with path.open("rb") as stream:
        zipped = is_zip(stream.read(4))
    if not zipped:
        pickle, keys, left = _legacy_pickle(path)
        # Each storage is its element count (8 bytes) and its elements.
        if left < 8 * len(keys):
            raise DamagedFileError(f"{left} bytes follow for {len(keys)} storages")
        return _describe(path, variant, pickle, "legacy (torch.save before 1.6)")
    with open_archive(path) as archive:
        if variant is Variant.EXPORTED_PROGRAM:
            return exported_program.describe(path, archive)
        prefix = _prefix(archive.namelist(), "data.pkl")
        if prefix is None:
            raise DamagedFileError("it has no data.pkl")
        if variant is Variant.TORCHSCRIPT:
            return torchscript.describe(path, archive, prefix)
        pickle = _zip_pickle(archive, prefix)
        _check_storages(archive, prefix, pickle)
    return _describe(path, variant, pickle, "zip")


def _check_storages(archive: zipfile.ZipFile, prefix: str, pickle: Pickle) -> None:
    """Every tensor has its storage in the archive."""
    names = set(archive.namelist())
    for tensor in tensors_of(pickle):
        if f"{prefix}data/{tensor.storage}" not in names:
            raise DamagedFileError(f"the storage {tensor.storage} of a tensor {list(tensor.shape)} is missing")


def _describe(path: Path, variant: Variant, pickle: Pickle, container: str) -> ModelInfo:
    weights = variant is Variant.STATE_DICT
    found, notes = _state_dict(pickle) if weights else (tensors_of(pickle), [_pickle_note(pickle)])
    dtypes: dict[str, int] = {}
    for tensor in found:
        dtypes[tensor.dtype] = dtypes.get(tensor.dtype, 0) + 1
    metadata: dict[str, Any] = {"container": container, "tensors": len(found), "dtypes": dtypes}
    if weights:
        notes.append("weights only: the file holds no program and no input shapes")
        requires: tuple[str, ...] = ("the code that builds the module (--factory FILE.py:FUNCTION)",)
    else:
        metadata["pickle_globals"] = list(pickle.globals)
        if (owner := _class_of(pickle.value)) is not None:
            metadata["class"] = str(owner)
        notes.append("the file records no input shapes: give them with --input")
        requires = ("--trust-pickle, because loading executes code", "the source code of the module's classes")
    return ModelInfo(
        variant,
        path,
        path.stat().st_size,
        parameters=sum(tensor.elements for tensor in found),
        metadata=metadata,
        requires=requires,
        notes=tuple(notes),
    )


def _class_of(value: Any) -> Global | None:
    """The class of a pickled object; old files keep a module's class and its source text in a persistent id."""
    function = getattr(value, "function", None)
    if isinstance(function, Persistent) and isinstance(function.id, tuple) and len(function.id) > 1:
        function = function.id[1]
    return function if isinstance(function, Global) else None


def _pickle_note(pickle: Pickle) -> str:
    unusual = [name for name in pickle.globals if name not in WEIGHTS_ONLY_GLOBALS]
    more = f" and {len(unusual) - _SHOWN_GLOBALS} more" if len(unusual) > _SHOWN_GLOBALS else ""
    return f"loading the pickle inside would import and may call {', '.join(unusual[:_SHOWN_GLOBALS])}{more}"


def _state_dict(pickle: Pickle) -> tuple[list[Any], list[str]]:
    """The tensors of the state dict, at the top or under a customary key, and what the user should know of the rest."""
    top = mapping_of(pickle.value)
    if top is None:
        return tensors_of(pickle), ["the file holds no dictionary: it is no state dict that a module can load"]
    for key in _WRAPPERS:
        inner = mapping_of(top.get(key))
        if inner is not None and any(tensor_record(value) for value in inner.values()):
            others = ", ".join([k for k in top if k != key and isinstance(k, str)][:_SHOWN_NAMES]) or "nothing else"
            return _records(inner), [f"a checkpoint: the state dict is under {key!r}, beside {others}"]
    if any(tensor_record(value) for value in top.values()):
        return _records(top), []
    return tensors_of(pickle), ["no state dict at the top of the file nor under a customary key"]


def _records(state_dict: dict[Any, Any]) -> list[Any]:
    return list(dict.fromkeys(r for r in map(tensor_record, state_dict.values()) if r is not None))
