"""Activation functions, Softmax and its kin."""

from __future__ import annotations

import torch
from torch.nn import functional

from convkit.interpreters.pytorch.table import operator


@operator("Relu")
def relu(x):
    return torch.relu(x)


@operator("Sigmoid")
def sigmoid(x):
    return torch.sigmoid(x)


@operator("LeakyRelu")
def leaky_relu(x, *, alpha=0.01):
    return functional.leaky_relu(x, alpha)


@operator("PRelu")
def prelu(x, slope):
    return torch.where(x < 0, slope * x, x)


@operator("ThresholdedRelu")
def thresholded_relu(x, *, alpha=1.0):
    return torch.where(x > alpha, x, 0)


@operator("Elu")
def elu(x, *, alpha=1.0):
    return functional.elu(x, alpha)


@operator("Celu")
def celu(x, *, alpha=1.0):
    return torch.clamp(x, min=0) + torch.clamp(alpha * (torch.exp(x / alpha) - 1), max=0)


@operator("Selu")
def selu(x, *, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875):
    return gamma * torch.where(x > 0, x, alpha * (torch.exp(torch.clamp(x, max=0)) - 1))


@operator("HardSigmoid")
def hard_sigmoid(x, *, alpha=0.2, beta=0.5):
    return torch.clamp(x * alpha + beta, 0, 1)


@operator("HardSwish")
def hard_swish(x):
    return functional.hardswish(x)


@operator("Swish")
def swish(x, *, alpha=1.0):
    return functional.silu(x) if alpha == 1 else x * torch.sigmoid(alpha * x)


@operator("Mish")
def mish(x):
    return x * torch.tanh(functional.softplus(x))


@operator("Gelu")
def gelu(x, *, approximate="none"):
    return functional.gelu(x, approximate=approximate)


@operator("Softplus")
def softplus(x):
    return functional.softplus(x)


@operator("Softsign")
def softsign(x):
    return x / (1 + torch.abs(x))


@operator("Shrink")
def shrink(x, *, bias=0.0, lambd=0.5):
    # The bias may be a fraction where x is an integer: the sum is made in floats and truncated.
    return torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, 0)).to(x.dtype)


@operator("Softmax")
def softmax_from_axis(x, *, axis=1):
    return _over_rest(torch.softmax, x, axis)


@operator("Softmax", since=13)
def softmax(x, *, axis=-1):
    return torch.softmax(x, axis)


@operator("LogSoftmax")
def log_softmax_from_axis(x, *, axis=1):
    return _over_rest(torch.log_softmax, x, axis)


@operator("LogSoftmax", since=13)
def log_softmax(x, *, axis=-1):
    return torch.log_softmax(x, axis)


@operator("Hardmax")
def hardmax_from_axis(x, *, axis=1):
    return _over_rest(lambda values, last: hardmax(values, axis=last), x, axis)


@operator("Hardmax", since=13)
def hardmax(x, *, axis=-1):
    """One at the first of the largest elements."""
    largest = torch.argmax(x, axis, keepdim=True)
    places = torch.arange(x.shape[axis]).reshape([-1] + [1] * (x.dim() - 1 - axis % x.dim()))
    return torch.eq(places, largest).to(x.dtype)


def _over_rest(function, x, axis):
    """Before opset 13: over all axes from one on, as if they were one."""
    axis = axis % x.dim() if x.dim() else 0
    rest = list(x.shape[axis + 1 :])
    if all(isinstance(size, int) and size == 1 for size in rest):
        return function(x, axis)
    return function(torch.flatten(x, axis), -1).reshape(x.shape)
