"""A complex tensor as a pair of real ones, and the registry of functions of such pairs."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple, TypeVar

import torch

__all__ = ["Pair", "functions", "on_pairs", "pair_of", "paired"]


class Pair(NamedTuple):
    """The real and the imaginary part of a tensor, of one shape and dtype."""

    re: torch.Tensor
    im: torch.Tensor


_registered: dict[str, Callable[..., Any]] = {}
_Function = TypeVar("_Function", bound=Callable[..., Any])


def on_pairs(*operators: str) -> Callable[[_Function], _Function]:
    """Registers a function for operators ("mul" for ATen's): it gets their arguments with a `Pair` for every complex tensor."""

    def register(function: _Function) -> _Function:
        for operator in operators:
            _registered[operator] = function
        return function

    return register


@cache
def functions() -> Mapping[str, Callable[..., Any]]:
    """Every function of pairs by the operator's name without its overload."""
    import convkit.legalization.complex_numbers as families

    for module in pkgutil.iter_modules(families.__path__):
        importlib.import_module(f"{families.__name__}.{module.name}")
    return dict(_registered)


def paired(re: Any, im: Any) -> Pair:
    """A pair of parts that broadcast to one shape; numbers take the dtype of the tensor beside them."""
    if not isinstance(re, torch.Tensor):
        re = torch.full_like(im, re)
    if not isinstance(im, torch.Tensor):
        im = torch.full_like(re, im)
    dtype = torch.promote_types(re.dtype, im.dtype)
    re, im = torch.broadcast_tensors(re.to(dtype), im.to(dtype))
    return Pair(re, im)


def pair_of(value: Any) -> tuple[Any, Any]:
    """The parts of a pair, a real tensor or a number."""
    if isinstance(value, Pair):
        return value
    return (value.real, value.imag) if isinstance(value, complex) else (value, 0.0)
