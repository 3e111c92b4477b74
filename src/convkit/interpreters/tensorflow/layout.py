"""Between ONNX's layout (channels before the spatial axes) and the one that TensorFlow's CPU kernels have (channels last).

One spatial axis becomes two, of which the first has size 1: neither TensorFlow's kernels nor LiteRT's are one-dimensional.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import tensorflow as tf

from convkit.interpreters.tensorflow.sizes import rank_of, shape_tensor, size_tensor, sizes_of
from convkit.interpreters.tensorflow.transposed import Transposed, at_trace_time, channels_last_order, in_order
from convkit.interpreters.windows import WindowAxis

__all__ = [
    "SINGLE",
    "at_trace_time",
    "channels_first",
    "channels_last",
    "for_litert",
    "in_single_precision",
    "is_for_litert",
    "is_same_padding",
    "over_channels",
    "padded",
    "shortened",
    "two_axes",
]

SINGLE = WindowAxis(1, 1, 1, 1, 0, 0)
"""The spatial axis that is added to a single one."""


def two_axes(axes: list[WindowAxis]) -> list[WindowAxis]:
    """The axes as `channels_last` lays them out: at least two."""
    return [SINGLE, *axes] if len(axes) == 1 else axes


def channels_last(x: Any) -> Any:
    """(N, C, W), (N, C, H, W) or (N, C, D, H, W) as (N, 1, W, C), (N, H, W, C) or (N, D, H, W, C)."""
    return in_order(x, channels_last_order(rank_of(x)))


def channels_first(x: Any, spatial_rank: int) -> Any:
    """The value that `channels_last` holds so."""
    return Transposed(x, channels_last_order(spatial_rank + 2))


def over_channels(compute: Callable[[Any, int], Any], x: Any) -> Any:
    """A computation of the same shape, on the tensor as it is held, given which of its axes are the channels."""
    return x.with_held(compute(x.held, x.position(1))) if isinstance(x, Transposed) else compute(x, 1)


def in_single_precision(compute: Callable[..., Any], *tensors: Any) -> Any:
    """Computes on float32 where the first tensor is of half precision, which LiteRT has no kernels for."""
    dtype = tensors[0].dtype
    if dtype not in (tf.float16, tf.bfloat16):
        return compute(*tensors)
    return tf.cast(compute(*(None if t is None else tf.cast(t, tf.float32) for t in tensors)), dtype)


_FOR_LITERT = ContextVar("for_litert", default=False)


@contextmanager
def for_litert() -> Iterator[None]:
    """What is traced inside is never run by TensorFlow itself, whose kernels take less than LiteRT's here and there."""
    token = _FOR_LITERT.set(True)
    try:
        yield
    finally:
        _FOR_LITERT.reset(token)


def is_for_litert() -> bool:
    """Whether `for_litert` surrounds this."""
    return _FOR_LITERT.get()


def is_same_padding(axes: Sequence[WindowAxis]) -> bool:
    """Whether TensorFlow's padding "SAME" is the padding of these axes."""
    return all(_is_same(axis) for axis in axes)


def _is_same(axis: WindowAxis) -> bool:
    if not (isinstance(axis.begin, int) and isinstance(axis.end, int)):
        return False
    if axis.stride == 1:
        needed = axis.extent - 1
    elif isinstance(axis.size, int):
        needed = max((-(-axis.size // axis.stride) - 1) * axis.stride + axis.extent - axis.size, 0)
    else:
        return axis.extent == 1 and axis.begin == axis.end == 0
    return axis.begin == needed // 2 and axis.end == needed - needed // 2


def padded(x: Any, amounts: Sequence[tuple[Any, Any]], value: Any = 0) -> Any:
    """Pads the spatial axes of a channels-last tensor."""
    if all(isinstance(n, int) and n == 0 for pair in amounts for n in pair):
        return x
    pairs = [(0, 0), *amounts, (0, 0)]
    is_static = all(isinstance(n, int) for pair in pairs for n in pair)
    paddings = pairs if is_static else tf.stack([tf.stack([size_tensor(n) for n in pair]) for pair in pairs])
    # With a zero of Python's it is LiteRT's PAD, with a tensor its PADV2, which the fast kernels lack.
    return tf.pad(x, paddings, constant_values=tf.cast(value, x.dtype) if value else 0)


def shortened(x: Any, lengths: Sequence[Any]) -> Any:
    """The first elements along the spatial axes of a channels-last tensor."""
    now = sizes_of(x)
    if all(isinstance(n, int) and n == m for n, m in zip(lengths, now[1:-1], strict=True)):
        return x
    return tf.slice(x, [0] * len(now), shape_tensor([now[0], *lengths, now[-1]]))
