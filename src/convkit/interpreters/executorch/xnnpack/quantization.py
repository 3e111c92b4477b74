"""Quantised values as the numbers that they stand for: plain arithmetic, which every exporter takes."""

from __future__ import annotations

import math

import torch

from convkit.interpreters.executorch.xnnpack.payload import DataType, PerChannel, PerTensor, PerToken, Value
from convkit.interpreters.operators import UnsupportedError
from convkit.readers.damage import DamagedFileError

__all__ = ["constant", "from_integers", "rounded", "to_integers"]

_LOW, _HIGH = -128, 127
_COMPUTED = {DataType.QINT8: (torch.int8, _LOW, _HIGH), DataType.QUINT8: (torch.uint8, 0, 255)}
"""What computed values are stored as where they have one scale, and the least and greatest of it."""

_STORED = {
    DataType.FP32: torch.float32, DataType.FP16: torch.float16, DataType.QINT8: torch.int8, DataType.QUINT8: torch.uint8,
    DataType.QINT32: torch.int32, DataType.QCINT8: torch.int8, DataType.QCINT32: torch.int32, DataType.INT32: torch.int32,
    DataType.BF16: torch.bfloat16,
}  # fmt: skip


def rounded(x: torch.Tensor, value: Value) -> torch.Tensor:
    """What is left of numbers when they have been stored in a value: the same where it is not quantised.

    Raises:
        UnsupportedError: It is quantised in a way that values that are computed never are.
    """
    quantization = value.quantization
    if quantization is None:
        return x
    if isinstance(quantization, PerTensor):
        integers, _ = _integers(x, value, quantization)
        return (integers - quantization.zero_point) * quantization.scale
    if isinstance(quantization, PerToken):
        return _rounded_per_token(x, quantization.axes)
    raise UnsupportedError("a computed value with one scale per channel")


def _rounded_per_token(x: torch.Tensor, axes: int) -> torch.Tensor:
    """Asymmetric int8 with the range of each token, zero included, as XNNPACK chooses scale and zero point."""
    last = list(range(x.ndim - axes, x.ndim))
    zero = torch.zeros((), dtype=x.dtype)
    low, high = torch.minimum(x.amin(last, keepdim=True), zero), torch.maximum(x.amax(last, keepdim=True), zero)
    span = high - low
    # The multiplier, not the scale: a range of one point keeps the values as they are.
    per_step = torch.where(span == 0, torch.ones_like(span), (_HIGH - _LOW) / torch.where(span == 0, torch.ones_like(span), span))
    from_low, from_high = _LOW - low * per_step, _HIGH - high * per_step
    nearer_low = (_LOW + low * per_step) + (_HIGH + high * per_step) > 0
    zero_point = torch.round(torch.clamp(torch.where(nearer_low, from_low, from_high), _LOW, _HIGH))
    integers = torch.clamp(torch.round(x * per_step) + zero_point, _LOW, _HIGH)
    return (integers - zero_point) / per_step


def from_integers(x: torch.Tensor, value: Value) -> torch.Tensor:
    """The numbers that the integers of an argument stand for."""
    if isinstance(value.quantization, PerTensor):
        return (x.to(torch.float32) - value.quantization.zero_point) * value.quantization.scale
    return x


def to_integers(x: torch.Tensor, value: Value) -> torch.Tensor:
    """The integers that an argument takes for numbers; numbers where it is not quantised."""
    if isinstance(value.quantization, PerTensor):
        integers, dtype = _integers(x, value, value.quantization)
        return integers.to(dtype)
    return x


def _integers(x: torch.Tensor, value: Value, quantization: PerTensor) -> tuple[torch.Tensor, torch.dtype]:
    """Whole numbers, still as floats, and the dtype that holds them."""
    if value.datatype not in _COMPUTED:
        raise UnsupportedError(f"a computed value of the datatype {value.datatype}")
    dtype, low, high = _COMPUTED[value.datatype]
    return torch.clamp(torch.round(x / quantization.scale) + quantization.zero_point, low, high), dtype


def constant(value: Value, data: bytes, scales: bytes) -> torch.Tensor:
    """The numbers of a constant, in XNNPACK's order of axes.

    Args:
        value: What the graph says of it.
        data: Its data.
        scales: The data of its scales, where they are among the constants.

    Raises:
        DamagedFileError: There are fewer data than the value needs.
        UnsupportedError: Its datatype is none that is computed.
    """
    if value.datatype in (DataType.QCINT4, DataType.QBINT4):
        stored = _four_bits(data, value.sizes)
    elif value.datatype in _STORED:
        stored = _tensor(data, _STORED[value.datatype], value.sizes)
    else:
        raise UnsupportedError(f"a constant of the datatype {value.datatype}")
    quantization = value.quantization
    if isinstance(quantization, PerTensor):
        return ((stored.double() - quantization.zero_point) * quantization.scale).float()
    if isinstance(quantization, PerChannel):
        return (stored.double() * _spread(quantization, scales, value.sizes).double()).float()
    return stored


def _tensor(data: bytes, dtype: torch.dtype, sizes: tuple[int, ...]) -> torch.Tensor:
    count = math.prod(sizes)
    if count * dtype.itemsize > len(data):
        raise DamagedFileError(f"a constant of {list(sizes)} has {len(data)} bytes")
    if count == 0:
        return torch.empty(sizes, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype, count=count).reshape(sizes)


def _four_bits(data: bytes, sizes: tuple[int, ...]) -> torch.Tensor:
    """Two elements of a row to a byte, the first one in the low bits, 8 standing for zero; rows begin on bytes."""
    rows, columns = math.prod(sizes[:-1]), sizes[-1]
    packed = _tensor(data, torch.uint8, (rows, (columns + 1) // 2))
    both = torch.stack([packed & 15, packed >> 4], dim=-1).reshape(rows, -1)[:, :columns]
    return (both.to(torch.int8) - 8).reshape(sizes)


def _spread(quantization: PerChannel, data: bytes, sizes: tuple[int, ...]) -> torch.Tensor:
    """Scales in a shape that fits the integers."""
    count, axis = quantization.count or len(quantization.inline), quantization.axis
    if quantization.inline:
        scales = torch.tensor(quantization.inline)
    else:
        scales = _tensor(data, torch.bfloat16 if quantization.group else torch.float32, (count,)).float()
    if quantization.group:
        if len(sizes) != 2 or count * quantization.group != math.prod(sizes):
            raise DamagedFileError(f"{count} scales of groups of {quantization.group} for {list(sizes)}")
        return scales.reshape(sizes[0], -1).repeat_interleave(quantization.group, dim=1)
    if not 0 <= axis < len(sizes) or sizes[axis] != count:
        raise DamagedFileError(f"{count} scales along axis {axis} of {list(sizes)}")
    return scales.reshape([count if a == axis else 1 for a in range(len(sizes))])
