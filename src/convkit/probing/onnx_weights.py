"""The constants of a one-operator model: those whose values count as they are, of others what counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import onnx

__all__ = ["KEPT_INTEGERS", "Weight", "elements", "is_floating", "told"]

_KEPT_FLOATS = 8
KEPT_INTEGERS = 4096
"""Elements up to which integers are taken for sizes, axes, indices: their values count."""
_LARGEST_LOOK = 1 << 16
"""Elements up to which the values of a weight are looked at (for their sign and their range)."""
# What must not be negative, where its values are not at hand.
_POSITIVE = {
    ("BatchNormalization", 4), ("DequantizeLinear", 1), ("QuantizeLinear", 1), ("QLinearConv", 1), ("QLinearConv", 4),
    ("QLinearConv", 6), ("QLinearMatMul", 1), ("QLinearMatMul", 4), ("QLinearMatMul", 6),
}  # fmt: skip


@dataclass(frozen=True)
class Weight:
    """A constant of which not the values count.

    Attributes:
        limits: Least and largest value of integers.
        positive: Whether no value is negative.
    """

    name: str
    element: int
    shape: tuple[int, ...]
    limits: tuple[int, int] | None
    positive: bool

    def array(self) -> np.ndarray:
        import numpy as np
        import onnx

        generator = np.random.default_rng([self.element, *self.shape, *self.name.encode()])
        dtype = onnx.helper.tensor_dtype_to_np_dtype(self.element)
        if self.element == onnx.TensorProto.BOOL:
            return generator.random(self.shape) < 0.5
        if self.limits is not None:
            return generator.integers(*self.limits, self.shape, endpoint=True).astype(dtype)
        fan = max(1, int(np.prod(self.shape[1:] if len(self.shape) > 2 else self.shape[:1])))
        values = generator.standard_normal(self.shape, np.float32)
        return (np.abs(values) + 0.1 if self.positive else values / fan**0.5).astype(dtype)


def told(tensor: onnx.TensorProto, name: str, uses: Sequence[tuple[str, int]]) -> onnx.TensorProto | Weight | None:
    """A constant as it is, or what counts of it; None where it can be neither.

    Args:
        tensor: The constant.
        name: What it is called from now on.
        uses: The operators that take it, and as which input.
    """
    import onnx

    shape = tuple(tensor.dims)
    count = elements(shape)
    external = tensor.data_location == onnx.TensorProto.EXTERNAL
    floating = is_floating(tensor.data_type)
    plain = floating or tensor.data_type in _integers() or tensor.data_type == onnx.TensorProto.BOOL
    if not external and (count <= (_KEPT_FLOATS if floating else KEPT_INTEGERS) or not plain):
        if count > _LARGEST_LOOK:
            return None
        kept = onnx.TensorProto()
        kept.CopyFrom(tensor)
        kept.name = name
        kept.doc_string = ""
        return kept
    if not plain:
        return None
    positive, limits = False, None
    if not external and count <= _LARGEST_LOOK:
        array = onnx.numpy_helper.to_array(tensor)
        positive = bool((array >= 0).all())
        limits = None if floating else (int(array.min()), int(array.max()))
    elif floating:
        positive = not _POSITIVE.isdisjoint(uses)
    else:
        narrow = tensor.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
        signed = tensor.data_type == onnx.TensorProto.INT8
        limits = ((-127, 127) if signed else (0, 255)) if narrow else (0, 0)
    if tensor.data_type == onnx.TensorProto.BOOL:
        limits, positive = None, False
    return Weight(name, tensor.data_type, shape, limits, positive)


def elements(dims: Iterable[int]) -> int:
    count = 1
    for dim in dims:
        count *= dim
    return count


def is_floating(element: int) -> bool:
    """Whether numbers of that element type have a fraction, and numpy (or ml_dtypes) computes with them."""
    import onnx

    kinds = onnx.TensorProto
    return element in (kinds.FLOAT, kinds.DOUBLE, kinds.FLOAT16, kinds.BFLOAT16)


def _integers() -> tuple[int, ...]:
    import onnx

    kinds = onnx.TensorProto
    return (
        kinds.INT8, kinds.INT16, kinds.INT32, kinds.INT64, kinds.UINT8, kinds.UINT16, kinds.UINT32, kinds.UINT64,
    )  # fmt: skip
