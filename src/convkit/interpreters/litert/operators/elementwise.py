"""Arithmetic, comparisons and choices, element by element with broadcasting."""

from __future__ import annotations

import torch

from convkit.interpreters.litert.table import Arithmetic, operator

_UNARY = {
    "ABS": torch.abs,
    "CEIL": torch.ceil,
    "COS": torch.cos,
    "EXP": torch.exp,
    "FLOOR": torch.floor,
    "LOG": torch.log,
    "LOGICAL_NOT": torch.logical_not,
    "NEG": torch.neg,
    "ROUND": torch.round,  # half to even, as `RoundToNearest` of the kernel does
    "RSQRT": torch.rsqrt,
    "SIGN": torch.sign,
    "SIN": torch.sin,
    "SQRT": torch.sqrt,
    "SQUARE": lambda x: x * x,
    "ZEROS_LIKE": torch.zeros_like,
}
_BINARY = {
    "ADD": torch.add,
    "ATAN2": torch.atan2,
    "BITWISE_XOR": torch.bitwise_xor,
    "EQUAL": torch.eq,
    "GREATER": torch.gt,
    "GREATER_EQUAL": torch.ge,
    "LESS": torch.lt,
    "LESS_EQUAL": torch.le,
    "LOGICAL_AND": torch.logical_and,
    "LOGICAL_OR": torch.logical_or,
    "MAXIMUM": torch.maximum,
    "MINIMUM": torch.minimum,
    "MUL": torch.mul,
    "NOT_EQUAL": torch.ne,
    "POW": torch.pow,
    "RIGHT_SHIFT": torch.bitwise_right_shift,
    "SUB": torch.sub,
}


def _unary(function):
    return lambda x: function(x)


def _binary(function):
    return lambda x, y: function(x, y)


for _name, _function in _UNARY.items():
    operator(_name, elementwise=True)(_unary(_function))
for _name, _function in _BINARY.items():
    operator(_name, elementwise=True)(_binary(_function))


@operator("DIV", elementwise=True)
def divide(x, y):
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


@operator("FLOOR_DIV", elementwise=True)
def floor_divide(x, y):
    return torch.div(x, y, rounding_mode="floor")


@operator("FLOOR_MOD", elementwise=True)
def floor_modulo(x, y):
    return torch.remainder(x, y)


@operator("SQUARED_DIFFERENCE", elementwise=True)
def squared_difference(x, y):
    difference = x - y
    return difference * difference


@operator("ADD_N", elementwise=True)
def add_all(*terms):
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


@operator("CAST")
def cast(x, *, in_data_type="FLOAT32", out_data_type="FLOAT32"):
    # The interpreter gives every result the dtype that the file declares. Of complex numbers it is the real part.
    return torch.real(x) if x.is_complex() and not out_data_type.startswith("COMPLEX") else x


@operator("SELECT", arithmetic=Arithmetic.LEVELS)
def select(condition, x, y):
    # A condition of rank 1 chooses among rows.
    if condition.dim() == 1 and x.dim() > 1:
        condition = condition.reshape(-1, *[1] * (x.dim() - 1))
    return torch.where(condition, x, y)


@operator("SELECT_V2", arithmetic=Arithmetic.LEVELS)
def select_v2(condition, x, y):
    return torch.where(condition, x, y)
