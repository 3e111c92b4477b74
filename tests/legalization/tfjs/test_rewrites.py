"""Every rewrite: what it builds is run in TF.js and compared with TensorFlow's own operator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tfjs_graphs import assert_same, checked, saved

from convkit.legalization.target import Verdict
from convkit.runtimes import tfjs
from convkit.workers import toolchains


@pytest.fixture(scope="module", autouse=True)
def toolchain():
    toolchains.ensure("tfjs", auto=True)


def _with(call: Callable[..., Any]) -> Callable[..., Any]:
    """A function of TensorFlow and tensors; nothing here imports TensorFlow before it has to."""

    def traced(*tensors: Any) -> Any:
        import tensorflow as tf

        return call(tf, *tensors)

    return traced


def _raw(operator: str, *names: str, **fixed: Any) -> Callable[..., Any]:
    def call(*tensors: Any) -> Any:
        import tensorflow as tf

        results = getattr(tf.raw_ops, operator)(**dict(zip(names, tensors, strict=True)), **fixed)
        return list(results) if isinstance(results, (list, tuple)) else results

    return call


_RNG = np.random.default_rng(0)
F = _RNG.standard_normal((2, 5, 6, 4)).astype(np.float32)
I = np.array([[7, -7, 5, 0], [-1, 3, -8, 2]], np.int32)  # noqa: E741
J = np.array([[2, 2, -3, 5], [-3, 4, 3, -1]], np.int32)
U = np.array([[200, 3], [128, 255]], np.uint8)
SQUARE = _RNG.standard_normal((2, 3, 3)).astype(np.float32)
KERNEL = _RNG.standard_normal((3, 3, 4, 2)).astype(np.float32)
NCHW = _RNG.standard_normal((2, 4, 6, 5)).astype(np.float32)
BOOLS = np.array([[True, False, True, False], [False, False, True, True]])

CASES: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "Erfc": (_raw("Erfc", "x"), (F,)),
    "Div": (_raw("Div", "x", "y"), (I, J)),
    "TruncateDiv": (_raw("TruncateDiv", "x", "y"), (I, J)),
    "TruncateMod": (_raw("TruncateMod", "x", "y"), (I, J)),
    "Mod": (_raw("Mod", "x", "y"), (I, J)),
    "FloorDiv": (_raw("FloorDiv", "x", "y"), (F, np.abs(F) + 0.3)),
    "FloorMod": (_raw("FloorMod", "x", "y"), (I, J)),
    "SelectV2": (_raw("SelectV2", "condition", "t", "e"), (BOOLS, ~BOOLS, BOOLS)),
    "Select": (_raw("Select", "condition", "x", "y"), (np.array([True, False]), F, -F)),
    "Cast": (_raw("Cast", "x", DstT=bool), (I,)),
    "Rint": (_raw("Rint", "x"), (F * 3,)),
    "Softsign": (_raw("Softsign", "features"), (F,)),
    "Xlogy": (_raw("Xlogy", "x", "y"), (np.float32([0, 1, 2]), np.float32([0, 2, 3]))),
    "Lgamma": (_raw("Lgamma", "x"), (np.float32([0.1, 0.5, 1.5, 7.0, -0.7, -3.2, 30.0]),)),
    "BitwiseAnd": (_raw("BitwiseAnd", "x", "y"), (I, J)),
    "BitwiseOr": (_raw("BitwiseOr", "x", "y"), (I, J)),
    "BitwiseXor": (_raw("BitwiseXor", "x", "y"), (U, U[::-1])),
    "Invert": (_raw("Invert", "x"), (U,)),
    "LeftShift": (_raw("LeftShift", "x", "y"), (U, np.uint8([[1, 7], [3, 1]]))),
    "RightShift": (_raw("RightShift", "x", "y"), (I, np.abs(J))),
    "Bitcast": (_raw("Bitcast", "input", type=np.int8), (U,)),
    "FakeQuantWithMinMaxVars": (
        _raw("FakeQuantWithMinMaxVars", "inputs", "min", "max"),
        (F * 3, np.float32(-2.3), np.float32(3.1)),
    ),
    "in steps, StridedSlice": (
        _with(lambda tf, x, b: [x[::-1, 1::2], b[:, ::-2]]),
        (np.int32([[1, -70000, 2**31 - 1], [-(2**31), 5, -1]]), BOOLS),
    ),
    "ReverseV2": (_raw("ReverseV2", "tensor", axis=[1]), (BOOLS,)),
    "Where": (_with(lambda tf, x: tf.size(tf.raw_ops.Where(condition=x))), (np.float32([0.0, 0.5, 0.0, 2.0]),)),
    "Sum": (_raw("Sum", "input", axis=[-2], keep_dims=True), (np.zeros((2, 0, 3), np.float32),)),
    "Mean": (_raw("Mean", "input", axis=[1]), (I,)),
    "Cumsum": (_raw("Cumsum", "x", axis=-1, reverse=True, exclusive=True), (F,)),
    "Max": (_raw("Max", "input", axis=[1]), (np.zeros((2, 0, 3), np.float32),)),
    "OneHot": (_raw("OneHot", "indices", depth=5, on_value=2.0, off_value=-1.0, axis=0), (np.abs(I),)),
    "Roll": (_raw("Roll", "input", shift=[1, -2], axis=[1, 2]), (F,)),
    "ReverseSequence": (_raw("ReverseSequence", "input", "seq_lengths", seq_dim=2, batch_dim=1), (F, np.int32([1, 6, 0, 3, 2]))),
    "SpaceToDepth": (_raw("SpaceToDepth", "input", block_size=2), (F[:, :4],)),
    "DepthToSpace": (_raw("DepthToSpace", "input", block_size=2), ((F * 9).astype(np.int32),)),
    "InvertPermutation": (_raw("InvertPermutation", "x"), (np.int32([2, 0, 1]),)),
    "Bucketize": (_raw("Bucketize", "input", boundaries=[-1.0, 0.0, 2.0]), (F,)),
    "TensorScatterAdd": (_raw("TensorScatterAdd", "tensor", "indices", "updates"), (I, np.int32([[1], [1]]), J)),
    "TensorScatterMax": (_raw("TensorScatterMax", "tensor", "indices", "updates"), (I, np.int32([[1], [1]]), J)),
    "UnsortedSegmentSum": (_raw("UnsortedSegmentSum", "data", "segment_ids", num_segments=4), (F, np.int32([2, -1]))),
    "UnsortedSegmentMax": (_raw("UnsortedSegmentMax", "data", "segment_ids", num_segments=3), (I, np.int32([2, 2]))),
    "ScatterNd": (_with(lambda tf, i, u: tf.scatter_nd(i, u, [3, 4])), (np.int32([[2], [0]]), BOOLS)),
    "BatchMatMulV2": (_raw("BatchMatMulV2", "x", "y"), (F[:, :1], np.transpose(F, (0, 1, 3, 2))[:1])),
    "BatchMatMulV3": (_raw("BatchMatMulV3", "x", "y", Tout=np.float32, adj_y=True), (F, F)),
    "Einsum": (_with(lambda tf, a, b: tf.einsum("bhwc,bhvc->bwv", a, b)), (F, F)),
    "MatrixBandPart": (_raw("MatrixBandPart", "input", num_lower=-1, num_upper=0), (SQUARE,)),
    "of truth values, MatrixBandPart": (
        _raw("MatrixBandPart", "input", num_lower=-1, num_upper=0),
        (np.repeat(np.eye(4, 30, dtype=bool)[None], 3, 0),),
    ),
    "MatrixDiagV3": (_with(lambda tf, x: tf.linalg.diag(x)), (SQUARE[0],)),
    "MatrixDiagPartV3": (_with(lambda tf, x: tf.linalg.diag_part(x)), (SQUARE,)),
    "MatrixSetDiagV3": (_with(lambda tf, x, d: tf.linalg.set_diag(x, d)), (SQUARE, SQUARE[0, :2])),
    "FusedBatchNormV3": (
        _with(lambda tf, x, s: tf.raw_ops.FusedBatchNormV3(x=x, scale=s, offset=s, mean=s, variance=s * s, is_training=False)[0]),
        (F, np.float32([1, 2, 3, 4])),
    ),
    "BiasAdd": (_raw("BiasAdd", "value", "bias", data_format="NCHW"), (NCHW, np.float32([1, 2, 3, 4]))),
    "Conv2D": (_raw("Conv2D", "input", "filter", strides=[1, 1, 1, 1], padding="VALID"), (F, KERNEL[:, :, :2])),
    "depthwise Conv2D": (
        _raw("Conv2D", "input", "filter", strides=[1, 2, 2, 1], padding="SAME"),
        (F, np.tile(KERNEL[:, :, :1], 4)),
    ),
    "MaxPool": (
        _raw(
            "MaxPool",
            "input",
            ksize=[1, 3, 3, 1],
            strides=[1, 2, 2, 1],
            padding="EXPLICIT",
            explicit_paddings=[0, 0, 1, 1, 0, 1, 0, 0],
        ),
        (F,),
    ),
    "Conv3DBackpropInputV2": (
        _raw(
            "Conv3DBackpropInputV2",
            "filter",
            "out_backprop",
            input_sizes=[1, 4, 6, 5, 2],
            strides=[1, 2, 2, 1, 1],
            padding="SAME",
        ),
        (_RNG.standard_normal((3, 2, 3, 2, 3)).astype(np.float32), _RNG.standard_normal((1, 2, 3, 5, 3)).astype(np.float32)),
    ),
}


@pytest.mark.parametrize("backend", tfjs.BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_rewritten_and_right(name: str, backend: str, tmp_path: Path) -> None:
    call, arrays = CASES[name]
    inputs = [f"x{k}:{a.dtype.name}[{','.join(map(str, a.shape))}]" for k, a in enumerate(arrays)]
    source = saved(tmp_path, call, *inputs)
    findings = {f.operator: f for f in checked(source, tmp_path / "m.tfjs")}
    operator = name.rpartition(" ")[2]
    assert findings[operator].verdict in ((Verdict.LEGAL,) if name == "FloorMod" else (Verdict.REWRITTEN,))
    assert_same(source, tmp_path / "m.tfjs", [{f"x{k}": a for k, a in enumerate(arrays)}], backend)


@pytest.mark.parametrize(
    ("operator", "call", "shape", "reason"),
    [
        ("Bitcast", _raw("Bitcast", "input", type=np.int32), "x[3]", "the bits of float32"),
        ("Neg", _raw("Neg", "x"), "x:complex64[3]", "of complex64"),
        ("Sub", _raw("Sub", "x", "y"), "x:uint32[3]", "does not fit into int32"),
        (
            "FusedBatchNormV3",
            _raw("FusedBatchNormV3", "x", scale=[1.0], offset=[0.0], mean=[], variance=[]),
            "x[1,2,2,1]",
            "training",
        ),
        ("MatrixDiagV3", _with(lambda tf, x: tf.linalg.diag(x, k=1)), "x[3]", "other matrices"),
    ],
)
def test_what_would_be_wrong_is_refused(operator: str, call: Callable[..., Any], shape: str, reason: str, tmp_path: Path) -> None:
    inputs = [shape, shape.replace("x:", "y:")] if operator == "Sub" else [shape]
    (gap,) = [f for f in checked(saved(tmp_path, call, *inputs), tmp_path / "m.tfjs") if f.verdict is Verdict.GAP]
    assert gap.operator == operator and reason in gap.reason
