"""TensorFlow as the interpreter sees it: dynamic sizes are scalar tensors behind Python's operators."""

from __future__ import annotations

import operator as python
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import onnx_ir as ir
import tensorflow as tf

from convkit.interpreters.host import DataDependentError, Host, register_symbol
from convkit.interpreters.operators import Handler, UnsupportedError
from convkit.interpreters.tensorflow.table import operators

__all__ = ["Size", "TensorFlowBackend", "tensorflow_dtype"]


class Size:
    """A dynamic size: a scalar tensor (int32, or float32 after a division) that takes part in Python arithmetic.

    Comparisons answer only what is true of every size (it is not negative); others are data-dependent.
    """

    def __init__(self, tensor: tf.Tensor) -> None:
        self.tensor = tensor

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
        return self._with(other, python.mul)

    def __rmul__(self, other: Any) -> Size:
        return self._with(other, python.mul, swapped=True)

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
        parts = [size.tensor if isinstance(size, Size) else tf.constant(size, tf.int32) for size in host.array.flat]
        kind = tf.float32 if any(p.dtype.is_floating for p in parts) else tf.int32
        stacked = tf.reshape(tf.stack([tf.cast(p, kind) for p in parts]), host.array.shape)
        return tf.cast(stacked, host.dtype)

    def shape(self, tensor: Any) -> list[Any]:
        if not isinstance(tensor, tf.Tensor):
            raise DataDependentError("the shape of a sequence or an optional")
        if tensor.shape.rank is None:
            raise DataDependentError("the shape of a tensor of unknown rank")
        dynamic: Any = None if tensor.shape.is_fully_defined() else tf.shape(tensor)
        return [Size(dynamic[axis]) if size is None else int(size) for axis, size in enumerate(tensor.shape)]

    def cast(self, tensor: Any, dtype: ir.DataType) -> Any:
        wanted = tensorflow_dtype(dtype)
        return tf.cast(tensor, wanted) if isinstance(tensor, tf.Tensor) and tensor.dtype != wanted else tensor

    def place(self, name: str) -> AbstractContextManager[Any]:
        # TensorFlow takes only these characters, and none but the first two kinds in front.
        scope = re.sub(r"[^A-Za-z0-9_.\\/>-]", "_", name)
        mark: AbstractContextManager[Any] = tf.name_scope(scope if re.match(r"[A-Za-z0-9.]", scope) else f"node{scope}")
        return mark

    def wrap(self, handler: Handler, arguments: list[Any], attributes: dict[str, Any]) -> Any:
        return handler.function(*arguments, **attributes)


def tensorflow_dtype(dtype: ir.DataType | int) -> tf.DType:
    """The TensorFlow dtype of an ONNX one.

    Raises:
        UnsupportedError: TensorFlow has none.
    """
    try:
        return tf.as_dtype(ir.DataType(dtype).numpy())
    except TypeError:
        raise UnsupportedError(f"TensorFlow has no dtype for {ir.DataType(dtype).name}") from None
