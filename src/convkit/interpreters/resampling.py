"""The arithmetic of Resize and Upsample: where in the input every output element lies, and which elements it is made of.

Works on numpy where sizes are numbers and on a framework's tensors where they are symbolic: `numeric` is a module with numpy's
`arange`, `floor`, `ceil`, `clip` and `where`. Coordinates are float32, operation by operation as ONNX Runtime takes them, since
the nearest element turns on their last bit. Source: https://onnx.ai/onnx/operators/onnx__Resize.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from convkit.interpreters.host import minimum
from convkit.interpreters.operators import UnsupportedError

__all__ = ["ResampledAxis", "nearest", "resampled_axes", "rounded", "taps"]

_TIE = 1e-6
"""How near to the middle of two elements a coordinate counts as in the middle (as measured in ONNX Runtime 1.31)."""


@dataclass(frozen=True)
class ResampledAxis:
    """One axis that is resampled.

    Attributes:
        axis: Which one.
        before: Its size, may be symbolic.
        after: Its size in the result, may be symbolic.
        scale: The factor as it was given; None where it is after / before.
        roi: The part of the axis that `tf_crop_and_resize` takes.
    """

    axis: int
    before: Any
    after: Any
    scale: float | None
    roi: tuple[float, float]

    @property
    def is_static(self) -> bool:
        return isinstance(self.before, int) and isinstance(self.after, int)

    @property
    def changes(self) -> bool:
        """Whether the result can differ from the input."""
        same_size = self.scale == 1 if self.scale is not None else self.is_static and self.before == self.after
        return not (same_size and self.roi == (0, 1))

    def coordinates(self, numeric: Any, transformation: str) -> Any:
        """The place in the input of every output element: `coordinate_transformation_mode`."""
        x = numeric.arange(self.after, dtype=numeric.float32)
        if transformation == "asymmetric":
            return self._unscaled(x)
        if transformation == "align_corners":
            return x * (self.before - 1) / _at_least_one(self.after - 1)
        if transformation == "tf_crop_and_resize":
            return self._cropped(x)
        centred = self._unscaled(x + 0.5) - 0.5
        if transformation == "half_pixel":
            return centred
        if transformation == "pytorch_half_pixel":
            return centred * minimum(self.after - 1, 1)  # 0 where the result has one element
        if transformation == "half_pixel_symmetric" and (self.is_static or self.scale is None):
            wanted = self.after if self.scale is None else self.scale * self.before
            return centred + self.before / 2 * (1 - self.after / wanted)
        raise UnsupportedError(f"coordinate_transformation_mode {transformation} of a dynamic size")

    def _unscaled(self, x: Any) -> Any:
        if self.scale is not None:
            return x / np.float32(self.scale).item()
        return x / (np.float32(self.after) / np.float32(self.before)).item() if self.is_static else x * self.before / self.after

    def _cropped(self, x: Any) -> Any:
        start, end = np.float32(self.roi[0]), np.float32(self.roi[1])
        if not self.is_static:
            raise UnsupportedError("coordinate_transformation_mode tf_crop_and_resize of a dynamic size")
        last = self.before - 1
        if self.after > 1:
            return start * last + x * (end - start) * last / (self.after - 1)
        return x + np.float32(0.5) * (start + end) * last


def _at_least_one(size: Any) -> Any:
    return max(size, 1) if isinstance(size, int) else -minimum(-size, -1)


def resampled_axes(
    shape: Sequence[Any],
    *,
    scales: Sequence[Any] | None = None,
    sizes: Sequence[Any] | None = None,
    axes: Sequence[int] | None = None,
    policy: str = "stretch",
    roi: Sequence[float] | None = None,
) -> list[ResampledAxis]:
    """The axes of a Resize that change.

    Raises:
        UnsupportedError: A scale or an aspect ratio is only known when the model runs.
    """
    axes = [a % len(shape) for a in axes] if axes is not None else list(range(len(shape)))
    before = [shape[a] for a in axes]
    factors: list[float | None] = [None] * len(axes)
    if sizes is None or not len(sizes):
        if not scales or not all(isinstance(s, (int, float)) for s in scales):
            raise UnsupportedError("scales that depend on a dynamic size")
        factors = [float(s) for s in scales]
        after = [_scaled(size, scale) for size, scale in zip(before, factors, strict=True)]
    elif policy == "stretch":
        after = list(sizes)
    else:
        after, factors = _keeping_aspect(before, sizes, policy)
    parts = [(float(roi[k]), float(roi[k + len(axes)])) for k in range(len(axes))] if roi else [(0.0, 1.0)] * len(axes)
    found = [ResampledAxis(*fields) for fields in zip(axes, before, after, factors, parts, strict=True)]
    return [a for a in found if a.changes]


def _scaled(size: Any, scale: float | None) -> Any:
    """floor(size * scale), as ONNX Runtime multiplies: in float32."""
    assert scale is not None
    if isinstance(size, int):
        return int(np.float32(size) * np.float32(scale))
    ratio = Fraction(scale).limit_denominator(1024)
    if np.float32(ratio.numerator / ratio.denominator) != np.float32(scale):
        raise UnsupportedError(f"a dynamic size times {scale:g}")
    return size * ratio.numerator // ratio.denominator


def _keeping_aspect(before: Sequence[Any], sizes: Sequence[Any], policy: str) -> tuple[list[int], list[float | None]]:
    if not all(isinstance(size, int) for size in [*before, *sizes]):
        raise UnsupportedError(f"keep_aspect_ratio_policy {policy} of a dynamic size")
    ratios = [after / size for size, after in zip(before, sizes, strict=True)]
    scale = min(ratios) if policy == "not_larger" else max(ratios)
    return [int(scale * size + 0.5) for size in before], [scale] * len(before)


def nearest(axis: ResampledAxis, numeric: Any, transformation: str, rounding: str) -> Any:
    """The index of the input element that every output element is; `rounding` is `nearest_mode`, or "" before opset 11."""
    x = axis.coordinates(numeric, transformation)
    if rounding == "":
        shrinks = axis.scale is not None and axis.scale < 1
        rounding = "ceil" if shrinks else "floor"
    return numeric.clip(rounded(x, numeric, rounding), 0, axis.before - 1)


def rounded(x: Any, numeric: Any, rounding: str) -> Any:
    """Coordinates as whole numbers by `nearest_mode`."""
    base = numeric.floor(x)
    if rounding == "floor":
        return base
    if rounding == "ceil":
        return numeric.ceil(x)
    past_the_middle = x - base - 0.5
    is_above = past_the_middle > -_TIE if rounding == "round_prefer_ceil" else past_the_middle >= _TIE
    return numeric.where(is_above, base + 1, base)


def taps(
    axis: ResampledAxis, numeric: Any, mode: str, transformation: str, *, cubic: float, exclude_outside: bool
) -> list[tuple[Any, Any]]:
    """The (index, weight) pairs whose sum every output element is; indices are whole floats within the input."""
    x = axis.coordinates(numeric, transformation)
    base = numeric.floor(x)
    t = x - base
    if mode == "linear":
        offsets, weights = [0, 1], [1 - t, t]
    else:
        offsets, weights = [-1, 0, 1, 2], _cubic_weights(t, cubic)
    last = axis.before - 1
    if exclude_outside and mode == "cubic":
        inside = [(base + o >= 0) & (base + o <= last) for o in offsets]
        weights = [numeric.where(i, w, w * 0) for i, w in zip(inside, weights, strict=True)]
        total = sum(weights)
        weights = [w / total for w in weights]
    return [(numeric.clip(base + o, 0, last), w) for o, w in zip(offsets, weights, strict=True)]


def _cubic_weights(t: Any, a: float) -> list[Any]:
    """Keys' convolution kernel at the distances 1 + t, t, 1 - t and 2 - t."""

    def near(d: Any) -> Any:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: Any) -> Any:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return [far(1 + t), near(t), near(1 - t), far(2 - t)]
