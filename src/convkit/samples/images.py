"""Images for a model: read, brought to its size, and normalised as the model's own file or the user says."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convkit.errors import InputSpecError
from convkit.options import Normalisation
from convkit.signature import Signature, TensorSpec
from convkit.validators.domains import Domain, Kind, channel_axis, is_image
from convkit.validators.inputs import Arrays

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["SUFFIXES", "samples"]

SUFFIXES = (".png", ".jpg", ".jpeg")
_FORMATS = ("PNG", "JPEG")
_MOST_PIXELS = 1 << 26
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
"""Of 8 bits a channel; others would be cut off."""


def samples(
    files: Sequence[Path], signature: Signature, domains: Mapping[str, Domain], normalisation: Normalisation | None
) -> Iterator[tuple[str, Arrays]]:
    """One sample per batch of images: of one, or as many as the model's fixed batch takes.

    Raises:
        InputSpecError: The model takes no images, or nothing says how they are normalised; a file is no image, or damaged.
    """
    spec = _image_input(files[0], signature)
    scale = _scaling(files[0], spec, domains.get(spec.name), normalisation)
    assert spec.shape is not None
    batch = spec.shape[0] if isinstance(spec.shape[0], int) else 1
    if len(files) < batch:
        raise InputSpecError(
            f"input '{spec.name}' takes batches of {batch} images, and {files[0].parent} has {len(files)}",
            hint=f"put {batch} images there, or give an .npz",
        )
    for start in range(0, len(files) - batch + 1, batch):
        chosen = files[start : start + batch]
        arrays = [scale(_pixels(file, spec)) for file in chosen]
        if len({a.shape for a in arrays}) > 1:
            raise InputSpecError(f"{chosen[0]} and {chosen[1]} differ in size, and the model does not say which it takes")
        yield ", ".join(file.name for file in chosen), {spec.name: np.stack(arrays)}


def _image_input(file: Path, signature: Signature) -> TensorSpec:
    chosen = signature.inputs[0] if len(signature.inputs) == 1 else None
    if chosen is None or not is_image(chosen):
        described = ", ".join(map(str, signature.inputs))
        raise InputSpecError(
            f"{file} is an image, and the model's inputs are {described}",
            hint="images are for models with one input of batches of images, float or uint8; give an .npz for others",
        )
    return chosen


class _Scaling:
    """From pixels (0 to 255) to what the model takes.

    Args:
        spec: The input, for dtype and layout.
        factor, offset: Per channel or for all.
    """

    def __init__(self, spec: TensorSpec, factor: Any, offset: Any) -> None:
        self._spec = spec
        self._factor, self._offset = np.asarray(factor, np.float64), np.asarray(offset, np.float64)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """[H, W, C] of uint8 in the input's layout and dtype, without the batch."""
        dtype = self._spec.array_dtype
        scaled = pixels if dtype == "uint8" else (pixels * self._factor + self._offset).astype(dtype)
        return np.moveaxis(scaled, 2, 0) if channel_axis(self._spec) == 1 else scaled


def _scaling(file: Path, spec: TensorSpec, domain: Domain | None, normalisation: Normalisation | None) -> _Scaling:
    if spec.dtype == "uint8":
        return _Scaling(spec, 1.0, 0.0)
    if normalisation is not None:
        mean, std = np.asarray(normalisation.mean), np.asarray(normalisation.std)
        axis = channel_axis(spec)
        channels = spec.shape[axis] if spec.shape is not None and axis is not None else 1
        if not {len(mean), len(std)} <= {1, channels}:
            raise InputSpecError(
                f"--image-mean and --image-std have {len(mean)} and {len(std)} values, '{spec.name}' has {channels} channels",
                hint="give one value, or one per channel",
            )
        return _Scaling(spec, 1 / (255 * std), -mean / std)
    if domain is not None and domain.kind is Kind.IMAGE and domain.is_bounded:
        return _Scaling(spec, (domain.high - domain.low) / 255, domain.low)
    raise InputSpecError(
        f"the model does not tell how the pixels of {file} become its input '{spec.name}'",
        hint="say it: --image-mean 0.485,0.456,0.406 --image-std 0.229,0.224,0.225, or --image-mean 0 --image-std 1 for [0, 1]",
    )


def _pixels(file: Path, spec: TensorSpec) -> np.ndarray:
    """[H, W, C] of uint8, at the model's size: scaled so that it is covered, and cut out of the middle."""
    try:
        from PIL import Image
    except ImportError:
        raise InputSpecError("reading images takes Pillow, which is not installed", hint="pip install pillow") from None
    axis = channel_axis(spec)
    assert spec.shape is not None and axis is not None
    height, width = (d for i, d in enumerate(spec.shape) if i not in (0, axis))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow warns of bombs
            with Image.open(file, formats=_FORMATS) as image:
                _refuse(file, image)
                converted = image.convert("L" if spec.shape[axis] == 1 else "RGB")
                return _covering(converted, width, height)
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        struct.error,
        MemoryError,
        Warning,
        Image.DecompressionBombError,
    ) as error:
        raise InputSpecError(
            f"{file} cannot be read as an image for '{spec.name}': {error}", hint="save it again as PNG or JPEG, or leave it out"
        ) from None


def _refuse(file: Path, image: Image) -> None:
    if image.width * image.height > _MOST_PIXELS:
        raise InputSpecError(f"{file} has {image.width} × {image.height} pixels", hint="make it smaller: 64 million are read")
    if image.mode not in _MODES:
        raise InputSpecError(f"{file} has pixels of mode {image.mode}, not of 8 bits a channel", hint="save it with 8 bits")


def _covering(image: Image, width: int | str, height: int | str) -> np.ndarray:
    from PIL.Image import Resampling

    w = image.width if isinstance(width, str) else width
    h = image.height if isinstance(height, str) else height
    factor = max(w / image.width, h / image.height)
    size = max(w, round(image.width * factor)), max(h, round(image.height * factor))
    if size != image.size:
        image = image.resize(size, Resampling.BILINEAR)
    left, top = (size[0] - w) // 2, (size[1] - h) // 2
    pixels = np.asarray(image.crop((left, top, left + w, top + h)))
    return pixels if pixels.ndim == 3 else pixels[..., None]
