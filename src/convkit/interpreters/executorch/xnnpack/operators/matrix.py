"""Products of matrices, and softmax over their rows."""

from __future__ import annotations

import torch
import torch.nn.functional as functional

from convkit.interpreters.executorch.xnnpack.layout import Laid
from convkit.interpreters.executorch.xnnpack.table import node

TRANSPOSED_FILTER = 1
"""A flag: the filter is [inputs, outputs], not [outputs, inputs]."""


@node("FullyConnected")
def fully_connected(node, input1, filter, bias):
    x = input1.value
    weight = filter.permuted((1, 0)) if node["flags"] & TRANSPOSED_FILTER else filter.value
    return Laid.plain(functional.linear(x, weight.to(x.dtype), None if bias is None else bias.value.to(x.dtype)))


@node("BatchMatrixMultiply")
def batch_matrix_multiply(node, input1, input2):
    first = input1.permuted((*range(len(input1.order) - 2), -1, -2)) if node["flags"] & 2 else input1.value
    second = input2.permuted((*range(len(input2.order) - 2), -1, -2)) if node["flags"] & 1 else input2.value
    return Laid.plain(torch.matmul(first, second))


@node("Softmax")
def softmax(node, input):
    return input.with_tensor(torch.softmax(input.tensor, input.order[-1]))


@node("ScaledDotProductAttention")
def attention(node, query, key, value, scale, mask):
    scores = torch.matmul(query.value * scale.value, key.value.transpose(-2, -1)) + mask.value
    return Laid.plain(torch.matmul(torch.softmax(scores, -1), value.value))
