"""Sampling of images at given places: grids and regions of interest."""

from __future__ import annotations

import torch
from torch.nn import functional

from convkit.interpreters.operators import Sizes, UnsupportedError
from convkit.interpreters.pytorch.table import operator

_MODES = {"linear": "bilinear", "cubic": "bicubic"}


def _samples(node):
    """Refuses cubic sampling of volumes, and more than three axes; and volumes of known sizes, which a rewrite turns into
    gathers: no other runtime has torch's sampler of volumes.
    """
    shape = node.inputs[0].shape
    rank = None if shape is None else len(shape) - 2
    if rank is not None and not 1 <= rank <= 3:
        return f"sampling over {rank} axes; PyTorch has one to three"
    if rank == 3 and node.attributes.get_string("mode", "linear") in ("cubic", "bicubic"):
        return "cubic sampling of a volume; PyTorch has it for images"
    if rank == 3 and all(v is not None and v.shape is not None and v.shape.is_static() for v in node.inputs):
        return "sampling of a volume; only PyTorch itself has it"
    return None


@operator("GridSample", since=16, accepts=_samples)
def grid_sample_16(x, grid, *, align_corners=0, mode="bilinear", padding_mode="zeros"):
    return _sampled(x, grid, mode, padding_mode, align_corners)


@operator("GridSample", since=20, accepts=_samples)
def grid_sample(x, grid, *, align_corners=0, mode="linear", padding_mode="zeros"):
    return _sampled(x, grid, _MODES.get(mode, mode), padding_mode, align_corners)


def _sampled(x, grid, mode, padding_mode, align_corners):
    if x.dim() != 3:
        return functional.grid_sample(x, grid, mode, padding_mode, bool(align_corners))
    # A line is an image of one row, sampled in its middle.
    rows = torch.cat([grid, torch.zeros_like(grid)], -1).unsqueeze(2)
    return functional.grid_sample(x.unsqueeze(2), rows.transpose(1, 2), mode, padding_mode, bool(align_corners)).squeeze(2)


@operator("AffineGrid", since=20)
def affine_grid(theta, size: Sizes, *, align_corners=0):
    return functional.affine_grid(theta, size, bool(align_corners))


def _has_fixed_grid(node):
    if node.attributes.get_int("sampling_ratio", 0) <= 0:
        return "sampling_ratio 0 takes as many samples as a region is large, which only the data tell"
    return None


@operator("RoiAlign", since=10, accepts=_has_fixed_grid)
def roi_align_10(x, rois, batch_indices, *, mode="avg", output_height=1, output_width=1, sampling_ratio=0, spatial_scale=1.0):
    return _aligned(x, rois, batch_indices, mode, (output_height, output_width), sampling_ratio, spatial_scale, False)


@operator("RoiAlign", since=16, accepts=_has_fixed_grid)
def roi_align(
    x,
    rois,
    batch_indices,
    *,
    coordinate_transformation_mode="half_pixel",
    mode="avg",
    output_height=1,
    output_width=1,
    sampling_ratio=0,
    spatial_scale=1.0,
):
    half_pixel = coordinate_transformation_mode == "half_pixel"
    return _aligned(x, rois, batch_indices, mode, (output_height, output_width), sampling_ratio, spatial_scale, half_pixel)


def _aligned(x, rois, batch_indices, mode, output, ratio, scale, half_pixel):
    """Pools `ratio` × `ratio` bilinear samples of every bin of every region."""
    corners = rois * scale - (0.5 if half_pixel else 0.0)
    starts, extents = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not half_pixel:
        extents = extents.clamp(min=1.0)
    height, width = output
    rows = _samples_along(starts[:, 1], extents[:, 1], height, ratio, x.shape[2])
    columns = _samples_along(starts[:, 0], extents[:, 0], width, ratio, x.shape[3])
    images = x.index_select(0, batch_indices.to(torch.int64))
    products = [_picked(images, r, c) * (wr.unsqueeze(2) * wc.unsqueeze(1)).unsqueeze(1) for r, wr in rows for c, wc in columns]
    if mode == "avg":
        return sum(products).unflatten(3, (width, ratio)).unflatten(2, (height, ratio)).mean((3, 5))
    if mode != "max":
        raise UnsupportedError(f"mode {mode}")
    # ONNX Runtime takes the largest of the weighted neighbours, not of the interpolated samples.
    largest = torch.stack(products).amax(0)
    return largest.unflatten(3, (width, ratio)).unflatten(2, (height, ratio)).amax((3, 5))


def _samples_along(start, extent, bins, ratio, size):
    """The two neighbours (index and weight) of every sample along an axis: (regions, bins * ratio) each."""
    places = (torch.arange(bins * ratio, dtype=start.dtype) + 0.5) / ratio
    x = start.unsqueeze(1) + extent.unsqueeze(1) / bins * places
    inside = ((x >= -1.0) & (x <= size)).to(x.dtype)
    x = torch.minimum(x.clamp(min=0.0), torch.ones_like(x) * (size - 1))
    low = x.floor()
    high = torch.minimum(low + 1, torch.ones_like(x) * (size - 1))
    t = x - low
    return [(low.to(torch.int64), (1 - t) * inside), (high.to(torch.int64), t * inside)]


def _picked(images, rows, columns):
    """images[:, :, rows, columns] with own rows and columns for every image."""
    channels, width = images.shape[1], images.shape[3]
    lines = images.gather(2, rows[:, None, :, None].expand(-1, channels, -1, width))
    return lines.gather(3, columns[:, None, None, :].expand(-1, channels, rows.shape[1], -1))


# MaxRoiPool rounds its bins to whole elements; their sizes come from the data, and no exporter of the last years writes it.
