"""Activations, and the normalisations that end in one."""

from __future__ import annotations

import torch
from torch.nn import functional

from convkit.interpreters.litert.table import ChannelsFirst, operator

operator("RELU", elementwise=True)(lambda x: torch.relu(x))
operator("LOGISTIC", "STABLEHLO_LOGISTIC", elementwise=True)(lambda x: torch.sigmoid(x))
operator("TANH", "STABLEHLO_TANH", elementwise=True)(lambda x: torch.tanh(x))


@operator("RELU6", elementwise=True)
def relu6(x):
    return torch.clamp(x, 0.0, 6.0)


@operator("RELU_N1_TO_1", elementwise=True)
def relu_n1_to_1(x):
    return torch.clamp(x, -1.0, 1.0)


@operator("RELU_0_TO_1", elementwise=True)
def relu_0_to_1(x):
    return torch.clamp(x, 0.0, 1.0)


@operator("LEAKY_RELU", elementwise=True)
def leaky_relu(x, *, alpha=0.0):
    return functional.leaky_relu(x, alpha)


@operator("PRELU", elementwise=True)
def prelu(x, slope):
    return torch.relu(x) - slope * torch.relu(-x)


@operator("ELU", elementwise=True)
def elu(x):
    return functional.elu(x)


@operator("HARD_SWISH", elementwise=True)
def hard_swish(x):
    return functional.hardswish(x)


@operator("GELU", elementwise=True)
def gelu(x, *, approximate=False):
    return functional.gelu(x, approximate="tanh" if approximate else "none")


@operator("SOFTMAX")
def softmax(x, *, beta=0.0):
    return torch.softmax(x if beta == 1 else x * beta, -1)


@operator("LOG_SOFTMAX")
def log_softmax(x):
    return torch.log_softmax(x, -1)


@operator("L2_NORMALIZATION")
def l2_normalization(x):
    # The kernel's epsilon (`reference_ops::L2Normalization`).
    return x / torch.clamp(torch.sqrt((x * x).sum(-1, keepdim=True)), min=1e-6)


@operator("LOCAL_RESPONSE_NORMALIZATION")
def local_response_normalization(x: ChannelsFirst, *, radius=0, bias=0.0, alpha=0.0, beta=0.0) -> ChannelsFirst:
    # A window of radius on each side, whose sum (not its mean) is weighted.
    size = 2 * radius + 1
    squares = functional.pad(x * x, (0, 0, 0, 0, radius, radius))
    sums = sum(squares.narrow(1, k, x.shape[1]) for k in range(size))
    return x * torch.pow(bias + alpha * sums, -beta)
