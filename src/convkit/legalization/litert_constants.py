"""Constants of a LiteRT model whose own shape has a dynamic axis, as tensors with the same values at any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from convkit.errors import ConversionError

if TYPE_CHECKING:
    import sympy  # type: ignore[import-untyped]

    from convkit.legalization.litert_graph import GraphEditor

__all__ = ["generalise"]


def generalise(editor: GraphEditor, user: str, value: np.ndarray, shape: Sequence[int | sympy.Expr], may_broadcast: bool) -> int:
    """A tensor with the constant's values at any size: constant, or linear, along each dynamic axis."""
    base, ranges = value, []
    for axis in [i for i, size in enumerate(shape) if not isinstance(size, int)]:
        first = base.take([0], axis)
        if _equal(base, first):
            base = first
            continue
        step = base.take([1], axis) - first if base.dtype.kind in "iu" else None
        counts = np.arange(base.shape[axis]).reshape([-1 if a == axis else 1 for a in range(base.ndim)])
        if step is None or not (step == step.flat[0]).all() or not _equal(base, first + counts * step):
            raise ConversionError(
                f"the converted {user} uses {value.shape[axis]} constant values that depend on the dynamic size {shape[axis]}",
                component="litert-torch",
                hint="make that dimension static, or see `convkit plan` for another route",
            )
        base = first
        ranges.append((axis, int(step.flat[0])))
    found = editor.constant(base)
    current: list[int | sympy.Expr] = [int(d) for d in base.shape]
    for axis, step in ranges:
        found = _add_range(editor, found, current, axis, step, shape[axis])
    if not may_broadcast and current != list(shape):
        found = editor.broadcast(found, shape)
    return found


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Equality with broadcasting, NaN equal to itself."""
    return bool(((a == b) | ((a != a) & (b != b))).all())


def _add_range(
    editor: GraphEditor, tensor: int, shape: list[int | sympy.Expr], axis: int, step: int, size: int | sympy.Expr
) -> int:
    """`tensor + step * [0, 1, …, size - 1]` along an axis; changes `shape` to the result's."""
    cells = [-1 if a == axis else 1 for a in range(len(shape))]
    dtype = editor.dtype(tensor)
    steps = editor.add(
        "RESHAPE", [editor.range(size), editor.constant(np.array(cells, np.int32))], np.int32, cells, newShape=cells
    )
    steps = editor.cast(steps, dtype)
    if step != 1:
        steps = editor.add("MUL", [steps, editor.constant(np.array([step], dtype))], dtype, cells)
    shape[axis] = size
    return editor.add("ADD", [steps, tensor], dtype, [s if isinstance(s, int) else -1 for s in shape])
