"""The forms that `benchmarks.probing` tries operators in: ranks, broadcasting, and the attributes that choose a kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.probing import Form

__all__ = ["FORMS"]

_RANKS = ((3,), (2, 3), (2, 3, 4), (2, 3, 4, 5), (2, 3, 2, 3, 2), (2, 1, 3, 2, 2, 2))


def _ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def _unary(low: float = -2.0, high: float = 2.0, **attributes: Any) -> list[Form]:
    return [Form((shape,), attributes=attributes, low=low, high=high) for shape in _RANKS]


def _binary(nonzero: Sequence[int] = (), **attributes: Any) -> list[Form]:
    same = [Form((shape, shape), attributes=attributes, nonzero=tuple(nonzero)) for shape in _RANKS]
    row = Form(((2, 3, 4), (4,)), attributes=attributes, nonzero=tuple(nonzero))
    column = Form(((2, 3, 4, 5), (3, 1, 1)), attributes=attributes, nonzero=tuple(nonzero))
    outer = Form(((2, 1, 3, 1, 2), (1, 4, 1, 3, 1)), attributes=attributes, nonzero=tuple(nonzero))
    return [*same, row, column, outer]


def _reduce() -> list[Form]:
    last = [Form((shape,), (_ints(len(shape) - 1),), {"keepdims": 1}) for shape in _RANKS]
    return [*last, Form(((2, 3, 4, 5),), (_ints(1, 3),), {"keepdims": 0})]


def _arg() -> list[Form]:
    return [Form((shape,), attributes={"axis": len(shape) - 1, "keepdims": k}) for shape in _RANKS for k in (0, 1)]


def _each(*constants: Any, **attributes: Any) -> list[Form]:
    """One form per rank; a callable makes a constant, or an attribute, of the shape."""

    def made(value: Any, shape: tuple[int, ...]) -> Any:
        return value(shape) if callable(value) else value

    return [Form((s,), tuple(made(c, s) for c in constants), {k: made(v, s) for k, v in attributes.items()}) for s in _RANKS]


def _pool(**attributes: Any) -> list[Form]:
    return [
        Form(((1, 2, 8, 8),), attributes={"kernel_shape": [2, 2], "strides": [2, 2], **attributes}),
        Form(((1, 2, 7, 7),), attributes={"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], **attributes}),
        Form(((1, 2, 9),), attributes={"kernel_shape": [3], **attributes}),
        Form(((1, 2, 6, 6, 6),), attributes={"kernel_shape": [2, 2, 2], **attributes}),
    ]


_POSITIVE = (0.1, 3.0)
_UNIT = (-0.95, 0.95)

FORMS: dict[str, list[Form]] = {
    **{op: _unary() for op in ("Abs", "Neg", "Sign", "Relu", "Floor", "Ceil", "Round", "Exp", "Sin", "Cos", "Tan", "Tanh")},
    **{op: _unary() for op in ("Sigmoid", "Erf", "Sinh", "Cosh", "Asinh", "Atan", "Softplus", "Softsign", "HardSwish", "Mish")},
    **{op: _unary() for op in ("Elu", "Selu", "Celu", "LeakyRelu", "ThresholdedRelu", "HardSigmoid", "Gelu", "Shrink")},
    **{op: _unary() for op in ("Identity", "Not", "BitwiseNot", "IsNaN", "IsInf")},
    **{op: _unary(*_POSITIVE) for op in ("Sqrt", "Log", "Reciprocal")},
    **{op: _unary(*_UNIT) for op in ("Asin", "Acos", "Atanh")},
    "Acosh": _unary(1.1, 3.0),
    **{op: _binary() for op in ("Add", "Sub", "Mul", "Max", "Min", "Sum", "Mean", "And", "Or", "Xor")},
    **{op: _binary() for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")},
    **{op: _binary() for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor", "PRelu")},
    "Div": _binary(nonzero=(1,)),
    "Mod": _binary(nonzero=(1,), fmod=0),
    "Pow": [Form((shape,), (np.array(3, np.int64),)) for shape in _RANKS],
    **{f"Reduce{kind}": _reduce() for kind in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp")},
    **{op: _arg() for op in ("ArgMax", "ArgMin")},
    **{op: _each(axis=-1) for op in ("Softmax", "LogSoftmax", "Hardmax")},
    "CumSum": _each(np.array(0, np.int64)),
    "Clip": [Form((shape, (), ())) for shape in _RANKS],
    "Where": [Form((s, s), leading=(np.arange(math.prod(s)).reshape(s) % 2 == 0,)) for s in _RANKS],
    "Concat": [Form((shape, shape), attributes={"axis": 0}) for shape in _RANKS],
    "Gather": _each(_ints(0, 1, 0), axis=0),
    "GatherElements": _each(lambda s: np.zeros(s, np.int64), axis=-1),
    "GatherND": _each(_ints(1).reshape(1, 1)),
    "Reshape": _each(lambda s: _ints(-1)),
    "Flatten": _each(axis=1),
    "Transpose": _each(perm=lambda s: list(range(len(s)))[::-1]),
    "Squeeze": [Form(((2, 1, 3),), (_ints(1),))],
    "Unsqueeze": _each(_ints(0)),
    "Expand": _each(lambda s: _ints(2, *s)),
    "Tile": _each(lambda s: _ints(*[2] * len(s))),
    "Slice": _each(_ints(0), _ints(2), _ints(-1), _ints(1)) + _each(_ints(-1), _ints(-10), _ints(0), _ints(-1)),
    "Pad": _each(lambda s: _ints(*[1] * 2 * len(s))) + _each(lambda s: _ints(*[1] * 2 * len(s)), mode="reflect")[1:4],
    "Split": [Form(((4, 3),), attributes={"axis": 0, "num_outputs": 2}, outputs=2)],
    "DepthToSpace": [Form(((1, 8, 2, 3),), attributes={"blocksize": 2})],
    "SpaceToDepth": [Form(((1, 2, 4, 6),), attributes={"blocksize": 2})],
    "TopK": [Form((s,), (_ints(2),), {"axis": -1}, outputs=2) for s in ((5,), (2, 5), (2, 3, 4))],
    "Trilu": [Form((s,), (np.array(0, np.int64),)) for s in _RANKS[1:]],
    "ReverseSequence": [Form(((4, 3),), (_ints(1, 2, 4),), {"time_axis": 0, "batch_axis": 1})],
    "MatMul": [Form(s) for s in (((3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((2, 2, 3, 4), (4, 5)), ((2, 1, 2, 3, 4), (2, 4, 5)))],
    "Gemm": [Form(((3, 4), (4, 5))), Form(((3, 4), (5, 4), (5,)), attributes={"transB": 1})],
    "Conv": [
        Form(((1, 2, 7, 7), (4, 2, 3, 3)), attributes={"pads": [1, 1, 1, 1]}),
        Form(((1, 4, 7, 7), (4, 1, 3, 3), (4,)), attributes={"group": 4}),
        Form(((1, 2, 9), (4, 2, 3))),
        Form(((1, 2, 5, 5, 5), (3, 2, 2, 2, 2))),
    ],
    "ConvTranspose": [Form(((1, 2, 5, 5), (2, 3, 3, 3)), attributes={"strides": [2, 2]})],
    "MaxPool": _pool(),
    "AveragePool": _pool(),
    "GlobalAveragePool": [Form(((1, 2, 4, 5),))],
    "GlobalMaxPool": [Form(((1, 2, 4, 5),))],
    "BatchNormalization": [
        Form((s,), tuple(np.array(v, np.float32) for v in ([1, 2, 3], [0, 1, 2], [0, 1, 0], [1, 2, 3])), {}) for s in _RANKS[1:4]
    ],
    "LayerNormalization": [Form((s, s[-1:], s[-1:]), attributes={"axis": -1}) for s in _RANKS[1:5]],
    "Resize": [
        Form(((1, 2, 3, 4),), (None, None, _ints(1, 2, 6, 8)), {"mode": mode, "coordinate_transformation_mode": transform})
        for mode, transform in (("nearest", "asymmetric"), ("linear", "half_pixel"))
    ],
    "EyeLike": [Form(((3, 4),))],
}
