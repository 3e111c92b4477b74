"""What the tests of the operator families share: the comparison with LiteRT's interpreter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from litert_models import assert_close, compared, litert_file, operators_of


def agrees(
    operator: str,
    function: Callable[..., Any],
    *examples: np.ndarray,
    dynamic: Sequence[Sequence[int]] = (),
    tolerance: float = 1e-5,
    configure: Callable[[Any], None] | None = None,
) -> None:
    """The importer computes what LiteRT does, at other sizes of dynamic dimensions too, and the file has the operator.

    Args:
        operator: What the file must have, so that the test tests it.
        function: Of TensorFlow, one tensor per example.
        examples: The inputs.
        dynamic: For each one its dynamic axes.
        tolerance: As a share of the largest result.
        configure: Sets options of TensorFlow's converter.
    """
    path = litert_file(function, examples, dynamic=dynamic, configure=configure)
    assert operator in operators_of(path), operators_of(path)
    runs = [list(examples)]
    if any(dynamic):
        runs.append([_larger(e, axes) for e, axes in zip(examples, [*dynamic, *[()] * len(examples)], strict=False)])
    assert_close(*compared(path, runs), tolerance)


def _larger(array: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """Twice as large along the axes; the elements are repeated."""
    for axis in axes:
        array = np.concatenate([array, array], axis)
    return array
