"""Programs without complex numbers compute what those with them do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from convkit.legalization.complex_numbers.program import in_real_numbers
from convkit.legalization.exported_program import calls

_BATCH = torch.export.Dim("batch", min=7, max=64)


class _Of(nn.Module):
    """A function of real tensors, with complex weights."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(torch.randn(6, 6, dtype=torch.complex64, generator=generator))
        self.register_buffer("turns", torch.polar(torch.ones(4, 6), torch.linspace(0, 3, 24).reshape(4, 6)))
        self.function = function

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        return self.function(self, torch.complex(x, y))


def _rewritten(module: nn.Module, *inputs: torch.Tensor, dynamic: Any = None) -> torch.export.ExportedProgram:
    source = torch.export.export(module.eval(), inputs, dynamic_shapes=dynamic, strict=False)
    found = in_real_numbers(source)
    values = [v for node in calls(found) for v in torch.utils._pytree.tree_leaves(node.meta["val"])]
    assert found is not source
    assert not any(isinstance(value, torch.Tensor) and value.is_complex() for value in values)
    return found


def _agree(got: Any, expected: Any) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "function",
    [
        lambda m, z: (z + 1j, z - 2, 3 - z, z * (1 - 2j), z / (2 + 1j), 1 / z),
        lambda m, z: (torch.add(z, m.turns, alpha=2), z * m.turns, z / m.turns, z * z.real),
        lambda m, z: (z.abs(), z.angle(), z.conj() * z, -z, torch.sgn(z)),
        lambda m, z: (z.exp(), z.log(), z.sqrt(), z**2, z**-3, z**0.5, (0.5 * z) ** (1 + 1j)),
        lambda m, z: (z @ m.weight, torch.einsum("ij,kj->ik", z, m.weight), torch.outer(z[0], z[1])),
        lambda m, z: (z.sum(0), z.mean(-1), z.cumsum(0), z == z, z != z.conj()),
        lambda m, z: (torch.cat([z, z.real], 0), torch.stack([z, m.turns]), z[..., ::2], z.T.reshape(-1), z.flip(0)),
        lambda m, z: (torch.where(z.real > 0, z, 0), z.masked_fill(z.imag > 0, 1j), *z.chunk(2, 1), *z.unbind(0)),
        lambda m, z: (nn.functional.pad(z, (1, 2)), torch.zeros_like(z) + z, z.roll(1, 0), z[torch.tensor([2, 0])]),
        lambda m, z: (torch.view_as_complex(torch.view_as_real(z)) * 1j, torch.polar(z.real, z.imag)),
    ],
)  # fmt: skip
def test_operators(function: Callable[..., Any]) -> None:
    def in_parts(module: nn.Module, z: torch.Tensor) -> list[torch.Tensor]:
        return [torch.view_as_real(part.resolve_conj()) if part.is_complex() else part for part in function(module, z)]

    module, inputs = _Of(in_parts), (torch.randn(4, 6), torch.randn(4, 6))
    _agree(_rewritten(module, *inputs).module()(*inputs), module(*inputs))


@pytest.mark.parametrize("size", [7, 16, 37, 1024, 1030])
@pytest.mark.parametrize("norm", ["backward", "forward", "ortho"])
def test_fourier_transforms(size: int, norm: str) -> None:
    class Filter(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            half, whole = torch.fft.rfft(x, norm=norm), torch.fft.fft2(x, norm=norm)
            both = torch.fft.irfft2(torch.fft.rfft2(x, norm=norm) * 2j, s=x.shape, norm=norm)
            return torch.fft.irfft(half * half, n=size, norm=norm), torch.fft.ifft(whole, norm=norm).real, both

    x = torch.randn(3, size)
    for got, expected in zip(_rewritten(Filter(), x).module()(x), Filter()(x), strict=True):
        _agree(got / expected.abs().max(), expected / expected.abs().max())


def test_there_and_back_through_a_spectrogram() -> None:
    class Mask(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            window = torch.hann_window(24)
            z = torch.stft(x, 32, 8, 24, window, return_complex=True)
            return torch.istft(z * torch.sigmoid(z.abs()), 32, 8, 24, window, length=x.shape[-1])

    x = torch.randn(2, 200)
    _agree(_rewritten(Mask(), x).module()(x), Mask()(x))


def test_sizes_stay_dynamic_and_weights_are_real() -> None:
    def spectrum(module: nn.Module, z: torch.Tensor) -> torch.Tensor:
        return torch.fft.fft(z @ module.weight, dim=0).abs()

    module, inputs = _Of(spectrum), (torch.randn(8, 6), torch.randn(8, 6))
    found = _rewritten(module, *inputs, dynamic=({0: _BATCH}, {0: _BATCH}))
    assert not any(weight.is_complex() for weight in found.state_dict.values())
    longer = torch.randn(9, 6), torch.randn(9, 6)
    _agree(found.module()(*longer), module(*longer))


def test_complex_outputs_are_left_as_they_are() -> None:
    module = _Of(lambda m, z: z * 2)
    source = torch.export.export(module, (torch.randn(4, 6), torch.randn(4, 6)), strict=False)
    assert in_real_numbers(source) is source
