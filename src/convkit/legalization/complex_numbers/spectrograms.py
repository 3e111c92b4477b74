"""Short-time Fourier transforms and their inverse, as aten/src/ATen/native/SpectralOps.cpp defines them."""

from __future__ import annotations

import torch

from convkit.legalization.complex_numbers.fourier import between_complex, from_real, to_real
from convkit.legalization.complex_numbers.pairs import Pair, on_pairs

_BY_ROOT, _BY_SIZE = 1, 2


@on_pairs("stft")
def stft(
    x: torch.Tensor,
    size: int,
    hop: int | None = None,
    width: int | None = None,
    window: torch.Tensor | None = None,
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Pair | torch.Tensor:
    """(..., samples) → (..., frequencies, frames); what `torch.stft` pads is another operator before it."""
    frames = x.unfold(-1, size, hop or size // 4)  # (..., frames, size)
    if window is not None:
        frames = frames * _centred(window, size)
    z = from_real(frames, [frames.dim() - 1], _BY_ROOT if normalized else 0, onesided is not False)
    turned = Pair(z.re.transpose(-1, -2), z.im.transpose(-1, -2))
    return turned if return_complex else torch.stack(turned, -1)


@on_pairs("istft")
def istft(
    z: Pair,
    size: int,
    hop: int | None = None,
    width: int | None = None,
    window: torch.Tensor | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> torch.Tensor:
    """(..., frequencies, frames) → (..., samples): windowed frames are added up and divided by the sum of the squared windows."""
    step, norm = hop or size // 4, _BY_ROOT if normalized else _BY_SIZE
    batch = z.re.shape[:-2]
    spectrum = Pair(*(part.reshape(-1, *part.shape[-2:]).transpose(-1, -2) for part in z))  # (batch, frames, frequencies)
    whole = onesided is False
    frames = between_complex(spectrum, [2], norm, forward=False).re if whole else to_real(spectrum, [2], norm, size)
    weights = torch.ones_like(frames[0, 0]) if window is None else _centred(window, size)
    samples = _added_up(frames * weights, step)
    envelope = _added_up((weights.square()).expand(1, frames.shape[1], size), step)
    start = size // 2 if center else 0
    left = samples.shape[-1] - start
    kept = left - start if length is None else min(length, left)
    samples = samples.narrow(-1, start, kept) / envelope.narrow(-1, start, kept)
    if length is not None and length != kept:
        samples = torch.nn.functional.pad(samples, (0, length - kept))
    return samples.reshape(*batch, samples.shape[-1])


def _centred(window: torch.Tensor, size: int) -> torch.Tensor:
    """A window with zeros on both sides of it, as wide as a frame."""
    left = (size - window.shape[0]) // 2
    return torch.nn.functional.pad(window, (left, size - window.shape[0] - left))


def _added_up(frames: torch.Tensor, step: int) -> torch.Tensor:
    """(batch, frames, size) → (batch, samples): every frame begins `step` after the one before."""
    kernel = torch.eye(frames.shape[-1], dtype=frames.dtype).unsqueeze(1)
    return torch.nn.functional.conv_transpose1d(frames.transpose(1, 2), kernel, stride=step).squeeze(1)
