"""What torch's pickles say about tensors: dtype, shape and storage, read from `Call`s and never rebuilt.

The functions that torch names in its pickles are those of torch/_utils.py (`_rebuild_tensor_v2` and its relatives).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from convkit.readers.damage import DamagedFileError
from convkit.readers.pickles import Call, Global, Persistent, Pickle

__all__ = ["WEIGHTS_ONLY_GLOBALS", "TensorRecord", "is_weights_only", "tensor_record", "tensors_of"]

_STORAGES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "ByteStorage": "uint8", "CharStorage": "int8", "ShortStorage": "int16", "IntStorage": "int32",
    "LongStorage": "int64", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128", "QInt8Storage": "int8", "QUInt8Storage": "uint8", "QInt32Storage": "int32",
    "UntypedStorage": "uint8",
}  # fmt: skip
_DTYPES = {
    "float": "float32", "double": "float64", "half": "float16", "long": "int64", "int": "int32", "short": "int16",
}  # fmt: skip
_TENSORS = frozenset(("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_qtensor"))
_WRAPPERS = {"_rebuild_parameter": 0, "_rebuild_parameter_with_state": 0}
_MAX_RANK = 64

# What a file of weights may import: containers, tensors and their parts. Anything else is a program;
# `torch.storage._load_from_bytes` is left out because it unpickles without any restriction.
WEIGHTS_ONLY_GLOBALS = frozenset((
    "collections.OrderedDict", "collections.defaultdict", "collections.Counter", "builtins.dict", "builtins.set",
    "__builtin__.set", "builtins.bytearray", "builtins.complex", "__builtin__.complex", "_codecs.encode", "torch.Size",
    "torch.Tensor", "torch.device", "torch.nn.parameter.Parameter", "torch._tensor._rebuild_from_type_v2",
    "torch.storage.UntypedStorage", "torch.storage.TypedStorage", "numpy.dtype",
    "numpy.ndarray", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct", "torch.serialization._get_layout",
    *(f"torch._utils.{name}" for name in (*_TENSORS, *_WRAPPERS)), *(f"torch.{name}" for name in _STORAGES),
    *(f"torch.{name}" for name in (
        "float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
        "uint64", "bool", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2", "strided", "contiguous_format",
    )),
))  # fmt: skip


@dataclass(frozen=True)
class TensorRecord:
    """A tensor as a pickle records it; `storage` names the bytes, `offset` and `stride` count elements."""

    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    storage: str

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


def is_weights_only(pickle: Pickle) -> bool:
    """Whether loading would import nothing but tensors and containers."""
    return WEIGHTS_ONLY_GLOBALS.issuperset(pickle.globals)


def tensor_record(value: Any) -> TensorRecord | None:
    """The tensor that a value stands for, None where it stands for something else.

    Raises:
        DamagedFileError: when it is a tensor with arguments that no tensor has.
    """
    if not isinstance(value, Call) or not isinstance(value.function, Global) or not isinstance(value.args, tuple):
        return None
    module, name = value.function
    if module == "torch._tensor" and name == "_rebuild_from_type_v2" and len(value.args) > 2:
        return tensor_record(Call(value.args[0], value.args[2]))
    if module != "torch._utils":
        return None
    if name in _WRAPPERS and value.args:
        return tensor_record(value.args[0])
    if name not in _TENSORS:
        return None
    try:
        return _record(name, value.args)
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        raise DamagedFileError(f"the pickle has a tensor with impossible parts ({error})") from error


def _record(function: str, args: tuple[Any, ...]) -> TensorRecord:
    storage, offset, shape, stride = args[:4]
    if not isinstance(storage, Persistent):
        raise TypeError("no storage")
    _, kind, key, *_ = storage.id
    dtype = args[6] if function == "_rebuild_tensor_v3" else kind
    # Nothing of it may be printed or hashed before it is known to be plain: nested tuples can be made endless.
    if type(key) not in {str, int}:
        raise TypeError("its storage has no plain key")
    sizes = (*shape, *stride, offset)
    if len(shape) != len(stride) or len(shape) > _MAX_RANK or not all(type(n) is int and n >= 0 for n in sizes):
        raise ValueError("its sizes are no sizes")
    title: str = _STORAGES.get(dtype.name) or _DTYPES.get(dtype.name, dtype.name)
    return TensorRecord(title, tuple(shape), tuple(stride), offset, str(key))


def tensors_of(pickle: Pickle) -> list[TensorRecord]:
    """Every distinct tensor inside; tied weights count once."""
    records = (tensor_record(value) for value in pickle.objects())
    return list(dict.fromkeys(record for record in records if record is not None))
