"""Products of matrices."""

from __future__ import annotations

import torch
from torch.nn import functional

from convkit.interpreters.operators import UnsupportedError
from convkit.interpreters.pytorch.table import operator


@operator("MatMul")
def matmul(a, b):
    return torch.matmul(a, b)


@operator("MatMulInteger")
def matmul_integer(a, b, a_zero=None, b_zero=None):
    """Zero points are one, or one per row of a and per column of b."""
    a, b = a.to(torch.int32), b.to(torch.int32)
    if a_zero is not None:
        zero = a_zero.to(torch.int32)
        a = a - (zero.unsqueeze(-1) if zero.dim() == 1 and a.dim() > 1 else zero)
    return torch.matmul(a, b if b_zero is None else b - b_zero.to(torch.int32))


@operator("Gemm")
def gemm(a, b, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0):  # noqa: N803
    a = a.t() if transA else a
    if not a.is_floating_point():
        if alpha != int(alpha) or beta != int(beta):
            raise UnsupportedError("integers scaled by fractions")
        alpha, beta = int(alpha), int(beta)
    if alpha == beta == 1 and a.is_floating_point() and (c is None or (c.dim() == 1 and c.shape[0] == _columns(b, transB))):
        return functional.linear(a, b if transB else b.t(), c)
    product = torch.matmul(a, b.t() if transB else b)
    product = product if alpha == 1 else product * alpha
    if c is None or beta == 0:
        return product
    return product + (c if beta == 1 else c * beta)


def _columns(b, transposed):
    return b.shape[0 if transposed else 1]


@operator("Einsum")
def einsum(*inputs, equation):
    return torch.einsum(equation.replace(" ", ""), *inputs)
