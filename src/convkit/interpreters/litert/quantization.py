"""Levels and the numbers that they stand for, in plain float32 arithmetic.

A quantized tensor is computed with as its levels in float32, which holds them exactly; integers appear only where the model's
edge, or a variable, declares them. Sums of products of levels are whole numbers, so that a convolution's are exact up to 2^24;
they are scaled by one float32 factor and rounded half to even, as XNNPACK's kernels do (`qs8-*-rndnu` and `fp32` requantization),
which LiteRT's interpreter runs by default. Its reference kernels round halves away from zero; the two differ by a level on
exact halves. Specification: https://ai.google.dev/edge/litert/models/quantization_spec.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from convkit.interpreters.litert.model import Quantization, Tensor
from convkit.interpreters.litert.values import Order
from convkit.interpreters.pytorch.backend import as_tensor

__all__ = [
    "activated",
    "activation_range",
    "centred",
    "level_range",
    "levels",
    "per_slice",
    "real",
    "requantized",
    "rounded_away",
    "saturated",
]

_RANGES = {
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-32768, 32767),
    "int4": (-8, 7),
    "uint4": (0, 15),
    "int2": (-2, 1),
    "int32": (-(1 << 31), (1 << 31) - 1),
    "int64": (-(1 << 63), (1 << 63) - 1),
}
_SATURATING = frozenset(_RANGES) - {"int32", "int64"}
_LIMITS: dict[str, tuple[float | None, float | None]] = {
    "NONE": (None, None),
    "RELU": (0.0, None),
    "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU6": (0.0, 6.0),
}


def level_range(dtype: str) -> tuple[int, int]:
    """The smallest and the largest level."""
    return _RANGES[dtype]


def activated(x: torch.Tensor, activation: str) -> torch.Tensor:
    """A fused activation on numbers.

    Raises:
        KeyError: No kernel knows it.
    """
    if activation == "TANH":
        return torch.tanh(x)
    low, high = _LIMITS[activation]
    if (low, high) == (0.0, None):
        return torch.relu(x)
    return x if low is None and high is None else torch.clamp(x, low, high)


def activation_range(tensor: Tensor, activation: str) -> tuple[int, int]:
    """The levels that a fused activation leaves of a tensor quantized as a whole (`CalculateActivationRangeQuantized`)."""
    quantization = tensor.quantization
    assert quantization is not None
    least, most = level_range(tensor.dtype)
    scale, zero_point = float(quantization.scales[0]), int(quantization.zero_points[0])
    low, high = _LIMITS[activation]
    if low is not None:
        least = max(least, zero_point + _half_away(low / scale))
    if high is not None:
        most = min(most, zero_point + _half_away(high / scale))
    return least, most


def _half_away(value: float) -> int:
    return int(np.floor(abs(value) + 0.5) * np.sign(value))


def real(x: torch.Tensor, quantization: Quantization, order: Order = None) -> torch.Tensor:
    """The numbers that levels stand for."""
    return centred(x, quantization, order) * _parameter(quantization.scales, quantization, x.dim(), order)


def centred(x: torch.Tensor, quantization: Quantization, order: Order = None) -> torch.Tensor:
    """Levels without their zero point, in float32."""
    if not quantization.zero_points.any():
        return x
    return x - _parameter(quantization.zero_points.astype(np.float32), quantization, x.dim(), order)


def levels(x: torch.Tensor, tensor: Tensor, order: Order = None) -> torch.Tensor:
    """The levels of numbers under a tensor's quantization, in float32."""
    quantization = tensor.quantization
    assert quantization is not None
    scaled = x / _parameter(quantization.scales, quantization, x.dim(), order)
    return _clamped(torch.round(scaled), quantization, level_range(tensor.dtype), x.dim(), order)


def saturated(x: torch.Tensor, tensor: Tensor) -> torch.Tensor:
    """Numbers without what a tensor's levels cannot hold: the part of quantization that is no rounding.

    What the ranges cut off is part of what the network computes. Levels of 32 bits and more cut nothing off.
    """
    quantization = tensor.quantization
    assert quantization is not None
    if quantization.is_per_channel or tensor.dtype not in _SATURATING:
        return x
    scale, zero_point = float(quantization.scales[0]), int(quantization.zero_points[0])
    low, high = ((end - zero_point) * scale for end in level_range(tensor.dtype))
    return torch.clamp(x, low, high)


def requantized(sums: torch.Tensor, scales: np.ndarray, tensor: Tensor, activation: str, order: Order, axis: int) -> torch.Tensor:
    """The levels of scaled sums.

    Args:
        sums: Whole numbers in float32.
        scales: float32, what one stands for; one, or one per slice along `axis` of the file's order.
        tensor: What the result is.
        activation: The fused activation.
        order: Of the axes of `sums`.
        axis: See `scales`.
    """
    quantization = tensor.quantization
    assert quantization is not None
    factors = (scales / quantization.scales[0]).astype(np.float32)
    scaled = sums * per_slice(factors, sums.dim(), axis, order)
    return _clamped(torch.round(scaled), quantization, activation_range(tensor, activation), sums.dim(), order)


def per_slice(values: np.ndarray, rank: int, axis: int, order: Order) -> Any:
    """A number, or a tensor with one per slice along an axis that broadcasts over data with its axes in that order."""
    if len(values) == 1:
        return float(values[0])
    position = axis if order is None else order.index(axis)
    return as_tensor(values.astype(np.float32)).reshape([-1 if p == position else 1 for p in range(rank)])


def rounded_away(x: torch.Tensor) -> torch.Tensor:
    """The nearest whole numbers, halves away from zero."""
    return torch.floor(torch.abs(x) + 0.5) * torch.sign(x)


def _clamped(whole: torch.Tensor, quantization: Quantization, limits: tuple[int, int], rank: int, order: Order) -> torch.Tensor:
    """Levels of what has been divided by the scale and rounded."""
    if quantization.zero_points.any():
        whole = whole + _parameter(quantization.zero_points.astype(np.float32), quantization, rank, order)
    return torch.clamp(whole, float(limits[0]), float(limits[1]))


def _parameter(values: np.ndarray, quantization: Quantization, rank: int, order: Order) -> Any:
    return per_slice(values, rank, quantization.axis, order)
