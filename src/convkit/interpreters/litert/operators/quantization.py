"""Operators between levels and numbers: the interpreter does the work, by the tensors' own parameters."""

from __future__ import annotations

import torch

from convkit.interpreters.litert.table import operator


@operator("QUANTIZE", "DEQUANTIZE", elementwise=True)
def converted(x):
    return x


@operator("DENSIFY")
def densify(x):
    return x  # constants are dense from the start


@operator("FAKE_QUANT", elementwise=True)
def fake_quant(x, *, min=0.0, max=0.0, num_bits=0, narrow_range=False):
    # The range is moved so that zero is one of its levels (`FakeQuantizeArray`).
    low, high = int(narrow_range), (1 << num_bits) - 1
    scale = (max - min) / (high - low)
    zero_point = low - min / scale
    zero = float(low if zero_point < low else high if zero_point > high else round(zero_point))
    smallest, largest = (low - zero) * scale, (high - zero) * scale
    return torch.floor((torch.clamp(x, smallest, largest) - smallest) / scale + 0.5) * scale + smallest
