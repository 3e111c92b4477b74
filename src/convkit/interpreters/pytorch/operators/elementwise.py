"""Element by element: arithmetic, comparison, rounding."""

from __future__ import annotations

import torch

from convkit.interpreters.pytorch.table import operator


@operator("Add", since=7)
def add(a, b):
    return torch.add(a, b)


@operator("Relu")
def relu(x):
    return torch.relu(x)
