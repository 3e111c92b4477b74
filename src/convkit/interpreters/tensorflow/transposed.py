"""Tensors whose axes are held in another order than the model's: what a transposition costs is paid where it is needed.

ONNX has the channels in front of the spatial axes, TensorFlow's convolutions have them behind. A result of these is handed on
as it is, with a note of what its axes are. Operators that work on any order (see `propagation`) hand it on in turn, and what
knows nothing about it sees a tensor in the model's order, which is made at that moment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

__all__ = [
    "Order",
    "Transposed",
    "at_trace_time",
    "channels_last_order",
    "expanded",
    "in_order",
    "plain",
    "squeezed",
    "transposed",
]

Order = tuple[int | None, ...]
"""For every axis that is held the axis of the value that it is; None for an axis of size 1 that the value does not have."""


class Transposed:
    """A value whose axes are held in another order.

    Attributes:
        held: The tensor as it is held.
        order: What its axes are.
    """

    def __init__(self, held: Any, order: Order) -> None:
        self.held, self.order = held, order
        self._plain: Any = None

    @property
    def dtype(self) -> Any:
        return self.held.dtype

    @property
    def rank(self) -> int:
        return sum(axis is not None for axis in self.order)

    @property
    def shape(self) -> Any:
        """In the value's own order."""
        return tf.TensorShape(self.arranged(list(self.held.shape)))

    def arranged(self, held: Sequence[Any]) -> list[Any]:
        """What belongs to the held axes, by the value's own ones."""
        return [held[self.order.index(axis)] for axis in range(self.rank)]

    def position(self, axis: int) -> int:
        """Where one of the value's axes is held."""
        return self.order.index(int(axis) % self.rank)

    def with_held(self, held: Any) -> Transposed:
        """Another value with the same order."""
        return Transposed(held, self.order)

    def plain(self) -> Any:
        """A tensor in the value's own order; the same one every time, but for the bodies of control flow."""
        if tf.executing_eagerly() or self.held.graph is not tf.compat.v1.get_default_graph():
            return _reordered(self.held, self.order, tuple(range(self.rank)))
        if self._plain is None:
            self._plain = _reordered(self.held, self.order, tuple(range(self.rank)))
        return self._plain


# So that TensorFlow's own functions take one for a tensor.
tf.register_tensor_conversion_function(
    Transposed, lambda value, dtype=None, name=None, as_ref=False: tf.convert_to_tensor(value.plain(), dtype, name=name)
)


def channels_last_order(rank: int) -> Order:
    """Batch, spatial axes, channels. A single spatial axis is the second of two: no kernel of TensorFlow's takes it alone."""
    return (0, None, 2, 1) if rank == 3 else (0, *range(2, rank), 1)


def transposed(held: Any, order: Order) -> Any:
    """The value that a tensor holds in an order; the tensor itself where that is the value's own."""
    return held if order == tuple(range(len(order))) else Transposed(held, order)


def plain(value: Any) -> Any:
    """A tensor in the value's own order; what is no tensor (a list, None) as it is."""
    return value.plain() if isinstance(value, Transposed) else value


def in_order(value: Any, order: Order) -> Any:
    """The tensor that holds a value in an order. Constants are transposed while tracing."""
    if isinstance(value, Transposed):
        return value.plain() if order == tuple(range(value.rank)) else _reordered(value.held, value.order, order)
    own = tuple(range(value.shape.rank))
    return at_trace_time(value, lambda tensor: _reordered(tensor, own, order))


def at_trace_time(tensor: Any, function: Callable[[Any], Any]) -> Any:
    """`function` of a tensor, computed once while tracing where it is a constant: how weights change their layout."""
    static = tf.get_static_value(tensor)
    if static is None:
        return function(tensor)
    with tf.init_scope():
        result = function(tf.constant(static)).numpy()
    return tf.constant(result)


def expanded(tensor: Any, axis: int) -> Any:
    """With another axis of size 1."""
    sizes = list(tensor.shape)
    sizes.insert(axis, 1)
    return _reshaped(tensor, sizes) if _is_told(sizes) else tf.expand_dims(tensor, axis)


def squeezed(tensor: Any, axes: Sequence[int]) -> Any:
    """Without some axes of size 1."""
    sizes = [size for axis, size in enumerate(tensor.shape) if axis not in axes]
    is_one = all(tensor.shape[axis] == 1 for axis in axes)
    return _reshaped(tensor, sizes) if is_one and _is_told(sizes) else tf.squeeze(tensor, axes)


# LiteRT's converter joins reshapes in a row, but neither EXPAND_DIMS nor SQUEEZE with them.


def _is_told(sizes: Sequence[int | None]) -> bool:
    return sizes.count(None) <= 1 and 0 not in sizes


def _reshaped(tensor: Any, sizes: Sequence[int | None]) -> Any:
    return tf.reshape(tensor, [-1 if size is None else size for size in sizes])


def _reordered(tensor: Any, own: Order, wanted: Order) -> Any:
    if own == wanted:
        return tensor
    if None in own:
        tensor = squeezed(tensor, [k for k, axis in enumerate(own) if axis is None])
        own = tuple(axis for axis in own if axis is not None)
    tensor = _moved(tensor, [own.index(axis) for axis in wanted if axis is not None])
    for position, axis in enumerate(wanted):
        tensor = expanded(tensor, position) if axis is None else tensor
    return tensor


def _moved(tensor: Any, permutation: list[int]) -> Any:
    """A transposition; a reshape, which moves nothing, where only axes of size 1 change their places."""
    if permutation == sorted(permutation):
        return tensor
    sizes = [tensor.shape[axis] for axis in permutation]
    moving = [axis for axis in permutation if tensor.shape[axis] != 1]
    if moving == sorted(moving) and _is_told(sizes):
        return _reshaped(tensor, sizes)
    return tf.transpose(tensor, permutation)
