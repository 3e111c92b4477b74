"""What moves, joins, picks and sums numbers does so to both parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.utils._pytree as pytree

from convkit.legalization.complex_numbers.pairs import Pair, on_pairs, pair_of, paired

_OF_ONE = (
    "_unsafe_view", "alias", "as_strided", "clone", "contiguous", "cumsum", "detach", "diagonal", "expand", "flip", "gather",
    "index", "index_select", "lift_fresh_copy", "mean", "movedim", "narrow", "permute", "repeat", "reshape", "resolve_conj",
    "resolve_neg", "roll", "select", "slice", "squeeze", "sum", "t", "transpose", "tril", "triu", "unfold", "unsqueeze", "view",
)  # fmt: skip
"""Operators of one complex tensor that are linear in it, and give one."""

_OF_SEVERAL = ("cat", "copy", "index_put", "scatter", "select_scatter", "slice_scatter", "stack")
"""Those of several, of which some may be real."""

_INTO_SEVERAL = ("chunk", "split", "split_with_sizes", "tensor_split", "unbind")


def _part(index: int) -> Callable[[Any], Any]:
    return lambda value: value[index] if isinstance(value, Pair) else value


def _applied(operator: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """What an operator makes of the real parts, and of the imaginary ones."""
    results = []
    for index in (0, 1):
        own, named = pytree.tree_map(_part(index), (args, kwargs), is_leaf=lambda value: isinstance(value, Pair))
        results.append(operator(*own, **named))
    return results[0], results[1]


def _register(names: tuple[str, ...], made: Callable[[Any], Callable[..., Any]]) -> None:
    for name in names:
        if hasattr(torch.ops.aten, name):
            on_pairs(name)(made(getattr(torch.ops.aten, name)))


def _of_one(operator: Any) -> Callable[..., Pair]:
    return lambda *args, **kwargs: Pair(*_applied(operator, args, {k: v for k, v in kwargs.items() if k != "dtype"}))


def _into_several(operator: Any) -> Callable[..., list[Pair]]:
    return lambda *args, **kwargs: [Pair(*parts) for parts in zip(*_applied(operator, args, kwargs), strict=True)]


def _of_several(operator: Any) -> Callable[..., Pair]:
    """Real floating tensors among the arguments get an imaginary part; indices have none."""

    def completed(value: Any) -> Any:
        is_real = isinstance(value, torch.Tensor) and value.is_floating_point()
        return paired(value, 0.0) if is_real else value

    def function(*args: Any, **kwargs: Any) -> Pair:
        own, named = pytree.tree_map(completed, (args, kwargs), is_leaf=lambda value: isinstance(value, Pair))
        return Pair(*_applied(operator, own, named))

    return function


_register(_OF_ONE, _of_one)
_register(_OF_SEVERAL, _of_several)
_register(_INTO_SEVERAL, _into_several)


@on_pairs("where")
def where(condition: torch.Tensor, a: Any, b: Any) -> Pair:
    (x, y), (u, v) = pair_of(a), pair_of(b)
    return paired(torch.where(condition, x, u), torch.where(condition, y, v))


@on_pairs("masked_fill")
def masked_fill(z: Pair, mask: torch.Tensor, value: Any) -> Pair:
    return where(mask, value, z)


@on_pairs("constant_pad_nd")
def padded(z: Pair, pads: Sequence[int], value: Any = 0.0) -> Pair:
    re, im = pair_of(value)
    return Pair(torch.nn.functional.pad(z.re, pads, value=re), torch.nn.functional.pad(z.im, pads, value=im))


_REAL = {torch.complex32: torch.float16, torch.complex64: torch.float32, torch.complex128: torch.float64}


@on_pairs("_to_copy")
def converted(z: Any, *, dtype: torch.dtype | None = None, **_: Any) -> Any:
    """To another precision; to complex numbers, or away from them, which drops the imaginary part as torch does."""
    if dtype is None:
        return z
    re, im = pair_of(z)
    if not dtype.is_complex:
        return re.to(dtype)
    return paired(re.to(_REAL[dtype]), im.to(_REAL[dtype]) if isinstance(im, torch.Tensor) else im)


@on_pairs("zeros_like")
def zeros_like(z: Any, *, dtype: torch.dtype | None = None, **_: Any) -> Any:
    re, _ = pair_of(z)
    if dtype is not None and not dtype.is_complex:
        return torch.zeros_like(re, dtype=dtype)
    zeros = torch.zeros_like(re, dtype=None if dtype is None else _REAL[dtype])
    return Pair(zeros, zeros)


@on_pairs("zeros", "new_zeros")
def zeros(*args: Any, dtype: torch.dtype, **_: Any) -> Pair:
    empty = torch.zeros(args[-1], dtype=_REAL[dtype])
    return Pair(empty, empty)
