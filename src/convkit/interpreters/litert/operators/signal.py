"""Fourier transforms, and complex numbers."""

from __future__ import annotations

import torch

from convkit.interpreters.litert.table import operator
from convkit.interpreters.operators import Sizes

operator("REAL")(lambda x: torch.real(x))
operator("IMAG")(lambda x: torch.imag(x))
operator("COMPLEX_ABS")(lambda x: torch.abs(x))


@operator("RFFT2D")
def real_fourier_transform(x, lengths: Sizes):
    return torch.fft.rfft2(x, s=list(lengths))
