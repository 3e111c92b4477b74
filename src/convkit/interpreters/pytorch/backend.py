"""PyTorch as the interpreter sees it: constants are parameters and buffers of the module, sizes may be SymInts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch.fx import traceback

from convkit.interpreters.host import DataDependentError, Host, register_symbol
from convkit.interpreters.operators import Handler, UnsupportedError
from convkit.interpreters.pytorch.table import operators
from convkit.legalization.exported_program import NODE_KEY

__all__ = ["TorchBackend", "as_tensor", "constants_made_by", "new_tensor", "torch_dtype"]

register_symbol(torch.SymInt, torch.sym_max, torch.sym_min)
register_symbol(torch.SymFloat, torch.sym_max, torch.sym_min)

# torch stores these and computes with them hardly anywhere (https://github.com/pytorch/pytorch/issues/58734).
_WIDER = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}


class TorchBackend:
    """The backend over one module's constants.

    Args:
        constants: The module's parameter or buffer of every initializer that is used as a tensor.
    """

    def __init__(self, constants: Mapping[ir.Value, torch.Tensor]) -> None:
        self.operators = operators()
        self._constants = constants

    def constant(self, value: ir.Value) -> torch.Tensor:
        if value in self._constants or value.const_value is None:
            return self._constants[value]
        return as_tensor(value.const_value.numpy())

    def constants(self, values: Iterable[ir.Value]) -> dict[ir.Value, torch.Tensor]:
        """Those of the values that are constants, with their tensors."""
        return {value: self._constants[value] for value in values if value in self._constants}

    def tensor(self, host: Host) -> torch.Tensor:
        if not host.is_symbolic:
            return as_tensor(host.array)
        dtype = torch.from_numpy(np.zeros((), host.dtype)).dtype
        parts = [torch.ops.aten.scalar_tensor.default(_countable(size), dtype=dtype) for size in host.array.flat]
        return torch.stack(parts).reshape(host.array.shape)

    def shape(self, tensor: Any) -> list[Any]:
        if not isinstance(tensor, torch.Tensor):
            raise DataDependentError("the shape of a sequence or an optional")
        return list(tensor.shape)

    def cast(self, tensor: Any, dtype: ir.DataType) -> Any:
        wanted = torch_dtype(dtype)
        return tensor.to(wanted) if isinstance(tensor, torch.Tensor) and tensor.dtype != wanted else tensor

    def place(self, name: str) -> AbstractContextManager[Any]:
        # Survives decomposition and torch.export.save.
        mark: AbstractContextManager[Any] = traceback.annotate({NODE_KEY: name})
        return mark

    def wrap(self, handler: Handler, arguments: list[Any], attributes: dict[str, Any]) -> Any:
        """Calls a handler, on wider integers where torch has no kernels; the graph's declared dtype narrows the result."""
        wide = [a.to(_WIDER[a.dtype]) if isinstance(a, torch.Tensor) and a.dtype in _WIDER else a for a in arguments]
        return handler.function(*wide, **attributes)


def _countable(size: Any) -> Any:
    """A size, or 1 or 0 for whether a comparison of sizes holds: torch makes no tensor of a SymBool."""
    return torch.sym_ite(size, 1, 0) if isinstance(size, torch.SymBool) else size


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """A tensor of a numpy array (a copy, as what is mapped from files is read-only).

    Every constant that is made while tracing is made here: see `constants_made_by`.

    Raises:
        UnsupportedError: torch has no such dtype.
    """
    make = _MAKER.get()
    return new_tensor(array) if make is None else make(array)


_MAKER: ContextVar[Callable[[np.ndarray], torch.Tensor] | None] = ContextVar("maker", default=None)


@contextmanager
def constants_made_by(make: Callable[[np.ndarray], torch.Tensor]) -> Iterator[None]:
    """Within it, `as_tensor` calls `make`: the bodies of torch's control flow hold no constants, but get them as operands."""
    token = _MAKER.set(make)
    try:
        yield
    finally:
        _MAKER.reset(token)


def new_tensor(array: np.ndarray) -> torch.Tensor:
    """A tensor of a numpy array, whoever makes the constants."""
    native = np.dtype(array.dtype.type)  # what is read from a file has its byte order spelled out
    if native.kind in "biufc" and native.isbuiltin == 1:
        if not array.size:  # torch.export.save cannot write an empty tensor on numpy's memory (torch 2.13)
            return torch.zeros(array.shape, dtype=torch.from_numpy(np.zeros((), native)).dtype)
        return torch.from_numpy(np.array(array, native, order="C", ndmin=array.ndim))
    if array.dtype.kind in "OSU":
        raise UnsupportedError(f"PyTorch has no tensors of {array.dtype}")
    if array.dtype.name in ("int4", "uint4", "int2", "uint2"):
        return torch.from_numpy(array.astype(np.int8 if array.dtype.name[0] == "i" else np.uint8))  # what torch computes them in
    # numpy has bfloat16 and the 8-bit floats from ml_dtypes, which torch does not read: the bits are the same.
    dtype = torch_dtype(ir.DataType.from_numpy(array.dtype))
    bits = np.array(array, order="C", ndmin=array.ndim).view(np.dtype(f"u{array.dtype.itemsize}"))
    return torch.from_numpy(bits.view(np.int16) if bits.dtype.itemsize == 2 else bits).view(dtype)


def torch_dtype(dtype: ir.DataType | int) -> torch.dtype:
    """The torch dtype of an ONNX one.

    Raises:
        UnsupportedError: torch has none (strings, 4-bit integers).
    """
    found = _DTYPES.get(ir.DataType(dtype))
    if found is None:
        raise UnsupportedError(f"PyTorch has no dtype for {ir.DataType(dtype).name}")
    return found


_DTYPES = {
    ir.DataType.BOOL: torch.bool,
    ir.DataType.INT8: torch.int8,
    ir.DataType.INT16: torch.int16,
    ir.DataType.INT32: torch.int32,
    ir.DataType.INT64: torch.int64,
    ir.DataType.UINT8: torch.uint8,
    ir.DataType.UINT16: torch.uint16,
    ir.DataType.UINT32: torch.uint32,
    ir.DataType.UINT64: torch.uint64,
    ir.DataType.FLOAT16: torch.float16,
    ir.DataType.BFLOAT16: torch.bfloat16,
    ir.DataType.FLOAT: torch.float32,
    ir.DataType.DOUBLE: torch.float64,
    ir.DataType.FLOAT8E4M3FN: torch.float8_e4m3fn,
    ir.DataType.FLOAT8E4M3FNUZ: torch.float8_e4m3fnuz,
    ir.DataType.FLOAT8E5M2: torch.float8_e5m2,
    ir.DataType.FLOAT8E5M2FNUZ: torch.float8_e5m2fnuz,
    ir.DataType.COMPLEX64: torch.complex64,
    ir.DataType.COMPLEX128: torch.complex128,
}
