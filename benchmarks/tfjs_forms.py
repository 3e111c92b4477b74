# ruff: noqa: E501 - a table, one row a line
"""The forms that `benchmarks.tfjs_operators` tries TensorFlow operators in: ranks, constants, and attributes that choose a kernel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["DTYPES", "FORMS", "Form"]

DTYPES = ("float32", "int32", "bool", "complex64")


@dataclass(frozen=True)
class Form:
    """One way to call `tf.raw_ops.<operator>`.

    Attributes:
        data: Arguments that the probe feeds, with their shapes; they share the dtype that is tried.
        fixed: Arguments with their arrays, or attributes with their values.
        low, high: The range of the data.
        listed: The argument that takes all data as a list, "" where each is an argument.
        dtypes: That are tried; for others the form is rewritten before TF.js sees it.
    """

    data: dict[str, tuple[int, ...]]
    fixed: dict[str, Any] = field(default_factory=dict)
    low: float = -2.0
    high: float = 2.0
    listed: str = ""
    dtypes: tuple[str, ...] = DTYPES


_SHAPES: tuple[tuple[int, ...], ...] = ((), (3,), (2, 3), (2, 3, 4), (2, 3, 2, 2), (2, 1, 2, 3, 2), (2, 1, 2, 1, 2, 2))


def _ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def _unary(*names: str, low: float = -2.0, high: float = 2.0, key: str = "x", **fixed: Any) -> dict[str, list[Form]]:
    return {name: [Form({key: shape}, fixed, low, high) for shape in _SHAPES] for name in names}


def _binary(*names: str, low: float = -2.0, high: float = 2.0) -> dict[str, list[Form]]:
    pairs = [*((s, s) for s in _SHAPES), ((2, 3, 4), (4,)), ((2, 3, 2, 2), (3, 1, 1)), ((2, 1, 3), (1, 4, 1))]
    return {name: [Form({"x": a, "y": b}, {}, low, high) for a, b in pairs] for name in names}


def _reduced(*names: str) -> dict[str, list[Form]]:
    def forms() -> list[Form]:
        last = [Form({"input": s}, {"axis": _ints(len(s) - 1), "keep_dims": k}) for s in _SHAPES[1:] for k in (True, False)]
        return [*last, Form({"input": (2, 3, 2, 2)}, {"axis": _ints(1, 3)})]

    return {name: forms() for name in names}


def _scans(*names: str) -> dict[str, list[Form]]:
    ways = [(False, False), (True, False), (False, True), (True, True)]
    return {n: [Form({"x": s}, {"axis": 0, "exclusive": e, "reverse": r}) for s in _SHAPES[1:] for e, r in ways] for n in names}


def _each(key: str, shapes: tuple[tuple[int, ...], ...], dtypes: tuple[str, ...] = DTYPES, **fixed: Any) -> list[Form]:
    """A form per shape; a callable makes an argument of the shape."""
    return [Form({key: s}, {k: v(s) if callable(v) else v for k, v in fixed.items()}, dtypes=dtypes) for s in shapes]


def _windows(name: str, key: str) -> dict[str, list[Form]]:
    forms = []
    for size, stride, padding in ((2, 2, "VALID"), (3, 1, "SAME"), (3, 2, "SAME")):
        fixed = {"ksize": [1, size, size, 1], "strides": [1, stride, stride, 1], "padding": padding}
        forms.append(Form({key: (2, 7, 6, 3)}, fixed))
    return {name: forms}


def _convolutions() -> dict[str, list[Form]]:
    plain, deep = [], []
    for stride, dilation, padding in ((1, 1, "SAME"), (2, 1, "VALID"), (1, 2, "SAME")):
        fixed = {"strides": [1, stride, stride, 1], "dilations": [1, dilation, dilation, 1], "padding": padding}
        plain.append(Form({"input": (2, 7, 6, 3), "filter": (3, 3, 3, 4)}, fixed))
        deep.append(Form({"input": (2, 7, 6, 3), "filter": (3, 3, 3, 2)}, fixed))
    padded = {"strides": [1, 1, 1, 1], "padding": "EXPLICIT", "explicit_paddings": [0, 0, 1, 2, 0, 1, 0, 0]}
    plain.append(Form({"input": (2, 7, 6, 3), "filter": (3, 3, 3, 4)}, padded))
    volume = [
        Form({"input": (1, 5, 6, 4, 2), "filter": (2, 2, 2, 2, 3)}, {"strides": [1] * 5, "padding": p}) for p in ("SAME", "VALID")
    ]
    back = {"input_sizes": _ints(2, 8, 8, 3), "strides": [1, 2, 2, 1], "padding": "SAME"}
    return {
        "Conv2D": plain,
        "DepthwiseConv2dNative": deep,
        "Conv3D": volume,
        "Conv2DBackpropInput": [Form({"filter": (3, 3, 3, 4), "out_backprop": (2, 4, 4, 4)}, back)],
    }


_AT_LEAST_1 = _SHAPES[1:]

FORMS: dict[str, list[Form]] = {
    **_unary("Abs", "Neg", "Sign", "Square", "OnesLike", "ZerosLike", "Ceil", "Floor", "Round", "Reciprocal"),
    **_unary("Sin", "Cos", "Tan", "Sinh", "Cosh", "Tanh", "Asinh", "Atan", "Exp", "Expm1", "Erf", "Sigmoid", "IsNan", "IsInf", "IsFinite"),
    **_unary("Acos", "Asin", "Atanh", low=-0.9, high=0.9),
    **_unary("Acosh", low=1.1, high=4.0),
    **_unary("Log", "Log1p", "Sqrt", "Rsqrt", low=0.1, high=4.0),
    **_unary("Relu", "Relu6", "Elu", "Selu", "Softplus", "LeakyRelu", key="features"),
    **_unary("LogicalNot"),
    **_unary("Shape", "Size", "Rank", "Identity", key="input"),
    "Real": _each("input", _SHAPES), "Imag": _each("input", _SHAPES), "ComplexAbs": _each("x", _SHAPES),
    **_binary("Add", "AddV2", "Sub", "Mul", "Maximum", "Minimum", "SquaredDifference", "Equal", "NotEqual"),
    **_binary("Greater", "GreaterEqual", "Less", "LessEqual", "LogicalAnd", "LogicalOr"),
    **_binary("FloorDiv", "FloorMod", "RealDiv", "DivNoNan", "Pow", low=1.0, high=4.0),
    "Atan2": [Form({"y": s, "x": s}) for s in _SHAPES],
    **_reduced("Sum", "Mean", "Max", "Min", "Prod", "All", "Any"),
    "ArgMax": _each("input", _AT_LEAST_1, dimension=0, output_type=np.int32),
    "ArgMin": _each("input", _AT_LEAST_1, dimension=0, output_type=np.int32),
    **_scans("Cumsum", "Cumprod"),
    "Softmax": _each("logits", _AT_LEAST_1), "LogSoftmax": _each("logits", _AT_LEAST_1),
    "BiasAdd": [Form({"value": s, "bias": s[-1:]}) for s in _SHAPES[2:]],
    "AddN": [Form({"a": s, "b": s, "c": s}, listed="inputs") for s in _SHAPES],
    "ConcatV2": [Form({"a": s, "b": s}, {"axis": len(s) - 1}, listed="values") for s in _AT_LEAST_1],
    "Pack": [Form({"a": s, "b": s}, {"axis": 0}, listed="values") for s in _SHAPES],
    "Unpack": _each("value", _AT_LEAST_1, num=lambda s: s[0], axis=0),
    "Split": _each("value", _AT_LEAST_1, axis=0, num_split=lambda s: s[0]),
    "SplitV": _each("value", ((5,), (5, 2), (5, 1, 2, 2)), size_splits=_ints(2, 3), axis=0, num_split=2),
    "ExpandDims": _each("input", _SHAPES[:6], axis=0),
    "Squeeze": _each("input", ((1, 3), (2, 1, 3), (2, 1, 3, 1, 2)), axis=[]),
    "Reshape": _each("tensor", _SHAPES, shape=_ints(-1)),
    "Transpose": _each("x", _AT_LEAST_1, perm=lambda s: _ints(*reversed(range(len(s))))),
    "ReverseV2": _each("tensor", _AT_LEAST_1, ("float32", "int32", "complex64"), axis=lambda s: _ints(len(s) - 1)),
    "Tile": _each("input", _AT_LEAST_1, multiples=lambda s: _ints(*([2] * len(s)))),
    "BroadcastTo": _each("input", _AT_LEAST_1, shape=lambda s: _ints(2, *s)),
    "Pad": _each("input", _AT_LEAST_1, paddings=lambda s: np.array([[1, 2]] * len(s), np.int32)),
    "MirrorPad": _each("input", ((3,), (2, 3), (2, 3, 2, 2)), paddings=lambda s: np.array([[1, 1]] * len(s), np.int32), mode="REFLECT"),
    "Slice": _each("input", _AT_LEAST_1, begin=lambda s: _ints(*([0] * len(s))), size=lambda s: _ints(*([1] * len(s)))),
    "StridedSlice": [
        *_each("input", _AT_LEAST_1, ("float32",), begin=lambda s: _ints(*([0] * len(s))), end=lambda s: _ints(*s), strides=lambda s: _ints(*([2] * len(s)))),
        *_each("input", _AT_LEAST_1, ("float32",), begin=_ints(-1), end=_ints(0), strides=_ints(-1), end_mask=1),
        *_each("input", _AT_LEAST_1, begin=lambda s: _ints(*([0] * len(s))), end=lambda s: _ints(*([1] * len(s))), strides=lambda s: _ints(*([1] * len(s)))),
        Form({"input": (2, 3, 2, 2)}, {"begin": _ints(0, 1), "end": _ints(0, 2), "strides": _ints(1, 1), "ellipsis_mask": 1, "shrink_axis_mask": 2}),
        Form({"input": (2, 3)}, {"begin": _ints(0, 0), "end": _ints(0, 1), "strides": _ints(1, 1), "new_axis_mask": 1}),
    ],
    "GatherV2": [
        *_each("params", _AT_LEAST_1, indices=_ints(0, 1, 0), axis=0),
        Form({"params": (2, 3, 4)}, {"indices": np.array([[0, 2], [1, 1]], np.int32), "axis": 1, "batch_dims": 1}),
    ],
    "GatherNd": _each("params", ((2, 3), (2, 3, 4), (2, 3, 2, 2)), indices=np.array([[0, 1], [1, 2]], np.int32)),
    "ScatterNd": [Form({"updates": (2, *s)}, {"indices": np.array([[1], [1]], np.int32), "shape": _ints(3, *s)}) for s in ((), (2,), (2, 2, 2))],
    "TensorScatterUpdate": [Form({"tensor": (3, *s), "updates": (2, *s)}, {"indices": np.array([[0], [2]], np.int32)}) for s in ((), (2,), (2, 2))],
    "SelectV2": [Form({"t": s, "e": s}, {"condition": np.arange(np.prod(s, dtype=int)).reshape(s) % 2 == 0}) for s in _SHAPES],
    "TopKV2": _each("input", ((5,), (2, 5), (2, 3, 5)), k=2),
    "Unique": _each("x", ((5,),)),
    "Where": _each("condition", _AT_LEAST_1, ("bool",)),
    "ClipByValue": [Form({"t": s}, {"clip_value_min": -1, "clip_value_max": 1}) for s in _SHAPES],
    "Fill": [Form({"value": ()}, {"dims": _ints(2, 3)})],
    "Range": [Form({}, {"start": 1, "limit": 9, "delta": 2})],
    "LinSpace": [Form({"start": (), "stop": ()}, {"num": 5})],
    "MatMul": [Form({"a": (2, 3), "b": (3, 4)}), Form({"a": (3, 2), "b": (4, 3)}, {"transpose_a": True, "transpose_b": True})],
    "BatchMatMulV2": [Form({"x": (*s, 2, 3), "y": (*s, 3, 4)}) for s in ((), (2,), (2, 3), (2, 1, 2))],
    **_windows("MaxPool", "input"), **_windows("AvgPool", "value"),
    "MaxPool3D": _each("input", ((1, 4, 4, 4, 2),), ksize=[1, 2, 2, 2, 1], strides=[1, 2, 2, 2, 1], padding="VALID"),
    "AvgPool3D": _each("input", ((1, 4, 4, 4, 2),), ksize=[1, 2, 2, 2, 1], strides=[1, 2, 2, 2, 1], padding="SAME"),
    **_convolutions(),
    "ResizeBilinear": [Form({"images": (1, 4, 5, 2)}, {"size": _ints(7, 3), "half_pixel_centers": h, "align_corners": a}) for h, a in ((True, False), (False, True), (False, False))],
    "ResizeNearestNeighbor": [Form({"images": (1, 4, 5, 2)}, {"size": _ints(7, 3), "half_pixel_centers": h, "align_corners": a}) for h, a in ((True, False), (False, True), (False, False))],
    "DepthToSpace": _each("input", ((1, 2, 3, 8),), block_size=2),
    "SpaceToBatchND": _each("input", ((1, 4, 4, 2),), block_shape=_ints(2, 2), paddings=np.zeros((2, 2), np.int32)),
    "BatchToSpaceND": _each("input", ((4, 2, 2, 2),), block_shape=_ints(2, 2), crops=np.zeros((2, 2), np.int32)),
    "LRN": _each("input", ((1, 2, 3, 5),), depth_radius=2),
    "Complex": [Form({"real": s, "imag": s}) for s in _SHAPES],
    "FFT": _each("input", ((4,), (2, 4), (2, 3, 4))), "IFFT": _each("input", ((4,), (2, 4), (2, 3, 4))),
    "RFFT": _each("input", ((4,), (2, 6)), fft_length=lambda s: _ints(s[-1])),
    "IRFFT": _each("input", ((3,), (2, 4)), fft_length=lambda s: _ints(2 * s[-1] - 2)),
    "Cast": [Form({"x": s}, {"DstT": d}) for s in _SHAPES[:4] for d in (np.float32, np.int32)],
    "Einsum": [Form({"a": (2, 3), "b": (3, 4)}, {"equation": "ij,jk->ik"}, listed="inputs")],
    "Bincount": [Form({"weights": (5,)}, {"arr": _ints(0, 1, 1, 3, 2), "size": 4})],
    "LowerBound": [Form({"values": (2, 3)}, {"sorted_inputs": np.sort(np.array([[0, 1, 3], [1, 2, 2]], np.float32))})],
    "MatrixBandPart": [Form({"input": (3, 4)}, {"num_lower": 1, "num_upper": 0})],
    "NonMaxSuppressionV3": [Form({}, {"boxes": np.array([[0, 0, 1, 1], [0, 0, 1, 0.9], [2, 2, 3, 3]], np.float32), "scores": np.array([0.9, 0.8, 0.7], np.float32), "max_output_size": 3, "iou_threshold": 0.5, "score_threshold": 0.1})],
    "CropAndResize": [Form({"image": (1, 5, 5, 2)}, {"boxes": np.array([[0, 0, 0.8, 0.9]], np.float32), "box_ind": _ints(0), "crop_size": _ints(3, 3)})],
    "Dilation2D": [Form({"input": (1, 5, 5, 2), "filter": (2, 2, 2)}, {"strides": [1, 1, 1, 1], "rates": [1, 1, 1, 1], "padding": "VALID"})],
    "ListDiff": [Form({"x": (5,), "y": (2,)})],
}  # fmt: skip
