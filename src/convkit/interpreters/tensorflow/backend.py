"""TensorFlow as the interpreter sees it: dynamic sizes are scalar tensors behind Python's operators."""

from __future__ import annotations

import operator as python
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
import tensorflow as tf

from convkit.interpreters.host import DataDependentError, Host, register_symbol
from convkit.interpreters.operators import Handler, UnsupportedError
from convkit.interpreters.tensorflow.table import operators
from convkit.interpreters.tensorflow.transposed import Transposed

__all__ = ["Size", "TensorFlowBackend", "sizes_of", "tensorflow_dtype"]


class Size:
    """A dynamic size: a scalar tensor (int32, or float32 after a division) that takes part in Python arithmetic.

    Comparisons answer only what is true of every size (it is not negative); others are data-dependent.

    Attributes:
        tensor: The number while the model runs.
        factor: The known factor of a product.
        roots: The sizes of a product besides that, sorted; for what is no product the size itself. They tell what is left
            for the -1 of a reshape.
    """

    def __init__(self, tensor: tf.Tensor, factor: int = 1, roots: tuple[Size, ...] = ()) -> None:
        self.tensor = tensor
        self.factor = factor
        self.roots: tuple[Size, ...] = tuple(sorted(roots, key=id)) or (self,)

    @property
    def is_integer(self) -> bool:
        return bool(self.tensor.dtype.is_integer)

    def _with(self, other: Any, function: Callable[[Any, Any], Any], swapped: bool = False) -> Size:
        mine, theirs = self.tensor, other.tensor if isinstance(other, Size) else other
        if not isinstance(theirs, tf.Tensor):
            kind = mine.dtype if isinstance(theirs, (int, np.integer)) else tf.float32
            theirs = tf.constant(theirs, kind)
        if mine.dtype != theirs.dtype:
            mine, theirs = tf.cast(mine, tf.float32), tf.cast(theirs, tf.float32)
        return Size(function(theirs, mine) if swapped else function(mine, theirs))

    def __add__(self, other: Any) -> Size:
        return self._with(other, python.add)

    def __radd__(self, other: Any) -> Size:
        return self._with(other, python.add, swapped=True)

    def __sub__(self, other: Any) -> Size:
        return self._with(other, python.sub)

    def __rsub__(self, other: Any) -> Size:
        return self._with(other, python.sub, swapped=True)

    def __mul__(self, other: Any) -> Size:
        product = self._with(other, python.mul)
        if isinstance(other, Size):
            return Size(product.tensor, self.factor * other.factor, self.roots + other.roots)
        return Size(product.tensor, self.factor * int(other), self.roots) if isinstance(other, (int, np.integer)) else product

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Size:
        return self._with(other, python.floordiv)

    def __rfloordiv__(self, other: Any) -> Size:
        return self._with(other, python.floordiv, swapped=True)

    def __truediv__(self, other: Any) -> Size:
        mine = Size(tf.cast(self.tensor, tf.float32))
        return mine._with(other if isinstance(other, Size) else float(other), python.truediv)

    def __rtruediv__(self, other: Any) -> Size:
        return Size(tf.cast(self.tensor, tf.float32))._with(float(other), python.truediv, swapped=True)

    def __mod__(self, other: Any) -> Size:
        return self._with(other, python.mod)

    def __neg__(self) -> Size:
        return Size(-self.tensor)

    def __floor__(self) -> Size:
        return self if self.is_integer else Size(tf.cast(tf.floor(self.tensor), tf.int32))

    def __ceil__(self) -> Size:
        return self if self.is_integer else Size(tf.cast(tf.math.ceil(self.tensor), tf.int32))

    def __trunc__(self) -> Size:
        return self if self.is_integer else Size(tf.cast(self.tensor, tf.int32))

    def __eq__(self, other: object) -> bool:
        if other is self:
            return True
        if isinstance(other, (int, float, np.number)) and other < 0:
            return False
        raise DataDependentError("whether two dynamic sizes are equal")

    def __hash__(self) -> int:
        return id(self)

    def __bool__(self) -> bool:
        raise DataDependentError("whether a dynamic size is zero")

    def __lt__(self, other: Any) -> bool:
        if isinstance(other, (int, float, np.number)) and other <= 0:
            return False
        raise DataDependentError("which of two dynamic sizes is smaller")

    def __ge__(self, other: Any) -> bool:
        return not self < other

    def __gt__(self, other: Any) -> bool:
        if isinstance(other, (int, float, np.number)) and other < 0:
            return True
        raise DataDependentError("which of two dynamic sizes is larger")

    def __le__(self, other: Any) -> bool:
        return not self > other


def _extreme(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Size]:
    def apply(a: Any, b: Any) -> Size:
        return a._with(b, function) if isinstance(a, Size) else b._with(a, function)

    return apply


register_symbol(Size, _extreme(tf.maximum), _extreme(tf.minimum))


