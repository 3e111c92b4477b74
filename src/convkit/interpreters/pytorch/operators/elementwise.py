"""Element by element: arithmetic, comparison, logic, bits, rounding, trigonometry."""

from __future__ import annotations

import functools

import numpy as np
import torch

from convkit.interpreters.operators import Either, UnsupportedError
from convkit.interpreters.pytorch import unsigned
from convkit.interpreters.pytorch.backend import as_tensor
from convkit.interpreters.pytorch.table import operator

_UNARY = {
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "BitwiseNot": torch.bitwise_not,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
    # Half to even, like ONNX.
    "Round": torch.round,
    "Ceil": torch.ceil,
    "Floor": torch.floor,
}

_BINARY = {
    "Add": torch.add,
    "And": torch.logical_and,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
    "Equal": torch.eq,
    "Mul": torch.mul,
    "Or": torch.logical_or,
    "Sub": torch.sub,
    "Xor": torch.logical_xor,
}

_ORDER = {"Greater": torch.gt, "GreaterOrEqual": torch.ge, "Less": torch.lt, "LessOrEqual": torch.le}

_EXTREMES = {"Max": torch.maximum, "Min": torch.minimum}


def _unary(function):
    return lambda x: function(x)


def _binary(function):
    return lambda a, b: function(a, b)


def _comparison(function):
    return lambda a, b, *, node: function(unsigned.ordered(a, node), unsigned.ordered(b, node))


def _extreme(function):
    def apply(*inputs, node):
        return unsigned.ordered(functools.reduce(function, (unsigned.ordered(x, node) for x in inputs)), node)

    return apply


for _name, _function in _UNARY.items():
    operator(_name)(_unary(_function))
for _name, _function in _BINARY.items():
    operator(_name)(_binary(_function))
for _name, _function in _ORDER.items():
    operator(_name)(_comparison(_function))
for _name, _function in _EXTREMES.items():
    operator(_name)(_extreme(_function))


@operator("Abs")
def absolute(x, *, node):
    return x if unsigned.is_unsigned(node) else torch.abs(x)


@operator("Sign")
def sign(x, *, node):
    return torch.ne(x, 0).to(x.dtype) if unsigned.is_unsigned(node) else torch.sign(x)


@operator("Div")
def divide(a, b, *, node):
    if unsigned.is_unsigned(node):
        return unsigned.divide(a, b)
    return torch.div(a, b) if a.is_floating_point() or a.is_complex() else torch.div(a, b, rounding_mode="trunc")


@operator("Mod")
def modulo(a, b, *, fmod=0, node):
    if unsigned.is_unsigned(node):
        return a - unsigned.divide(a, b) * b
    return torch.fmod(a, b) if fmod else torch.remainder(a, b)


@operator("Pow")
def power(x, exponent: Either):
    if isinstance(exponent, np.ndarray):
        if exponent.size == 1 and exponent.ndim <= x.dim() and x.is_floating_point():
            return torch.pow(x, exponent.item())
        exponent = as_tensor(exponent)
    if exponent.is_floating_point() and not x.is_floating_point():
        x, exponent = x.double(), exponent.double()  # float32 does not hold every int32
    return torch.pow(x, exponent)


@operator("BitShift")
def bit_shift(x, count, *, direction, node):
    """Shifting by the width or more leaves what the sign extends to: nothing, or -1 (since opset 28)."""
    value = node.inputs[0]
    width = value.dtype.bitwidth if value.dtype is not None else x.dtype.itemsize * 8
    beyond = torch.logical_or(count < 0, count >= width)
    within = torch.where(beyond, 0, count)
    if direction == "LEFT":
        return torch.where(beyond, 0, torch.bitwise_left_shift(x, within))
    if unsigned.is_unsigned(node):
        return torch.where(beyond, 0, unsigned.shift_right(x, within))
    return torch.where(beyond, torch.where(x < 0, -1, 0) if x.dtype.is_signed else 0, torch.bitwise_right_shift(x, within))


@operator("Sum")
def total(*inputs):
    return functools.reduce(torch.add, inputs)


@operator("Mean")
def mean(*inputs):
    return functools.reduce(torch.add, inputs) / len(inputs)


@operator("Where")
def where(condition, yes, no):
    return torch.where(condition, yes, no)


@operator("IsInf")
def is_infinite(x, *, detect_negative=1, detect_positive=1):
    if detect_negative and detect_positive:
        return torch.isinf(x)
    if detect_positive:
        return torch.eq(x, float("inf"))
    return torch.eq(x, float("-inf")) if detect_negative else torch.zeros_like(x, dtype=torch.bool)


@operator("Clip", since=6)
def clip_to_attributes(x, *, max=None, min=None):
    return x if min is None and max is None else torch.clamp(x, min, max)


@operator("Clip", since=11)
def clip(x, low: Either | None = None, high: Either | None = None, *, node):
    if unsigned.is_unsigned(node):
        return _clip_unsigned(x, low, high, node)
    bounds = [b.item() if isinstance(b, np.ndarray) else b for b in (low, high)]
    if any(isinstance(b, torch.Tensor) for b in bounds):
        bounds = [b if b is None or isinstance(b, torch.Tensor) else torch.full((), b, dtype=x.dtype) for b in bounds]
        # A bound may be given as one element; the result has x's shape.
        bounds = [None if b is None else b.reshape(()) for b in bounds]
    return x if bounds == [None, None] else torch.clamp(x, *bounds)


def _clip_unsigned(x, low, high, node):
    if any(isinstance(b, torch.Tensor) for b in (low, high)):
        raise UnsupportedError("uint64 is clipped to constant bounds only")
    bounds = [None if b is None else int(b.item()) - 2**63 for b in (low, high)]
    return x if bounds == [None, None] else unsigned.ordered(torch.clamp(unsigned.ordered(x, node), *bounds), node)
