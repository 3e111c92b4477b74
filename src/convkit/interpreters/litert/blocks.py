"""Constants with one scale per block of a row (4-bit weights of language models): their numbers are made when the file is read.

Specification: `BlockwiseQuantization` of the schema; blocks lie along the last axis, as XNNPACK's `qb4w` weights have them.
"""

from __future__ import annotations

import numpy as np

from convkit.readers.damage import DamagedFileError

__all__ = ["numbers_of"]


def numbers_of(levels: np.ndarray, scales: np.ndarray, zero_points: np.ndarray | None, size: int) -> np.ndarray:
    """The numbers that levels stand for.

    Args:
        levels: Integers [..., columns].
        scales: Floats, one per block, rows first.
        zero_points: As many integers, None for zeros.
        size: Columns of a block.

    Returns:
        float32 in the shape of the levels.

    Raises:
        DamagedFileError: There are not as many scales or zero points as blocks.
    """
    columns = levels.shape[-1] if levels.ndim else 0
    if size < 1 or columns % size or scales.size * size != levels.size:
        raise DamagedFileError(f"{scales.size} scales of blocks of {size} for a constant of the shape {list(levels.shape)}")
    blocks = levels.reshape(-1, size).astype(np.float32)
    if zero_points is not None:
        if zero_points.size != scales.size:
            raise DamagedFileError(f"{zero_points.size} zero points for {scales.size} blocks")
        blocks -= zero_points.reshape(-1, 1).astype(np.float32)
    return (blocks * scales.reshape(-1, 1).astype(np.float32)).reshape(levels.shape)
