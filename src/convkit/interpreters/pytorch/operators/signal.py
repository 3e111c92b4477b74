"""Fourier transforms by torch's own, and the matrix of the mel scale."""

from __future__ import annotations

import torch

from convkit.interpreters.host import DataDependentError
from convkit.interpreters.operators import Known, Sizes, UnsupportedError
from convkit.interpreters.pytorch.backend import as_tensor
from convkit.interpreters.pytorch.table import operator

_MATRIX = 1024
"""Points up to which a transform of a known length is a matrix product (a rewrite): what has no Fourier transform runs that."""


def _is_long_or_dynamic(node):
    """Refuses short transforms of known lengths, so that the rewrite takes over."""
    x = node.inputs[0]
    short = x.shape is not None and x.shape.is_static() and max(x.shape.numpy()) <= _MATRIX
    given = node.inputs[1] if len(node.inputs) > 1 else None
    known = given is None or (given.const_value is not None and int(given.const_value.numpy().reshape(())) <= _MATRIX)
    return "a short transform of a known length" if short and known else None


@operator("DFT", since=17, accepts=_is_long_or_dynamic)
def dft_17(x, length: Sizes | None = None, *, axis=1, inverse=0, onesided=0):
    return _transformed(x, length, axis, inverse, onesided)


@operator("DFT", since=20, accepts=_is_long_or_dynamic)
def dft(x, length: Sizes | None = None, axis: Known | None = None, *, inverse=0, onesided=0):
    return _transformed(x, length, -2 if axis is None else int(axis.reshape(-1)[0]), inverse, onesided)


def _transformed(x, length, axis, inverse, onesided):
    """The transform of (..., 1) real or (..., 2) complex numbers along an axis."""
    axis = axis % x.dim()
    n = None if length is None else length[0]
    is_real = x.shape[-1] == 1
    numbers = x[..., 0] if is_real else torch.complex(x[..., 0], x[..., 1])
    if inverse and onesided:
        return torch.fft.irfft(numbers, n, axis).unsqueeze(-1)
    if inverse:
        result = torch.fft.ifft(numbers, n, axis)
    elif onesided and not is_real:
        raise UnsupportedError("half of the spectrum of a complex signal")
    else:
        result = torch.fft.rfft(numbers, n, axis) if onesided else torch.fft.fft(numbers, n, axis)
    return torch.view_as_real(result.resolve_conj())


@operator("STFT", since=17)
def stft(signal, frame_step: Known, window=None, frame_length: Known | None = None, *, onesided=1):
    if window is None and frame_length is None:
        raise DataDependentError("neither a window nor a frame length is given")
    size = int(frame_length.reshape(-1)[0]) if frame_length is not None else window.shape[0]
    frames = signal.unfold(1, size, int(frame_step.reshape(-1)[0])).movedim(-1, 2)  # (batch, frame, sample, 1 or 2)
    if window is not None:
        frames = frames * window.unsqueeze(-1)
    return _transformed(frames, None, 2, 0, onesided and signal.shape[-1] == 1)


@operator("MelWeightMatrix", since=17)
def mel_weight_matrix(bins: Known, dft_length: Known, sample_rate: Known, lower: Known, upper: Known, *, output_datatype=1):
    from onnx.reference.ops.op_mel_weight_matrix import MelWeightMatrix  # a slow import, for a rare operator

    matrix = MelWeightMatrix.eval(bins, dft_length, sample_rate, lower, upper, output_datatype=output_datatype)
    return as_tensor(matrix)
