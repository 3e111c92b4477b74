"""What `torch.jit.save` keeps of the inputs that a module was traced with (`traced_inputs.pkl`).

Layout (torch/csrc/jit/serialization/export_module.cpp): a dict from method name to the list of arguments, each list and
dict wrapped in `torch.jit._pickle.restore_type_tag(value, type)`. The tensors' storages belong in `traced_inputs/<key>`,
but torch writes them empty (`skip_tensor_data`): dtype and shape survive, the values do not.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convkit.readers.archive import open_archive, read_member
from convkit.readers.damage import PARSER_ERRORS, DamagedFileError, damaged
from convkit.readers.pickles import Call, Global, mapping_of, read_pickle
from convkit.readers.pytorch_tensors import WEIGHTS_ONLY_GLOBALS, TensorRecord, tensor_record

if TYPE_CHECKING:
    import numpy as np

__all__ = ["read_traced_inputs", "traced_input_records"]

_MEMBER = "traced_inputs.pkl"
_RESTORE = Global("torch.jit._pickle", "restore_type_tag")
_STORAGE_LIMIT = 2 << 30
# An expanded tensor has more elements than its storage; a hostile one has a billion times more.
_ELEMENT_LIMIT = 1 << 28


def read_traced_inputs(path: Path) -> list[np.ndarray] | None:
    """The arrays that a TorchScript file was traced with, in order.

    Returns:
        None when the file has none, which is the rule: torch records their dtypes and shapes only
        (`traced_input_records` has those).

    Raises:
        UnreadableModelError: when the file is damaged, or its pickle would do more than rebuild tensors.
    """
    try:
        with open_archive(path) as archive:
            member = _member(archive)
            records = traced_input_records(archive)
            if member is None or records is None:
                return None
            arrays = [_array(archive, member.removesuffix(".pkl"), record) for record in records]
    except PARSER_ERRORS as error:
        raise damaged(path, "TorchScript", error) from error
    present = [array for array in arrays if array is not None]
    return present if len(present) == len(arrays) else None


def traced_input_records(archive: zipfile.ZipFile) -> list[TensorRecord] | None:
    """dtype and shape of each tensor that `forward` was traced with, None where the file was scripted.

    Raises:
        DamagedFileError: when the pickle would do more than rebuild tensors.
    """
    member = _member(archive)
    if member is None:
        return None
    pickle = read_pickle(read_member(archive, member))
    foreign = sorted(set(pickle.globals) - WEIGHTS_ONLY_GLOBALS - {str(_RESTORE)})
    if foreign:
        raise DamagedFileError(f"the pickle of its traced inputs would import {', '.join(foreign)}")
    methods = mapping_of(_untagged(pickle.value))
    if methods is None or "forward" not in methods:
        return None
    return list(_tensors(methods["forward"], depth=8))


def _member(archive: zipfile.ZipFile) -> str | None:
    return next((name for name in archive.namelist() if name.partition("/")[2] == _MEMBER), None)


def _untagged(value: Any) -> Any:
    if isinstance(value, Call) and value.function == _RESTORE and value.args:
        return value.args[0]
    return value


def _tensors(value: Any, depth: int) -> Iterator[TensorRecord]:
    value = _untagged(value)
    record = tensor_record(value)
    if record is not None:
        yield record
    elif depth and isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item, depth - 1)
    elif depth and (items := mapping_of(value)) is not None:
        for item in items.values():
            yield from _tensors(item, depth - 1)


def _array(archive: zipfile.ZipFile, folder: str, record: TensorRecord) -> np.ndarray | None:
    """The tensor's values copied out of its storage, None where the storage is empty or numpy lacks the dtype."""
    content = read_member(archive, f"{folder}/{record.storage}", _STORAGE_LIMIT)
    if not content and record.elements:
        return None
    import numpy as np

    try:
        dtype = np.dtype(record.dtype)
    except TypeError:
        return None
    last = record.offset + sum((size - 1) * step for size, step in zip(record.shape, record.stride, strict=True))
    if record.elements > _ELEMENT_LIMIT:
        raise DamagedFileError(f"a traced input has the shape {list(record.shape)}")
    if not record.elements:
        return np.zeros(record.shape, dtype)
    if (last + 1) * dtype.itemsize > len(content):
        return None
    flat = np.frombuffer(content, dtype)
    strides = [step * dtype.itemsize for step in record.stride]
    return np.lib.stride_tricks.as_strided(flat[record.offset :], record.shape, strides).copy()