def sizes_of(tensor: Any) -> list[Any]:
    """The sizes of a tensor of known rank: ints, and `Size` where they are dynamic."""
    if isinstance(tensor, Transposed):
        return tensor.arranged(sizes_of(tensor.held))
    if not isinstance(tensor, tf.Tensor):
        raise DataDependentError("the shape of a sequence or an optional")
    if tensor.shape.rank is None:
        raise DataDependentError("the shape of a tensor of unknown rank")
    if tensor.shape.is_fully_defined():
        return [int(size) for size in tensor.shape]
    if tensor.graph is not tf.compat.v1.get_default_graph():
        return _sizes(tensor)  # in the body of a loop: a size made there is not to be used outside
    if not hasattr(tensor, _SIZES):
        setattr(tensor, _SIZES, _sizes(tensor))
    return list(getattr(tensor, _SIZES))


_SIZES = "_convkit_sizes"
"""The attribute of a tensor that keeps its sizes: asked for twice, they are the same objects."""


def _sizes(tensor: Any) -> list[Any]:
    dynamic = tf.shape(tensor)
    return [Size(dynamic[axis]) if size is None else int(size) for axis, size in enumerate(tensor.shape)]


_WIDER = {
    tf.bool: tf.int32,
    tf.int8: tf.int32,
    tf.int16: tf.int32,
    tf.uint8: tf.int32,
    tf.uint16: tf.int32,
    tf.uint32: tf.int64,
    tf.uint64: tf.int64,
    tf.float16: tf.float32,
    tf.bfloat16: tf.float32,
}
"""What holds every number of a dtype (but the upper half of uint64, whose bits stay the same in sums and products)."""


class TensorFlowBackend:
    """The backend of one function that is traced. Constants are made where they are first used, once each."""

    def __init__(self) -> None:
        self.operators = operators()
        self._constants: dict[Any, tf.Tensor] = {}

    def constant(self, value: ir.Value) -> tf.Tensor:
        if value not in self._constants:
            assert value.const_value is not None
            if value.const_value.dtype is ir.DataType.STRING:
                raise UnsupportedError("string tensors")
            with tf.init_scope():
                self._constants[value] = tf.constant(value.const_value.numpy())
        return self._constants[value]

    def tensor(self, host: Host) -> tf.Tensor:
        if not host.is_symbolic:
            return tf.constant(host.array)
        parts = [size.tensor if isinstance(size, Size) else _number(size) for size in host.array.flat]
        kind = tf.float32 if any(p.dtype.is_floating for p in parts) else tf.int32
        stacked = tf.reshape(tf.stack([tf.cast(p, kind) for p in parts]), host.array.shape)
        return tf.cast(stacked, host.dtype)

    def shape(self, tensor: Any) -> list[Any]:
        return sizes_of(tensor)

    def cast(self, tensor: Any, dtype: ir.DataType) -> Any:
        wanted = tensorflow_dtype(dtype)
        if isinstance(tensor, Transposed):
            return tensor if tensor.dtype == wanted else tensor.with_held(tf.cast(tensor.held, wanted))
        return tf.cast(tensor, wanted) if isinstance(tensor, tf.Tensor) and tensor.dtype != wanted else tensor

    def place(self, name: str) -> AbstractContextManager[Any]:
        # TensorFlow takes only these characters, and none but the first two kinds in front.
        scope = re.sub(r"[^A-Za-z0-9_.\\/>-]", "_", name)
        mark: AbstractContextManager[Any] = tf.name_scope(scope if re.match(r"[A-Za-z0-9.]", scope) else f"node{scope}")
        return mark

    def wrap(self, handler: Handler, arguments: list[Any], attributes: dict[str, Any]) -> Any:
        """Calls a handler on the tensors as they are held where that gives the same values, else in the model's order."""
        compute = partial(_called, handler)
        if not any(isinstance(a, Transposed) for a in arguments):
            return compute(arguments, attributes)
        from convkit.interpreters.tensorflow.propagation import propagated  # which imports operators, and these this

        return propagated(handler, compute, arguments, attributes)


def _called(handler: Handler, arguments: list[Any], attributes: dict[str, Any]) -> Any:
    """Calls a handler, in a wider dtype where TensorFlow has no operator for the inputs' own; `cast` brings it back."""
    try:
        return handler.function(*arguments, **attributes)
    except TypeError as error:
        own = next((a.dtype for a in arguments if isinstance(a, tf.Tensor) and a.dtype in _WIDER), None)
        if own is None or "list of allowed values" not in str(error):
            raise
        wider = [tf.cast(a, _WIDER[own]) if isinstance(a, tf.Tensor) and a.dtype == own else a for a in arguments]
        return handler.function(*wider, **attributes)


def _number(value: Any) -> tf.Tensor:
    return tf.constant(value, tf.float32 if isinstance(value, float) else tf.int32)


def tensorflow_dtype(dtype: ir.DataType | int) -> tf.DType:
    """The TensorFlow dtype of an ONNX one.

    Raises:
        UnsupportedError: TensorFlow has none.
    """
    try:
        return tf.as_dtype(ir.DataType(dtype).numpy())
    except TypeError:
        raise UnsupportedError(f"TensorFlow has no dtype for {ir.DataType(dtype).name}") from None
