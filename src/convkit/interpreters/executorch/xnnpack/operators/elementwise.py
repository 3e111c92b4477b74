"""Operators that take element by element, whatever the order of axes."""

from __future__ import annotations

import torch
import torch.nn.functional as functional

from convkit.interpreters.executorch.xnnpack.layout import Laid, aligned
from convkit.interpreters.executorch.xnnpack.table import node


def _unary(kind, function):
    node(kind)(lambda node, input: input.with_tensor(function(input.tensor)))


for kind, function in {
    "Sigmoid": torch.sigmoid,
    "Clamp": lambda x: x,  # its limits are those that any node may have
    "Convert": lambda x: x,  # its result is rounded as its output says
    "Copy": lambda x: x,
    "Floor": torch.floor,
    "SquareRoot": torch.sqrt,
    "Ceiling": torch.ceil,
    "Hardswish": functional.hardswish,
    "Negate": torch.neg,
    "Square": lambda x: x * x,
    "Abs": torch.abs,
    "ReciprocalSquareRoot": torch.rsqrt,
    "Log": torch.log,
    "Gelu": functional.gelu,
    "Tanh": torch.tanh,
    "Exp": torch.exp,
    "Sin": torch.sin,
    "Cos": torch.cos,
}.items():
    _unary(kind, function)


@node("LeakyReLU")
def leaky_relu(node, input):
    return input.with_tensor(functional.leaky_relu(input.tensor, node["negative_slope"]))


@node("ELU")
def elu(node, input):
    return input.with_tensor(functional.elu(input.tensor, node["alpha"]))


def _binary(kind, function):
    def compute(node, input1, input2):
        (one, other), order = aligned([input1, input2])
        return Laid(function(one, other), order)

    node(kind)(compute)


for kind, function in {
    "Add": torch.add,
    "Subtract": torch.sub,
    "Multiply": torch.mul,
    "Div": torch.div,
    "Minimum": torch.minimum,
    "Maximum": torch.maximum,
    "PReLU": lambda x, slope: torch.where(x < 0, x * slope, x),
}.items():
    _binary(kind, function)
