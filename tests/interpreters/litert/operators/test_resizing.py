"""Resizing against LiteRT's interpreter."""

from __future__ import annotations

import pytest
from litert_models import floats

from .operator_checks import agrees

IMAGE = floats(1, 5, 4, 3)


@pytest.mark.parametrize("size", [(10, 8), (7, 9), (3, 2)])
@pytest.mark.parametrize("coordinates", ["asymmetric", "align_corners", "half_pixel_centers"])
@pytest.mark.parametrize("operator", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
def test_coordinates(operator: str, coordinates: str, size: tuple[int, int]) -> None:
    import tensorflow as tf

    chosen = {} if coordinates == "asymmetric" else {coordinates: True}
    name = "ResizeBilinear" if operator == "RESIZE_BILINEAR" else "ResizeNearestNeighbor"
    agrees(operator, lambda x: getattr(tf.raw_ops, name)(images=x, size=size, **chosen), IMAGE, dynamic=[[0]])
