"""What the tests of decompositions share: an operator's decomposition beside torch's own kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from convkit.legalization.torch.decompositions import registered

__all__ = ["INFINITY", "LINE", "NAN", "assert_decomposition", "operator", "volume"]

INFINITY, NAN = float("inf"), float("nan")
LINE = torch.tensor([-INFINITY, -7.5, -3, -1.5, -1, -0.75, -0.5, -0.0, 0, 1e-3, 0.25, 0.5, 1, 1.5, 2, 3.25, 8, 40, INFINITY, NAN])
"""Numbers where elementwise functions have their edges."""


def operator(name: str) -> Any:
    _, packet, overload = f"aten.{name}".split(".")
    return getattr(getattr(torch.ops.aten, packet), overload)


def volume(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_decomposition(name: str, arguments: Sequence[Any], *, rtol: float = 1e-5, atol: float = 1e-6, **named: Any) -> None:
    """The registered function gives what the operator gives: shapes, dtypes and values, nan included."""
    wanted = operator(name)(*arguments, **named)
    found = registered()[f"aten.{name}"].function(*arguments, **named)
    assert found is not NotImplemented
    wanted, found = ([v] if isinstance(v, torch.Tensor) else list(v) for v in (wanted, found))
    assert len(wanted) == len(found)
    for w, f in zip(wanted, found, strict=True):
        assert (w.shape, w.dtype) == (f.shape, f.dtype)
        np.testing.assert_allclose(f.numpy(), w.numpy(), rtol=rtol, atol=atol, equal_nan=True)
