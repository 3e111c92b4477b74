"""Resize and Upsample: torch's own interpolation where it is exactly ONNX's, else index by index along every axis."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from convkit.interpreters.operators import Sizes
from convkit.interpreters.pytorch.backend import as_tensor
from convkit.interpreters.pytorch.table import operator
from convkit.interpreters.resampling import ResampledAxis, nearest, resampled_axes, taps

_NATIVE_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def _is_antialiased(node):
    return "antialias has no counterpart" if node.attributes.get_int("antialias", 0) else None


@operator("Upsample", since=7)
def upsample(x, scales: Sizes | None = None, *, mode="nearest"):
    return _resized(x, resampled_axes(x.shape, scales=scales), mode, "asymmetric", "")


@operator("Resize", since=10)
def resize_10(x, scales: Sizes, *, mode="nearest"):
    return _resized(x, resampled_axes(x.shape, scales=scales), mode, "asymmetric", "")


@operator("Resize", since=11, accepts=_is_antialiased)
def resize(
    x,
    roi: Sizes | None = None,
    scales: Sizes | None = None,
    sizes: Sizes | None = None,
    *,
    antialias=0,
    axes=None,
    coordinate_transformation_mode="half_pixel",
    cubic_coeff_a=-0.75,
    exclude_outside=0,
    extrapolation_value=0.0,
    keep_aspect_ratio_policy="stretch",
    mode="nearest",
    nearest_mode="round_prefer_floor",
):
    crops = coordinate_transformation_mode == "tf_crop_and_resize"
    resampled = resampled_axes(
        x.shape, scales=scales, sizes=sizes, axes=axes, policy=keep_aspect_ratio_policy, roi=roi if crops else None
    )
    y = _resized(
        x, resampled, mode, coordinate_transformation_mode, nearest_mode, cubic=cubic_coeff_a, exclude_outside=exclude_outside
    )
    return _extrapolated(y, resampled, extrapolation_value) if crops else y


def _resized(x, axes: list[ResampledAxis], mode, transformation, rounding, *, cubic=-0.75, exclude_outside=0):
    if not axes:
        return x.clone()
    mode = mode.lower()
    dtype = x.dtype
    native = _native_mode(axes, x, mode, transformation, rounding, cubic=cubic, exclude_outside=exclude_outside)
    if native is not None:
        return _interpolated(x, axes, native, transformation)
    if mode != "nearest" and dtype not in (torch.float32, torch.float64):
        x = x.to(torch.float32)
    for axis in axes:
        numeric = np if axis.is_static else torch
        if mode == "nearest":
            x = torch.index_select(x, axis.axis, _indices(nearest(axis, numeric, transformation, rounding)))
        else:
            pairs = taps(axis, numeric, mode, transformation, cubic=cubic, exclude_outside=bool(exclude_outside))
            x = sum(torch.index_select(x, axis.axis, _indices(i)) * _along(_tensor(w).to(x.dtype), axis, x) for i, w in pairs)
    return x.to(dtype)


def _tensor(array):
    return as_tensor(array) if isinstance(array, np.ndarray) else array


def _indices(array):
    return _tensor(array).to(torch.int64)


def _along(vector, axis: ResampledAxis, x):
    return vector.reshape(-1, *[1] * (x.dim() - axis.axis - 1))


def _native_mode(axes: list[ResampledAxis], x, mode, transformation, rounding, *, cubic, exclude_outside):
    """The mode of `functional.interpolate` that computes exactly this, None where there is none."""
    trailing = list(range(x.dim() - len(axes), x.dim()))
    if not x.is_floating_point() or [a.axis for a in axes] != trailing or len(axes) not in _NATIVE_LINEAR:
        return None
    if not all(_is_whole(a) for a in axes):
        return None
    if mode == "nearest":
        return "nearest" if all(_takes_the_floor(a, transformation, rounding) for a in axes) else None
    centred = transformation == "half_pixel" or (
        transformation == "pytorch_half_pixel" and all(a.is_static and a.after > 1 for a in axes)
    )
    if not (centred or transformation == "align_corners"):
        return None
    if mode == "cubic":
        return "bicubic" if len(axes) == 2 and cubic == -0.75 and not exclude_outside else None
    return _NATIVE_LINEAR[len(axes)]


def _is_whole(axis: ResampledAxis):
    """Whether torch, told the sizes, takes the scale that was given."""
    if axis.scale is None:
        return True
    if axis.is_static:
        return axis.before * axis.scale == axis.after
    return float(axis.scale).is_integer()


_LONGEST = 4096


def _takes_the_floor(axis: ResampledAxis, transformation, rounding):
    """Whether the nearest elements are those that torch takes: floor(index * before / after), in float32.

    Known for static sizes by comparing all; for a whole factor of a dynamic size, on a long axis.
    """
    if not axis.is_static:
        if axis.scale is None:
            return False
        axis = ResampledAxis(axis.axis, _LONGEST, int(_LONGEST * axis.scale), axis.scale, axis.roi)
    ratio = np.float32(axis.before) / np.float32(axis.after)
    taken = np.minimum(np.floor(np.arange(axis.after, dtype=np.float32) * ratio), axis.before - 1)
    return np.array_equal(nearest(axis, np, transformation, rounding), taken)


def _interpolated(x, axes: list[ResampledAxis], mode, transformation):
    """torch's interpolation of the trailing axes; it wants batch and channels before them."""
    count, shape = len(axes), list(x.shape)
    before = x.dim() - count
    align = None if mode == "nearest" else transformation == "align_corners"
    if before != 2:
        x = x.reshape(1, 1, *shape) if before == 0 else x.unsqueeze(0) if before == 1 else x.flatten(0, before - 2)
    y = functional.interpolate(x, size=[a.after for a in axes], mode=mode, align_corners=align)
    return y if before == 2 else y.reshape(*shape[:before], *[a.after for a in axes])


def _extrapolated(y, axes: list[ResampledAxis], value):
    """With a constant where the part of the input that is taken reaches beyond it."""
    for axis in axes:
        x = axis.coordinates(np, "tf_crop_and_resize")
        outside = (x < 0) | (x > axis.before - 1)
        if outside.any():
            y = torch.where(_along(as_tensor(outside), axis, y), torch.full((), value, dtype=y.dtype), y)
    return y
