"""The arithmetic of sliding windows: what convolutions and poolings share in every framework.

Sizes may be symbolic ints of a framework; what follows from them is then symbolic too.
Sources: the shape rules of https://onnx.ai/onnx/operators (Conv, ConvTranspose, MaxPool, AveragePool), and ONNX Runtime where
they are silent: a window that `ceil_mode` adds counts as padding only what the pads cover, and is dropped where it would start
behind the input and its first padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from convkit.interpreters.host import maximum, minimum
from convkit.interpreters.operators import UnsupportedError

__all__ = ["WindowAxis", "transposed_crops", "window_axes"]

Ints = Sequence[int] | None


@dataclass(frozen=True)
class WindowAxis:
    """A window that slides along one axis.

    Attributes:
        size: Of the axis, without padding.
        kernel: How many elements the window takes.
        stride: How far it moves.
        dilation: The distance of its elements.
        begin: Padding before the first element.
        end: Padding after the last one.
    """

    size: Any
    kernel: int
    stride: int
    dilation: int
    begin: Any
    end: Any

    @property
    def extent(self) -> int:
        """From the window's first element to its last one."""
        return self.dilation * (self.kernel - 1) + 1

    def steps(self, ceil_mode: bool = False) -> Any:
        """How many windows there are: the size of the output."""
        if not ceil_mode:
            return (self.size + self.begin + self.end - self.extent) // self.stride + 1
        rounded_up = (self.size + self.begin + self.end - self.extent + self.stride - 1) // self.stride + 1
        if not self.drops:
            return rounded_up
        return minimum(rounded_up, (self.size + self.begin + self.stride - 1) // self.stride)

    @property
    def drops(self) -> bool:
        """Whether the last window of `ceil_mode` may start behind the input and its first padding, for some size."""
        return not (isinstance(self.end, int) and self.stride + self.end <= self.extent)

    def overhang(self, ceil_mode: bool = False) -> Any:
        """How much padding the last window needs beyond `end`; 0 where it needs none."""
        if not ceil_mode:
            return 0
        needed = (self.steps(True) - 1) * self.stride + self.extent
        return maximum(needed - (self.size + self.begin + self.end), 0)

    def counts(self, numeric: Any, *, ceil_mode: bool = False, include_pad: bool = False) -> Any:
        """How many elements of every window lie in the input (or in its padding too).

        Args:
            numeric: A module with `arange`: numpy, torch or tensorflow.range's.
            ceil_mode: As the operator's attribute.
            include_pad: Whether padding counts.
        """
        first, last = (-self.begin, self.size + self.end) if include_pad else (0, self.size)
        starts = numeric.arange(self.steps(ceil_mode)) * self.stride - self.begin
        positions = starts[:, None] + numeric.arange(self.kernel)[None, :] * self.dilation
        return ((positions >= first) & (positions < last)).sum(1)


def window_axes(
    sizes: Sequence[Any], kernel: Sequence[int], strides: Ints, dilations: Ints, pads: Ints, auto_pad: str
) -> list[WindowAxis]:
    """The windows along every spatial axis, with `auto_pad` resolved."""
    rank = len(kernel)
    strides, dilations, pads = strides or [1] * rank, dilations or [1] * rank, pads or [0] * 2 * rank
    axes = []
    for axis, size in enumerate(sizes):
        begin, end = _pads(size, kernel[axis], strides[axis], dilations[axis], (pads[axis], pads[rank + axis]), auto_pad)
        axes.append(WindowAxis(size, int(kernel[axis]), strides[axis], dilations[axis], begin, end))
    return axes


def _pads(size: Any, kernel: int, stride: int, dilation: int, given: tuple[int, int], auto_pad: str) -> tuple[Any, Any]:
    """The padding of one axis; SAME_*: as much as makes ceil(size / stride) windows."""
    if auto_pad == "NOTSET":
        return given
    if auto_pad == "VALID":
        return 0, 0
    extent = dilation * (kernel - 1) + 1
    needed: Any = extent - 1
    if stride != 1:
        needed = maximum(((size + stride - 1) // stride - 1) * stride + extent - size, 0)
    return _halves(needed, auto_pad == "SAME_UPPER")


def _halves(total: Any, more_at_the_end: bool) -> tuple[Any, Any]:
    half = total // 2
    return (half, total - half) if more_at_the_end else (total - half, half)


def transposed_crops(
    sizes: Sequence[Any],
    kernel: Sequence[int],
    strides: Ints,
    dilations: Ints,
    pads: Ints,
    auto_pad: str,
    output_padding: Ints,
    output_shape: Ints,
) -> list[tuple[int, int]]:
    """What a transposed convolution cuts off its full result of (size - 1) * stride + extent, per spatial axis.

    The second number is negative where the result is longer than the full one (`output_padding`).

    Raises:
        UnsupportedError: `output_shape` of a dynamic size.
    """
    rank = len(kernel)
    strides, dilations, pads = strides or [1] * rank, dilations or [1] * rank, pads or [0] * 2 * rank
    longer = output_padding or [0] * rank
    crops: list[tuple[int, int]] = []
    for axis, size in enumerate(sizes):
        extent = dilations[axis] * (int(kernel[axis]) - 1) + 1
        if output_shape is not None:
            if not isinstance(size, int):
                raise UnsupportedError("a fixed output_shape of a dynamic dimension")
            full = (size - 1) * strides[axis] + extent + longer[axis]
            # A result that is longer than the full one is filled up at its end.
            begin, end = _halves(max(full - output_shape[axis], 0), auto_pad == "SAME_UPPER")
            end = full - output_shape[axis] - begin
        elif auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            begin, end = _halves(max(extent + longer[axis] - strides[axis], 0), auto_pad == "SAME_UPPER")
        else:
            begin, end = (0, 0) if auto_pad == "VALID" else (pads[axis], pads[rank + axis])
        crops.append((begin, end - longer[axis]))
    return crops
