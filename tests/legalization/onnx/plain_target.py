"""A target that accepts only plain operators, and ONNX Runtime's judgement of what rewrites make for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

from convkit.legalization.onnx import preparation
from convkit.legalization.onnx.rewriting import legalize
from convkit.legalization.target import Finding, Verdict

_NAMES = """
Abs Add And ArgMax ArgMin BatchNormalization BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast Ceil Clip Concat ConstantOfShape
Conv ConvTranspose Cos CumSum Div Equal Erf Exp Expand Flatten Floor Gather Gemm GatherElements GatherND Greater
GreaterOrEqual Identity If IsInf IsNaN Less LessOrEqual Log Loop MatMul Max Min Mod Mul Neg Not Or Pad Pow QuantizeLinear
DequantizeLinear Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Round Scan ScatterElements
ScatterND Shape Sigmoid Sign Sin Size Slice Split Sqrt Squeeze Sub Sum Tanh Tile TopK Transpose Trilu Unsqueeze Where Xor
"""
PLAIN = frozenset(_NAMES.split())


class PlainTarget:
    """Accepts operators of ai.onnx by name.

    Args:
        refused: What it does not accept although it is plain.
        accepted: What it accepts besides.
    """

    name = "plain"

    def __init__(self, refused: Collection[str] = (), accepted: Collection[str] = ()) -> None:
        self._accepted = (PLAIN | set(accepted)) - set(refused)

    def refusal(self, node: ir.Node, opset: int) -> str | None:
        legal = node.domain in ("", "ai.onnx") and node.op_type in self._accepted
        return None if legal else f"not {node.op_type}"


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """ONNX Runtime with the model as it is written: its own fusions would hide mistakes, and some are wrong."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What ONNX Runtime computes."""
    return list(session(model).run(None, dict(feeds)))


def legalized(model: onnx.ModelProto, target: PlainTarget | None = None) -> tuple[onnx.ModelProto, list[Finding]]:
    """The model after its operators were rewritten for a plain target, and the findings."""
    prepared = preparation.prepared(ir.from_proto(model))
    findings = legalize(prepared, target or PlainTarget())
    prepared.ir_version = min(max(prepared.ir_version, 8), 13)
    return ir.to_proto(prepared), findings


def gaps(findings: Sequence[Finding]) -> list[str]:
    return [str(f) for f in findings if f.verdict is Verdict.GAP]


def assert_same(
    model: onnx.ModelProto,
    feeds: Mapping[str, np.ndarray],
    *,
    tolerance: float = 1e-5,
    target: PlainTarget | None = None,
    wanted: Sequence[np.ndarray] | None = None,
) -> onnx.ModelProto:
    """Rewrites a model, and compares what ONNX Runtime computes with it to what it computes with the original.

    Args:
        tolerance: Relative to each output's scale; integers are equal.
        wanted: What to compare with, where ONNX Runtime cannot run the original.

    Returns:
        The rewritten model.
    """
    wanted = run(model, feeds) if wanted is None else wanted
    rewritten, findings = legalized(model, target)
    assert not gaps(findings)
    assert [o.name for o in rewritten.graph.output] == [o.name for o in model.graph.output]
    got = run(rewritten, feeds)
    for mine, theirs in zip(got, wanted, strict=True):
        compare(mine, np.asarray(theirs), tolerance)
    return rewritten


def compare(got: Any, wanted: np.ndarray, tolerance: float) -> None:
    """Same shape and dtype; values within the tolerance of the wanted one's scale, infinities and NaN in the same places."""
    got = np.asarray(got)
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype
    if wanted.dtype.kind != "f":
        np.testing.assert_array_equal(got, wanted)
        return
    scale = float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0)) or 1.0
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance * scale)
